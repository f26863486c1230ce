//! Carries a plan out: groups of rows, in parallel, from the mapped checkpoint to blocks in the file.
//!
//! Workers take the groups one by one in file order, so that the disk is read and written nearly in
//! sequence. A worker holds one group: about a megabyte of floats and its blocks. That bounds the
//! memory of a conversion whatever the model. Which worker takes a group changes nothing: groups are
//! cut the same way for any number of threads, and their errors are summed in order.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{Builder, scope};
use std::time::Instant;

use gguf_simd::FloatEnvironment;
use gguf_simd::kernels::Kernels;

use crate::convert::plan::{Plan, Planned};
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
    /// Worker threads; at least one works.
    pub n_threads: usize,
    /// The arithmetic of this CPU.
    pub kernels: &'static Kernels,
}

/// Writes the file that `plan` decided to `path`, reads it back, and gives it its name.
///
/// # Errors
/// [`Error::Usage`] if the file exists and is not to be replaced; [`Error::Malformed`] for a source
/// value that is not a finite number; [`Error::Limit`] for one that the chosen type cannot hold, or
/// a full disk; [`Error::Io`]; [`Error::Interrupted`]. After an error nothing new is at `path`.
pub fn run(plan: &Plan<'_>, path: &Path, options: &RunOptions, progress: &dyn Progress) -> Result<Summary> {
    let _environment = FloatEnvironment::enter();
    let start = Instant::now();
    let writer = GgufWriter::create(path, plan.layout().clone(), options.overwrite)?;
    let job = Job {
        plan,
        writer: &writer,
        options,
        progress,
        groups: cut(plan),
        next: AtomicUsize::new(0),
        is_stopped: AtomicBool::new(false),
    };
    progress
        .begin(plan.sources().iter().map(|planned| planned.rows.source_bytes(planned.rows.n_rows())).sum());
    let errors = job.run()?;
    progress.verifying();
    verify(plan, writer.partial_path(), options.kernels)?;
    let path = writer.finish()?;
    let tensors = plan.layout().tensors().iter().zip(errors);
    Ok(Summary {
        path,
        file_type: plan.file_type(),
        file_bytes: plan.file_bytes(),
        bits_per_weight: plan.bits_per_weight(),
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
struct Group {
    tensor: usize,
    first_row: usize,
    n_rows: usize,
}

fn cut(plan: &Plan<'_>) -> Vec<Group> {
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

/// What the workers share.
struct Job<'a> {
    plan: &'a Plan<'a>,
    writer: &'a GgufWriter,
    options: &'a RunOptions,
    progress: &'a dyn Progress,
    groups: Vec<Group>,
    next: AtomicUsize,
    is_stopped: AtomicBool,
}

/// What a worker keeps between groups.
#[derive(Default)]
struct Worker {
    rows: Vec<f32>,
    blocks: Vec<u8>,
    scratch: Vec<f32>,
    /// The groups done, with what each lost.
    done: Vec<(usize, ErrorStats)>,
}

impl Job<'_> {
    /// Converts all groups; what each tensor lost, in order.
    fn run(&self) -> Result<Vec<ErrorStats>> {
        let n_workers = self.options.n_threads.clamp(1, self.groups.len().max(1));
        let outcomes = scope(|scope| {
            let mut others = Vec::with_capacity(n_workers - 1);
            for _ in 1..n_workers {
                // A thread that the system refuses is one fewer; the caller's own always works.
                others.extend(Builder::new().name("convert".into()).spawn_scoped(scope, || self.work()));
            }
            let own = self.work();
            let joined = others
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            std::iter::once(own).chain(joined).collect::<Vec<_>>()
        });
        let mut done = Vec::with_capacity(self.groups.len());
        let mut first_error = None;
        for outcome in outcomes {
            match outcome {
                Ok(groups) => done.extend(groups),
                Err((group, error)) if first_error.as_ref().is_none_or(|&(first, _)| group < first) => {
                    first_error = Some((group, error));
                }
                Err(_) => {}
            }
        }
        match first_error {
            Some((_, error)) => Err(error),
            None => Ok(self.per_tensor(done)),
        }
    }

    fn per_tensor(&self, mut done: Vec<(usize, ErrorStats)>) -> Vec<ErrorStats> {
        done.sort_unstable_by_key(|&(group, _)| group);
        let mut tensors = vec![ErrorStats::default(); self.plan.sources().len()];
        for (group, error) in &done {
            tensors[self.groups[*group].tensor].merge(error);
        }
        tensors
    }

    /// Takes groups until none is left or somebody failed. An error comes with its group: groups are
    /// taken in order and finished, so the first of all errors does not depend on timing.
    fn work(&self) -> Result<Vec<(usize, ErrorStats)>, (usize, Error)> {
        let mut worker = Worker::default();
        while !self.is_stopped.load(Ordering::Relaxed) {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(&group) = self.groups.get(i) else {
                break;
            };
            match self.convert(&mut worker, group) {
                Ok(error) => worker.done.push((i, error)),
                Err(error) => {
                    self.is_stopped.store(true, Ordering::Relaxed);
                    return Err((i, error));
                }
            }
        }
        Ok(worker.done)
    }

    fn convert(&self, worker: &mut Worker, group: Group) -> Result<ErrorStats> {
        if self.progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let rows = &self.plan.sources()[group.tensor].rows;
        worker.rows.resize(group.n_rows * rows.n_in(), 0.0);
        rows.read(group.first_row, &mut worker.rows);
        let largest = largest_magnitude(&worker.rows);
        if !largest.is_finite() {
            let is_at_fault = |value: &f32| !value.is_finite();
            let at = worker.rows.iter().position(is_at_fault).expect("the largest is one of them");
            let (row, column) = (group.first_row + at / rows.n_in(), at % rows.n_in());
            let (file, element) = rows.origin_of(row, column);
            let what = format!("{element} is {}; every weight must be a finite number", worker.rows[at]);
            return Err(Error::malformed(file, what));
        }
        let error = self.encode(worker, group, largest)?;
        self.progress.advance(rows.source_bytes(group.n_rows));
        Ok(error)
    }

    /// Encodes and writes a group whose values have magnitudes up to `largest`.
    fn encode(&self, worker: &mut Worker, group: Group, largest: f32) -> Result<ErrorStats> {
        let placed = &self.plan.layout().tensors()[group.tensor];
        let n_in = self.plan.sources()[group.tensor].rows.n_in();
        let ty = placed.block_type;
        let row_bytes = ty.row_bytes(n_in).expect("the layout checked that rows divide into blocks");
        worker.blocks.resize(group.n_rows * row_bytes, 0);
        let Worker { rows, blocks, scratch, .. } = worker;
        let error = encode_rows(self.options.kernels, ty, rows, n_in, None, blocks, scratch);
        if is_out_of_range(&error, largest) {
            let name = &placed.name;
            return Err(Error::limit(format!(
                "tensor {name} holds values up to {largest:e}, more than {ty} can express; give it a wider type, \
                 as in --tensor-type '{name}=F32'"
            )));
        }
        self.writer.write_at(group.tensor, (group.first_row * row_bytes) as u64, blocks)?;
        Ok(error)
    }
}

/// Whether values up to `largest` were beyond the type: infinite in F16, or cut off where the scale of
/// a block is an F16. An encoding in range errs by a fraction of its largest value.
fn is_out_of_range(error: &ErrorStats, largest: f32) -> bool {
    !error.is_finite() || largest > MAX_F16 && error.max_error > largest / 2.0
}
