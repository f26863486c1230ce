//! Chooses the codes of a matrix so that its outputs change little: GPTQ on frozen grids, then coordinate descent.
//!
//! ```text
//! blocks   = the plain search on the rows, with the Hessian's diagonal as importance: they fix the grid
//! in order = for each column k, greatest diagonal first (the grid is frozen, so any order will do):
//!              v_k = the value on the grid nearest to w_k + what earlier errors feed back (factor)
//! sweeps   = for each column j: v_j = the value nearest to the minimum of e H eT in v_j alone;
//!            g = e H follows each change
//! twice    : fit the f16s of each block to its codes, by least squares of the outputs; sweep again
//! ```
//!
//! Rows are independent, so that they are computed in any order, on any number of threads, with the same bits.

use gguf_simd::{BlockType, ColumnsMut, Grid, Kernels};

use super::drift::Drift;
use super::factor::{Factor, TILE, Tile};

/// How often scales are fitted to codes, and codes descend again: on the bundled model 4 % of the divergence.
const REFITS: usize = 2;

/// The share of the mean of the diagonal that is added to it: the experiment was flat from .001 to .03.
const DAMPING: f64 = 0.01;

/// What the codes of a matrix are chosen with.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) kernels: &'static Kernels,
    pub(super) n_in: usize,
    /// `[n_in, n_in]`: the damped Hessian, symmetric.
    pub(super) hessian: Vec<f32>,
    factor: Factor,
}

/// The diagonal of `matrix: [n, n]`.
pub(super) fn diagonal(matrix: &[f32], n: usize) -> Vec<f32> {
    (0..n).map(|i| matrix[i * (n + 1)]).collect()
}

/// What choosing keeps from one group of rows to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// `[n_rows, n_in]`, each.
    pub(super) low: Vec<f32>,
    pub(super) step: Vec<f32>,
    pub(super) values: Vec<f32>,
    pub(super) errors: Vec<f32>,
    pub(super) gradient: Vec<f32>,
    pub(super) codes: Vec<u8>,
    /// Of some columns, `[n_rows, n_columns]`: how errors change.
    pub(super) changes: Vec<f32>,
    /// By tile, `[n_rows, TILE]`: the errors in the order of the factor.
    ordered: Vec<Vec<f32>>,
    /// `[n_rows, TILE]`.
    feedback: Vec<f32>,
    product: Vec<f32>,
}

impl Problem {
    /// With `hessian: [n_in, n_in]`, which is damped. A column whose inputs were all zero gets the mean of the
    /// diagonal: it is then rounded to nearest, and its error feeds nothing.
    pub(super) fn new(kernels: &'static Kernels, mut hessian: Vec<f32>, n_in: usize) -> Self {
        let mean = diagonal(&hessian, n_in).iter().copied().map(f64::from).sum::<f64>() / n_in as f64;
        let mean = if mean > 0.0 { mean } else { 1.0 };
        for i in 0..n_in {
            let value = &mut hessian[i * (n_in + 1)];
            let is_dead = *value <= 0.0;
            *value = if is_dead { mean as f32 } else { (f64::from(*value) + DAMPING * mean) as f32 };
        }
        let factor = Factor::new(kernels, &hessian, n_in);
        Self { kernels, n_in, hessian, factor }
    }

    /// What `rows: [n_rows, n_in]` of a matrix, from `first` on, are to be changed by to make up for `drift`, into
    /// `out`.
    pub(super) fn correction(
        &self,
        drift: &Drift,
        rows: &[f32],
        first: usize,
        (out, spare): (&mut Vec<f32>, &mut Vec<f32>),
    ) {
        drift.asked(self.kernels, rows, first, out);
        self.factor.solve(self.kernels, out, spare);
    }

    /// Chooses the codes of some rows. `rows: [n_rows, n_in]` have the plain search's `blocks` of type `ty`, whose
    /// scales stay; the codes make the outputs near to those of `targets: [n_rows, n_in]`, which may be the rows.
    ///
    /// # Panics
    /// If lengths do not agree.
    pub(super) fn choose(
        &self,
        (ty, grid): (BlockType, &Grid),
        targets: &[f32],
        blocks: &mut [u8],
        scratch: &mut Scratch,
    ) {
        let n = targets.len();
        assert!(n.is_multiple_of(self.n_in), "whole rows");
        for buffer in [
            &mut scratch.low,
            &mut scratch.step,
            &mut scratch.values,
            &mut scratch.errors,
            &mut scratch.gradient,
        ] {
            buffer.resize(n, 0.0);
        }
        scratch.codes.resize(n, 0);
        grid.read(self.kernels, ty, blocks, &mut scratch.low, &mut scratch.step);
        self.take_in_order(grid, targets, scratch);
        self.begin_descent(targets, scratch);
        self.descend(grid, scratch);
        grid.write(ty, &scratch.codes, blocks);
        for _ in 0..REFITS {
            self.refit((ty, grid), blocks, scratch);
            self.descend(grid, scratch);
            grid.write(ty, &scratch.codes, blocks);
        }
    }

    /// GPTQ: takes columns in the order of the factor.
    fn take_in_order(&self, grid: &Grid, targets: &[f32], scratch: &mut Scratch) {
        let n_rows = targets.len() / self.n_in;
        let tiles = self.factor.tiles();
        scratch.ordered.resize_with(tiles.len(), Vec::new);
        for (t, tile) in tiles.iter().enumerate() {
            let width = tile.columns.len();
            let Scratch { ordered, feedback, product, .. } = &mut *scratch;
            feedback.clear();
            feedback.resize(n_rows * width, 0.0);
            product.resize(n_rows * width, 0.0);
            for (errors, before) in ordered.iter().zip(&tile.before) {
                let out = ColumnsMut::new(product, width, n_rows);
                self.kernels.gemm_f32(before, TILE, errors, out);
                self.kernels.ops().add(feedback, product);
            }
            ordered[t].clear();
            ordered[t].resize(n_rows * width, 0.0);
            for row in 0..n_rows {
                self.take_tile(grid, tile, (t, row), targets, scratch);
            }
        }
    }

    /// Takes the columns of a tile, number `t`, for one row.
    fn take_tile(
        &self,
        grid: &Grid,
        tile: &Tile,
        (t, row): (usize, usize),
        targets: &[f32],
        scratch: &mut Scratch,
    ) {
        let width = tile.columns.len();
        let feedback = &mut scratch.feedback[row * width..][..width];
        let errors = &mut scratch.ordered[t][row * width..][..width];
        for k in 0..width {
            let at = row * self.n_in + self.factor.order[tile.columns.start + k] as usize;
            let (low, step, target) = (scratch.low[at], scratch.step[at], targets[at]);
            let (code, level) = grid.nearest((target + feedback[k] - low) / step);
            let value = low + step * level;
            (scratch.codes[at], scratch.values[at]) = (code, value);
            errors[k] = target - value;
            let later = &tile.within[k * width + k + 1..(k + 1) * width];
            self.kernels.ops().add_scaled(&mut feedback[k + 1..], errors[k], later);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::hessian::Hessian;
    use super::super::observe::OfInputs;
    use super::super::sample::Sample;
    use super::*;

    /// Numbers that repeat.
    struct Random(u64);

    impl Random {
        fn float(&mut self) -> f32 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        }

        fn floats(&mut self, n: usize) -> Vec<f32> {
            (0..n).map(|_| self.float()).collect()
        }
    }

    /// Inputs that a few directions explain, and the rows of a matrix.
    fn correlated(n_in: usize, n_tokens: usize, n_rows: usize) -> (Vec<f32>, Vec<f32>) {
        let mut random = Random(7);
        let directions = random.floats(8 * n_in);
        let mut inputs = Vec::new();
        for _ in 0..n_tokens {
            let strengths = random.floats(8);
            for i in 0..n_in {
                let shared: f32 = (0..8).map(|d| strengths[d] * directions[d * n_in + i]).sum();
                inputs.push(shared + 0.1 * random.float());
            }
        }
        (inputs, random.floats(n_rows * n_in))
    }

    fn errors_of(ty: BlockType, rows: &[f32], blocks: &[u8]) -> Vec<f32> {
        let mut values = vec![0.0; rows.len()];
        Kernels::best().decode(ty, blocks, &mut values);
        rows.iter().zip(values).map(|(row, value)| row - value).collect()
    }

    #[test]
    fn chosen_codes_change_outputs_less_than_nearest_ones_for_every_type() {
        let (n_in, n_rows, kernels) = (512, 6, Kernels::best());
        let (inputs, rows) = correlated(n_in, 2000, n_rows);
        let (mut hessian, mut held_out) = (Hessian::new(n_in), Sample::new(n_in));
        hessian.add(kernels, &inputs[..1500 * n_in]);
        held_out.add(kernels, &inputs[1500 * n_in..]);
        let matrix = hessian.matrix(1.0);
        let importance = diagonal(&matrix, n_in);
        let problem = Problem::new(kernels, matrix, n_in);
        let mut spare = Vec::new();
        for ty in BlockType::all() {
            let Some(grid) = Grid::of(ty) else { continue };
            let mut blocks = vec![0; n_rows * ty.row_bytes(n_in).unwrap()];
            for (row, blocks) in rows.chunks(n_in).zip(blocks.chunks_mut(ty.row_bytes(n_in).unwrap())) {
                kernels.encode(ty, row, Some(&importance), blocks);
            }
            let none = vec![0.0; n_rows * 500];
            let plain = held_out.output_error(kernels, &errors_of(ty, &rows, &blocks), &none, &mut spare);
            let mut again = blocks.clone();
            problem.choose((ty, grid), &rows, &mut blocks, &mut Scratch::default());
            let chosen = held_out.output_error(kernels, &errors_of(ty, &rows, &blocks), &none, &mut spare);
            assert!(chosen < 0.5 * plain, "{ty}: {chosen} for {plain}");
            // A row at a time, in another order: the same bits.
            let row_bytes = again.len() / n_rows;
            let mut scratch = Scratch::default();
            for (row, blocks) in rows.chunks(n_in).zip(again.chunks_mut(row_bytes)).rev() {
                problem.choose((ty, grid), row, blocks, &mut scratch);
            }
            assert_eq!(blocks, again, "{ty}");
        }
    }

    /// The squared errors of a row as Q4_0, plain and with chosen codes, under `hessian`.
    fn squared_errors(hessian: Vec<f32>, n_in: usize) -> [f32; 2] {
        let (ty, kernels) = (BlockType::Q4_0, Kernels::best());
        let importance = diagonal(&hessian, n_in);
        let problem = Problem::new(kernels, hessian, n_in);
        let row = Random(3).floats(n_in);
        let mut blocks = vec![0; ty.row_bytes(n_in).unwrap()];
        kernels.encode(ty, &row, Some(&importance), &mut blocks);
        let plain = errors_of(ty, &row, &blocks);
        problem.choose((ty, Grid::of(ty).unwrap()), &row, &mut blocks, &mut Scratch::default());
        [plain, errors_of(ty, &row, &blocks)].map(|errors| errors.iter().map(|e| e * e).sum())
    }

    #[test]
    fn without_correlation_nothing_is_lost() {
        let n_in = 256;
        let mut hessian = vec![0.0; n_in * n_in];
        (0..n_in).for_each(|i| hessian[i * (n_in + 1)] = 1.0);
        // A dead column is like the others.
        hessian[17 * (n_in + 1)] = 0.0;
        let [plain, chosen] = squared_errors(hessian, n_in);
        assert!(chosen <= 1.001 * plain && chosen > 0.9 * plain, "{chosen} for {plain}");
    }

    #[test]
    fn inputs_that_never_came_count_alike() {
        let [plain, chosen] = squared_errors(vec![0.0; 32 * 32], 32);
        assert!(chosen <= 1.001 * plain && chosen > 0.9 * plain, "{chosen} for {plain}");
    }
}
