//! What the error of one column does to the next: the triangular factor of a Hessian.
//!
//! With `H = R RT`, `R` upper triangular, the squared error of a row is `|e R|^2`, whose element `k` depends on the
//! errors of columns up to `k` alone: `(e_k + sum_j<k e_j R_jk / R_kk) R_kk`. Taking columns in order, the best
//! value for column `k` is therefore the one nearest to `w_k + sum_j<k e_j F_jk` with `F_jk = R_jk / R_kk`. That is
//! GPTQ (Frantar et al., 2022) without the inverse that it is usually written with: what the nearest-plane
//! algorithm of lattices does.

use std::ops::Range;

use gguf_simd::{ColumnsMut, Kernels};
use rayon::prelude::*;

/// Columns of a tile.
pub(super) const TILE: usize = 128;

/// The columns of a Hessian in the order in which they are quantised, and what their errors do to later ones.
#[derive(Debug)]
pub(super) struct Factor {
    /// `[n]`: the column that is quantised first, and so on.
    pub(super) order: Vec<u32>,
    /// By tile of columns `k`: what the tiles of `j` before it have to do with it.
    tiles: Vec<Tile>,
    /// `[n]`, in that order: `R_kk^2`.
    pivots: Vec<f32>,
}

/// A tile of columns.
#[derive(Debug)]
pub(super) struct Tile {
    /// Its columns, in the order of the factor.
    pub(super) columns: Range<usize>,
    /// By earlier tile, `[columns.len(), TILE]`: `F_jk` at row `k`, column `j`.
    pub(super) before: Vec<Vec<f32>>,
    /// `[columns.len(), columns.len()]`: `F_jk` at row `j`, column `k > j`; else zeros.
    pub(super) within: Vec<f32>,
}

impl Factor {
    /// Of the positive definite `matrix: [n, n]`, columns of greater `diagonal` first.
    pub(super) fn new(kernels: &Kernels, matrix: &[f32], n: usize) -> Self {
        let mut order: Vec<u32> = (0..n as u32).collect();
        // Of equals the first comes first.
        order.sort_by(|&a, &b| {
            let of = |i: u32| matrix[i as usize * (n + 1)];
            of(b).total_cmp(&of(a))
        });
        // Cholesky's factor of the reversed matrix is lower triangular; reversed back it is R.
        let mut reversed = vec![0.0; n * n];
        reversed.par_chunks_mut(n).enumerate().for_each(|(i, row)| {
            let from = &matrix[order[n - 1 - i] as usize * n..][..n];
            for (j, value) in row[..=i].iter_mut().enumerate() {
                *value = from[order[n - 1 - j] as usize];
            }
        });
        cholesky(kernels, &mut reversed, n);
        let n_tiles = n.div_ceil(TILE);
        let tiles = (0..n_tiles).into_par_iter().map(|tile| Tile::new(&reversed, n, tile)).collect();
        let pivots = (0..n).map(|k| reversed[(n - 1 - k) * (n + 1)]).map(|pivot| pivot * pivot).collect();
        Self { order, tiles, pivots }
    }

    /// Its tiles, in order.
    pub(super) fn tiles(&self) -> &[Tile] {
        &self.tiles
    }

    /// Replaces each of `rows: [n_rows, n]` by the `z` for which `z H` is the row.
    pub(super) fn solve(&self, kernels: &Kernels, rows: &mut [f32], spare: &mut Vec<f32>) {
        let n = self.order.len();
        let of_tile = |tile: &Tile| -> Vec<f32> {
            let columns = &self.order[tile.columns.clone()];
            rows.chunks_exact(n).flat_map(|row| columns.iter().map(|&i| row[i as usize])).collect()
        };
        let mut by_tile: Vec<Vec<f32>> = self.tiles.iter().map(of_tile).collect();
        // H is F D FT, D being the squares of the pivots: first for z F D, from the last column on, then for z.
        for (t, tile) in self.tiles.iter().enumerate().rev() {
            let (before, now) = by_tile.split_at_mut(t);
            tile.solve_transposed(kernels, &mut now[0], before, spare);
        }
        for (t, tile) in self.tiles.iter().enumerate() {
            let (before, now) = by_tile.split_at_mut(t);
            let pivots = &self.pivots[tile.columns.clone()];
            for row in now[0].chunks_exact_mut(pivots.len()) {
                row.iter_mut().zip(pivots).for_each(|(value, pivot)| *value /= pivot);
            }
            tile.solve(kernels, &mut now[0], before, spare);
        }
        for (tile, solved) in self.tiles.iter().zip(&by_tile) {
            let columns = &self.order[tile.columns.clone()];
            for (row, solved) in rows.chunks_exact_mut(n).zip(solved.chunks_exact(columns.len())) {
                columns.iter().zip(solved).for_each(|(&i, value)| row[i as usize] = *value);
            }
        }
    }
}

impl Tile {
    /// From Cholesky's factor of the reversed matrix: `R_jk = L[n - 1 - j][n - 1 - k]`.
    fn new(reversed: &[f32], n: usize, tile: usize) -> Self {
        let feedback = |j: usize, k: usize| {
            let column = n - 1 - k;
            reversed[(n - 1 - j) * n + column] / reversed[column * (n + 1)]
        };
        let columns = tile * TILE..n.min((tile + 1) * TILE);
        let before = (0..tile).map(|from| {
            let of_row = |k: usize| (from * TILE..(from + 1) * TILE).map(move |j| feedback(j, k));
            columns.clone().flat_map(of_row).collect()
        });
        let before = before.collect();
        let of_row = |j: usize| columns.clone().map(move |k| if k > j { feedback(j, k) } else { 0.0 });
        let within = columns.clone().flat_map(of_row).collect();
        Self { before, within, columns }
    }

    /// Solves `z F` for its columns in `now: [n_rows, width]`, those `before` being solved.
    fn solve(&self, kernels: &Kernels, now: &mut [f32], before: &[Vec<f32>], spare: &mut Vec<f32>) {
        let width = self.columns.len();
        spare.resize(now.len(), 0.0);
        for (solved, coefficients) in before.iter().zip(&self.before) {
            kernels.gemm_f32(coefficients, TILE, solved, ColumnsMut::new(spare, width, now.len() / width));
            now.iter_mut().zip(&*spare).for_each(|(value, fed)| *value -= fed);
        }
        for row in now.chunks_exact_mut(width) {
            for k in 0..width {
                let (solved, later) = row.split_at_mut(k + 1);
                let coefficients = &self.within[k * width + k + 1..(k + 1) * width];
                kernels.ops().add_scaled(later, -solved[k], coefficients);
            }
        }
    }

    /// Solves `z FT` for its columns in `now: [n_rows, width]`, to which those after it have done what they do, and
    /// does the same to those `before` it.
    fn solve_transposed(
        &self,
        kernels: &Kernels,
        now: &mut [f32],
        before: &mut [Vec<f32>],
        spare: &mut Vec<f32>,
    ) {
        let width = self.columns.len();
        let n_rows = now.len() / width;
        for row in now.chunks_exact_mut(width) {
            for j in (0..width).rev() {
                let (earlier, solved) = row.split_at_mut(j + 1);
                let coefficients = &self.within[j * width + j + 1..(j + 1) * width];
                earlier[j] -= dot(solved, coefficients) as f32;
            }
        }
        let mut transposed = vec![0.0; TILE * width];
        for (values, coefficients) in before.iter_mut().zip(&self.before) {
            for (j, row) in transposed.chunks_exact_mut(width).enumerate() {
                row.iter_mut().enumerate().for_each(|(k, value)| *value = coefficients[k * TILE + j]);
            }
            spare.resize(values.len(), 0.0);
            kernels.gemm_f32(&transposed, width, now, ColumnsMut::new(spare, TILE, n_rows));
            values.iter_mut().zip(&*spare).for_each(|(value, fed)| *value -= fed);
        }
    }
}

/// Replaces the lower triangle of `a: [n, n]` by that of its Cholesky factor, a tile of columns after the other.
/// Pivots that rounding has made tiny or negative, which damping should prevent, become tiny positive ones.
fn cholesky(kernels: &Kernels, a: &mut [f32], n: usize) {
    for start in (0..n).step_by(TILE) {
        let end = n.min(start + TILE);
        let (above, rest) = a.split_at_mut(end * n);
        factor_tile(&mut above[start * n..], n, start, end);
        let tile = &above[start * n..];
        // The rows below, divided by the tile's factor.
        rest.par_chunks_mut(n).for_each(|row| {
            for j in start..end {
                let pivot_row = &tile[(j - start) * n..];
                let (done, now) = row.split_at_mut(j);
                let sum: f64 = dot(&done[start..], &pivot_row[start..j]);
                now[0] = ((f64::from(now[0]) - sum) / f64::from(pivot_row[j])) as f32;
            }
        });
        subtract_products(kernels, rest, n, start, end);
    }
}

/// Subtracts from the trailing triangle, whose rows `rest` begin at row `end`, the products of columns
/// `start..end`.
fn subtract_products(kernels: &Kernels, rest: &mut [f32], n: usize, start: usize, end: usize) {
    let width = end - start;
    let panel: Vec<f32> = rest.chunks_exact(n).flat_map(|row| &row[start..end]).copied().collect();
    rest.par_chunks_mut(TILE * n).enumerate().for_each(|(i, rows)| {
        let n_rows = rows.len() / n;
        let (first, n_columns) = (i * TILE, i * TILE + n_rows);
        let mut products = vec![0.0; n_rows * n_columns];
        let x = &panel[first * width..n_columns * width];
        let out = ColumnsMut::new(&mut products, n_columns, n_rows);
        kernels.gemm_f32(&panel[..n_columns * width], width, x, out);
        for (row, products) in rows.chunks_exact_mut(n).zip(products.chunks_exact(n_columns)) {
            for (value, product) in row[end..].iter_mut().zip(products) {
                *value -= product;
            }
        }
    });
}

/// Factors the tile on the diagonal, rows and columns `start..end`; `rows` begin at row `start`.
fn factor_tile(rows: &mut [f32], n: usize, start: usize, end: usize) {
    for i in start..end {
        let (above, row) = rows.split_at_mut((i - start) * n);
        for j in start..i {
            let pivot_row = &above[(j - start) * n..];
            let sum = dot(&row[start..j], &pivot_row[start..j]);
            row[j] = ((f64::from(row[j]) - sum) / f64::from(pivot_row[j])) as f32;
        }
        let square = f64::from(row[i]) - dot(&row[start..i], &row[start..i]);
        let least = f64::from(row[i]).abs() * 1e-6 + f64::from(f32::MIN_POSITIVE);
        row[i] = square.max(least).sqrt() as f32;
    }
}

/// The sum of products, in four lanes of doubles.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut lanes = [0.0; 4];
    let (a_chunks, a_rest) = a.as_chunks::<4>();
    let (b_chunks, b_rest) = b.as_chunks::<4>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for l in 0..4 {
            lanes[l] += f64::from(a[l]) * f64::from(b[l]);
        }
    }
    for (l, (a, b)) in a_rest.iter().zip(b_rest).enumerate() {
        lanes[l] += f64::from(*a) * f64::from(*b);
    }
    (lanes[0] + lanes[1]) + (lanes[2] + lanes[3])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A positive definite matrix whose diagonal is in no order.
    fn definite(n: usize) -> Vec<f32> {
        let at = |i: usize, j: usize| ((i * 31 + j * 17 + i * j) % 23) as f32 / 23.0 - 0.5;
        let of = |i: usize, j: usize| (0..n).map(|t| at(t, i) * at(t, j)).sum::<f32>() / n as f32;
        (0..n * n).map(|k| of(k / n, k % n) + if k / n == k % n { 0.1 } else { 0.0 }).collect()
    }

    #[test]
    fn the_factor_gives_the_squared_error_back() {
        for n in [3, TILE, 2 * TILE + 40] {
            let matrix = definite(n);
            let factor = Factor::new(Kernels::best(), &matrix, n);
            let errors: Vec<f32> = (0..n).map(|i| ((i * 7 % 11) as f32 - 5.0) / 5.0).collect();
            let exact: f64 = (0..n * n)
                .map(|k| f64::from(errors[k / n]) * f64::from(matrix[k]) * f64::from(errors[k % n]))
                .sum();
            // R_kk^2 is what is left of the diagonal once later columns may help: its product over all k is the
            // determinant, so it is found here from the matrix itself, by the errors that cancel feedback.
            let mut sum = 0.0;
            for k in 0..n {
                let error = |k: usize| f64::from(errors[factor.order[k] as usize]);
                let fed: f64 =
                    row(&factor, k).iter().enumerate().map(|(j, f)| error(j) * f64::from(*f)).sum();
                sum += (error(k) + fed).powi(2) * pivot(&matrix, &factor, k);
            }
            assert!((sum - exact).abs() < 1e-4 * exact.abs(), "{n}: {sum} for {exact}");
        }
    }

    /// `F_jk` for all `j` before `k`.
    fn row(factor: &Factor, k: usize) -> Vec<f32> {
        let (tile, k) = (&factor.tiles()[k / TILE], k % TILE);
        let before = tile.before.iter().flat_map(|of_tile| of_tile[k * TILE..][..TILE].to_vec());
        let within = (0..k).map(|j| tile.within[j * tile.columns.len() + k]);
        before.chain(within).collect()
    }

    /// `R_kk^2`: with unit error in column `k`, and errors in later columns that feed back to nothing.
    fn pivot(matrix: &[f32], factor: &Factor, k: usize) -> f64 {
        let n = factor.order.len();
        let mut errors = vec![0.0; n];
        errors[k] = 1.0;
        for later in k + 1..n {
            let feedback = row(factor, later);
            let fed = feedback[k..].iter().zip(&errors[k..]);
            errors[later] = -fed.map(|(f, e)| f64::from(*f) * e).sum::<f64>();
        }
        let at =
            |i: usize, j: usize| f64::from(matrix[factor.order[i] as usize * n + factor.order[j] as usize]);
        // The gradient vanishes in later columns, so that a row of the matrix is enough.
        (k..n).map(|j| errors[j] * at(k, j)).sum()
    }

    #[test]
    fn what_is_solved_gives_the_rows_back() {
        for n in [3, TILE, 2 * TILE + 40] {
            let matrix = definite(n);
            let rows: Vec<f32> = (0..2 * n).map(|i| ((i * 7 % 11) as f32 - 5.0) / 5.0).collect();
            let mut solved = rows.clone();
            Factor::new(Kernels::best(), &matrix, n).solve(Kernels::best(), &mut solved, &mut Vec::new());
            for (row, solved) in rows.chunks(n).zip(solved.chunks(n)) {
                for (j, value) in row.iter().enumerate() {
                    let back = dot(solved, &matrix[j * n..(j + 1) * n]);
                    assert!((back - f64::from(*value)).abs() < 1e-3, "{n}, {j}: {back} for {value}");
                }
            }
        }
    }

    #[test]
    fn columns_come_in_falling_order_of_the_diagonal() {
        let n = 40;
        let matrix = definite(n);
        let order = Factor::new(Kernels::best(), &matrix, n).order;
        let diagonal: Vec<f32> = order.iter().map(|&i| matrix[i as usize * (n + 1)]).collect();
        assert!(diagonal.is_sorted_by(|a, b| a >= b));
    }
}
