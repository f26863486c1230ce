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

use rayon::ThreadPool;

use crate::convert::parallel::in_order;
use crate::convert::pipeline::{Group, Job, Written};
use crate::convert::plan::{Plan, Planned};
use crate::convert::transform::Reading;
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::read_file::ReadFile;

/// What a thread keeps between groups.
#[derive(Default)]
struct Worker {
    found: Vec<u8>,
    values: Vec<f32>,
    blocks: Vec<u8>,
    reading: Reading,
}

/// Checks the file in `job.writer` against the plan and what was written of it, group by group.
///
/// # Errors
/// [`Error::Malformed`] naming the first difference, or as the reader finds it; [`Error::Io`];
/// [`Error::Interrupted`].
pub(super) fn verify(job: &Job<'_>, pool: &ThreadPool, groups: &[Group], written: &[Written]) -> Result<()> {
    let partial = job.writer.partial_path();
    let check = || {
        let (file, bytes) = (GgufFile::open(&partial)?, ReadFile::open(&partial)?);
        check_header(job.plan, &file)?;
        in_order(pool, groups.len(), |worker: &mut Worker, i| {
            check_group(job, worker, (&file, &bytes), groups[i], &written[i])
        })
    };
    // The file has another name yet, which tells the user nothing.
    check().map(drop).map_err(|e| match e {
        Error::Malformed { path, what } if path == partial => {
            Error::malformed(job.writer.target(), format!("read back after writing: {what}"))
        }
        Error::Io { path, source, .. } if path == partial => {
            Error::io(job.writer.target(), "cannot read back what was written to", source)
        }
        e => e,
    })
}

fn check_header(plan: &Plan<'_>, file: &GgufFile) -> Result<()> {
    let differs = |what: String| Err(Error::malformed(file.path(), what));
    if !file.metadata().keys().eq(plan.metadata_keys()) {
        return differs("its metadata keys are not the planned ones".into());
    }
    let planned = plan.layout().tensors();
    if file.tensors().len() != planned.len() {
        return differs(format!("{} tensors instead of {}", file.tensors().len(), planned.len()));
    }
    for (found, placed) in file.tensors().iter().zip(planned) {
        let same = found.name == placed.name
            && found.shape == placed.shape
            && found.ty.block_type() == Some(placed.block_type)
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
    worker: &mut Worker,
    (file, bytes): (&GgufFile, &ReadFile),
    group: Group,
    written: &Written,
) -> Result<()> {
    if job.progress.is_cancelled() {
        return Err(Error::Interrupted);
    }
    let (tensor, source) = (&file.tensors()[group.tensor], &job.plan.sources()[group.tensor]);
    let row_bytes = tensor.n_bytes / source.rows.n_rows();
    let start = tensor.offset + (group.first_row * row_bytes) as u64;
    worker.found.resize(group.n_rows * row_bytes, 0);
    // The mapping asks for huge pages, and reading then finds what it cached.
    let at = usize::try_from(start).expect("the file is mapped");
    file.mapped_file().populate_range(at..at + worker.found.len())?;
    bytes.read_at(start, &mut worker.found)?;
    let rows = if crc32fast::hash(&worker.found) != written.crc {
        format!("one of the rows {} to {}", group.first_row, group.first_row + group.n_rows - 1)
    } else if let Some(row) = differing_row(job, worker, source, group)? {
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
    source: &Planned<'_>,
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
        let ty = source.choice.block_type;
        match rows.blocks_of(ty) {
            Some(blocks) => blocks.read(row * rows.n_in(), &mut worker.blocks)?,
            None => {
                let importance = source.importance.as_ref().map(|importance| importance.at_row(row).0);
                job.options.kernels.encode(ty, &worker.values, importance, &mut worker.blocks);
            }
        }
        if worker.found[in_group * row_bytes..][..row_bytes] != worker.blocks {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use gguf_simd::kernels::Kernels;

    use super::*;
    use crate::checkpoint::Checkpoint;
    use crate::convert::parallel::pool;
    use crate::convert::{FileType, PlanOptions, RunOptions, Silent, pipeline};
    use crate::gguf::GgufWriter;

    /// Writes the bundled model, lets `spoil` at it, and verifies.
    fn verified(spoil: impl Fn(&GgufWriter, &[Group])) -> Result<()> {
        let checkpoint = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/models/fairytale");
        let checkpoint = Checkpoint::open(&checkpoint)?;
        let plan = Plan::new(&checkpoint, &PlanOptions::new(FileType::Q4_0))?;
        let dir = tempfile::tempdir().expect("a temporary folder");
        let writer = GgufWriter::create(&dir.path().join("m.gguf"), plan.layout().clone(), false)?;
        let options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
        let job = Job { plan: &plan, writer: &writer, options: &options, progress: &Silent };
        let (pool, groups) = (pool(2, 2)?, pipeline::cut(&plan));
        let written = job.write(&pool, &groups)?;
        writer.sync()?;
        spoil(&writer, &groups);
        verify(&job, &pool, &groups, &written)
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
