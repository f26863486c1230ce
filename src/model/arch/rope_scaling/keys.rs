//! Rotary scaling as GGUF keys state it, and bases as configurations do.

use super::{RopeConfig, YARN_BETA_FAST, YARN_BETA_SLOW};
use crate::checkpoint::Config;
use crate::error::{Error, Result};
use crate::gguf::Value;
use crate::model::arch::keys::Keys;
use crate::model::spec::{RopeFactors, RopeScaling, RopeSpec};

/// The key of the weight of YaRN's temperature of all dimensions.
pub(in crate::model::arch) const LOG_MULTIPLIER: &str = "rope.scaling.yarn_log_multiplier";

/// The `rope.scaling.*` keys for what a configuration says.
pub(in crate::model::arch) fn to_keys(rope: &RopeConfig) -> Vec<(&'static str, Value)> {
    const TYPE: &str = "rope.scaling.type";
    const ORIGINAL: &str = "rope.scaling.original_context_length";
    let count = |n: usize| Value::U32(u32::try_from(n).unwrap_or(u32::MAX));
    if let Some(longrope) = &rope.longrope {
        return vec![
            (TYPE, Value::String("longrope".into())),
            ("rope.scaling.attn_factor", Value::F32(longrope.magnitude)),
            (ORIGINAL, count(longrope.original_context)),
        ];
    }
    match rope.scaling {
        RopeScaling::None | RopeScaling::Magnified { .. } => Vec::new(),
        RopeScaling::Linear { factor } => {
            vec![(TYPE, Value::String("linear".into())), ("rope.scaling.factor", Value::F32(factor))]
        }
        RopeScaling::Yarn { factor, original_context, attn_factor, beta_fast, beta_slow, truncated } => {
            let mut keys = vec![
                (TYPE, Value::String("yarn".into())),
                ("rope.scaling.factor", Value::F32(factor)),
                (ORIGINAL, count(original_context)),
                ("rope.scaling.yarn_beta_fast", Value::F32(beta_fast)),
                ("rope.scaling.yarn_beta_slow", Value::F32(beta_slow)),
            ];
            if attn_factor != 1.0 {
                keys.push(("rope.scaling.attn_factor", Value::F32(attn_factor)));
            }
            if !truncated {
                keys.push(("rope.scaling.yarn_truncate", Value::Bool(false)));
            }
            keys
        }
    }
}

/// YaRN's attention factor with the weight `weight` in place of the paper's 1.
pub(in crate::model::arch) fn yarn_temperature(factor: f32, weight: f32) -> f32 {
    if factor <= 1.0 { 1.0 } else { (0.1 * f64::from(weight) * libm::log(factor.into()) + 1.0) as f32 }
}

/// What a weight of the temperature of all dimensions, `yarn_log_multiplier`, leaves of the paper's attention
/// factor: cosines and sines get the inverse of what scores get. 1 without.
fn by_multiplier(keys: &Keys<'_>, factor: f32) -> Result<f32> {
    let Some(weight) = keys.f32(LOG_MULTIPLIER)?.filter(|&weight| weight != 0.0) else { return Ok(1.0) };
    // Files of these have a tenth of it.
    let is_tenth = matches!(keys.arch(), "deepseek2" | "deepseek32" | "mistral4");
    let weight = if is_tenth { weight / 0.1 } else { weight };
    Ok(cosines_with(keys.arch(), factor, weight) / yarn_temperature(factor, 1.0))
}

/// What `yarn_attn_factor` leaves of the paper's attention factor: llama.cpp's converter writes a configuration's
/// `attention_factor` there, which takes its place, but Grok's is multiplied with it. That of 1 is of configurations
/// with `attn_factor: 1`, which change nothing.
fn own_factor(keys: &Keys<'_>, factor: f32) -> Result<f32> {
    let own = keys.f32("rope.scaling.yarn_attn_factor")?.unwrap_or(1.0);
    let is_multiplier = own == 1.0 || keys.arch() == "grok";
    Ok(if is_multiplier { own } else { own / yarn_temperature(factor, 1.0) })
}

/// What readers of files of `arch` with a weight of the temperature of all dimensions multiply cosines and sines by.
pub(in crate::model::arch) fn cosines_with(arch: &str, factor: f32, weight: f32) -> f32 {
    let all = yarn_temperature(factor, weight);
    let own = if arch == "deepseek2" { all } else { yarn_temperature(factor, 1.0) };
    own / all
}

/// The rotary embedding of heads of `head_dim` elements that a file's keys describe; files from 2023 have
/// `rope.scale_linear` instead of a type and a factor.
///
/// # Errors
/// [`Error::Unsupported`] for a kind of scaling that this program does not compute.
pub(in crate::model::arch) fn rope(keys: &Keys<'_>, head_dim: usize) -> Result<RopeSpec> {
    let n_ctx_train = keys.required_count("context_length")?;
    let factor = match keys.f32("rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => keys.f32("rope.scale_linear")?,
    };
    // 0 and 1 both say "unscaled".
    let factor = factor.filter(|&factor| factor != 0.0).unwrap_or(1.0);
    let original_context = keys.count("rope.scaling.original_context_length")?.unwrap_or(n_ctx_train);
    let or = |name: &str, default: f32| {
        Ok::<_, Error>(keys.f32(&format!("rope.scaling.{name}"))?.unwrap_or(default))
    };
    let mut factors = RopeFactors::Fixed;
    let scaling = match keys.string("rope.scaling.type")?.unwrap_or("linear") {
        "none" => RopeScaling::None,
        "linear" if factor == 1.0 => RopeScaling::None,
        "linear" => RopeScaling::Linear { factor },
        "yarn" => RopeScaling::Yarn {
            factor,
            original_context,
            attn_factor: or("attn_factor", 1.0)? * own_factor(keys, factor)? * by_multiplier(keys, factor)?,
            beta_fast: or("yarn_beta_fast", YARN_BETA_FAST)?,
            beta_slow: or("yarn_beta_slow", YARN_BETA_SLOW)?,
            truncated: keys.bool("rope.scaling.yarn_truncate")?.unwrap_or(true),
        },
        "longrope" => {
            factors = RopeFactors::ByContext { original_context };
            RopeScaling::Magnified { magnitude: or("attn_factor", 1.0)? }
        }
        other => {
            return Err(keys.unsupported(format!(
                "rope.scaling.type is \"{other}\"; supported are none, linear, yarn and longrope"
            )));
        }
    };
    Ok(RopeSpec {
        n_dims: keys.count("rope.dimension_count")?.unwrap_or(head_dim),
        freq_base: keys.f32("rope.freq_base")?.unwrap_or(10000.0),
        scaling,
        factors,
    })
}

/// The base that a configuration has beside other parameters, if it has one; where layers have kinds there may be one for
/// each layer, of which that of the first without a window is meant.
///
/// # Errors
/// [`Error::Malformed`] if it is not a number.
pub(super) fn base_beside(config: &Config, has_kinds: bool) -> Result<Option<f32>> {
    const NAME: &str = "rope_theta";
    if !(has_kinds && config.value(NAME).is_some_and(serde_json::Value::is_array)) {
        return config.f32(NAME);
    }
    let kinds = config.strings("layer_types")?.unwrap_or_default();
    let first = kinds.iter().position(|kind| super::FULL.contains(kind)).unwrap_or(0);
    Ok(config.f32s(NAME)?.and_then(|bases| bases.get(first).copied()))
}
