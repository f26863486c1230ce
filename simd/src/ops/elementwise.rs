//! Walks rows sixteen elements at a time; the end of a row is padded with zeros whose results are
//! dropped.

use super::lanes::{self, LANES, Lanes};

/// `out[i] = f(x[i])`; both `[n]`.
#[inline(always)]
pub(super) fn map(x: &[f32], out: &mut [f32], f: impl Fn(&Lanes) -> Lanes) {
    let (groups, tail) = x.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let outs = &mut outs[..groups.len()];
    for i in 0..groups.len() {
        outs[i] = f(&groups[i]);
    }
    if !out_tail.is_empty() {
        let end = f(&lanes::padded(tail, 0.0));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}

/// `out[i] = f(gate[i]) * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn gated(gate: &[f32], up: &[f32], out: &mut [f32], f: impl Fn(&Lanes) -> Lanes) {
    let (gates, gate_tail) = gate.as_chunks::<LANES>();
    let (ups, up_tail) = up.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let (ups, outs) = (&ups[..gates.len()], &mut outs[..gates.len()]);
    for i in 0..gates.len() {
        outs[i] = lanes::times(&f(&gates[i]), &ups[i]);
    }
    if !out_tail.is_empty() {
        let end = lanes::times(&f(&lanes::padded(gate_tail, 0.0)), &lanes::padded(up_tail, 0.0));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}
