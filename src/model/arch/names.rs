//! What checkpoints call tensors: the names of most transformers classes, and how a family departs from them.

use super::defaults::{Defaults, Partial};
use super::dialect::Dialect;
use super::rope_scaling::{LongRope, RopeConfig};
use super::source::{RowMap, Source};
use crate::checkpoint::Config;
use crate::error::{Error, Result};
use crate::model::spec::layer::RopeOrder;
use crate::model::spec::{ModelSpec, Role, Slot, Suffix};

/// How a family's checkpoints name tensors.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// What the names of a base model's tensors begin with inside the class with a head, and do not
    /// when the base model is saved alone (transformers' `base_model_prefix`, with its dot).
    pub base_prefix: &'static str,
    /// What the names of a layer's tensors begin with, before the layer's number.
    pub layer_prefix: &'static str,
    /// Names that differ from those of most classes: without layer and suffix, `{e}` for the number of an expert.
    pub other: &'static [(Role, &'static str)],
    /// Whether rows of queries and keys are in the order of halves there and of pairs in GGUF.
    pub is_permuted: bool,
    /// What the names of tensors end with whose numbers become keys.
    pub in_keys: &'static [&'static str],
    /// What the names of tensors begin with, behind the prefix of the base model, that conversions leave out.
    pub left_out: &'static [&'static str],
    /// The method of quantisation whose tensors the family can read, as config.json names it.
    pub packing: Option<&'static str>,
}

impl Names {
    /// The names of most classes.
    pub const PLAIN: Self = Self {
        base_prefix: "model.",
        layer_prefix: "model.layers.",
        other: &[],
        is_permuted: false,
        in_keys: &[],
        left_out: &[],
        packing: None,
    };
}

/// The names of most classes.
const PLAIN: &[(Role, &str)] = &[
    (Role::TokenEmbd, "model.embed_tokens"),
    (Role::OutputNorm, "model.norm"),
    (Role::Output, "lm_head"),
    (Role::AttnNorm, "input_layernorm"),
    (Role::AttnQ, "self_attn.q_proj"),
    (Role::AttnK, "self_attn.k_proj"),
    (Role::AttnV, "self_attn.v_proj"),
    (Role::AttnOutput, "self_attn.o_proj"),
    (Role::AttnQNorm, "self_attn.q_norm"),
    (Role::AttnKNorm, "self_attn.k_norm"),
    (Role::FfnNorm, "post_attention_layernorm"),
    (Role::FfnGate, "mlp.gate_proj"),
    (Role::FfnUp, "mlp.up_proj"),
    (Role::FfnDown, "mlp.down_proj"),
    (Role::FfnGateInp, "mlp.gate"),
    (Role::FfnGateExps, "mlp.experts.{e}.gate_proj"),
    (Role::FfnUpExps, "mlp.experts.{e}.up_proj"),
    (Role::FfnDownExps, "mlp.experts.{e}.down_proj"),
    (Role::Dense2, "dense_2.linear"),
    (Role::Dense3, "dense_3.linear"),
    (Role::FfnGateShexp, "mlp.shared_experts.gate_proj"),
    (Role::FfnUpShexp, "mlp.shared_experts.up_proj"),
    (Role::FfnDownShexp, "mlp.shared_experts.down_proj"),
];

/// The sandwich of norms around both parts that several families have.
pub(crate) const SANDWICH: &[(Role, &str)] = &[
    (Role::AttnPostNorm, "post_attention_layernorm"),
    (Role::FfnNorm, "pre_feedforward_layernorm"),
    (Role::FfnPostNorm, "post_feedforward_layernorm"),
];

/// Norms behind both parts, and none in front.
pub(crate) const BEHIND: &[(Role, &str)] =
    &[(Role::AttnPostNorm, "post_attention_layernorm"), (Role::FfnPostNorm, "post_feedforward_layernorm")];

/// Where a family looks for sources.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// Its names.
    pub names: &'a Names,
    /// The model.
    pub spec: &'a ModelSpec,
    /// Its configuration.
    pub config: &'a Config,
    /// Which program's names and shapes the checkpoint has.
    pub dialect: Dialect,
}

impl Sources<'_> {
    /// The name of a tensor with the layer, without suffix.
    pub fn stem(&self, slot: &Slot) -> Option<String> {
        let of = |names: &[(Role, &'static str)]| {
            names.iter().find(|(role, _)| *role == slot.id.role).map(|(_, name)| *name)
        };
        let name = of(self.names.other).or_else(|| of(PLAIN))?;
        Some(self.in_layer(slot, name)).filter(|_| !name.is_empty())
    }

    /// The full name of what a layer calls `name`.
    pub fn in_layer(&self, slot: &Slot, name: &str) -> String {
        match slot.id.layer {
            None => name.to_owned(),
            Some(layer) => format!("{}{layer}.{name}", self.names.layer_prefix),
        }
    }
}

/// Where tensors lie in the checkpoints of most families: under their name, experts stacked.
///
/// # Errors
/// [`Error::Malformed`] for rotary factors of another number than there are frequencies.
pub(crate) fn plain(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if let Some(divisors) = divisors(sources, slot)? {
        return Ok(Some(Source::Computed(divisors)));
    }
    let Some(stem) = sources.stem(slot) else { return Ok(None) };
    let suffix = match slot.id.suffix {
        Suffix::Weight => "weight",
        Suffix::Bias => "bias",
        Suffix::Scale => return Ok(None),
        // Parameters of their own have no suffix there either.
        Suffix::Bare => return Ok(Some(Source::whole(slot, vec![stem]))),
    };
    if stem.contains("{e}") {
        let n_expert = slot.shape[0];
        let name = |e: usize| format!("{}.{suffix}", stem.replace("{e}", &e.to_string()));
        return Ok(Some(Source::stacked(slot, (0..n_expert).map(name))));
    }
    let names = vec![format!("{stem}.{suffix}")];
    Ok(Some(Source::whole(slot, names).with_rows(rotary(sources, slot))))
}

/// The divisors of rotary frequencies, if the slot is for some and the configuration has them.
fn divisors(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Vec<f32>>> {
    let roles = [Role::RopeFreqs, Role::RopeFactorsLong, Role::RopeFactorsShort];
    if !roles.contains(&slot.id.role) {
        return Ok(None);
    }
    let spec = sources.spec;
    let defaults =
        Defaults { has_kinds: true, has_sections: true, partial: Partial::Allowed(1.0), ..Defaults::RMS };
    let read = RopeConfig::read(sources.config, spec.n_ctx_train, &defaults)?;
    let rope = &spec.ropes[0];
    let of_longrope = |of: fn(LongRope) -> Vec<f32>| {
        let divisors = read.longrope.clone().map(of);
        match divisors {
            Some(divisors) if divisors.len() != rope.n_dims / 2 => {
                let (found, n) = (divisors.len(), rope.n_dims / 2);
                let what = format!("{found} factors of longrope for {n} rotary frequencies");
                Err(Error::malformed(sources.config.path(), what))
            }
            divisors => Ok(divisors),
        }
    };
    match slot.id.role {
        Role::RopeFreqs => Ok(read.llama3.map(|scaling| {
            let mut divisors = scaling.divisors(rope.n_dims, rope.freq_base);
            // There may be room for layers that rotate more of a head, and do not divide.
            divisors.resize(slot.shape[0], 1.0);
            divisors
        })),
        Role::RopeFactorsLong => of_longrope(|longrope| longrope.long),
        _ => of_longrope(|longrope| longrope.short),
    }
}

/// How rows of queries and keys are to be reordered.
fn rotary(sources: &Sources<'_>, slot: &Slot) -> RowMap {
    let head_dim = match (slot.id.role, slot.id.layer) {
        (Role::AttnQ | Role::AttnK, Some(layer)) if sources.names.is_permuted => {
            let spec = sources.spec.layers[layer].mixer.attention();
            spec.filter(|spec| spec.rope.is_some_and(|rope| rope.order == RopeOrder::Pairs))
                .map(|spec| spec.head_dim_k)
        }
        _ => None,
    };
    head_dim.map_or(RowMap::Same, |head_dim| RowMap::Pairs { head_dim })
}
