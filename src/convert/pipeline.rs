//! Carries a plan out: groups of rows, in parallel, from the checkpoint to blocks in the file.
//!
//! The threads take the groups in file order (`parallel`); each holds one group, about a megabyte of floats
//! and its blocks, which bounds the memory of a conversion whatever the model. Which thread takes a group
//! changes nothing: groups are cut the same way for any number of threads, and their errors are summed in
//! order.

use std::path::Path;
use std::time::Instant;

use gguf_simd::FloatEnvironment;
use gguf_simd::kernels::Kernels;
use rayon::ThreadPool;

use crate::convert::parallel::{in_order, pool};
use crate::convert::plan::{Plan, Planned};
use crate::convert::transform::Reading;
use crate::convert::verify::verify;
use crate::convert::{Progress, Summary, TensorSummary};
use crate::error::{Error, Result};
use crate::gguf::GgufWriter;
use crate::quantize::{ErrorStats, encode_rows, largest_magnitude};

/// Elements of a group of rows, unless a single row has more.
const GROUP_ELEMENTS: usize = 1 << 18;

/// The largest number in F16.
const MAX_F16: f32 = 65504.0;

/// How to carry a plan out. None of it changes a byte of the result.
#[derive(Clone, Copy)]
pub struct RunOptions {
    /// Whether an existing file is replaced.
    pub overwrite: bool,
    /// Threads; at least one works.
    pub n_threads: usize,
    /// The arithmetic of this CPU.
    pub kernels: &'static Kernels,
}

/// Writes the file that `plan` decided to `path`, reads it back, and gives it its name.
///
/// # Errors
/// [`Error::Usage`] if the file exists and is not to be replaced, or is one of those being read;
/// [`Error::Malformed`] for a source value that is not a finite number, or a source that changed meanwhile;
/// [`Error::Limit`] for a value that the chosen type cannot hold, or a full disk; [`Error::Io`];
/// [`Error::Interrupted`]. The file at `path` is then as it was; only if it cannot have its name, a
/// finished file is kept under another, which the error tells.
pub fn run(plan: &Plan<'_>, path: &Path, options: &RunOptions, progress: &dyn Progress) -> Result<Summary> {
    let _environment = FloatEnvironment::enter();
    let start = Instant::now();
    plan.check_target(path, options.overwrite)?;
    let groups = cut(plan);
    let pool = pool(options.n_threads, groups.len())?;
    let writer = GgufWriter::create(path, plan.layout().clone(), options.overwrite)?;
    let job = Job { plan, writer: &writer, options, progress };
    progress
        .begin(plan.sources().iter().map(|planned| planned.rows.source_bytes(planned.rows.n_rows())).sum());
    let written = job.write(&pool, &groups)?;
    progress.verifying();
    writer.sync()?;
    verify(&job, &pool, &groups, &written)?;
    plan.check_unchanged()?;
    // Asked last of all, so that an interrupt counts until the file has its name.
    if progress.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let path = writer.finish()?;
    let mut errors = vec![ErrorStats::default(); plan.sources().len()];
    for (group, written) in groups.iter().zip(&written) {
        errors[group.tensor].merge(&written.error);
    }
    let tensors = plan.layout().tensors().iter().zip(errors);
    Ok(Summary {
        path,
        file_type: plan.file_type(),
        file_bytes: plan.file_bytes(),
        bits_per_weight: plan.bits_per_weight(),
        is_requantised: plan.is_requantised(),
        duration: start.elapsed(),
        tensors: tensors
            .map(|(placed, error)| TensorSummary {
                name: placed.name.clone(),
                block_type: placed.block_type,
                n_bytes: placed.n_bytes,
                error,
            })
            .collect(),
    })
}

/// Rows of one tensor that are converted together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) tensor: usize,
    pub(super) first_row: usize,
    pub(super) n_rows: usize,
}

/// A group in the file.
#[derive(Debug)]
pub(super) struct Written {
    /// What its encoding lost.
    error: ErrorStats,
    /// The CRC-32 of its blocks.
    pub(super) crc: u32,
}

pub(super) fn cut(plan: &Plan<'_>) -> Vec<Group> {
    let mut groups = Vec::new();
    for (tensor, Planned { rows, .. }) in plan.sources().iter().enumerate() {
        let most = (GROUP_ELEMENTS / rows.n_in()).max(1);
        let firsts = (0..rows.n_rows()).step_by(most);
        groups.extend(firsts.map(|first_row| Group {
            tensor,
            first_row,
            n_rows: most.min(rows.n_rows() - first_row),
        }));
    }
    groups
}

/// What the threads share.
pub(super) struct Job<'a> {
    pub(super) plan: &'a Plan<'a>,
    pub(super) writer: &'a GgufWriter,
    pub(super) options: &'a RunOptions,
    pub(super) progress: &'a dyn Progress,
}

/// What a thread keeps between groups.
#[derive(Default)]
struct Worker {
    rows: Vec<f32>,
    blocks: Vec<u8>,
    scratch: Vec<f32>,
    reading: Reading,
}

impl Job<'_> {
    /// Converts all groups; what became of each.
    pub(super) fn write(&self, pool: &ThreadPool, groups: &[Group]) -> Result<Vec<Written>> {
        in_order(pool, groups.len(), |worker, i| self.convert(worker, groups[i]))
    }

    fn convert(&self, worker: &mut Worker, group: Group) -> Result<Written> {
        if self.progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let rows = &self.plan.sources()[group.tensor].rows;
        worker.rows.resize(group.n_rows * rows.n_in(), 0.0);
        rows.read(group.first_row, &mut worker.rows, &mut worker.reading)?;
        let largest = largest_magnitude(&worker.rows);
        if !largest.is_finite() {
            let is_at_fault = |value: &f32| !value.is_finite();
            let at = worker.rows.iter().position(is_at_fault).expect("the largest is one of them");
            let (row, column) = (group.first_row + at / rows.n_in(), at % rows.n_in());
            let (file, element) = rows.origin_of(row, column);
            let what = format!("{element} is {}; every weight must be a finite number", worker.rows[at]);
            return Err(Error::malformed(file, what));
        }
        let written = self.encode(worker, group, largest)?;
        self.progress.advance(rows.source_bytes(group.n_rows));
        Ok(written)
    }

    /// Encodes and writes a group whose values have magnitudes up to `largest`.
    fn encode(&self, worker: &mut Worker, group: Group, largest: f32) -> Result<Written> {
        let placed = &self.plan.layout().tensors()[group.tensor];
        let n_in = self.plan.sources()[group.tensor].rows.n_in();
        let ty = placed.block_type;
        let row_bytes = ty.row_bytes(n_in).expect("the layout checked that rows divide into blocks");
        worker.blocks.resize(group.n_rows * row_bytes, 0);
        let Worker { rows, blocks, scratch, .. } = worker;
        let Planned { rows: source, importance, .. } = &self.plan.sources()[group.tensor];
        let mut encode = |rows: &[f32], importance, blocks: &mut [u8]| {
            encode_rows(self.options.kernels, ty, rows, n_in, importance, blocks, scratch)
        };
        let error = match (source.blocks_of(ty), importance) {
            (Some(source), _) => {
                source.read(group.first_row * n_in, blocks)?;
                ErrorStats::none(rows)
            }
            (None, None) => encode(rows, None, blocks),
            (None, Some(importance)) => {
                // A group may end in another expert than it began in.
                let (mut done, mut error) = (0, ErrorStats::default());
                while done < group.n_rows {
                    let (weights, n_alike) = importance.at_row(group.first_row + done);
                    let n = n_alike.min(group.n_rows - done);
                    let (rows, blocks) =
                        (&rows[done * n_in..][..n * n_in], &mut blocks[done * row_bytes..][..n * row_bytes]);
                    error.merge(&encode(rows, Some(weights), blocks));
                    done += n;
                }
                error
            }
        };
        if is_out_of_range(&error, largest) {
            let name = &placed.name;
            return Err(Error::limit(format!(
                "tensor {name} holds values up to {largest:e}, more than {ty} can express; give it a wider type, \
                 as in --tensor-type '{name}=F32'"
            )));
        }
        self.writer.write_at(group.tensor, (group.first_row * row_bytes) as u64, blocks)?;
        Ok(Written { error, crc: crc32fast::hash(blocks) })
    }
}

/// Whether values up to `largest` were beyond the type: infinite in F16, or cut off where the scale of
/// a block is an F16. An encoding in range errs by a fraction of its largest value.
fn is_out_of_range(error: &ErrorStats, largest: f32) -> bool {
    !error.is_finite() || largest > MAX_F16 && error.max_error > largest / 2.0
}
