//! `stablelm`: StableLM 2 and its 3B: layer norms, a part of each head is rotated; the 12B has parallel parts and
//! a norm for every head of its own.

use super::prelude::*;

/// The `stablelm` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "stablelm",
    checkpoint_classes: &["StableLmForCausalLM", "StableLMEpochForCausalLM", "LlavaStableLMEpochForCausalLM"],
    model_types: &["stablelm", "stablelm_epoch"],
    keys,
    spec,
    names: Names::PLAIN,
    source,
    promises: |config| {
        let has_bias = config.bool("use_qkv_bias")?.unwrap_or(false);
        Ok(Promises { qkv_bias: Promise::of(has_bias), output_bias: Promise::Absent, ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let eps_name = made.first_of(&["layer_norm_eps", "norm_eps"]);
    made.base(&Defaults { eps_name, partial: Partial::Allowed(0.25), ..Defaults::LAYER })?;
    let is_parallel = made.config.bool("use_parallel_residual")?.unwrap_or(false);
    made.put("use_parallel_residual", Value::Bool(is_parallel));
    if !is_parallel {
        (0..made.n_layer()?).for_each(|i| made.will_have(ffn_norm(i)));
    }
    let has_norm = made.config.bool("qk_layernorm")?.unwrap_or(false);
    made.put("attention.qk_norm", Value::Bool(has_norm));
    Ok(())
}

/// The tensor whose presence says that a layer's parts follow one another.
fn ffn_norm(i: usize) -> String {
    format!("blk.{i}.ffn_norm.weight")
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, Gate::Silu)?;
    let has_norm = keys.bool("attention.qk_norm")?;
    let layer = |i: usize| {
        let mut layer = base.layer(i, |attention| {
            let extent = QkNormExtent::HeadOfItsOwn;
            if has_norm != Some(false) {
                attention.qk_norm =
                    Some(QkNormSpec { extent, is_optional: has_norm.is_none(), ..base.qk_norm() });
            }
        });
        // Whatever files say of parallel parts, those that are have one norm.
        if !keys.has_tensor(&ffn_norm(i)) {
            layer.ffn_input = FfnInput::Shared;
        }
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// Norms of heads are tensors of their own.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let name = match slot.id.role {
        Role::AttnQNorm => "q_layernorm",
        Role::AttnKNorm => "k_layernorm",
        _ => return plain(sources, slot),
    };
    if slot.id.suffix == Suffix::Bias {
        return Ok(None);
    }
    let of = |head: usize| sources.in_layer(slot, &format!("self_attn.{name}.norms.{head}.weight"));
    Ok(Some(Source::stacked(slot, (0..slot.shape[0]).map(of))))
}
