//! Checkpoints that MLX has saved: `mlx_lm.convert` writes a model as its own classes hold it.
//!
//! - Experts of a layer are one stack, `[n_expert, n_out, n_in]`, gate and up apart.
//! - The two matrices that make keys and values of latent vectors are apart, as GGUF has them.
//! - Convolutions are `[n, n_taps, 1]` and not `[n, 1, n_taps]`: the same elements in the same order.
//! - Some modules have other names, GPT-2's matrices are turned.
//! - Values differ in some families, which ask for the `dialect`: norms that store their difference from one have it
//!   added, and Falcon-H1's multipliers are in its weights.

use super::names::Sources;
use super::source::{Piece, RowMap, Source, ValueMap};
use crate::model::spec::{Role, Slot, Suffix};

/// What MLX calls modules that hold a stack of experts.
const STACKS: [&str; 8] = [
    "mlp.switch_mlp",
    "mlp.experts",
    "block_sparse_moe.switch_mlp",
    "feed_forward.switch_mlp",
    "feed_forward.experts",
    "experts.switch_glu",
    "mixer.switch_mlp",
    "moe.switch_mlp",
];

/// What is called otherwise: parts of names, and what MLX has instead.
const OTHER: [(&str, &str); 17] = [
    (".mlp.gate.weight", ".mlp.gate.gate_proj.weight"),
    (".mlp.gate.bias", ".mlp.gate.gate_proj.bias"),
    (".mlp.gate.weight", ".mlp.gate.proj.weight"),
    (".moe.gate.weight", ".mlp.gate.gate.weight"),
    (".moe.router_bias", ".mlp.gate.router_bias"),
    (".share_expert.", ".mlp.share_expert."),
    (".mlp.experts.e_score_correction_bias", ".mlp.gate.e_score_correction_bias"),
    (".mlp.e_score_correction_bias", ".mlp.gate.e_score_correction_bias"),
    (".block_sparse_moe.gate.e_score_correction_bias", ".mlp.e_score_correction_bias"),
    (".block_sparse_moe.", ".mlp."),
    ("_conv1d.weight", "_conv.conv.weight"),
    (".feed_forward.w1.", ".feed_forward.gate_proj."),
    (".feed_forward.w2.", ".feed_forward.down_proj."),
    (".feed_forward.w3.", ".feed_forward.up_proj."),
    ("gpt_neox.layers.", "model.h."),
    ("gpt_neox.", "model."),
    ("transformer.", "model."),
];

/// Where MLX has the values of a slot that checkpoints of transformers have at `source`.
pub(super) fn source(sources: &Sources<'_>, slot: &Slot, source: Source) -> Source {
    let values = match &source {
        Source::Pieces(_, values) => *values,
        _ => ValueMap::Same,
    };
    let other = with_other_names(source);
    let either = |first: Source, second: Source| Source::Either(Box::new(first), Box::new(second));
    let whole = |name: &str| Source::whole(slot, vec![sources.in_layer(slot, name)]).with_values(values);
    match (slot.id.role, slot.id.suffix) {
        (Role::FfnGateExps | Role::FfnUpExps | Role::FfnDownExps, Suffix::Weight | Suffix::Bias) => {
            let stack = Source::whole(slot, stacks(sources, slot, slot.id.role)).with_values(values);
            let other = match apart(sources, slot) {
                Some(apart) => either(apart, other),
                None => other,
            };
            either(stack, other)
        }
        (Role::FfnGateUpExps, Suffix::Weight) => either(joined(sources, slot), other),
        (Role::AttnKB, Suffix::Weight) => either(whole("self_attn.embed_q.weight"), other),
        (Role::AttnVB, Suffix::Weight) => either(whole("self_attn.unembed_out.weight"), other),
        (Role::FfnGate, Suffix::Weight) => either(other, whole("mlp.gate_proj.weight")),
        (Role::FfnUp, Suffix::Weight) => either(other, whole("mlp.up_proj.weight")),
        (Role::FfnDown, Suffix::Weight) => either(other, whole("mlp.down_proj.weight")),
        (Role::Output, Suffix::Weight) => either(other, whole("model.embed_out.weight")),
        _ => other,
    }
}

/// The names that a stack of experts may have.
fn stacks(sources: &Sources<'_>, slot: &Slot, role: Role) -> Vec<String> {
    let matrices: &[&str] = match role {
        Role::FfnGateExps => &["gate_proj"],
        Role::FfnUpExps => &["up_proj", "fc1"],
        _ => &["down_proj", "fc2"],
    };
    let suffix = slot.id.suffix.name();
    let of = |stack: &'static str| {
        matrices.iter().map(move |matrix| sources.in_layer(slot, &format!("{stack}.{matrix}.{suffix}")))
    };
    STACKS.into_iter().flat_map(of).collect()
}

/// DBRX's experts, each of which has its matrices to itself, none of them turned.
fn apart(sources: &Sources<'_>, slot: &Slot) -> Option<Source> {
    let matrix = match slot.id.role {
        Role::FfnGateExps => "w1",
        Role::FfnUpExps => "v1",
        _ => "w2",
    };
    let name = |e: usize| sources.in_layer(slot, &format!("ffn.experts.{e}.{matrix}.weight"));
    (slot.shape.len() == 3).then(|| Source::stacked(slot, (0..slot.shape[0]).map(name)))
}

/// Gate and up of each expert, one after the other, of two stacks.
fn joined(sources: &Sources<'_>, slot: &Slot) -> Source {
    let (n_expert, n_ff, n_in) = (slot.shape[0], slot.shape[1] / 2, slot.shape[2]);
    let names = [Role::FfnGateExps, Role::FfnUpExps].map(|role| stacks(sources, slot, role));
    let piece = |e: usize, names: &[String]| Piece {
        names: names.to_vec(),
        shape: vec![n_expert, n_ff, n_in],
        n_rows: n_ff,
        rows: RowMap::Strided { first: e * n_ff, run: n_ff, stride: n_ff, pairs: None },
    };
    let pieces = (0..n_expert).flat_map(|e| names.iter().map(move |names| piece(e, names)));
    Source::Pieces(pieces.collect(), ValueMap::Same)
}

/// `source` with the names that MLX has beside its own.
fn with_other_names(source: Source) -> Source {
    match source {
        Source::Pieces(pieces, values) => {
            let of = |mut piece: Piece| {
                let renamed = |name: &String| {
                    let is_in = |(from, _): &&(&str, &str)| name.contains(from);
                    OTHER.iter().filter(is_in).map(|(from, to)| name.replace(from, to)).collect::<Vec<_>>()
                };
                let others: Vec<String> = piece.names.iter().flat_map(renamed).collect();
                piece.names.extend(others);
                piece
            };
            Source::Pieces(pieces.into_iter().map(of).collect(), values)
        }
        Source::Either(first, second) => {
            Source::Either(Box::new(with_other_names(*first)), Box::new(with_other_names(*second)))
        }
        other => other,
    }
}
