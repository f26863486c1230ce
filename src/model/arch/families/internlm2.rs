//! `internlm2`: InternLM 2 to 3: Llama whose q, k and v lie in one matrix, by key-value head.

use super::prelude::*;

/// The `internlm2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "internlm2",
    checkpoint_classes: &["InternLM2ForCausalLM"],
    model_types: &["internlm2"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::TokenEmbd, "model.tok_embeddings"),
            (Role::Output, "output"),
            (Role::AttnNorm, "attention_norm"),
            (Role::AttnOutput, "attention.wo"),
            (Role::FfnNorm, "ffn_norm"),
            (Role::FfnGate, "feed_forward.w1"),
            (Role::FfnUp, "feed_forward.w3"),
            (Role::FfnDown, "feed_forward.w2"),
        ],
        is_permuted: true,
        ..Names::PLAIN
    },
    source,
    promises: |config| {
        let bias = Promise::of(config.bool("bias")?.unwrap_or(false));
        Ok(Promises { qkv_bias: bias, output_bias: bias, ..promises(config)? })
    },
};

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    made.base(&Defaults::RMS)
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect())
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let part = match slot.id.role {
        Role::AttnQ => 0,
        Role::AttnK => 1,
        Role::AttnV => 2,
        Role::AttnQkv => return Ok(None),
        _ => return plain(sources, slot),
    };
    let MixerSpec::Attention(attention) = &sources.spec.layers[slot.id.layer.unwrap_or(0)].mixer else {
        return Ok(None);
    };
    let n_rows = attention.n_embd_q() + attention.n_embd_k() + attention.n_embd_v();
    let mut shape = slot.shape.clone();
    shape[0] = n_rows;
    let name = sources.in_layer(slot, &format!("attention.wqkv.{}", slot.id.suffix.name()));
    let whole = Piece::whole(&shape, vec![name]);
    let mut piece = super::falcon::by_kv_head(&whole, attention).swap_remove(part);
    if let (RowMap::Strided { pairs, .. }, true) = (&mut piece.rows, part < 2) {
        *pairs = Some(attention.head_dim_k);
    }
    Ok(Some(Source::Pieces(vec![piece], ValueMap::Same)))
}
