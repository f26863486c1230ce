//! Operations on float rows, the same bits on every tier.
//!
//! Each is one body, written in 16 lanes (`lanes`), marked `#[inline(always)]` and compiled again under
//! the target features of each tier (`tiers`). Their equality therefore needs no proof but the
//! compiler's promise not to reorder or contract floats; the tests check that promise. Only the NaNs
//! of arithmetic may differ, in sign and payload; those of conversions do not.

#![allow(clippy::needless_range_loop, reason = "index loops are what compiles well here: see `lanes`")]

use crate::isa::Isa;

pub use activate::{Gate, Norm};

mod activate;
mod add;
mod convert;
mod dots_f32;
mod elementwise;
mod exp;
mod gelu;
pub(crate) mod lanes;
mod layer_norm;
mod rms_norm;
mod rope;
mod silu;
mod softmax;
#[cfg(test)]
mod tests;
mod tiers;

/// Normalises a row, or a part of one, whose mean and scale are known, with weights and perhaps a bias.
type LayerApply = unsafe fn(&[f32], (f32, f32), &[f32], Option<&[f32]>, &mut [f32]);

/// The operations, compiled for one tier.
#[derive(Debug)]
pub struct Ops {
    rms_scale: unsafe fn(&[f32], f32) -> f32,
    rms_apply: unsafe fn(&[f32], f32, &[f32], &mut [f32]),
    layer_mean_and_scale: unsafe fn(&[f32], f32) -> (f32, f32),
    layer_apply: LayerApply,
    softmax: unsafe fn(&mut [f32]),
    exponentials: unsafe fn(&mut [f32]) -> (f32, f32),
    silu: unsafe fn(&[f32], &mut [f32]),
    gelu_tanh: unsafe fn(&[f32], &mut [f32]),
    gelu_erf: unsafe fn(&[f32], &mut [f32]),
    swiglu: unsafe fn(&[f32], &[f32], &mut [f32]),
    geglu_tanh: unsafe fn(&[f32], &[f32], &mut [f32]),
    geglu_erf: unsafe fn(&[f32], &[f32], &mut [f32]),
    add: unsafe fn(&mut [f32], &[f32]),
    add_scaled: unsafe fn(&mut [f32], f32, &[f32]),
    rope_pairs: unsafe fn(&mut [f32], &[f32], &[f32]),
    rope_halves: unsafe fn(&mut [f32], &[f32], &[f32]),
    f32_to_f16: unsafe fn(&[f32], &mut [u16]),
    f16_to_f32: unsafe fn(&[u16], &mut [f32]),
    f32_to_bf16: unsafe fn(&[f32], &mut [u16]),
    bf16_to_f32: unsafe fn(&[u16], &mut [f32]),
    dots_f32: unsafe fn(&[f32], &[f32], &mut [f32]),
}

// Every call of a table's function below is sound for one reason: `for_isa` hands a table out only
// when the CPU has its features; the only other way to one, `of_target`, leaves that to `kernels`.
impl Ops {
    /// The operations for any CPU.
    pub const SCALAR: &'static Self = &tiers::SCALAR;

    /// The operations for `isa`; `None` if this CPU lacks it.
    pub fn for_isa(isa: Isa) -> Option<&'static Self> {
        isa.is_available().then(|| Self::of_target(isa))
    }

    /// The operations of a tier of this target, for callers who see to it that the CPU has it.
    pub(crate) fn of_target(isa: Isa) -> &'static Self {
        tiers::table(isa).expect("a tier of this target")
    }

    /// RMS norm of the row `x: [n]`, times `weight: [n]`, into `out: [n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        assert!(x.len() == weight.len() && x.len() == out.len(), "rms_norm needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.rms_apply)(x, (self.rms_scale)(x, eps), weight, out) }
    }

    /// Layer norm of the row `x: [n]`, times `weight: [n]`, plus `bias: [n]` if there is one, into
    /// `out: [n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn layer_norm(&self, x: &[f32], weight: &[f32], bias: Option<&[f32]>, eps: f32, out: &mut [f32]) {
        let bias_fits = bias.is_none_or(|bias| bias.len() == x.len());
        let all_fit = bias_fits && x.len() == weight.len() && x.len() == out.len();
        assert!(all_fit, "layer_norm needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.layer_apply)(x, (self.layer_mean_and_scale)(x, eps), weight, bias, out) }
    }

    /// Softmax of the row `x: [n]`, in place.
    pub fn softmax(&self, x: &mut [f32]) {
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.softmax)(x) }
    }

    /// Replaces the elements of the row `x: [n]` by `e^(x[i] - max)`, and returns `max`, the greatest of
    /// them, and the sum of the exponentials: softmax before its division. Of an empty row these
    /// are `-inf` and 0.
    pub fn exponentials(&self, x: &mut [f32]) -> (f32, f32) {
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.exponentials)(x) }
    }

    /// `out[i] = x[i] * sigmoid(x[i])`; both `[n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn silu(&self, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "silu needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.silu)(x, out) }
    }

    /// `out[i] = gelu(x[i])`, in the form with a hyperbolic tangent; both `[n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn gelu_tanh(&self, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "gelu_tanh needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.gelu_tanh)(x, out) }
    }

    /// `out[i] = gelu(x[i])`, exact (in terms of the error function); both `[n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn gelu_erf(&self, x: &[f32], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "gelu_erf needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.gelu_erf)(x, out) }
    }

    /// `out[i] = silu(gate[i]) * up[i]`; all `[n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn swiglu(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && gate.len() == out.len(), "swiglu needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.swiglu)(gate, up, out) }
    }

    /// `out[i] = gelu(gate[i]) * up[i]`, the form of [`Ops::gelu_tanh`]; all `[n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn geglu_tanh(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && gate.len() == out.len(), "geglu_tanh needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.geglu_tanh)(gate, up, out) }
    }

    /// `out[i] = gelu(gate[i]) * up[i]`, the form of [`Ops::gelu_erf`]; all `[n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn geglu_erf(&self, gate: &[f32], up: &[f32], out: &mut [f32]) {
        assert!(gate.len() == up.len() && gate.len() == out.len(), "geglu_erf needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.geglu_erf)(gate, up, out) }
    }

    /// Adds `y: [n]` to `x: [n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "add needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.add)(x, y) }
    }

    /// Adds `scale * y` to `x`, both `[n]`, rounding once.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_scaled(&self, x: &mut [f32], scale: f32, y: &[f32]) {
        assert_eq!(x.len(), y.len(), "add_scaled needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.add_scaled)(x, scale, y) }
    }

    /// Rotates elements `2 i` and `2 i + 1` of `head: [2 n]` by the angles whose cosines and sines
    /// are `cos: [n]` and `sin: [n]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn rope_pairs(&self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(head.len() == 2 * cos.len() && cos.len() == sin.len(), "rope needs one angle per pair");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.rope_pairs)(head, cos, sin) }
    }

    /// Rotates elements `i` and `i + n` of `head: [2 n]` by the angles whose cosines and sines are
    /// `cos: [n]` and `sin: [n]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn rope_halves(&self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(head.len() == 2 * cos.len() && cos.len() == sin.len(), "rope needs one angle per pair");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.rope_halves)(head, cos, sin) }
    }

    /// Converts `x: [n]` to half precision in `out: [n]`, to nearest even.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn f32_to_f16(&self, x: &[f32], out: &mut [u16]) {
        assert_eq!(x.len(), out.len(), "f32_to_f16 needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.f32_to_f16)(x, out) }
    }

    /// Converts half-precision `x: [n]` to floats in `out: [n]`, exactly.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn f16_to_f32(&self, x: &[u16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "f16_to_f32 needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.f16_to_f32)(x, out) }
    }

    /// Converts `x: [n]` to bfloat16 in `out: [n]`, to nearest even.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn f32_to_bf16(&self, x: &[f32], out: &mut [u16]) {
        assert_eq!(x.len(), out.len(), "f32_to_bf16 needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.f32_to_bf16)(x, out) }
    }

    /// Converts bfloat16 `x: [n]` to floats in `out: [n]`, exactly.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn bf16_to_f32(&self, x: &[u16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "bf16_to_f32 needs equal lengths");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.bf16_to_f32)(x, out) }
    }

    /// `out[r] = rows[r] . x` for `rows: [out.len(), x.len()]`.
    ///
    /// # Panics
    /// If `x` is empty or the lengths do not fit.
    pub fn dots_f32(&self, x: &[f32], rows: &[f32], out: &mut [f32]) {
        assert!(!x.is_empty(), "dots_f32 needs a row that is not empty");
        assert_eq!(Some(rows.len()), x.len().checked_mul(out.len()), "dots_f32 needs one row per result");
        // SAFETY: `for_isa` saw the table's features on this CPU.
        unsafe { (self.dots_f32)(x, rows, out) }
    }
}
