//! `hunyuan-dense`: Hunyuan 0.5B to 7B: Llama with norms of heads behind the rotation.

use super::prelude::*;

/// The `hunyuan-dense` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "hunyuan-dense",
    checkpoint_classes: &["HunYuanDenseV1ForCausalLM"],
    model_types: &["hunyuan_v1_dense"],
    keys,
    spec,
    names: NAMES,
    source: plain,
    promises: super::gemma::promises,
};

/// What all Hunyuans call the norms of heads.
pub(super) const NAMES: Names = Names {
    other: &[(Role::AttnQNorm, "self_attn.query_layernorm"), (Role::AttnKNorm, "self_attn.key_layernorm")],
    ..Names::PLAIN
};

/// What they assume; sections of positions are for images.
pub(super) const DEFAULTS: Defaults = Defaults { eps: 1e-5, has_sections: true, ..Defaults::RMS };

/// Writes the keys of all Hunyuans, whose dynamic scaling is a greater base.
pub(super) fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&DEFAULTS)?;
    let Some(rope) = made.rope_parameters()? else { return Ok(()) };
    let kind = rope.string("rope_type")?.or(rope.string("type")?);
    let is_dynamic = matches!(kind, Some("dynamic" | "xdrope"));
    if let Some(alpha) = rope.f32("alpha")?.filter(|&alpha| is_dynamic && alpha > 0.0) {
        let head_dim = made.head_dim(&DEFAULTS)?;
        let base = made.rope(&DEFAULTS)?.freq_base;
        made.replace("rope.freq_base", Value::F32(stretched(base, alpha, head_dim)));
        made.forget_notes();
    }
    Ok(())
}

/// The base that `alpha` makes of a rotary base for heads of `head_dim` elements.
pub(super) fn stretched(base: f32, alpha: f32, head_dim: usize) -> f32 {
    let n = head_dim as f64;
    (f64::from(base) * libm::pow(alpha.into(), n / (n - 2.0))) as f32
}

/// The numbers that every Hunyuan has.
pub(super) fn base(keys: Keys<'_>) -> Result<Base<'_>> {
    Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    spec_of(&base(keys)?)
}

/// The model: heads are normed behind the rotation.
pub(super) fn spec_of(base: &Base<'_>) -> Result<ModelSpec> {
    let qk_norm = QkNormSpec { is_after_rope: true, ..base.qk_norm() };
    let layer = |i| base.layer(i, |attention| attention.qk_norm = Some(qk_norm));
    base.model((0..base.n_layer).map(layer).collect())
}
