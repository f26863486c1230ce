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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::Isa;

    /// Numbers in -4..4 that look random.
    fn noise(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 21) as f32 - 4.0
        };
        (0..n).map(|_| next()).collect()
    }

    /// Checks that `fused` leaves what `separate` writes, and its windows.
    fn check(kernels: &Kernels, n: usize, fused: impl Fn(InputRow<'_>), separate: impl Fn(&mut [f32])) {
        let n_windows = n.div_ceil(WINDOW_LEN);
        let has_k = n.is_multiple_of(WINDOW_LEN);
        let mut expected = vec![0.0; n];
        separate(&mut expected);
        let (mut q8_0, mut q8_k) = (vec![Q8Window::ZERO; n_windows], vec![Q8KWindow::ZERO; n_windows]);
        kernels.quantize_q8_0(&expected, &mut q8_0);
        let mut floats = vec![0.0; n];
        let (mut found_0, mut found_k) = (q8_0.clone(), q8_k.clone());
        found_0.fill(Q8Window::ZERO);
        fused(InputRow {
            floats: &mut floats,
            q8_0: Some(&mut found_0),
            q8_k: if has_k { Some(&mut found_k) } else { None },
        });
        if has_k {
            kernels.quantize_q8_k(&expected, &mut q8_k);
        }
        assert_eq!(floats, expected, "{n} on {}", kernels.isa());
        for (found, expected) in found_0.iter().zip(&q8_0) {
            assert!(found.codes == expected.codes && found.sums == expected.sums, "{n} on {}", kernels.isa());
            assert_eq!(found.scales, expected.scales);
        }
        for (found, expected) in found_k.iter().zip(&q8_k) {
            assert!(found.codes == expected.codes && found.sums == expected.sums, "{n} on {}", kernels.isa());
            assert_eq!(found.scale, expected.scale);
        }
    }

    #[test]
    fn one_pass_has_the_bits_of_the_separate_operations() {
        for kernels in Isa::available().filter_map(Kernels::get) {
            for n in [0, 32, 256, 288, 512, 896, 4096] {
                let (x, weight, bias) = (noise(n, 1), noise(n, 2), noise(n, 3));
                let (weight, bias) = (&weight[..], Some(&bias[..]));
                let ops = kernels.ops();
                check(
                    kernels,
                    n,
                    |row| kernels.norm(Norm::Rms { weight, eps: 1e-5 }, &x, row),
                    |out| ops.rms_norm(&x, weight, 1e-5, out),
                );
                check(
                    kernels,
                    n,
                    |row| kernels.norm(Norm::Layer { weight, bias, eps: 1e-5 }, &x, row),
                    |out| ops.layer_norm(&x, weight, bias, 1e-5, out),
                );
                for gate in [Gate::Silu, Gate::GeluTanh, Gate::GeluErf] {
                    check(
                        kernels,
                        n,
                        |row| kernels.gated(gate, &x, weight, row),
                        |out| ops.gated(gate, &x, weight, out),
                    );
                }
            }
        }
    }
}
