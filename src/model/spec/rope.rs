//! Rotary position embeddings.

use super::faults::{first_constant_fault, first_count_fault};
use crate::limits;

/// A rotary position embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// Leading elements of each head that are rotated; even.
    pub n_dims: usize,
    /// Base of the geometric series of wavelengths.
    pub freq_base: f32,
    /// How positions or frequencies are stretched.
    pub scaling: RopeScaling,
    /// Which tensors, if the file has them, divide the frequencies.
    pub factors: RopeFactors,
}

/// The tensors that divide rotary frequencies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopeFactors {
    /// None.
    Never,
    /// `rope_freqs`, at every length (Llama 3).
    Fixed,
    /// The same, of as many as there are frequencies of the longest part of a head that any layer rotates: the first
    /// of them count.
    FirstOf {
        /// Divisors.
        n: usize,
    },
    /// `rope_factors_long` for contexts beyond the original one, else `rope_factors_short` (Ding et al.
    /// 2024, "LongRoPE", as Phi 3 has it).
    ByContext {
        /// The greatest context of the short ones.
        original_context: usize,
    },
}

/// How rotary positions are stretched for longer contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// Positions are divided by `factor`.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// YaRN (Peng et al. 2023, section 3): low frequencies interpolated, high ones kept.
    Yarn {
        /// The context extension factor.
        factor: f32,
        /// The context before extension.
        original_context: usize,
        /// Multiplies the paper's own attention factor, `1 + 0.1 ln(factor)`.
        attn_factor: f32,
        /// Rotations above which a dimension is kept.
        beta_fast: f32,
        /// Rotations below which a dimension is interpolated.
        beta_slow: f32,
        /// Whether the bounds between the two are rounded to whole dimensions.
        truncated: bool,
    },
    /// Cosines and sines are multiplied, beside what [`RopeFactors`] do.
    Magnified {
        /// By this.
        magnitude: f32,
    },
}

impl RopeSpec {
    pub(super) fn fault(&self) -> Option<String> {
        if self.n_dims == 0 || self.n_dims % 2 == 1 || self.n_dims > limits::MAX_HEAD_DIM {
            let (n_dims, max) = (self.n_dims, limits::MAX_HEAD_DIM);
            return Some(format!(
                "{n_dims} rotated elements per head; it must be an even number within 2..={max}"
            ));
        }
        let mut constants = vec![("the rotary base", self.freq_base)];
        match self.scaling {
            RopeScaling::None => {}
            RopeScaling::Linear { factor } => constants.push(("the rotary scaling factor", factor)),
            RopeScaling::Magnified { magnitude } => {
                constants.push(("the rotary attention factor", magnitude));
            }
            RopeScaling::Yarn { factor, original_context, attn_factor, beta_fast, beta_slow, .. } => {
                let counts = [("the context that YaRN extends", original_context, limits::MAX_DIMENSION)];
                if let Some(what) = first_count_fault(&counts) {
                    return Some(what);
                }
                if self.freq_base <= 1.0 {
                    let base = self.freq_base;
                    return Some(format!("YaRN with a rotary base of {base}; it must be more than 1"));
                }
                if beta_fast < beta_slow {
                    return Some(format!(
                        "YaRN's beta_fast {beta_fast} must not be below its beta_slow {beta_slow}"
                    ));
                }
                constants.push(("YaRN's scaling factor", factor));
                constants.push(("YaRN's attention factor", attn_factor));
                constants.push(("YaRN's beta_slow", beta_slow));
                constants.push(("YaRN's beta_fast", beta_fast));
            }
        }
        first_constant_fault(&constants)
    }
}
