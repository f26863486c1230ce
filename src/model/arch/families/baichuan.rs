//! `baichuan`: Baichuan 1 and 2: Llama whose q, k and v lie in one matrix; the scores of the 13B fall with the distance
//! instead of a rotation.

use super::prelude::*;

/// The `baichuan` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "baichuan",
    checkpoint_classes: &["BaichuanForCausalLM", "BaiChuanForCausalLM"],
    model_types: &["baichuan"],
    keys,
    spec,
    names: Names { is_permuted: true, ..Names::PLAIN },
    source,
    promises,
};

/// Tokens of Baichuan 2, which divides the rows of its output matrix by their lengths when it is loaded (`NormHead`).
/// Baichuan 1 has 64,000 and does not; configurations tell them apart by nothing else.
const N_VOCAB_2: usize = 125_696;

/// Layers of the 13B.
const N_LAYER_13B: usize = 40;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let n_ctx_name = made.first_of(&["max_position_embeddings", "model_max_length"]);
    made.base(&Defaults { n_ctx_name, ..Defaults::RMS })
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Pairs, Gate::Silu)?;
    // Files tell the two apart by nothing else.
    if base.n_layer != N_LAYER_13B {
        return base.model((0..base.n_layer).map(|i| base.layer(i, |_| {})).collect());
    }
    let change = |attention: &mut AttentionSpec| (attention.rope, attention.alibi) = (None, Some(8.0));
    let mut model = base.model((0..base.n_layer).map(|i| base.layer(i, change)).collect())?;
    model.ropes.clear();
    Ok(model)
}

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let part = match slot.id.role {
        Role::AttnQ => 0,
        Role::AttnK => 1,
        Role::AttnV => 2,
        Role::Output if sources.spec.n_vocab >= N_VOCAB_2 => {
            return Ok(plain(sources, slot)?.map(|source| source.with_values(ValueMap::UnitRows)));
        }
        _ => return plain(sources, slot),
    };
    let [n_rows, n_in] = slot.shape[..] else { return Ok(None) };
    let pairs = match &sources.spec.layers[slot.id.layer.unwrap_or(0)].mixer {
        MixerSpec::Attention(attention) if part < 2 => Some(attention.head_dim_k),
        _ => None,
    };
    let rows = RowMap::Strided { first: part * n_rows, run: n_rows, stride: n_rows, pairs };
    let name = sources.in_layer(slot, "self_attn.W_pack.weight");
    Ok(Some(Source::whole(slot, vec![name]).with_shape(&[3 * n_rows, n_in]).with_rows(rows)))
}
