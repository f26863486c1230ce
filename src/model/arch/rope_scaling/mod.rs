//! Rotary scaling as config.json and GGUF keys state it, shared by the families.
//!
//! A checkpoint has it in `rope_scaling` with the base beside it, or, since transformers 5, all of
//! it in `rope_parameters`. GGUF has `{arch}.rope.scaling.*`, except the per-frequency divisors of
//! Llama 3, which are a tensor.

mod keys;

use std::f64::consts::TAU;

use serde_json::Value as Json;

use super::defaults::{Defaults, Partial};
use crate::checkpoint::Config;
use crate::error::{Error, Result};
use crate::model::spec::RopeScaling;

pub(super) use keys::{LOG_MULTIPLIER, cosines_with, rope, to_keys, yarn_temperature};

/// YaRN's thresholds where a file does not state them (Peng et al. 2023, section 3.2).
const YARN_BETA_FAST: f32 = 32.0;
const YARN_BETA_SLOW: f32 = 1.0;

/// The kind of layers without a window.
const FULL: [&str; 2] = ["full_attention", "indexed_attention"];

/// What config.json says of rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RopeConfig {
    pub(super) freq_base: f32,
    pub(super) scaling: RopeScaling,
    pub(super) llama3: Option<Llama3Scaling>,
    pub(super) longrope: Option<LongRope>,
    /// The part of a head that is rotated, if the configuration says.
    pub(super) partial: Option<f32>,
    /// What the user should know of it.
    pub(super) notes: Vec<String>,
}

/// LongRoPE's divisors (Ding et al. 2024).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct LongRope {
    pub(super) short: Vec<f32>,
    pub(super) long: Vec<f32>,
    pub(super) original_context: usize,
    /// Multiplies cosines and sines.
    pub(super) magnitude: f32,
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
    /// Reads the base and the scaling of a checkpoint trained for `n_ctx_train` positions, as
    /// transformers 5 does: `rope_scaling` comes before `rope_parameters`, and a base inside of either before
    /// the one beside it.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a kind of scaling that GGUF's keys cannot carry, or that this
    /// program does not compute; [`Error::Malformed`] for a kind without its numbers.
    pub(super) fn read(config: &Config, n_ctx_train: usize, defaults: &Defaults) -> Result<Self> {
        let scaling = config.object("rope_scaling")?.filter(|scaling| scaling.keys().next().is_some());
        let parameters = match scaling {
            Some(scaling) => Some(scaling),
            None => config.object("rope_parameters")?,
        };
        // Where layers differ, those without a window have the model's own.
        let is_of_kind = |kind: &&str| parameters.as_ref()?.value(kind)?.is_object().then_some(());
        let kind = FULL.into_iter().find(|kind| is_of_kind(kind).is_some());
        let parameters = match (&parameters, kind) {
            (Some(of_kinds), Some(kind)) if defaults.has_kinds => of_kinds.object(kind)?,
            _ => parameters,
        };
        Self::read_from(config, parameters.as_ref(), n_ctx_train, defaults)
    }

    /// As [`RopeConfig::read`], with the `parameters` of one of several rotary embeddings.
    ///
    /// # Errors
    /// As [`RopeConfig::read`].
    pub(super) fn read_from(
        config: &Config,
        parameters: Option<&Config>,
        n_ctx_train: usize,
        defaults: &Defaults,
    ) -> Result<Self> {
        let beside = match keys::base_beside(config, defaults.has_kinds)? {
            Some(base) => base,
            None => config.f32("rotary_emb_base")?.unwrap_or(defaults.freq_base),
        };
        let mut read = Self {
            freq_base: beside,
            scaling: RopeScaling::None,
            llama3: None,
            longrope: None,
            partial: partial(config, defaults)?,
            notes: Vec::new(),
        };
        let Some(parameters) = parameters else { return Ok(read) };
        read.partial = partial(parameters, defaults)?.or(read.partial);
        read.freq_base = parameters.f32("rope_theta")?.unwrap_or(beside);
        let kind = match parameters.string("rope_type")? {
            Some(kind) => Some(kind),
            None => parameters.string("type")?,
        };
        let is_other =
            (defaults.has_sections && kind == Some("mrope")) || (defaults.has_ntk && kind == Some("ntk"));
        if !is_other {
            read.scale(config, (parameters, kind), n_ctx_train)?;
        }
        Ok(read)
    }

    fn scale(
        &mut self,
        config: &Config,
        (parameters, kind): (&Config, Option<&str>),
        n_ctx_train: usize,
    ) -> Result<()> {
        let original = || match config.count("original_max_position_embeddings")? {
            Some(original) => Ok::<_, Error>(original),
            None => Ok(parameters.count("original_max_position_embeddings")?.unwrap_or(n_ctx_train)),
        };
        match kind {
            // What the last of these means, a family says with tensors of its own.
            Some("default" | "none" | "proportional") => {}
            Some("linear") => {
                self.scaling = RopeScaling::Linear { factor: parameters.required_f32("factor")? }
            }
            Some("llama3") => self.llama3 = Some(Llama3Scaling::read(parameters, original()?)?),
            Some("yarn") => self.scaling = yarn_from_config(parameters, original()?, n_ctx_train)?,
            Some("longrope" | "su") if parameters.value("long_factor").is_some() => {
                let longrope = LongRope::read(parameters, original()?, n_ctx_train)?;
                self.scaling = RopeScaling::Magnified { magnitude: longrope.magnitude };
                self.longrope = Some(longrope);
            }
            // The second is what Hunyuans call theirs.
            Some("dynamic" | "xdrope") => self.notes.push(format!(
                "{}: dynamic scaling is left out, for GGUF has no key for it: it changes nothing up to \
                 {n_ctx_train} positions, and beyond them answers may differ",
                parameters.described()
            )),
            None if parameters.keys().any(|key| parameters.value(key).is_some_and(Json::is_object)) => {
                let what = format!("{}: rotary positions that differ by layer", parameters.described());
                return Err(Error::unsupported(config.path(), what));
            }
            None if parameters.value("factor").is_none() => {}
            None => self.notes.push(format!(
                "{} names no type of scaling: it is taken for none, as in transformers",
                parameters.described()
            )),
            Some(_) => {
                let what = format!(
                    "{}: this rotary scaling; supported are default, linear, llama3, yarn, longrope and, up to \
                     the context trained for, dynamic",
                    parameters.described()
                );
                return Err(Error::unsupported(config.path(), what));
            }
        }
        Ok(())
    }

    /// Whether positions or frequencies differ from the plain ones of the base.
    pub(super) fn is_stretched(&self) -> bool {
        let is_scaled = match self.scaling {
            RopeScaling::None => false,
            RopeScaling::Linear { factor } => factor != 1.0,
            RopeScaling::Yarn { .. } | RopeScaling::Magnified { .. } => true,
        };
        is_scaled || self.llama3.is_some() || self.longrope.is_some()
    }

    /// The elements of a head of `head_dim` that are rotated.
    pub(super) fn n_dims(&self, head_dim: usize) -> usize {
        self.partial.map_or(head_dim, |part| (head_dim as f64 * f64::from(part)) as usize)
    }
}

impl LongRope {
    fn read(parameters: &Config, original_context: usize, n_ctx_train: usize) -> Result<Self> {
        let factors = |name: &str| {
            let missing =
                || Error::malformed(parameters.path(), format!("{} lacks {name}", parameters.described()));
            parameters.f32s(name)?.ok_or_else(missing)
        };
        let factor = match parameters.f32("factor")? {
            Some(factor) => factor,
            None => n_ctx_train as f32 / original_context as f32,
        };
        // As transformers has it: the growth of the context against the length of the original one.
        let grown = libm::log(f64::from(factor)) / libm::log(original_context as f64);
        let magnitude = match parameters.f32("attention_factor")? {
            Some(magnitude) => magnitude,
            None if factor <= 1.0 => 1.0,
            None => libm::sqrt(1.0 + grown) as f32,
        };
        Ok(Self {
            short: factors("short_factor")?,
            long: factors("long_factor")?,
            original_context,
            magnitude,
        })
    }
}

/// The part of heads that is rotated, in a family that can have less than all.
fn partial(parameters: &Config, defaults: &Defaults) -> Result<Option<f32>> {
    let mut part = parameters.f32("partial_rotary_factor")?;
    for name in ["rotary_pct", "rope_pct"] {
        part = part.or(parameters.f32(name)?);
    }
    match (part, defaults.partial) {
        (None, Partial::Allowed(default)) => Ok((default != 1.0).then_some(default)),
        (Some(part), Partial::Refused) if part != 1.0 => {
            let what = format!("partial_rotary_factor {part}; whole heads are rotated in this architecture");
            Err(Error::unsupported(parameters.path(), what))
        }
        (part, _) => Ok(part),
    }
}

fn yarn_from_config(parameters: &Config, original: usize, n_ctx_train: usize) -> Result<RopeScaling> {
    let number = |key: &str| Ok::<_, Error>(parameters.f32(key)?.filter(|&number| number != 0.0));
    let factor = match parameters.f32("factor")? {
        Some(factor) => factor,
        None => n_ctx_train as f32 / original as f32,
    };
    // Equation 22 of the paper, with a weight that came later.
    let temperature = |weight: f64| {
        let factor = f64::from(factor);
        if factor <= 1.0 { 1.0 } else { 0.1 * weight * libm::log(factor) + 1.0 }
    };
    let whole = match (parameters.f32("attention_factor")?, number("mscale")?, number("mscale_all_dim")?) {
        (Some(whole), _, _) => f64::from(whole),
        (None, Some(mscale), Some(all)) => temperature(mscale.into()) / temperature(all.into()),
        _ => temperature(1.0),
    };
    // The checkpoint states the whole factor, GGUF what remains beside the paper's own.
    let paper = 0.1 * 1.0 * libm::log(f64::from(factor)) + 1.0;
    Ok(RopeScaling::Yarn {
        factor,
        original_context: original,
        attn_factor: (whole / paper) as f32,
        beta_fast: number("beta_fast")?.unwrap_or(YARN_BETA_FAST),
        beta_slow: number("beta_slow")?.unwrap_or(YARN_BETA_SLOW),
        truncated: parameters.bool("truncate")?.unwrap_or(true),
    })
}

impl Llama3Scaling {
    fn read(parameters: &Config, original_context: usize) -> Result<Self> {
        let scaling = Self {
            factor: parameters.required_f32("factor")?,
            low_freq_factor: parameters.required_f32("low_freq_factor")?,
            high_freq_factor: parameters.required_f32("high_freq_factor")?,
            original_context,
        };
        let positive = |x: f32| x.is_finite() && x > 0.0;
        let sound = positive(scaling.factor)
            && positive(scaling.low_freq_factor)
            && positive(scaling.high_freq_factor)
            && scaling.low_freq_factor <= scaling.high_freq_factor
            && scaling.original_context > 0;
        if !sound {
            let what = format!(
                "{}: llama3 scaling needs positive numbers, and a low_freq_factor of at most high_freq_factor",
                parameters.described()
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
            } else if fits <= low {
                factor
            } else {
                let keep = (fits - low) / (high - low);
                1.0 / (keep + (1.0 - keep) / factor)
            }
        };
        (0..n_dims / 2).map(|i| divisor(i) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: &str) -> Result<RopeConfig> {
        let config = Config::parse(std::path::Path::new("config.json"), more).expect("JSON");
        RopeConfig::read(&config, 4096, &Defaults::RMS)
    }

    #[test]
    fn spellings_of_transformers_4_and_5_are_read_in_its_order() {
        let base = |more: &str| read(more).expect(more).freq_base;
        assert_eq!(base("{}"), 10000.0);
        assert_eq!(base(r#"{"rope_theta": 5.0, "rope_scaling": null}"#), 5.0);
        assert_eq!(base(r#"{"rope_theta": 5.0, "rope_parameters": {"rope_theta": 6.0}}"#), 6.0);
        assert_eq!(
            base(r#"{"rope_scaling": {"rope_theta": 7.0}, "rope_parameters": {"rope_theta": 6.0}}"#),
            7.0
        );
        assert_eq!(base(r#"{"rope_scaling": {}, "rope_parameters": {"rope_theta": 6.0}}"#), 6.0);
        let scaling = |more: &str| read(&format!(r#"{{"rope_scaling": {more}}}"#)).expect(more).scaling;
        let linear = RopeScaling::Linear { factor: 2.0 };
        assert_eq!(scaling(r#"{"type": "linear", "factor": 2}"#), linear);
        assert_eq!(scaling(r#"{"rope_type": "linear", "type": "dynamic", "factor": 2.0}"#), linear);
        assert_eq!(scaling(r#"{"rope_type": null, "type": "linear", "factor": 2.0}"#), linear);
        assert_eq!(scaling(r#"{"type": "default", "factor": 2.0}"#), RopeScaling::None);
        let untold = read(r#"{"rope_scaling": {"factor": 2.0}}"#).expect("taken for none");
        assert!(untold.scaling == RopeScaling::None && untold.notes[0].contains("names no type"));
    }

    /// The whole attention factor of `_compute_yarn_parameters` in transformers 5.
    #[test]
    fn yarn_takes_its_numbers_as_transformers_does() {
        let yarn = |more: &str| {
            let text = format!(r#"{{"rope_scaling": {{"rope_type": "yarn"{more}}}}}"#);
            match read(&text).expect(more).scaling {
                RopeScaling::Yarn { factor, original_context, attn_factor, .. } => {
                    let paper = 1.0 + 0.1 * libm::log(f64::from(factor));
                    (factor, original_context, (f64::from(attn_factor) * paper) as f32)
                }
                other => panic!("{other:?}"),
            }
        };
        let (_, original, whole) = yarn(r#", "factor": 4.0"#);
        assert_eq!((original, whole), (4096, 1.138_629_4));
        assert_eq!(yarn(r#", "factor": 4.0, "attention_factor": 1.5"#).2, 1.5);
        assert_eq!(yarn(r#", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0"#).2, 1.0);
        assert_eq!(yarn(r#", "factor": 40, "mscale": 0.707, "mscale_all_dim": 1.0"#).2, 0.921_042_3);
        assert_eq!(yarn(r#", "factor": 4.0, "mscale": 0.707"#).2, 1.138_629_4);
        assert_eq!(yarn(r#", "factor": 0.5"#).2, 1.0);
        assert_eq!(
            yarn(r#", "factor": null, "original_max_position_embeddings": 1024"#),
            (4.0, 1024, 1.138_629_4)
        );
    }

    #[test]
    fn what_is_refused_is_shown_as_json() {
        for (more, shown) in [
            (r#"{"type": "longrope", "factor": 8.0}"#, r#"rope_scaling {"type":"longrope","factor":8.0}"#),
            (
                r#"{"type": "mrope", "mrope_section": [1]}"#,
                r#"rope_scaling {"type":"mrope","mrope_section":[1]}"#,
            ),
            (
                r#"{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0, "high_freq_factor": 1.0}"#,
                r#""low_freq_factor":4.0,"high_freq_factor":1.0}: llama3 scaling needs"#,
            ),
        ] {
            let message = read(&format!(r#"{{"rope_scaling": {more}}}"#)).expect_err(more).to_string();
            assert!(message.contains(shown), "{message}");
        }
        assert!(read(r#"{"rope_scaling": "linear"}"#).is_err());
        assert!(read(r#"{"rope_scaling": {"type": "linear"}}"#).is_err());
    }

    /// Llama 3.1 8B: base 500000, heads of 128, factor 8 of 8192 positions.
    #[test]
    fn llama3_divisors_keep_high_and_stretch_low_frequencies() {
        let (factor, low_freq_factor, high_freq_factor) = (8.0, 1.0, 4.0);
        let scaling = Llama3Scaling { factor, low_freq_factor, high_freq_factor, original_context: 8192 };
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
        // With equal factors (Llama 4 Scout) there is nothing between.
        let divisors = Llama3Scaling { high_freq_factor: 1.0, ..scaling }.divisors(128, 500_000.0);
        assert!(divisors.iter().all(|&d| d == 1.0 || d == 8.0) && divisors.is_sorted(), "{divisors:?}");
    }
}
