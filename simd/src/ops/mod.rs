//! Operations on float rows, the same bits on every tier.
//!
//! Each is one body, written in 16 lanes (`lanes`), marked `#[inline(always)]` and compiled again under
//! the target features of each tier (`table`). Their equality therefore needs no proof but the
//! compiler's promise not to reorder or contract floats; the tests check that promise. Only the NaNs
//! of arithmetic may differ, in sign and payload; those of conversions do not.

#![allow(clippy::needless_range_loop, reason = "index loops are what compiles well here: see `lanes`")]

use crate::columns::ColumnsMut;
use crate::isa::Isa;

pub use activate::{Gate, Norm};
pub use conv::MAX_TAPS;
pub use recurrence::{HeadInputs, padded_columns};
pub use row_decay::RowDecayInputs;
pub use scan::ScanInputs;
use table::Table;
pub use xielu::Xielu;

mod activate;
mod add;
mod conv;
mod convert;
mod dots_f32;
mod elementwise;
mod exp;
mod gelu;
pub(crate) mod lanes;
mod layer_norm;
mod recurrence;
mod relu;
mod rms_norm;
mod rope;
mod row_decay;
mod scan;
mod sigmoid;
mod silu;
mod softcap;
mod softmax;
mod softplus;
mod table;
mod xielu;

/// The operations, compiled for one tier.
#[derive(Debug)]
pub struct Ops(Table);

impl Ops {
    /// The operations for any CPU.
    pub const SCALAR: &'static Self = &table::SCALAR;

    /// The operations for `isa`; `None` if this CPU lacks it.
    pub fn for_isa(isa: Isa) -> Option<&'static Self> {
        isa.detect().map(Self::of)
    }

    /// RMS norm of the row `x: [n]`, times `weight: [n]`, into `out: [n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn rms_norm(&self, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
        assert!(x.len() == weight.len() && x.len() == out.len(), "rms_norm needs equal lengths");
        self.0.rms_apply(x, self.0.rms_scale(x, eps), weight, out);
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
        self.0.layer_apply(x, self.0.layer_mean_and_scale(x, eps), weight, bias, out);
    }

    /// Softmax of the row `x: [n]`, in place.
    pub fn softmax(&self, x: &mut [f32]) {
        self.0.softmax(x);
    }

    /// Replaces the elements of the row `x: [n]` by `e^(x[i] - max)`, and returns `max`, the greatest of
    /// them, and the sum of the exponentials: softmax before its division. Of an empty row these
    /// are `-inf` and 0.
    pub fn exponentials(&self, x: &mut [f32]) -> (f32, f32) {
        self.0.exponentials(x)
    }

    /// Bounds the row `x: [n]` in place to `cap tanh(x / cap)`.
    pub fn softcap(&self, x: &mut [f32], cap: f32) {
        self.0.softcap(x, cap);
    }

    /// Replaces the elements of the row `x: [n]` by `ln(1 + e^x[i])`.
    pub fn softplus(&self, x: &mut [f32]) {
        self.0.softplus(x);
    }

    /// Adds `y: [n]` to `x: [n]`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add(&self, x: &mut [f32], y: &[f32]) {
        assert_eq!(x.len(), y.len(), "add needs equal lengths");
        self.0.add(x, y);
    }

    /// Adds `scale * y` to `x`, both `[n]`, rounding once.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_scaled(&self, x: &mut [f32], scale: f32, y: &[f32]) {
        assert_eq!(x.len(), y.len(), "add_scaled needs equal lengths");
        self.0.add_scaled(x, scale, y);
    }

    /// Rotates elements `2 i` and `2 i + 1` of `head: [2 n]` by the angles whose cosines and sines
    /// are `cos: [n]` and `sin: [n]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn rope_pairs(&self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(head.len() == 2 * cos.len() && cos.len() == sin.len(), "rope needs one angle per pair");
        self.0.rope_pairs(head, cos, sin);
    }

    /// Rotates elements `i` and `i + n` of `head: [2 n]` by the angles whose cosines and sines are
    /// `cos: [n]` and `sin: [n]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn rope_halves(&self, head: &mut [f32], cos: &[f32], sin: &[f32]) {
        assert!(head.len() == 2 * cos.len() && cos.len() == sin.len(), "rope needs one angle per pair");
        self.0.rope_halves(head, cos, sin);
    }

    /// Converts `x: [n]` to half precision in `out: [n]`, to nearest even.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn f32_to_f16(&self, x: &[f32], out: &mut [u16]) {
        assert_eq!(x.len(), out.len(), "f32_to_f16 needs equal lengths");
        self.0.f32_to_f16(x, out);
    }

    /// Converts half-precision `x: [n]` to floats in `out: [n]`, exactly.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn f16_to_f32(&self, x: &[u16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "f16_to_f32 needs equal lengths");
        self.0.f16_to_f32(x, out);
    }

    /// Converts `x: [n]` to bfloat16 in `out: [n]`, to nearest even.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn f32_to_bf16(&self, x: &[f32], out: &mut [u16]) {
        assert_eq!(x.len(), out.len(), "f32_to_bf16 needs equal lengths");
        self.0.f32_to_bf16(x, out);
    }

    /// Converts bfloat16 `x: [n]` to floats in `out: [n]`, exactly.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn bf16_to_f32(&self, x: &[u16], out: &mut [f32]) {
        assert_eq!(x.len(), out.len(), "bf16_to_f32 needs equal lengths");
        self.0.bf16_to_f32(x, out);
    }

    /// Convolves the channels of one position with those before: `taps[j]: [n]` are their values at the position of
    /// tap `j`, the oldest first; `weights: [taps, n]`, `bias: [n]` if there is one, `out: [n]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn conv(&self, taps: &[&[f32]], weights: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
        let n = out.len();
        let fit = taps.iter().all(|tap| tap.len() == n) && bias.is_none_or(|bias| bias.len() == n);
        assert!(fit && weights.len() == taps.len() * n, "conv needs equal lengths");
        self.0.conv(taps, weights, bias, out);
    }

    /// Lets one head walk consecutive positions by the delta rule, from `state` on, which it updates; `out` has a
    /// column of `n_value` outputs for each position. `state` is the head's matrix, sixteen columns at a time:
    /// `[padded_columns(n_value) / 16, n_key, 16]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn delta_rule(&self, state: &mut [f32], inputs: HeadInputs<'_>, mut out: ColumnsMut<'_>) {
        check_walk(state, &inputs, &out);
        self.0.delta_rule(state, &inputs, &mut out);
    }

    /// As [`Ops::delta_rule`], by the plain recurrence.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn plain_recurrence(&self, state: &mut [f32], inputs: HeadInputs<'_>, mut out: ColumnsMut<'_>) {
        check_walk(state, &inputs, &out);
        self.0.plain_recurrence(state, &inputs, &mut out);
    }

    /// As [`Ops::delta_rule`], by a rule whose decays differ from row to row of the matrix.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn row_decay_rule(&self, state: &mut [f32], inputs: RowDecayInputs<'_>, mut out: ColumnsMut<'_>) {
        let fits = inputs.n_key > 0 && inputs.fits(out.n_cols(), out.n_rows());
        let n_state = inputs.n_key.checked_mul(padded_columns(out.n_rows()));
        assert!(fits && n_state == Some(state.len()), "a state of {} floats and {inputs:?}", state.len());
        self.0.row_decay_rule(state, &inputs, &mut out);
    }

    /// Lets some channels walk consecutive positions by the selective scan, from `state` on, which it updates; `out` has
    /// a column of `n_channels` outputs for each position. `state` and the negative `rates` are of sixteen channels at a
    /// time: `[padded_columns(n_channels) / 16, n_state, 16]`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn selective_scan(
        &self,
        state: &mut [f32],
        rates: &[f32],
        inputs: ScanInputs<'_>,
        mut out: ColumnsMut<'_>,
    ) {
        let fits = inputs.n_state > 0 && inputs.fits(out.n_cols(), out.n_rows());
        assert!(fits, "a scan needs values, time steps and what is shared for each position");
        let n_state = inputs.n_state.checked_mul(padded_columns(out.n_rows()));
        let is_whole = Some(state.len()) == n_state && state.len() == rates.len();
        assert!(is_whole, "a scan needs states and rates of whole blocks");
        self.0.selective_scan(state, rates, &inputs, &mut out);
    }

    /// `out[r] = rows[r] . x` for `rows: [out.len(), x.len()]`.
    ///
    /// # Panics
    /// If `x` is empty or the lengths do not fit.
    pub fn dots_f32(&self, x: &[f32], rows: &[f32], out: &mut [f32]) {
        assert!(!x.is_empty(), "dots_f32 needs a row that is not empty");
        assert_eq!(Some(rows.len()), x.len().checked_mul(out.len()), "dots_f32 needs one row per result");
        self.0.dots_f32(x, rows, out);
    }
}

fn check_walk(state: &[f32], inputs: &HeadInputs<'_>, out: &ColumnsMut<'_>) {
    let fits = inputs.fits(out.n_cols(), out.n_rows());
    assert!(
        fits && inputs.n_key > 0,
        "a recurrence needs a key, a query, a value and gates for each position"
    );
    let n_state = inputs.n_key.checked_mul(padded_columns(out.n_rows()));
    assert_eq!(Some(state.len()), n_state, "a recurrence needs a matrix of whole blocks");
}
