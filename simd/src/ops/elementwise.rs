//! Walks rows sixteen elements at a time; the end of a row is padded with zeros whose results are
//! dropped.

use super::lanes::{self, LANES, Lanes};

/// A function of one number, sixteen at a time. (A type rather than a value: the call of a function
/// value is code of its own, compiled without the tier's target features and then not inlined.)
pub(super) trait Function {
    /// The function of every lane; an implementation always inlines.
    fn of(x: &Lanes) -> Lanes;
}

/// `out[i] = F(x[i])`; both `[n]`.
#[inline(always)]
pub(super) fn map<F: Function>(x: &[f32], out: &mut [f32]) {
    let (groups, tail) = x.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let outs = &mut outs[..groups.len()];
    for i in 0..groups.len() {
        outs[i] = F::of(&groups[i]);
    }
    if !out_tail.is_empty() {
        let end = F::of(&lanes::padded(tail, 0.0));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}

/// `out[i] = F(gate[i]) * up[i]`; all `[n]`.
#[inline(always)]
pub(super) fn gated<F: Function>(gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (gates, gate_tail) = gate.as_chunks::<LANES>();
    let (ups, up_tail) = up.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let (ups, outs) = (&ups[..gates.len()], &mut outs[..gates.len()]);
    for i in 0..gates.len() {
        outs[i] = lanes::times(&F::of(&gates[i]), &ups[i]);
    }
    if !out_tail.is_empty() {
        let end = lanes::times(&F::of(&lanes::padded(gate_tail, 0.0)), &lanes::padded(up_tail, 0.0));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}
