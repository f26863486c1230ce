//! `refact`: Refact 1.6B: all heads share a key and a value, scores fall with the distance, gates and the rest of
//! feed-forward parts in one matrix.

use super::prelude::*;

/// The `refact` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "refact",
    checkpoint_classes: &["GPTRefactForCausalLM"],
    model_types: &["gpt_refact"],
    keys,
    spec,
    names: Names {
        base_prefix: "transformer.",
        layer_prefix: "transformer.h.",
        other: &[
            (Role::TokenEmbd, "transformer.wte"),
            (Role::OutputNorm, "transformer.ln_f"),
            (Role::AttnNorm, "ln_1"),
            (Role::AttnQ, "attn.q"),
            (Role::AttnOutput, "attn.c_proj"),
            (Role::FfnNorm, "ln_2"),
            (Role::FfnDown, "mlp.c_proj"),
        ],
        ..Names::PLAIN
    },
    source,
    promises: |config| {
        let absent = Promise::Absent;
        Ok(Promises { qkv_bias: absent, output_bias: absent, mlp_bias: absent, ..promises(config)? })
    },
};

/// The bias of its heads, which files do not say.
const ALIBI: f32 = 8.0;

/// Widths of feed-forward parts are multiples of it.
const MULTIPLE: usize = 256;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.refuse("multi_query", true, false)?;
    let n_embd = made.config.required_count("n_embd")?;
    made.base(&Defaults { n_ff_times: 4, n_ff_name: "n_inner", ..DEFAULTS })?;
    made.replace_count("attention.head_count_kv", 1)?;
    let exact = n_embd.saturating_mul(8) / 3;
    made.replace_count("feed_forward_length", exact.div_ceil(MULTIPLE).saturating_mul(MULTIPLE))
}

const DEFAULTS: Defaults = Defaults { eps_key: "attention.layer_norm_rms_epsilon", ..super::gpt2::DEFAULTS };

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let layer = |i| {
        base.layer(i, |attention| {
            attention.rope = None;
            attention.alibi = Some(ALIBI);
        })
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    Ok(model)
}

/// Keys and values lie in one matrix, gates and the rest in another.
fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let (name, first, n) = match (slot.id.role, slot.id.suffix) {
        (Role::AttnK, Suffix::Weight) => ("attn.kv.weight", 0, 2),
        (Role::AttnV, Suffix::Weight) => ("attn.kv.weight", 1, 2),
        (Role::FfnGate, Suffix::Weight) => ("mlp.gate_up_proj.weight", 0, 2),
        (Role::FfnUp, Suffix::Weight) => ("mlp.gate_up_proj.weight", 1, 2),
        _ => return plain(sources, slot),
    };
    let [n_out, n_in] = slot.shape[..] else { return Ok(None) };
    let rows = RowMap::Strided { first: first * n_out, run: n_out, stride: n * n_out, pairs: None };
    let whole = Source::whole(slot, vec![sources.in_layer(slot, name)]);
    Ok(Some(whole.with_shape(&[n * n_out, n_in]).with_rows(rows)))
}
