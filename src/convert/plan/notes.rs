//! What the user should know of a plan.

use gguf_simd::BlockType;
use regex::Regex;

use crate::convert::FileType;
use crate::convert::recipe::{Candidate, Choice, Overrides};
use crate::convert::transform::SourceRows;
use crate::printable::plural;

/// What to know of weights that are not plain floats.
pub(super) fn notes_on_weights(
    rows: &[SourceRows<'_>],
    choices: &[Choice],
    file_type: FileType,
) -> impl Iterator<Item = String> {
    let n_on_grids = rows.iter().filter(|rows| rows.is_on_grids()).count();
    grid_note(n_on_grids, file_type).into_iter().chain(decoded_note(rows, choices)).chain(bare_note(rows))
}

/// What to know of floats of 8 bits that have no scales: most checkpoints have some beside such weights.
fn bare_note(rows: &[SourceRows<'_>]) -> Option<String> {
    let bare: Vec<_> = rows.iter().filter(|rows| rows.source_name().starts_with("F8_")).collect();
    let first = bare.first()?.name().escape_debug();
    Some(format!(
        "{} of the tensors are plain F8 values without scales beside them ({first} is the first), and taken as they are; if \
         the checkpoint has lost its scales, the model is wrong: the original F16 or BF16 checkpoint needs none",
        bare.len()
    ))
}

/// What to know of weights that lie on grids already.
fn grid_note(n_on_grids: usize, file_type: FileType) -> Option<String> {
    if n_on_grids == 0 {
        return None;
    }
    let what = match file_type {
        FileType::KEEP | FileType::Q4_0 | FileType::Q5_0 | FileType::Q8_0 => {
            "are kept so where the type has their levels"
        }
        _ => "--type KEEP keeps them so, in the smallest type that has their levels",
    };
    Some(format!(
        "the floats of {} lie on grids already, as quantisation-aware training leaves them: {what}",
        plural(n_on_grids, "tensor")
    ))
}

/// Schemes whose codes no block type holds as they are.
const DECODED: [&str; 3] = ["AQLM", "EXL2", "SqueezeLLM"];

/// What to know of weights whose codes no block type holds: how many bytes they take here and took there.
fn decoded_note(rows: &[SourceRows<'_>], choices: &[Choice]) -> Option<String> {
    let (mut scheme, mut before, mut after, mut n_weights) = ("", 0, 0, 0);
    for (rows, choice) in rows.iter().zip(choices).filter(|(rows, _)| DECODED.contains(&rows.source_name())) {
        scheme = rows.source_name();
        before += rows.source_bytes(rows.n_rows());
        after += choice.block_type.row_bytes(rows.n_in()).unwrap_or(0) as u64 * rows.n_rows() as u64;
        n_weights += rows.n_elements();
    }
    let bits = |n_bytes: u64| n_bytes as f64 * 8.0 / n_weights as f64;
    (n_weights > 0).then(|| {
        format!(
            "weights of {scheme} take {:.2} bits each there and {:.2} here: no GGUF type holds such codes, so they are decoded \
             and encoded anew; quantising the original model to as many bits may well be better",
            bits(before),
            bits(after)
        )
    })
}

/// Names the patterns that change no tensor: most likely a slip.
pub(super) fn unused_overrides(overrides: &Overrides, tensors: &[Candidate]) -> Vec<String> {
    let is_quantised = |tensor: &Candidate| tensor.id.is_quantised(tensor.shape.len());
    let note = |(name, ty): &(Regex, BlockType)| {
        let mut matched = tensors.iter().filter(|tensor| name.is_match(&tensor.name));
        let what = match matched.next() {
            None => "matches no tensor; --dry-run lists their names",
            Some(first) if matched.chain([first]).any(is_quantised) => return None,
            Some(_) => "matches only tensors that are never quantised, as norms, biases and routers are",
        };
        Some(format!("--tensor-type {name}={ty} {what}"))
    };
    overrides.tensors.iter().filter_map(note).collect()
}
