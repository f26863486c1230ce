//! `gptneox`: GPT-NeoX, Pythia and kin: both parts are parallel with norms of their own, or follow each other;
//! a part of each head is rotated; q, k and v of each head lie together.

use super::prelude::*;

/// The `gptneox` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "gptneox",
    checkpoint_classes: &["GPTNeoXForCausalLM", "GPTNeoXModel"],
    model_types: &["gpt_neox"],
    keys,
    spec,
    names: Names {
        base_prefix: "gpt_neox.",
        layer_prefix: "gpt_neox.layers.",
        other: &[
            (Role::TokenEmbd, "gpt_neox.embed_in"),
            (Role::OutputNorm, "gpt_neox.final_layer_norm"),
            (Role::Output, "embed_out"),
            (Role::AttnQ, ""),
            (Role::AttnK, ""),
            (Role::AttnV, ""),
            (Role::AttnQkv, "attention.query_key_value"),
            (Role::AttnOutput, "attention.dense"),
            (Role::FfnUp, "mlp.dense_h_to_4h"),
            (Role::FfnDown, "mlp.dense_4h_to_h"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: |config| {
        let there = Promise::There;
        let bias = Promise::of(config.bool("attention_bias")?.unwrap_or(true));
        Ok(Promises { qkv_bias: bias, output_bias: bias, mlp_bias: there, ..promises(config)? })
    },
};

/// The usual activation.
const GELU: Gate = Gate::GeluErf;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.gelu("hidden_act", GELU)?;
    made.base(&Defaults { partial: Partial::Allowed(0.25), ..Defaults::LAYER })?;
    let is_parallel = made.config.bool("use_parallel_residual")?.unwrap_or(true);
    made.put("use_parallel_residual", Value::Bool(is_parallel));
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Layer, RopeOrder::Halves, keys.gelu(GELU)?)?;
    let is_parallel = keys.bool("use_parallel_residual")?.unwrap_or(true);
    let layer = |i| {
        let mut layer = base.layer_of(base.attention(i), FfnSpec::Dense(base.ffn(i)));
        if is_parallel {
            layer.ffn_input = FfnInput::Beside(base.norm);
        }
        layer
    };
    base.model((0..base.n_layer).map(layer).collect())
}

/// The rows of q, k and v come head by head.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let source = plain(sources, slot)?;
    let (Role::AttnQkv, Some(Source::Pieces(pieces, values))) = (slot.id.role, &source) else {
        return Ok(source);
    };
    let MixerSpec::Attention(attention) = &sources.spec.layers[slot.id.layer.unwrap_or(0)].mixer else {
        return Ok(source);
    };
    let run = attention.head_dim_k;
    let part = |i: usize| {
        let rows = RowMap::Strided { first: i * run, run, stride: 3 * run, pairs: None };
        Piece { n_rows: slot.shape[0] / 3, rows, ..pieces[0].clone() }
    };
    Ok(Some(Source::Pieces((0..3).map(part).collect(), *values)))
}
