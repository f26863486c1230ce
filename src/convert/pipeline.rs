//! Carries a plan out: groups of rows, in parallel, from the checkpoint to blocks in the file.
//!
//! The threads take the groups in file order (`parallel`); each holds one group, about a megabyte of floats
//! and its blocks, which bounds the memory of a conversion whatever the model. Which thread takes a group
//! changes nothing: groups are cut the same way for any number of threads, and their errors are summed in
//! order.

use std::collections::HashSet;
use std::path::Path;
use std::time::Instant;

use gguf_simd::kernels::Kernels;
use gguf_simd::{BlockType, FloatEnvironment};
use rayon::ThreadPool;

use crate::convert::cache_key;
use crate::convert::output::{Group, Output, cut};
use crate::convert::parallel::{in_order, pool};
use crate::convert::plan::{Plan, Planned};
use crate::convert::proof::Proved;
use crate::convert::resume::{Resumed, Written};
use crate::convert::transform::Reading;
use crate::convert::verify::{prove, verify};
use crate::convert::{Progress, Summary};
use crate::error::{Error, Result};
use crate::gguf::GgufWriter;
use crate::printable;
use crate::quantize::{ErrorStats, Guidance, STEP, encode_rows_guided, largest_magnitude};

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
    let mut summaries = run_all(&[(plan, path)], options, progress)?;
    Ok(summaries.remove(0))
}

/// As [`run`], for several plans of one input, which is read once: each is written to its path, with the bytes that
/// it has alone.
///
/// # Errors
/// As there; [`Error::Usage`] if two are to have one path. Either all files are finished or, unless one of them
/// cannot have its name, none is.
///
/// # Panics
/// If the plans have other tensors than each other.
pub fn run_all(
    outputs: &[(&Plan<'_>, &Path)],
    options: &RunOptions,
    progress: &dyn Progress,
) -> Result<Vec<Summary>> {
    run_all_by(outputs, options, progress, false)
}

/// As [`run_all`], and what is done until the program ends, be it killed, is kept under hidden names beside the files:
/// the next run with the same input and plans goes on with it, to the same bytes.
///
/// # Errors
/// As there. Only after [`Error::Interrupted`] and [`Error::Io`] something is kept.
///
/// # Panics
/// As there.
pub fn run_all_resumable(
    outputs: &[(&Plan<'_>, &Path)],
    options: &RunOptions,
    progress: &dyn Progress,
) -> Result<Vec<Summary>> {
    run_all_by(outputs, options, progress, true)
}

fn run_all_by(
    outputs: &[(&Plan<'_>, &Path)],
    options: &RunOptions,
    progress: &dyn Progress,
    is_resumable: bool,
) -> Result<Vec<Summary>> {
    let _environment = FloatEnvironment::enter();
    let start = Instant::now();
    check_targets(outputs, options.overwrite)?;
    let plan = outputs.first().expect("something to write").0;
    assert!(outputs.iter().all(|(other, _)| plan.has_rows_of(other)), "plans of several inputs");
    let groups = cut(plan);
    let pool = pool(options.n_threads, groups.len())?;
    let begun = if is_resumable { resumed(outputs, options, groups.len())? } else { None };
    let (outputs, resumed) = match begun {
        Some((outputs, resumed)) => (outputs, Some(resumed)),
        None => {
            let create = outputs.iter().map(|(plan, path)| Output::create(plan, path, options.overwrite));
            (create.collect::<Result<Vec<_>>>()?, None)
        }
    };
    let job = Job { outputs: &outputs, options, progress, resumed: resumed.as_ref() };
    let done = match job.write_and_verify(&pool, &groups) {
        Ok(done) => done,
        // What may pass: a stop, a disk or a network that fails. What is wrong with the input stays so.
        Err(e @ (Error::Interrupted | Error::Io { .. })) if resumed.is_some() => {
            let folder = printable::path(outputs[0].writer.folder());
            progress.kept(&format!("{folder} under a hidden name"));
            outputs.into_iter().for_each(|output| output.writer.leave());
            return Err(e);
        }
        Err(e) => {
            drop(outputs);
            resumed.into_iter().for_each(Resumed::remove);
            return Err(e);
        }
    };
    let n_resumed_bytes = resumed.as_ref().map_or(0, Resumed::n_found_bytes);
    let summaries = outputs
        .into_iter()
        .zip(done.of_outputs)
        .map(|(Output { plan, writer }, (errors, proof))| {
            let summary = Summary::new(plan, writer.finish()?, start.elapsed(), errors);
            Ok(Summary { n_resumed_bytes, proof, ..summary.with_source_noise(done.source_noise) })
        })
        .collect();
    resumed.into_iter().for_each(Resumed::remove);
    summaries
}

/// The files of outputs and their journal, with what an earlier run of the same work left. `None` where that cannot be
/// known, or another program does the same work now.
fn resumed<'a>(
    outputs: &[(&'a Plan<'a>, &Path)],
    options: &RunOptions,
    n_groups: usize,
) -> Result<Option<(Vec<Output<'a>>, Resumed)>> {
    // Calibrated blocks are on disk already.
    if outputs.iter().any(|(plan, _)| plan.sources().iter().any(|planned| planned.error.is_some())) {
        return Ok(None);
    }
    let plans: Vec<&Plan<'_>> = outputs.iter().map(|(plan, _)| *plan).collect();
    let key = cache_key::of_work(&plans, options.kernels)?;
    let (plan, path) = outputs[0];
    let target = GgufWriter::check(&plan.paths(path)[0], options.overwrite)?;
    // First of all, for what has no lock counts as left over when the files are opened.
    let Some(journal) = Resumed::open(&target, &key, n_groups, outputs.len())? else { return Ok(None) };
    let resume = outputs.iter().map(|(plan, path)| Output::resume(plan, path, options.overwrite, &key));
    match resume.collect::<Result<Option<Vec<_>>>>() {
        Ok(found) => Ok(found.map(|found| (found, journal))),
        // Without files there is nothing to go on with, unless an earlier run has left something.
        Err(e) => {
            if journal.is_new() {
                journal.remove();
            }
            Err(e)
        }
    }
}

/// Checks where everything is to be written.
fn check_targets(outputs: &[(&Plan<'_>, &Path)], overwrite: bool) -> Result<()> {
    let mut taken = HashSet::new();
    for (plan, path) in outputs {
        plan.check_target(path, overwrite)?;
        if let Some(path) = plan.paths(path).into_iter().find(|path| !taken.insert(path.clone())) {
            return Err(Error::usage(format!(
                "{} would be written twice; put {{type}} into the name that -o gives",
                path.display()
            )));
        }
    }
    Ok(())
}

/// What the threads share.
pub(super) struct Job<'a> {
    /// At least one, with the same rows.
    pub(super) outputs: &'a [Output<'a>],
    pub(super) options: &'a RunOptions,
    pub(super) progress: &'a dyn Progress,
    /// What an earlier run did, if this one can be resumed.
    pub(super) resumed: Option<&'a Resumed>,
}

/// What became of a conversion.
struct Done {
    source_noise: f64,
    /// What encoding each tensor lost, and what was read back of it if the file proves itself.
    of_outputs: Vec<(Vec<ErrorStats>, Option<Vec<Proved>>)>,
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
    fn write_and_verify(&self, pool: &ThreadPool, groups: &[Group]) -> Result<Done> {
        let plan = self.outputs[0].plan;
        let n_bytes = plan.sources().iter().map(|planned| planned.rows.source_bytes(planned.rows.n_rows()));
        self.progress.begin(n_bytes.sum());
        let written = self.write(pool, groups)?;
        self.progress.verifying();
        self.outputs.iter().try_for_each(|output| output.writer.sync())?;
        let mut of_outputs = Vec::new();
        for (i, output) in self.outputs.iter().enumerate() {
            verify(self, output, pool, groups, &|group| written[group][i].crc)?;
            let errors = output.errors(groups, |group| &written[group][i].error);
            let proof = if output.plan.is_proved() {
                Some(prove(self, output, pool, groups, &errors)?)
            } else {
                None
            };
            of_outputs.push((errors, proof));
        }
        plan.check_unchanged()?;
        // Asked last of all, so that an interrupt counts until the files have their names.
        if self.progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let source_noise = written.iter().map(|written| written[0].source_noise).sum();
        Ok(Done { source_noise, of_outputs })
    }

    /// Converts all groups; what became of each in each output.
    pub(super) fn write(&self, pool: &ThreadPool, groups: &[Group]) -> Result<Vec<Vec<Written>>> {
        in_order(pool, groups.len(), |worker, i| self.convert_or_find(worker, groups[i], i))
    }

    /// Converts group `number`, unless an earlier run did.
    fn convert_or_find(&self, worker: &mut Worker, group: Group, number: usize) -> Result<Vec<Written>> {
        if self.progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        let Some(resumed) = self.resumed else { return self.convert(worker, group) };
        if let Some(known) = resumed.known(number)
            && self.is_written(worker, group, known)?
        {
            let rows = &self.outputs[0].plan.sources()[group.tensor].rows;
            resumed.count_found(rows.source_bytes(group.n_rows));
            self.progress.advance(rows.source_bytes(group.n_rows));
            return Ok(known.to_vec());
        }
        let written = self.convert(worker, group)?;
        resumed.add(number, &written)?;
        Ok(written)
    }

    /// Whether the blocks of a group are in all files as `known` says; they then count as written.
    fn is_written(&self, worker: &mut Worker, group: Group, known: &[Written]) -> Result<bool> {
        for (output, known) in self.outputs.iter().zip(known) {
            let (start, n_bytes) = output.place_of(group);
            worker.blocks.resize(n_bytes, 0);
            output.writer.read_at(group.tensor, start, &mut worker.blocks)?;
            if crc32fast::hash(&worker.blocks) != known.crc {
                return Ok(false);
            }
        }
        for output in self.outputs {
            output.writer.count_written(group.tensor, output.place_of(group).1 as u64);
        }
        Ok(true)
    }

    fn convert(&self, worker: &mut Worker, group: Group) -> Result<Vec<Written>> {
        let rows = &self.outputs[0].plan.sources()[group.tensor].rows;
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
        let written = self.outputs.iter().map(|output| self.encode(worker, output, group, largest)).collect();
        self.progress.advance(rows.source_bytes(group.n_rows));
        written
    }

    /// Encodes a group whose values have magnitudes up to `largest`, and writes it to `output`.
    fn encode(
        &self,
        worker: &mut Worker,
        output: &Output<'_>,
        group: Group,
        largest: f32,
    ) -> Result<Written> {
        let placed = output.plan.files().tensor(group.tensor);
        let n_in = output.plan.sources()[group.tensor].rows.n_in();
        let ty = placed.ty;
        let (start, n_bytes) = output.place_of(group);
        let row_bytes = n_bytes / group.n_rows;
        worker.blocks.resize(n_bytes, 0);
        let Worker { rows, blocks, scratch, reading } = worker;
        let Planned { rows: source, importance, .. } = &output.plan.sources()[group.tensor];
        let (kernels, steps) = (self.options.kernels, reading.steps());
        let mut encode = |first: usize, n: usize, importance, blocks: &mut [u8]| {
            let rows = &rows[first * n_in..][..n * n_in];
            let steps =
                if steps.is_empty() { steps } else { &steps[first * n_in / STEP..][..n * n_in / STEP] };
            let guidance = Guidance { search: output.plan.scale_search(), steps, importance };
            let ty = ty.block_type().expect("what is not weights is copied");
            encode_rows_guided(kernels, ty, rows, n_in, guidance, blocks, scratch)
        };
        let error = match (source.blocks_of(ty), importance) {
            (Some(source), _) => {
                source.read(group.first_row * n_in, blocks)?;
                if source.are_weights() { ErrorStats::none(rows) } else { ErrorStats::default() }
            }
            (None, _) if source.is_nvfp4_in(ty) => {
                source.read_nvfp4(group.first_row, blocks, &mut Vec::new())?;
                ErrorStats::none(rows)
            }
            (None, None) => encode(0, group.n_rows, None, blocks),
            (None, Some(importance)) => {
                // A group may end in another expert than it began in.
                let (mut done, mut error) = (0, ErrorStats::default());
                while done < group.n_rows {
                    let (weights, n_alike) = importance.at_row(group.first_row + done);
                    let n = n_alike.min(group.n_rows - done);
                    let blocks = &mut blocks[done * row_bytes..][..n * row_bytes];
                    error.merge(&encode(done, n, Some(weights), blocks));
                    done += n;
                }
                error
            }
        };
        let is_out_of_range = |ty: BlockType| error.is_out_of_range(largest, ty);
        if ty.block_type().is_some_and(is_out_of_range) {
            let name = &placed.name;
            return Err(Error::limit(format!(
                "tensor {name} holds values up to {largest:e}, more than {ty} can express; give it a wider type, \
                 as in --tensor-type '{name}=F32'"
            )));
        }
        output.writer.write_at(group.tensor, start, blocks)?;
        let source_noise = source.noise_of(steps);
        Ok(Written { error, source_noise, crc: crc32fast::hash(blocks) })
    }
}
