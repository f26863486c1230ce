//! `gpt2`: GPT-2: learned positions, q, k and v in one matrix, and matrices that checkpoints hold turned.

use super::prelude::*;

/// The `gpt2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gpt2",
    checkpoint_classes: &["GPT2LMHeadModel", "GPT2Model"],
    model_types: &["gpt2"],
    keys,
    spec,
    names: NAMES,
    source,
    promises,
};

/// The names of GPT-2.
pub(super) const NAMES: Names = Names {
    base_prefix: "transformer.",
    layer_prefix: "transformer.h.",
    other: &[
        (Role::TokenEmbd, "transformer.wte"),
        (Role::PositionEmbd, "transformer.wpe"),
        (Role::OutputNorm, "transformer.ln_f"),
        (Role::AttnNorm, "ln_1"),
        (Role::AttnQ, ""),
        (Role::AttnK, ""),
        (Role::AttnV, ""),
        (Role::AttnQkv, "attn.c_attn"),
        (Role::AttnOutput, "attn.c_proj"),
        (Role::FfnNorm, "ln_2"),
        (Role::FfnUp, "mlp.c_fc"),
        (Role::FfnDown, "mlp.c_proj"),
    ],
    ..Names::PLAIN
};

/// Matrices of layers lie turned.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let source = plain(sources, slot)?;
    let is_turned = sources.dialect == Dialect::Transformers
        && matches!(slot.id.role, Role::AttnQkv | Role::AttnOutput | Role::FfnUp | Role::FfnDown);
    Ok(source.map(|source| if is_turned { turned(source, slot) } else { source }))
}

/// The source of a matrix, turned; of a vector the same.
pub(super) fn turned(source: Source, slot: &Slot) -> Source {
    let [n_out, n_in] = slot.shape[..] else { return source };
    let rows = RowMap::Columns { n_out, n_cols: n_out, first: 0, step: 1, skipped: 0 };
    source.with_shape(&[n_in, n_out]).with_rows(rows)
}

/// What its configurations call things.
pub(super) const DEFAULTS: Defaults = Defaults {
    eps_name: "layer_norm_epsilon",
    n_ctx_name: "n_positions",
    n_ff_name: "n_inner",
    n_ff_times: 4,
    n_layer_name: "n_layer",
    n_embd_name: "n_embd",
    n_head_name: "n_head",
    ..Defaults::LAYER
};

/// The usual activation.
pub(super) const GELU: Gate = Gate::GeluTanh;

/// Biases everywhere, and the embedding is the output matrix.
pub(super) fn promises(_: &Config) -> Result<Promises> {
    let there = Promise::There;
    Ok(Promises { is_tied: Some(true), qkv_bias: there, output_bias: there, mlp_bias: there })
}

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.gelu("activation_function", GELU)?;
    made.refuse("scale_attn_by_inverse_layer_idx", false, true)?;
    made.refuse("scale_attn_weights", true, false)?;
    made.base(&DEFAULTS)
}

/// Plain layers with layer norms and learned positions.
pub(super) fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, keys.gelu(GELU)?)?;
    let layer = |i| {
        let attention = AttentionSpec { rope: None, ..base.attention(i) };
        base.layer_of(attention, FfnSpec::Dense(base.ffn(i)))
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.embed.n_positions = Some(model.n_ctx_train);
    model.ropes.clear();
    Ok(model)
}
