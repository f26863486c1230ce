//! Token shift: rows are mixed with those of the positions before them.

use crate::model::batch::BatchPart;
use crate::model::compute::{Compute, pieces, pieces_of};
use crate::model::inputs::{Formats, InputRows, Inputs};
use crate::model::layer::rows::{Rows, span_lens};

/// Mixes each row of `input: [n, n_embd]` with the one before it, `x + lerp (x' - x)`, into `out`; what came before the
/// rows of a sequence is in its state from `at` on. `moved: [n, n_embd]`, if it is there, is added to `lerp`.
pub(super) fn mix<P: BatchPart>(
    (compute, rows): (Compute<'_>, &mut Rows<'_, P>),
    (input, lerp, moved, at): (&[f32], &[f32], Option<&[f32]>, usize),
    (out, formats): (&mut Inputs, Formats),
) {
    let (batch, n_embd) = (rows.batch, lerp.len());
    let n = batch.n();
    out.set_n_in(n_embd);
    let piece_len = compute.piece_len(n, 4 * n_embd);
    let parts = rows.spans().zip(pieces_of(out.rows_mut(0..n), span_lens(batch))).flat_map(|(span, out)| {
        let before = &span.state.values[at..at + n_embd];
        let first = span.first;
        pieces(out, piece_len).enumerate().map(move |(i, out)| (before, first, i * piece_len, out))
    });
    type Part<'a> = (&'a [f32], usize, usize, InputRows<'a>);
    compute.for_each(4 * n * n_embd, parts, |(before, first, start, mut out): Part<'_>| {
        for (i, out) in (start..).zip(out.floats().chunks_exact_mut(n_embd)) {
            let span = |number: usize| number * n_embd..(number + 1) * n_embd;
            let row = &input[span(first + i)];
            let previous = if i == 0 { before } else { &input[span(first + i - 1)] };
            let inputs = out.iter_mut().zip(row).zip(previous).zip(lerp);
            match moved.map(|moved| &moved[span(first + i)]) {
                None => inputs.for_each(|(((out, x), previous), lerp)| *out = x + lerp * (previous - x)),
                Some(moved) => inputs.zip(moved).for_each(|((((out, x), previous), lerp), moved)| {
                    *out = x + (lerp + moved) * (previous - x);
                }),
            }
        }
        out.quantize(compute.kernels, formats);
    });
}

/// Remembers the last row of each sequence in its state from `at` on.
pub(super) fn remember<P: BatchPart>(rows: &mut Rows<'_, P>, input: &[f32], (at, n_embd): (usize, usize)) {
    for span in rows.spans() {
        let (state, _) = span.state.split_at(at).1.split_at(n_embd);
        state.walk(span.n, |positions, state| {
            let last = span.first + positions.end - 1;
            state.copy_from_slice(&input[last * n_embd..(last + 1) * n_embd]);
        });
    }
}
