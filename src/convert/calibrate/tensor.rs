//! Quantises the rows of one matrix of a tensor, both ways, and keeps the better.

use gguf_simd::{BlockType, Grid, Kernels};
use rayon::ThreadPool;

use super::codes::{Problem, Scratch, diagonal};
use super::drift::Drift;
use super::hessian::Hessian;
use super::observe::OfInputs;
use super::sample::Sample;
use crate::convert::parallel::in_order;
use crate::convert::transform::{Reading, SourceRows};
use crate::error::{Error, Result};
use crate::quantize::ErrorStats;

/// Rows that a thread takes at a time.
const ROWS: usize = 32;

/// How much of what makes up for lost inputs is taken: on other texts than those it was found with, half of it makes the
/// mean divergence as small as all of it (bundled model, Q4_0), and its tail smaller.
const TRUST: f64 = 0.5;

/// What was gathered for a matrix.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) chosen_by: Hessian,
    /// What it can make up for, if that is known.
    pub(super) drift: Option<Drift>,
    pub(super) held_out: Sample,
}

impl Gathered {
    /// No inputs yet, of a matrix with rows of `n_in` weights.
    pub(super) fn new(n_in: usize) -> Self {
        Self { chosen_by: Hessian::new(n_in), drift: None, held_out: Sample::new(n_in) }
    }

    /// Whether every input is a number, and what it lacks.
    pub(super) fn is_finite(&self) -> bool {
        let is_finite = self.drift.as_ref().is_none_or(Drift::is_finite);
        is_finite && self.chosen_by.is_finite() && self.held_out.is_finite()
    }
}

/// What the codes of a matrix are chosen by, and checked with.
#[derive(Debug)]
pub(super) struct Evidence {
    /// `[n_in]`: what the plain search weighs columns with, the mean squares of the inputs.
    importance: Vec<f32>,
    /// What codes are chosen with, unless they are to be the nearest.
    problem: Option<Problem>,
    held_out: Sample,
    /// What a matrix alone in its tensor can make up for.
    drift: Option<Drift>,
}

impl Evidence {
    /// From inputs to choose by and inputs to check with. Of few inputs, as experts may get, less is believed: what
    /// lies beside the diagonal is shrunk until there are as many as an input has elements.
    pub(super) fn new(
        kernels: &'static Kernels,
        Gathered { chosen_by, drift, held_out }: Gathered,
        is_nearest: bool,
    ) -> Self {
        let n_in = chosen_by.n_in();
        let kept = (chosen_by.n_tokens() as f64 / n_in as f64).min(1.0);
        let matrix = chosen_by.matrix(kept);
        drop(chosen_by);
        let importance = diagonal(&matrix, n_in);
        let problem = (!is_nearest).then(|| Problem::new(kernels, matrix, n_in));
        Self { importance, problem, held_out, drift }
    }
}

/// The blocks of a tensor, as far as they were made.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Of the plain search.
    pub(super) plain: Encoded,
    /// With codes that were chosen.
    pub(super) chosen: Encoded,
}

/// Blocks, and what they cost.
#[derive(Clone, Debug, Default)]
pub(super) struct Encoded {
    pub(super) blocks: Vec<u8>,
    /// The mean squared change of outputs for inputs that were held out.
    pub(super) output_error: f64,
    pub(super) error: ErrorStats,
}

impl Encoded {
    fn append(&mut self, other: &Self) {
        self.blocks.extend_from_slice(&other.blocks);
        self.output_error += other.output_error;
        self.error.merge(&other.error);
    }
}

/// The rows of a matrix: `n_rows` of them, from `first` on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows<'a> {
    pub(super) source: &'a SourceRows<'a>,
    pub(super) first: usize,
    pub(super) n_rows: usize,
    pub(super) block_type: BlockType,
}

/// What a thread keeps between groups of rows.
#[derive(Default)]
struct Worker {
    rows: Vec<f32>,
    reading: Reading,
    scratch: Scratch,
    /// `[n_rows, n_in]`: what the rows would best be.
    targets: Vec<f32>,
    /// `[n_rows, n]`, of inputs that were held out: what outputs lack already.
    lost: Vec<f32>,
    values: Vec<f32>,
    spare: Vec<f32>,
}

/// Quantises the rows of a matrix and appends them to `made`.
///
/// # Errors
/// What reading rows gives; [`Error::Malformed`] for a weight that is not a number.
pub(super) fn quantise(
    kernels: &'static Kernels,
    pool: &ThreadPool,
    rows: Rows<'_>,
    evidence: &Evidence,
    made: &mut Made,
) -> Result<()> {
    let n_groups = rows.n_rows.div_ceil(ROWS);
    let groups = in_order(pool, n_groups, |worker: &mut Worker, i| {
        let first = i * ROWS;
        let n = ROWS.min(rows.n_rows - first);
        let part = Rows { first: rows.first + first, n_rows: n, ..rows };
        part.quantise(kernels, evidence, worker)
    })?;
    for group in &groups {
        made.plain.append(&group.plain);
        made.chosen.append(&group.chosen);
    }
    Ok(())
}

impl Rows<'_> {
    fn quantise(self, kernels: &'static Kernels, evidence: &Evidence, worker: &mut Worker) -> Result<Made> {
        let (n_in, ty) = (self.source.n_in(), self.block_type);
        let row_bytes = ty.row_bytes(n_in).expect("the layout checked that rows divide into blocks");
        worker.rows.resize(self.n_rows * n_in, 0.0);
        self.source.read(self.first, &mut worker.rows, &mut worker.reading)?;
        if let Some(at) = worker.rows.iter().position(|value| !value.is_finite()) {
            let (file, element) = self.source.origin_of(self.first + at / n_in, at % n_in);
            let what = format!("{element} is {}; every weight must be a finite number", worker.rows[at]);
            return Err(Error::malformed(file, what));
        }
        evidence.held_out.lost_outputs(kernels, &worker.rows, self.first, &mut worker.lost);
        let importance = Some(evidence.importance.as_slice());
        let plainly = |rows: &[f32]| {
            let mut blocks = vec![0; self.n_rows * row_bytes];
            for (row, blocks) in rows.chunks_exact(n_in).zip(blocks.chunks_exact_mut(row_bytes)) {
                kernels.encode(ty, row, importance, blocks);
            }
            blocks
        };
        let plain = worker.encoded(kernels, (ty, n_in), plainly(&worker.rows), evidence);
        let Some((grid, problem)) = Grid::of(ty).zip(evidence.problem.as_ref()) else {
            return Ok(Made { chosen: plain.clone(), plain });
        };
        let (targets, mut blocks) = match &evidence.drift {
            Some(drift) => {
                worker.aim(kernels, problem, (drift, self.first), &evidence.held_out);
                (&worker.targets, plainly(&worker.targets))
            }
            None => (&worker.rows, plain.blocks.clone()),
        };
        problem.choose((ty, grid), targets, &mut blocks, &mut worker.scratch);
        Ok(Made { plain, chosen: worker.encoded(kernels, (ty, n_in), blocks, evidence) })
    }
}

impl Worker {
    /// Sets the targets of rows that are those of the matrix from `first` on: with half of what would make up for
    /// `drift`, or of as much of it as makes outputs for inputs that were held out best.
    fn aim(
        &mut self,
        kernels: &Kernels,
        problem: &Problem,
        (drift, first): (&Drift, usize),
        held_out: &Sample,
    ) {
        let Self { rows, targets, values, lost, spare, .. } = self;
        problem.correction(drift, rows, first, (targets, spare));
        held_out.outputs(kernels, targets, values);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
        };
        let square = dot(values, values);
        if square == 0.0 || !square.is_finite() {
            targets.clone_from(rows);
            return;
        }
        let share = (TRUST * (dot(values, lost) / square).clamp(0.0, 1.0)) as f32;
        targets.iter_mut().zip(rows).for_each(|(target, row)| *target = *row + share * *target);
    }

    /// What `blocks` cost beside the rows.
    fn encoded(
        &mut self,
        kernels: &Kernels,
        (ty, n_in): (BlockType, usize),
        blocks: Vec<u8>,
        evidence: &Evidence,
    ) -> Encoded {
        let mut error = ErrorStats::default();
        self.values.resize(self.rows.len(), 0.0);
        kernels.decode(ty, &blocks, &mut self.values);
        for (row, values) in self.rows.chunks_exact(n_in).zip(self.values.chunks_exact(n_in)) {
            error.add_row(row, values);
        }
        for (value, row) in self.values.iter_mut().zip(&self.rows) {
            *value = row - *value;
        }
        let output_error = evidence.held_out.output_error(kernels, &self.values, &self.lost, &mut self.spare);
        Encoded { blocks, output_error, error }
    }
}
