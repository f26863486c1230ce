//! Walks rows sixteen elements at a time; the end of a row is padded with zeros whose results are
//! dropped.

use super::lanes::{self, LANES, Lanes};

/// A function of one number, sixteen at a time. (A type rather than a closure: the call of a closure is code of its
/// own, compiled without the tier's target features and then not inlined.) Implementations always inline.
pub(super) trait Function {
    /// The function of every lane.
    fn of(&self, x: &Lanes) -> Lanes;

    /// What becomes of a gate and what it lets through: the product, where nothing else is said.
    #[inline(always)]
    fn gated(&self, gate: &Lanes, up: &Lanes) -> Lanes {
        lanes::times(&self.of(gate), up)
    }
}

/// `out[i] = f(x[i])`; both `[n]`.
#[inline(always)]
pub(super) fn map<F: Function>(f: &F, x: &[f32], out: &mut [f32]) {
    let (groups, tail) = x.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let outs = &mut outs[..groups.len()];
    for i in 0..groups.len() {
        outs[i] = f.of(&groups[i]);
    }
    if !out_tail.is_empty() {
        let end = f.of(&lanes::padded(tail, 0.0));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}

/// `x[i] = f(x[i])`, in place.
#[inline(always)]
pub(super) fn in_place<F: Function>(f: &F, x: &mut [f32]) {
    let (groups, tail) = x.as_chunks_mut::<LANES>();
    for i in 0..groups.len() {
        groups[i] = f.of(&groups[i]);
    }
    if !tail.is_empty() {
        let end = f.of(&lanes::padded(tail, 0.0));
        tail.copy_from_slice(&end[..tail.len()]);
    }
}

/// `out[i]` is what the function makes of `gate[i]` and `up[i]`: `f(gate[i]) * up[i]`, where it says nothing else; all
/// `[n]`.
#[inline(always)]
pub(super) fn gated<F: Function>(f: &F, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let (gates, gate_tail) = gate.as_chunks::<LANES>();
    let (ups, up_tail) = up.as_chunks::<LANES>();
    let (outs, out_tail) = out.as_chunks_mut::<LANES>();
    let (ups, outs) = (&ups[..gates.len()], &mut outs[..gates.len()]);
    for i in 0..gates.len() {
        outs[i] = f.gated(&gates[i], &ups[i]);
    }
    if !out_tail.is_empty() {
        let end = f.gated(&lanes::padded(gate_tail, 0.0), &lanes::padded(up_tail, 0.0));
        out_tail.copy_from_slice(&end[..out_tail.len()]);
    }
}
