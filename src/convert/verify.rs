//! Reads a written file back before it gets its name.
//!
//! The header must say what was planned; the blocks of every group must have the checksum they had in
//! memory when they were written, at the place where a reader of the header looks for them; and sampled
//! rows must be what encoding their source again gives, which is deterministic.
//!
//! By then the file is on disk, and Linux was asked to drop what it had cached of it, so the bytes compared
//! come from the disk: a disk that lost or altered some is noticed, and so is memory that did so between
//! the encoder and the disk. Where the system does not drop them (other systems, and disks that are memory),
//! they come from its cache. What cannot be noticed: a disk that answers from a cache of its own, and a
//! source that was read wrongly twice in the same way.
//!
//! Reading goes through huge pages, so that the page cache holds the file in them for its next mapping.

use std::path::{Path, PathBuf};

use rayon::ThreadPool;

use crate::convert::output::{Group, Output};
use crate::convert::parallel::in_order;
use crate::convert::pipeline::Job;
use crate::convert::plan::{Plan, Planned};
use crate::convert::proof::{self, Proved};
use crate::convert::transform::Reading;
use crate::error::{Error, Result};
use crate::gguf::{GgufFile, GgufWriter, Layout};
use crate::quantize::{ErrorStats, Guidance, encode_rows_guided};
use crate::read_file::ReadFile;

/// What a thread keeps between groups.
#[derive(Default)]
struct Worker {
    found: Vec<u8>,
    values: Vec<f32>,
    blocks: Vec<u8>,
    decoded: Vec<f32>,
    reading: Reading,
}

/// Checks the files of `output` against its plan and what was written of it, group by group; `crc_of` has the
/// checksum of each.
///
/// # Errors
/// [`Error::Malformed`] naming the first difference, or as the reader finds it; [`Error::Io`];
/// [`Error::Interrupted`].
pub(super) fn verify(
    job: &Job<'_>,
    output: &Output<'_>,
    pool: &ThreadPool,
    groups: &[Group],
    crc_of: &(dyn Fn(usize) -> u32 + Sync),
) -> Result<()> {
    let files = output.writer.files().iter().zip(output.plan.files().layouts());
    let files = files.map(|(writer, layout)| ReadBack::open(writer, layout)).collect::<Result<Vec<_>>>()?;
    in_order(pool, groups.len(), |worker: &mut Worker, i| {
        let file = &files[output.writer.place(groups[i].tensor).0];
        let checked = check_group(job, output, worker, file, groups[i], crc_of(i));
        checked.map_err(|e| file.told(e))
    })
    .map(drop)
}

/// A file that was written, opened by a name that tells the user nothing.
struct ReadBack<'a> {
    target: &'a Path,
    partial: PathBuf,
    file: GgufFile,
    bytes: ReadFile,
}

impl<'a> ReadBack<'a> {
    fn open(writer: &'a GgufWriter, planned: &Layout) -> Result<Self> {
        let (partial, target) = (writer.partial_path(), writer.target());
        let open = || {
            let file = GgufFile::open(&partial)?;
            check_header(planned, &file)?;
            Ok((file, ReadFile::open(&partial)?))
        };
        let (file, bytes) = open().map_err(|e| told(&partial, target, e))?;
        Ok(Self { target, partial, file, bytes })
    }

    fn told(&self, error: Error) -> Error {
        told(&self.partial, self.target, error)
    }
}

/// An error about a file at `partial` as one about what it is to be.
fn told(partial: &Path, target: &Path, error: Error) -> Error {
    match error {
        Error::Malformed { path, what } if path == partial => {
            Error::malformed(target, format!("read back after writing: {what}"))
        }
        Error::Io { path, source, .. } if path == partial => {
            Error::io(target, "cannot read back what was written to", source)
        }
        e => e,
    }
}

fn check_header(planned: &Layout, file: &GgufFile) -> Result<()> {
    let differs = |what: String| Err(Error::malformed(file.path(), what));
    if !file.metadata().keys().eq(planned.keys()) {
        return differs("its metadata keys are not the planned ones".into());
    }
    let planned = planned.tensors();
    if file.tensors().len() != planned.len() {
        return differs(format!("{} tensors instead of {}", file.tensors().len(), planned.len()));
    }
    for (found, placed) in file.tensors().iter().zip(planned) {
        let same = found.name == placed.name
            && found.shape == placed.shape
            && found.ty == placed.ty
            && found.offset == placed.offset
            && found.n_bytes as u64 == placed.n_bytes;
        if !same {
            return differs(format!("{found:?} instead of {placed:?}"));
        }
    }
    Ok(())
}

fn check_group(
    job: &Job<'_>,
    output: &Output<'_>,
    worker: &mut Worker,
    ReadBack { file, bytes, .. }: &ReadBack<'_>,
    group: Group,
    crc: u32,
) -> Result<()> {
    if job.progress.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let tensor = &file.tensors()[output.writer.place(group.tensor).1];
    let source = &output.plan.sources()[group.tensor];
    let row_bytes = tensor.n_bytes / source.rows.n_rows();
    let start = tensor.offset + (group.first_row * row_bytes) as u64;
    worker.found.resize(group.n_rows * row_bytes, 0);
    // The mapping asks for huge pages, and reading then finds what it cached.
    let at = usize::try_from(start).expect("the file is mapped");
    file.mapped_file().populate_range(at..at + worker.found.len())?;
    bytes.read_at(start, &mut worker.found)?;
    let rows = if crc32fast::hash(&worker.found) != crc {
        format!("one of the rows {} to {}", group.first_row, group.first_row + group.n_rows - 1)
    } else if let Some(row) = differing_row(job, worker, (output.plan, source), group)? {
        format!("row {row}")
    } else {
        return Ok(());
    };
    let what = format!(
        "{rows} of {} is not what was written; the disk or the memory of this machine may be failing",
        tensor.name
    );
    Err(Error::malformed(file.path(), what))
}

/// Encodes the first, the middle and the last row of a tensor again, those in `group`; the first one that
/// `worker.found` lacks.
fn differing_row(
    job: &Job<'_>,
    worker: &mut Worker,
    (plan, source): (&Plan<'_>, &Planned<'_>),
    group: Group,
) -> Result<Option<usize>> {
    let rows = &source.rows;
    let row_bytes = worker.found.len() / group.n_rows;
    worker.values.resize(rows.n_in(), 0.0);
    worker.blocks.resize(row_bytes, 0);
    for row in [0, rows.n_rows() / 2, rows.n_rows() - 1] {
        let Some(in_group) = row.checked_sub(group.first_row).filter(|&row| row < group.n_rows) else {
            continue;
        };
        rows.read(row, &mut worker.values, &mut worker.reading)?;
        let ty = plan.files().tensor(group.tensor).ty;
        match rows.blocks_of(ty) {
            Some(blocks) => blocks.read(row * rows.n_in(), &mut worker.blocks)?,
            None if rows.is_nvfp4_in(ty) => rows.read_nvfp4(row, &mut worker.blocks, &mut Vec::new())?,
            None => {
                let ty = ty.block_type().expect("what is not weights is copied");
                let importance = source.importance.as_ref().map(|importance| importance.at_row(row).0);
                let (search, steps) = (plan.scale_search(), worker.reading.steps());
                let guidance = Guidance { search, steps, importance };
                let Worker { values, blocks, decoded, .. } = worker;
                encode_rows_guided(job.options.kernels, ty, values, values.len(), guidance, blocks, decoded);
            }
        }
        if worker.found[in_group * row_bytes..][..row_bytes] != worker.blocks {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// How far a measured error may be from the one that the encoder told: sums are taken in another order.
const TOLERANCE: f64 = 1e-6;

/// Measures the files of `output`, which are on disk, against their source, and writes what it finds into the first of
/// them. `told` has what encoding each tensor lost.
///
/// # Errors
/// [`Error::Malformed`] for a tensor whose error is another; [`Error::Io`]; [`Error::Interrupted`].
pub(super) fn prove(
    job: &Job<'_>,
    output: &Output<'_>,
    pool: &ThreadPool,
    groups: &[Group],
    told: &[ErrorStats],
) -> Result<Vec<Proved>> {
    let files = output.writer.files().iter().map(|writer| GgufFile::open(&writer.partial_path()));
    let files: Vec<GgufFile> = files.collect::<Result<_>>()?;
    let bytes_of = |tensor: usize| {
        let (file, place) = output.writer.place(tensor);
        files[file].bytes(&files[file].tensors()[place])
    };
    let of_groups = in_order(pool, groups.len(), |worker: &mut Worker, i| {
        measure(job, output, worker, groups[i], bytes_of(groups[i].tensor))
    })?;
    let mut measured = vec![ErrorStats::default(); told.len()];
    groups.iter().zip(&of_groups).for_each(|(group, stats)| measured[group.tensor].merge(stats));
    for (i, (found, told)) in measured.iter_mut().zip(told).enumerate() {
        let is_near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE * a.max(b);
        match output.plan.sources()[i].error {
            // The blocks come from a calibration, which knows their error; here they are compared with themselves.
            Some(calibrated) if found.sum_squared_error == 0.0 => *found = calibrated,
            _ if found.n == told.n && is_near(found.relative_rmse(), told.relative_rmse()) => {}
            _ => return Err(differs(output, i, found, told)),
        }
    }
    let hashes = in_order(pool, told.len(), |(): &mut (), i| {
        // Tensors are the longest pieces of work: each ends before an interrupt counts.
        if job.progress.is_cancelled() {
            return Err(Error::Interrupted);
        }
        Ok(proof::hash(bytes_of(i)))
    })?;
    let proved = hashes.into_iter().zip(measured).map(|(sha256, measured)| Proved { sha256, measured });
    let proved: Vec<Proved> = proved.collect();
    let first = &output.writer.files()[0];
    proof::keys(&proved).into_iter().try_for_each(|(key, value)| first.put(&key, value))?;
    Ok(proved)
}

/// The error of a group of rows of a tensor, which has these bytes in the file.
fn measure(
    job: &Job<'_>,
    output: &Output<'_>,
    worker: &mut Worker,
    group: Group,
    tensor: &[u8],
) -> Result<ErrorStats> {
    if job.progress.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let Worker { values, decoded, reading, .. } = worker;
    let rows = &output.plan.sources()[group.tensor].rows;
    let mut stats = ErrorStats::default();
    let Some(ty) = output.plan.files().tensor(group.tensor).block_type() else { return Ok(stats) };
    values.resize(group.n_rows * rows.n_in(), 0.0);
    decoded.resize(rows.n_in(), 0.0);
    rows.read(group.first_row, values, reading)?;
    let row_bytes = tensor.len() / rows.n_rows();
    let blocks = &tensor[group.first_row * row_bytes..][..group.n_rows * row_bytes];
    for (row, blocks) in values.chunks_exact(rows.n_in()).zip(blocks.chunks_exact(row_bytes)) {
        job.options.kernels.decode(ty, blocks, decoded);
        stats.add_row(row, decoded);
    }
    Ok(stats)
}

fn differs(output: &Output<'_>, tensor: usize, found: &ErrorStats, told: &ErrorStats) -> Error {
    let (file, place) = output.writer.place(tensor);
    let writer = &output.writer.files()[file];
    let what = format!(
        "tensor {} is not what was encoded: read back, its error is {:e}, and it was {:e} when it was encoded; the disk or \
         the memory of this machine may be failing",
        writer.layout().tensors()[place].name,
        found.relative_rmse(),
        told.relative_rmse()
    );
    Error::malformed(writer.target(), what)
}

#[cfg(test)]
mod tests {
    use gguf_simd::kernels::Kernels;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::convert::parallel::pool;
    use crate::convert::{FileType, Plan, PlanOptions, RunOptions, Silent, output};
    use crate::gguf::ModelWriter;

    /// Writes the bundled model, lets `spoil` at it, and verifies.
    fn verified(spoil: impl Fn(&GgufWriter, &[Group])) -> Result<()> {
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/fairytale");
        let checkpoint = Checkpoint::open(&checkpoint)?;
        let plan = Plan::new(&checkpoint, &PlanOptions::new(FileType::Q4_0))?;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let files = [(dir.path().join("m.gguf"), plan.files().layouts()[0].clone())];
        let outputs = [Output { plan: &plan, writer: ModelWriter::create(files, false)? }];
        let options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
        let job = Job { outputs: &outputs, options: &options, progress: &Silent, resumed: None };
        let (pool, groups) = (pool(2, 2)?, output::cut(&plan));
        let written = job.write(&pool, &groups)?;
        let [Output { writer, .. }] = &outputs;
        writer.sync()?;
        spoil(&writer.files()[0], &groups);
        verify(&job, &outputs[0], &pool, &groups, &|group| written[group][0].crc)
    }

    /// The bytes of a group, and where in its tensor they are.
    fn group_bytes(writer: &GgufWriter, group: Group) -> (u64, Vec<u8>) {
        let tensor = &writer.layout().tensors()[group.tensor];
        let row_bytes = tensor.n_bytes / tensor.shape[0] as u64;
        let start = group.first_row as u64 * row_bytes;
        let mut bytes = vec![0; (group.n_rows as u64 * row_bytes) as usize];
        let file = ReadFile::open(&writer.partial_path()).expect("a file");
        file.read_at(tensor.offset + start, &mut bytes).expect("written");
        (start, bytes)
    }

    #[test]
    fn a_sound_file_passes() {
        verified(|_, _| ()).expect("sound");
    }

    #[test]
    fn two_groups_in_each_others_place_are_noticed() {
        let error = verified(|writer, groups| {
            let of_one =
                |pair: &&[Group]| pair[0].tensor == pair[1].tensor && pair[0].n_rows == pair[1].n_rows;
            let pair = groups.windows(2).find(of_one).expect("a tensor of several groups");
            let (a, b) = (group_bytes(writer, pair[0]), group_bytes(writer, pair[1]));
            writer.write_at(pair[0].tensor, a.0, &b.1).expect("writable");
            writer.write_at(pair[0].tensor, b.0, &a.1).expect("writable");
        });
        let message = error.expect_err("spoiled").to_string();
        assert!(message.contains("m.gguf") && message.contains("read back after writing"), "{message}");
        assert!(message.contains("token_embd.weight") && message.contains("rows 0 to 1023"), "{message}");
    }

    #[test]
    fn one_bit_anywhere_in_the_data_is_noticed() {
        for which in [0, 7, 40] {
            let error = verified(|writer, groups| {
                let (start, mut bytes) = group_bytes(writer, groups[which]);
                let at = bytes.len() / 3;
                bytes[at] ^= 0x10;
                writer.write_at(groups[which].tensor, start, &bytes).expect("writable");
            });
            assert!(error.expect_err("spoiled").to_string().contains("is not what was written"));
        }
    }
}
