//! One pass from a row to everything its consumers read.
//!
//! A row is normalised (or gated) and quantised window by window: the floats of a window are still in
//! the L1 cache when each quantiser takes them, and every consumer of the input shares the result.

use super::Kernels;
use crate::activation::{Q8KWindow, Q8Window, WINDOW_LEN};
use crate::ops::{Gate, Norm};

/// A row of an input, to be written: its floats, and its windows in the formats that are wanted.
#[derive(Debug)]
pub struct InputRow<'a> {
    /// `[n]`.
    pub floats: &'a mut [f32],
    /// `ceil(n / 256)` windows, if wanted; `n` is then a multiple of 32.
    pub q8_0: Option<&'a mut [Q8Window]>,
    /// `n / 256` windows, if wanted; `n` is then a multiple of 256.
    pub q8_k: Option<&'a mut [Q8KWindow]>,
}

impl InputRow<'_> {
    /// Panics if the lengths do not fit.
    fn check(&self) {
        let n = self.floats.len();
        if let Some(windows) = &self.q8_0 {
            assert!(n.is_multiple_of(32), "{n} activations are not groups of 32");
            assert_eq!(windows.len(), n.div_ceil(WINDOW_LEN), "windows for {n} activations");
        }
        if let Some(windows) = &self.q8_k {
            assert!(n.is_multiple_of(WINDOW_LEN), "{n} activations are not windows of 256");
            assert_eq!(windows.len(), n / WINDOW_LEN, "windows for {n} activations");
        }
    }
}

impl Kernels {
    /// Normalises the row `x: [n]` into `out` and quantises it into the formats wanted there. The bits
    /// are those of the norm and the quantisers one after the other.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn norm(&self, norm: Norm<'_>, x: &[f32], out: InputRow<'_>) {
        let n = out.floats.len();
        assert!(x.len() == n && norm.fits(n), "a norm needs equal lengths");
        let measured = self.ops.measure(norm, x);
        self.by_windows(out, |first, floats| self.ops.apply(&measured, x, first, floats));
    }

    /// Writes `gate(gates[i]) * up[i]` of rows `[n]` to `out` and quantises it into the formats wanted
    /// there. The bits are those of [`crate::ops::Ops::gated`] and the quantisers one after the other.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn gated(&self, gate: Gate, gates: &[f32], up: &[f32], out: InputRow<'_>) {
        let n = out.floats.len();
        assert!(gates.len() == n && up.len() == n, "a gate needs equal lengths");
        self.by_windows(out, |first, floats| {
            let part = first..first + floats.len();
            self.ops.gated(gate, &gates[part.clone()], &up[part], floats);
        });
    }

    /// Writes `gate(x)` of the row `x: [n]` to `out` and quantises it into the formats wanted there. The bits
    /// are those of [`crate::ops::Ops::activate`] and the quantisers one after the other.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn activated(&self, gate: Gate, x: &[f32], out: InputRow<'_>) {
        assert_eq!(x.len(), out.floats.len(), "an activation needs equal lengths");
        self.by_windows(out, |first, floats| {
            self.ops.activate(gate, &x[first..first + floats.len()], floats);
        });
    }

    /// Has each window's floats written by `write`, from the element it is given, and quantises them.
    fn by_windows(&self, mut out: InputRow<'_>, write: impl Fn(usize, &mut [f32])) {
        out.check();
        for (w, floats) in out.floats.chunks_mut(WINDOW_LEN).enumerate() {
            write(w * WINDOW_LEN, floats);
            if let Some(windows) = &mut out.q8_0 {
                self.quantize_q8_0(floats, &mut windows[w..=w]);
            }
            if let Some(windows) = &mut out.q8_k {
                self.quantize_q8_k(floats, &mut windows[w..=w]);
            }
        }
    }
}
