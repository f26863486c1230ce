//! `hunyuan-dense`: Hunyuan 0.5B to 7B: Llama with norms of heads behind the rotation.

use super::prelude::*;

/// The `hunyuan-dense` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "hunyuan-dense",
    checkpoint_classes: &["HunYuanDenseV1ForCausalLM"],
    model_types: &["hunyuan_v1_dense"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::AttnQNorm, "self_attn.query_layernorm"),
            (Role::AttnKNorm, "self_attn.key_layernorm"),
        ],
        ..Names::PLAIN
    },
    source: plain,
    promises: super::gemma::promises,
};

/// Writes the keys of all Hunyuans, whose dynamic scaling is a greater base.
pub(super) fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let defaults = Defaults { eps: 1e-5, ..Defaults::RMS };
    made.base(&defaults)?;
    let Some(rope) = made.rope_parameters()? else { return Ok(()) };
    if let Some(alpha) = rope.f32("alpha")?.filter(|&alpha| alpha > 0.0) {
        let head_dim = made.head_dim(&defaults)? as f64;
        let base = made.rope(&defaults)?.freq_base;
        let stretched = f64::from(base) * libm::pow(alpha.into(), head_dim / (head_dim - 2.0));
        made.replace("rope.freq_base", Value::F32(stretched as f32));
        made.forget_notes();
    }
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let qk_norm = QkNormSpec { is_after_rope: true, ..base.qk_norm() };
    let layer = |i| base.layer(i, |attention| attention.qk_norm = Some(qk_norm));
    base.model((0..base.n_layer).map(layer).collect())
}
