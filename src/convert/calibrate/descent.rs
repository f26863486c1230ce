//! What follows once codes are chosen in order: coordinate descent on the squared error, and scales that fit codes.
//!
//! Each error that changes moves the gradient `g = e H` of its row by a row of the Hessian, which is larger than any
//! cache. So columns are taken in tiles: inside one the gradient follows each change at once; then the changes of all
//! rows are applied to the gradients piece by piece, and a piece of the Hessian that was read serves all of them. The
//! order of operations of a row is the same whatever rows are beside it.

use gguf_simd::half_float::{f16_to_f32, f32_to_f16};
use gguf_simd::{BlockType, ColumnsMut, Grid};

use super::codes::{Problem, Scratch};
use super::factor::TILE;

/// Sweeps of coordinate descent. After three hardly a code changes.
const SWEEPS: usize = 3;

/// Elements of a gradient that follow the changes of a tile together: with as many of each row of the Hessian they
/// stay in the second cache.
const PIECE: usize = 512;

impl Problem {
    /// Computes errors and gradients from the values that were chosen.
    pub(super) fn begin_descent(&self, targets: &[f32], scratch: &mut Scratch) {
        let (n_in, n_rows) = (self.n_in, targets.len() / self.n_in);
        let Scratch { values, errors, gradient, .. } = scratch;
        for ((error, target), value) in errors.iter_mut().zip(targets).zip(&*values) {
            *error = target - value;
        }
        self.kernels.gemm_f32(&self.hessian, n_in, errors, ColumnsMut::new(gradient, n_in, n_rows));
    }

    /// Coordinate descent.
    pub(super) fn descend(&self, grid: &Grid, scratch: &mut Scratch) {
        for _ in 0..SWEEPS {
            let mut has_changed = false;
            for first in (0..self.n_in).step_by(TILE) {
                let width = TILE.min(self.n_in - first);
                scratch.changes.clear();
                scratch.changes.resize(scratch.values.len() / self.n_in * width, 0.0);
                for row in 0..scratch.values.len() / self.n_in {
                    has_changed |= self.descend_tile(grid, (row, first, width), scratch);
                }
                self.follow(first, width, scratch);
            }
            if !has_changed {
                break;
            }
        }
    }

    /// Descends in `width` columns of a row from `first` on. Returns whether a code changed.
    fn descend_tile(
        &self,
        grid: &Grid,
        (row, first, width): (usize, usize, usize),
        scratch: &mut Scratch,
    ) -> bool {
        let start = row * self.n_in + first;
        let mut gradient = [0.0; TILE];
        let gradient = &mut gradient[..width];
        gradient.copy_from_slice(&scratch.gradient[start..start + width]);
        let mut has_changed = false;
        for j in 0..width {
            let (at, of_column) = (start + j, (first + j) * self.n_in + first);
            let curved = &self.hessian[of_column..of_column + width];
            let (low, step, old) = (scratch.low[at], scratch.step[at], scratch.values[at]);
            let (code, level) = grid.nearest((old + gradient[j] / curved[j] - low) / step);
            if code == scratch.codes[at] {
                continue;
            }
            let value = low + step * level;
            self.kernels.ops().add_scaled(gradient, old - value, curved);
            scratch.changes[row * width + j] = old - value;
            (scratch.codes[at], scratch.values[at]) = (code, value);
            has_changed = true;
        }
        has_changed
    }

    /// Lets the gradients follow the changes of the errors of `width` columns from `first` on.
    fn follow(&self, first: usize, width: usize, scratch: &mut Scratch) {
        let n_in = self.n_in;
        let Scratch { changes, gradient, .. } = scratch;
        for start in (0..n_in).step_by(PIECE) {
            let piece = start..n_in.min(start + PIECE);
            for (changes, gradient) in changes.chunks_exact(width).zip(gradient.chunks_exact_mut(n_in)) {
                let gradient = &mut gradient[piece.clone()];
                for (i, &change) in changes.iter().enumerate().filter(|(_, change)| **change != 0.0) {
                    let row = &self.hessian[(first + i) * n_in..][piece.clone()];
                    self.kernels.ops().add_scaled(gradient, change, row);
                }
            }
        }
    }

    /// Fits the f16s of each block to its codes, by least squares of the outputs, a block after the other.
    pub(super) fn refit(&self, (ty, grid): (BlockType, &Grid), blocks: &mut [u8], scratch: &mut Scratch) {
        let (n_in, len) = (self.n_in, ty.block_len());
        let row_bytes = ty.row_bytes(n_in).expect("whole blocks");
        let n_rows = blocks.len() / row_bytes;
        for (b, first) in (0..n_in).step_by(len).enumerate() {
            let Scratch { changes, gradient, .. } = &mut *scratch;
            changes.clear();
            changes.resize(n_rows * len, 0.0);
            let rows = blocks.chunks_exact_mut(row_bytes).zip(gradient.chunks_exact(n_in));
            for ((blocks, gradient), changes) in rows.zip(changes.chunks_exact_mut(len)) {
                let block = &mut blocks[b * ty.block_bytes()..][..ty.block_bytes()];
                self.refit_block((ty, grid), first, block, &gradient[first..first + len], changes);
            }
            self.follow(first, len, scratch);
        }
        // What the halves are now, and the codes with them.
        grid.read(self.kernels, ty, blocks, &mut scratch.low, &mut scratch.step);
        self.kernels.decode(ty, blocks, &mut scratch.values);
    }

    /// Fits the f16s of a block whose first weight is column `first`; `gradient` is that of its columns, and
    /// `changes` becomes how their errors change.
    fn refit_block(
        &self,
        (ty, grid): (BlockType, &Grid),
        first: usize,
        block: &mut [u8],
        gradient: &[f32],
        changes: &mut [f32],
    ) {
        let len = ty.block_len();
        let (mut multiples, mut curved) = ([[0.0; 256]; 2], [[0.0f32; 256]; 2]);
        let halves = grid.halves();
        for (h, &half) in halves.iter().enumerate() {
            let multiples = &mut multiples[h][..len];
            grid.multiples(self.kernels, ty, block, half, multiples);
            for (i, &multiple) in multiples.iter().enumerate() {
                let row = &self.hessian[(first + i) * self.n_in + first..][..len];
                self.kernels.ops().add_scaled(&mut curved[h][..len], multiple, row);
            }
        }
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let slope = [0, 1].map(|h| dot(&multiples[h][..len], gradient));
        let [aa, ab, bb] =
            [(0, 0), (0, 1), (1, 1)].map(|(g, h)| dot(&multiples[g][..len], &curved[h][..len]));
        let determinant = aa * bb - ab * ab;
        let by = if halves.len() == 2 && determinant > 1e-6 * aa * bb {
            [(slope[0] * bb - slope[1] * ab) / determinant, (slope[1] * aa - slope[0] * ab) / determinant]
        } else if aa > 0.0 {
            [slope[0] / aa, 0.0]
        } else {
            return;
        };
        for (h, &at) in halves.iter().enumerate() {
            let old = f16_to_f32(u16::from_le_bytes([block[at], block[at + 1]]));
            let new = f32_to_f16((f64::from(old) + by[h]) as f32);
            let value = f16_to_f32(new);
            if !value.is_finite() || value == 0.0 || value == old {
                continue;
            }
            block[at..at + 2].copy_from_slice(&new.to_le_bytes());
            self.kernels.ops().add_scaled(changes, old - value, &multiples[h][..len]);
        }
    }
}
