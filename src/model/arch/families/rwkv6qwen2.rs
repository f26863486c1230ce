//! `rwkv6qwen2`: QRWKV6: Qwen 2 with a time mix like that of RWKV-6 in the place of attention.

use super::prelude::*;
use super::rwkv6::{MIXTURES, turned};

/// The `rwkv6qwen2` family.
pub(super) static FAMILY: Family = Family {
    gguf_name: "rwkv6qwen2",
    checkpoint_classes: &["RWKV6Qwen2ForCausalLM"],
    model_types: &["rwkv6qwen2"],
    keys,
    spec,
    names: Names {
        other: &[
            (Role::TimeMixReceptance, "self_attn.q_proj"),
            (Role::TimeMixKey, "self_attn.k_proj"),
            (Role::TimeMixValue, "self_attn.v_proj"),
            (Role::TimeMixGate, "self_attn.gate"),
            (Role::TimeMixOutput, "self_attn.o_proj"),
        ],
        ..Names::PLAIN
    },
    source,
    // Which biases there are, no configuration says.
    promises: |config| Ok(Promises { qkv_bias: Promise::Open, ..promises(config)? }),
};

/// From this width on narrow vectors are twice as wide.
const WIDE: usize = 4096;

fn keys(made: &mut FromConfig<'_>) -> Result<()> {
    made.activation(&["hidden_act"], "silu", &["silu"])?;
    let config = made.config;
    let n_embd = config.required_count("hidden_size")?;
    super::rwkv6::shared_keys(made, n_embd >= WIDE)?;
    let head_dim = made.head_dim(&Defaults::RMS)?;
    made.put_count("wkv.head_size", head_dim)?;
    made.count("attention.head_count_kv", "num_key_value_heads")?;
    made.put_count("token_shift_count", 1)?;
    made.f32_or("attention.layer_norm_rms_epsilon", "rms_norm_eps", 1e-6)?;
    made.count("feed_forward_length", "intermediate_size")?;
    Ok(())
}

fn spec(keys: Keys<'_>) -> Result<ModelSpec> {
    let base = Base::read(keys, NormKind::Rms, RopeOrder::Halves, Gate::Silu)?;
    let mixer = super::rwkv6::mixer(&base)?;
    let layer = |i: usize| LayerSpec {
        mixer: MixerSpec::Rwkv6(mixer),
        ..base.layer_of(AttentionSpec::plain(base.n_embd, 1, 1, 1), FfnSpec::Gated(base.ffn(i)))
    };
    let mut model = base.model((0..base.n_layer).map(layer).collect())?;
    model.ropes.clear();
    Ok(model)
}

/// Where the parts of what mixtures are moved by lie there, in the order of GGUF: the first and the fourth change places.
const PLACES: [usize; 5] = [3, 1, 2, 0, 4];

fn source(sources: &Sources<'_>, slot: &Slot) -> Result<Option<Source>> {
    let of = |name: &str| sources.in_layer(slot, &format!("self_attn.{name}"));
    let n = slot.shape[0];
    // Of a tensor of `shape`, whose parts follow one another every `stride` elements and have `n_cols` columns.
    let parts = |name: &str, shape: &[usize], (stride, n_out, n_cols): (usize, usize, usize)| {
        let pieces = PLACES.map(|place| Piece {
            names: vec![of(name)],
            shape: shape.to_vec(),
            n_rows: n_out,
            rows: RowMap::Columns { n_out, n_cols, first: place * stride, step: 1, skipped: 0 },
        });
        Source::Pieces(pieces.into(), ValueMap::Same)
    };
    Ok(Some(match (slot.id.role, &slot.shape[..]) {
        (Role::TimeMixLerpX, _) => Source::whole(slot, vec![of("time_maa_x")]).with_shape(&[1, 1, n]),
        (Role::TimeMixLerp, _) => {
            Source::stacked(slot, MIXTURES.iter().map(|mixture| of(&format!("time_maa_{mixture}"))))
        }
        (Role::TimeMixDecay, _) => Source::whole(slot, vec![of("time_decay")]).with_shape(&[1, 1, n]),
        (Role::TimeMixDecayW1, _) => turned(slot, of("time_decay_w1")),
        (Role::TimeMixDecayW2, _) => turned(slot, of("time_decay_w2")),
        (Role::TimeMixW1, &[n_narrow, n_embd]) => {
            let rank = n_narrow / PLACES.len();
            parts("time_maa_w1", &[n_embd, n_narrow], (rank, rank, n_narrow))
        }
        (Role::TimeMixW2, &[_, n_embd, rank]) => {
            parts("time_maa_w2", &[PLACES.len(), rank, n_embd], (rank * n_embd, n_embd, n_embd))
        }
        _ => return plain(sources, slot),
    }))
}
