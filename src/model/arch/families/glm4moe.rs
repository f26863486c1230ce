//! `glm4moe`: GLM 4.5 to 4.7, Solar Open: dense layers first, then experts chosen by sigmoids beside shared ones; half of
//! each head is rotated; the large ones norm query and key heads.

use super::prelude::*;

/// The `glm4moe` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "glm4moe",
    checkpoint_classes: &["Glm4MoeForCausalLM", "Glm4vMoeForConditionalGeneration", "SolarOpenForCausalLM"],
    model_types: &["glm4_moe", "glm4v_moe", "glm4v_moe_text", "solar_open"],
    keys,
    spec,
    // GGUF calls the norm before the feed-forward part by what it comes after.
    names: Names { other: &[(Role::AttnPostNorm, "post_attention_layernorm")], ..Names::PLAIN },
    source,
    promises: |config| Ok(Promises { output_bias: Promise::Absent, ..promises(config)? }),
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    // Solar Open rotates whole heads where it does not say.
    let is_solar = made.config.string("model_type")? == Some("solar_open");
    let (part, freq_base) = if is_solar { (1.0, 1e6) } else { (0.5, 1e4) };
    let partial = Partial::Allowed(part);
    made.base(&Defaults { eps: 1e-5, freq_base, partial, has_sections: true, ..Defaults::RMS })?;
    made.further_predictions()?;
    let has_norm = made.config.bool("use_qk_norm")?.unwrap_or(false);
    made.put("attention.qk_norm", Value::Bool(has_norm));
    super::deepseek2::experts(made)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let n_dense = base.n_dense()?;
    let experts = super::deepseek2::experts_of(&base, Scoring::Sigmoid)?;
    let experts = experts.ok_or_else(|| keys.missing("expert_count"))?;
    // Files of others do not say whether heads are normed: their tensors do.
    let has_norm = keys.bool("attention.qk_norm")?;
    let layer = |i: usize| {
        let mut attention = base.attention(i);
        if has_norm != Some(false) {
            attention.qk_norm = Some(QkNormSpec { is_optional: has_norm.is_none(), ..base.qk_norm() });
        }
        let ffn = if i < n_dense { FfnSpec::Gated(base.ffn(i)) } else { FfnSpec::Experts(experts.clone()) };
        let mut layer = base.layer_of(attention, ffn);
        layer.ffn_norm_role = Role::AttnPostNorm;
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// The bias of experts' choice is a tensor beside the router's.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    if slot.id.role == Role::ExpProbs {
        let name = sources.in_layer(slot, "mlp.gate.e_score_correction_bias");
        return Ok(Some(Source::whole(slot, vec![name])));
    }
    plain(sources, slot)
}
