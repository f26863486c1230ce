//! The sampling numbers that model files recommend, and the range each must be in.
//!
//! One table for both sides: what the converter writes from generation_config.json the runtime can
//! run, and what the runtime takes from the files of others passes the same check.

use std::fmt;

/// A number that steers how tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingNumber {
    /// Its key in a GGUF file, behind `general.sampling.`.
    pub gguf_name: &'static str,
    /// The least and the largest value.
    pub range: (f32, f32),
    /// The value that switches it off, or what 0 means.
    pub remark: &'static str,
}

/// Divides the logits.
pub const TEMPERATURE: SamplingNumber =
    SamplingNumber { gguf_name: "temp", range: (0.0, 1.0e6), remark: "0 takes the likeliest token" };
/// The probability that the tokens kept have together.
pub const TOP_P: SamplingNumber =
    SamplingNumber { gguf_name: "top_p", range: (0.0, 1.0), remark: "1 is off" };
/// The least share of the likeliest token's probability.
pub const MIN_P: SamplingNumber =
    SamplingNumber { gguf_name: "min_p", range: (0.0, 1.0), remark: "0 is off" };
/// Divides the positive logits of recent tokens; bounded so that no finite logit becomes infinite.
pub const REPEAT_PENALTY: SamplingNumber =
    SamplingNumber { gguf_name: "penalty_repeat", range: (1.0e-3, 1.0e3), remark: "1 is off" };

/// The key of the number of tokens kept, behind `general.sampling.`; 0 and below is off.
pub const TOP_K: &str = "top_k";

impl SamplingNumber {
    /// Whether a sampler can run with `value`; not with a NaN.
    pub fn allows(&self, value: f32) -> bool {
        (self.range.0..=self.range.1).contains(&value)
    }
}

/// What is allowed, as in "between 0 and 1; 1 is off".
impl fmt::Display for SamplingNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "between {} and {}; {}", self.range.0, self.range.1, self.remark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_outside_the_range_are_not_allowed() {
        assert!(TOP_P.allows(0.0) && TOP_P.allows(1.0));
        for value in [-0.1, 1.1, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(!TOP_P.allows(value), "{value}");
        }
        assert_eq!(TOP_P.to_string(), "between 0 and 1; 1 is off");
    }
}
