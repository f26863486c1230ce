//! Rotary scaling as config.json and GGUF keys state it, shared by the families.
//!
//! A checkpoint has it in `rope_scaling` with the base beside it, or, since transformers 5, all of
//! it in `rope_parameters`. GGUF has `{arch}.rope.scaling.*`, except the per-frequency divisors of
//! Llama 3, which are a tensor.

use std::f64::consts::TAU;

use crate::checkpoint::Config;
use crate::error::{Error, Result};
use crate::gguf::{Metadata, Value};
use crate::model::RopeScaling;

/// YaRN's thresholds where a file does not state them (Peng et al. 2023, section 3.2).
const YARN_BETA_FAST: f32 = 32.0;
const YARN_BETA_SLOW: f32 = 1.0;

/// What config.json says of rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RopeConfig {
    pub(super) freq_base: f32,
    pub(super) scaling: RopeScaling,
    pub(super) llama3: Option<Llama3Scaling>,
}

/// Llama 3's stretching of the low frequencies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Llama3Scaling {
    factor: f32,
    low_freq_factor: f32,
    high_freq_factor: f32,
    original_context: usize,
}

impl RopeConfig {
    /// Reads the base and the scaling of a checkpoint trained for `n_ctx_train` positions.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kind of scaling that GGUF's keys cannot carry, or that this
    /// program does not compute; [`Error::Malformed`] for a kind without its numbers.
    pub(super) fn read(config: &Config, n_ctx_train: usize) -> Result<Self> {
        let parameters = match config.object("rope_parameters")? {
            Some(parameters) => Some(parameters),
            None => config.object("rope_scaling")?,
        };
        let base = match &parameters {
            Some(parameters) => parameters.f32("rope_theta")?,
            None => None,
        };
        let freq_base = match base {
            Some(base) => base,
            None => config.f32("rope_theta")?.unwrap_or(10000.0),
        };
        let unscaled = Self { freq_base, scaling: RopeScaling::None, llama3: None };
        let Some(parameters) = parameters else {
            return Ok(unscaled);
        };
        let kind = match parameters.string("rope_type")? {
            Some(kind) => kind,
            None => parameters.string("type")?.unwrap_or("default"),
        };
        match kind {
            "default" | "none" => Ok(unscaled),
            "linear" => {
                let scaling = RopeScaling::Linear { factor: parameters.required_f32("factor")? };
                Ok(Self { scaling, ..unscaled })
            }
            "llama3" => Ok(Self { llama3: Some(Llama3Scaling::read(&parameters)?), ..unscaled }),
            "yarn" => Ok(Self { scaling: yarn_from_config(&parameters, n_ctx_train)?, ..unscaled }),
            other => Err(Error::unsupported(
                config.path(),
                format!("rotary scaling \"{other}\"; supported are default, linear, llama3 and yarn"),
            )),
        }
    }
}

fn yarn_from_config(parameters: &Config, n_ctx_train: usize) -> Result<RopeScaling> {
    for key in ["mscale", "mscale_all_dim"] {
        if parameters.value(key).is_some() {
            return Err(Error::unsupported(parameters.path(), format!("YaRN with \"{key}\"")));
        }
    }
    if parameters.bool("truncate")? == Some(false) {
        return Err(Error::unsupported(parameters.path(), "YaRN without truncation (\"truncate\": false)"));
    }
    let factor = parameters.required_f32("factor")?;
    // The checkpoint states the whole factor, GGUF what remains beside the paper's own.
    let paper = 1.0 + 0.1 * libm::log(f64::from(factor));
    let attn_factor = match parameters.f32("attention_factor")? {
        Some(whole) => (f64::from(whole) / paper) as f32,
        None => 1.0,
    };
    Ok(RopeScaling::Yarn {
        factor,
        original_context: parameters.count("original_max_position_embeddings")?.unwrap_or(n_ctx_train),
        attn_factor,
        beta_fast: parameters.f32("beta_fast")?.unwrap_or(YARN_BETA_FAST),
        beta_slow: parameters.f32("beta_slow")?.unwrap_or(YARN_BETA_SLOW),
    })
}

impl Llama3Scaling {
    fn read(parameters: &Config) -> Result<Self> {
        let scaling = Self {
            factor: parameters.required_f32("factor")?,
            low_freq_factor: parameters.required_f32("low_freq_factor")?,
            high_freq_factor: parameters.required_f32("high_freq_factor")?,
            original_context: parameters.required_count("original_max_position_embeddings")?,
        };
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let sound = positive(scaling.factor)
            && positive(scaling.low_freq_factor)
            && positive(scaling.high_freq_factor)
            && scaling.low_freq_factor < scaling.high_freq_factor
            && scaling.original_context > 0;
        if !sound {
            let what = format!(
                "rotary scaling llama3 with {scaling:?}: positive numbers with low_freq_factor below high_freq_factor are needed"
            );
            return Err(Error::malformed(parameters.path(), what));
        }
        Ok(scaling)
    }

    /// The divisor of each of the `n_dims / 2` frequencies: 1 for wavelengths that fit the original
    /// context `high_freq_factor` times, `factor` for those that do not fit it `low_freq_factor`
    /// times, and between the two the harmonic mean of both, weighted by how often the wavelength
    /// fits (the configuration of Llama 3.1 as transformers documents it).
    pub(super) fn divisors(&self, n_dims: usize, freq_base: f32) -> Vec<f32> {
        let (low, high) = (f64::from(self.low_freq_factor), f64::from(self.high_freq_factor));
        let factor = f64::from(self.factor);
        let divisor = |i: usize| {
            let wavelength = TAU * libm::pow(f64::from(freq_base), (2 * i) as f64 / n_dims as f64);
            let fits = self.original_context as f64 / wavelength;
            if fits > high {
                1.0
            } else if fits < low {
                factor
            } else {
                let keep = (fits - low) / (high - low);
                1.0 / (keep + (1.0 - keep) / factor)
            }
        };
        (0..n_dims / 2).map(|i| divisor(i) as f32).collect()
    }
}

/// The `{arch}.rope.scaling.*` keys for `scaling`.
pub(super) fn to_metadata(arch: &str, scaling: &RopeScaling) -> Vec<(String, Value)> {
    let key = |name: &str| format!("{arch}.rope.scaling.{name}");
    match *scaling {
        RopeScaling::None => Vec::new(),
        RopeScaling::Linear { factor } => {
            vec![(key("type"), Value::String("linear".into())), (key("factor"), Value::F32(factor))]
        }
        RopeScaling::Yarn { factor, original_context, attn_factor, beta_fast, beta_slow } => vec![
            (key("type"), Value::String("yarn".into())),
            (key("factor"), Value::F32(factor)),
            (key("original_context_length"), Value::U32(u32::try_from(original_context).unwrap_or(u32::MAX))),
            (key("yarn_attn_factor"), Value::F32(attn_factor)),
            (key("yarn_beta_fast"), Value::F32(beta_fast)),
            (key("yarn_beta_slow"), Value::F32(beta_slow)),
        ],
    }
}

/// Reads the `{arch}.rope.scaling.*` keys of a model trained for `n_ctx_train` positions; files from
/// 2023 have `{arch}.rope.scale_linear` instead.
///
/// # Errors
/// [`Error::Unsupported`] for a kind of scaling that this program does not compute.
pub(super) fn from_metadata(metadata: &Metadata, arch: &str, n_ctx_train: usize) -> Result<RopeScaling> {
    let key = |name: &str| format!("{arch}.rope.scaling.{name}");
    let kind = metadata.string(&key("type"))?;
    let factor = match metadata.f32(&key("factor"))? {
        Some(factor) => Some(factor),
        None => metadata.f32(&format!("{arch}.rope.scale_linear"))?,
    };
    // 0 and 1 both say «unscaled».
    let factor = factor.filter(|&factor| factor != 0.0).unwrap_or(1.0);
    match kind.unwrap_or("linear") {
        "none" => Ok(RopeScaling::None),
        "linear" if factor == 1.0 => Ok(RopeScaling::None),
        "linear" => Ok(RopeScaling::Linear { factor }),
        "yarn" => {
            let or = |name: &str, default: f32| Ok::<_, Error>(metadata.f32(&key(name))?.unwrap_or(default));
            Ok(RopeScaling::Yarn {
                factor,
                original_context: metadata.count(&key("original_context_length"))?.unwrap_or(n_ctx_train),
                attn_factor: or("attn_factor", 1.0)? * or("yarn_attn_factor", 1.0)?,
                beta_fast: or("yarn_beta_fast", YARN_BETA_FAST)?,
                beta_slow: or("yarn_beta_slow", YARN_BETA_SLOW)?,
            })
        }
        other => Err(Error::unsupported(
            metadata.path(),
            format!("{} is \"{other}\"; supported are none, linear and yarn", key("type")),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Llama 3.1 8B: base 500000, heads of 128, factor 8 of 8192 positions.
    #[test]
    fn llama3_divisors_keep_high_and_stretch_low_frequencies() {
        let scaling = Llama3Scaling {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        let divisors = scaling.divisors(128, 500_000.0);
        assert_eq!(divisors.len(), 64);
        assert!(divisors[..29].iter().all(|&d| d == 1.0), "wavelengths up to 2048 are kept: {divisors:?}");
        assert!(
            divisors[35..].iter().all(|&d| d == 8.0),
            "wavelengths from 8192 are stretched: {divisors:?}"
        );
        assert!(divisors.is_sorted(), "between them the divisors grow: {divisors:?}");
        // Frequency 30: wavelength 2 pi 500000^(60/128) = 2948.30, which fits 2.77855 times; kept is
        // (2.77855 - 1) / (4 - 1) = 0.592849, so the divisor is 1 / (0.592849 + 0.407151 / 8).
        assert!((divisors[30] - 1.553_414_6).abs() < 1e-6, "{}", divisors[30]);
    }
}
