//! Models that are split into several files.
//!
//! The parts are called `NAME-00001-of-00003.gguf` and so on. Each says in its metadata which of how many it is;
//! the first has the rest of the metadata as well, and every part its tensors.

use std::path::{Path, PathBuf};

use super::Value;
use super::layout::{FIXED_HEADER_BYTES, Layout, PlannedTensor, described_bytes, encode_pairs, place};
use super::reader::GgufFile;
use crate::error::{Error, Result};
use crate::limits;
use crate::printable;

const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";

/// The metadata keys of a part.
pub const SPLIT_KEYS: [&str; 3] = [SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS];

/// The name of the first part, if `file` is a later one: it has little metadata, and readers look at the first one's.
///
/// # Errors
/// [`Error::Malformed`] if what a part says of its place is not a number.
pub fn first_of(file: &GgufFile) -> Result<Option<String>> {
    let count = |key| Ok::<_, Error>(file.metadata().count(key)?.unwrap_or(0));
    let n_parts = count(SPLIT_COUNT)?;
    Ok((count(SPLIT_NO)? > 0)
        .then(|| stem(file.path(), n_parts))
        .flatten()
        .map(|stem| file_name(&stem, 0, n_parts)))
}

/// Whether `file` is one of several.
///
/// # Errors
/// As [`first_of`].
pub fn is_part(file: &GgufFile) -> Result<bool> {
    Ok(file.metadata().count(SPLIT_COUNT)?.is_some_and(|n| n > 1))
}

/// Opens the file at `path`, and the other parts if it is one of several, in their order.
///
/// # Errors
/// As [`GgufFile::open`] for each of them; [`Error::Malformed`] if their names or what they say do not belong
/// together, [`Error::Limit`] for too many.
pub fn open_all(path: &Path) -> Result<Vec<GgufFile>> {
    let asked = GgufFile::open(path)?;
    let Some(n_parts) = asked.metadata().count(SPLIT_COUNT)?.filter(|&n| n > 1) else {
        return Ok(vec![asked]);
    };
    if n_parts > limits::MAX_SHARDS {
        let what = format!("{}: {n_parts} parts; the limit is {}", path.display(), limits::MAX_SHARDS);
        return Err(Error::limit(what));
    }
    let Some(stem) = stem(path, n_parts) else {
        return Err(Error::malformed(
            path,
            format!(
                "it is one of {n_parts} parts, and not named as such; it should end in -00001-of-{n_parts:05}.gguf \
                 or another number, with the other parts beside it"
            ),
        ));
    };
    let paths: Vec<PathBuf> =
        (0..n_parts).map(|i| path.with_file_name(file_name(&stem, i, n_parts))).collect();
    check_present(path, &paths)?;
    let parts: Vec<GgufFile> =
        paths.iter().enumerate().map(|(i, path)| open_numbered(path, i, n_parts)).collect::<Result<_>>()?;
    let found: usize = parts.iter().map(|part| part.tensors().len()).sum();
    match parts[0].metadata().count(SPLIT_TENSORS)?.filter(|&n| n != found) {
        None => Ok(parts),
        Some(n) => Err(Error::malformed(
            parts[0].path(),
            format!("it promises {n} tensors, and its parts have {found}"),
        )),
    }
}

/// Opens the file at `path`, or all parts of a split model as if they were one file, given any of them.
///
/// # Errors
/// As [`open_all`], and as mapping them together gives.
pub fn open_whole(path: &Path) -> Result<GgufFile> {
    let mut parts = open_all(path)?;
    if parts.len() == 1 { Ok(parts.remove(0)) } else { GgufFile::joined(parts) }
}

/// The name of a part of `n_parts` without its number and ending; `None` if it is not named as one.
pub fn stem(path: &Path, n_parts: usize) -> Option<String> {
    let name = path.file_name()?.to_string_lossy();
    let stem = name.strip_suffix(&format!("-of-{n_parts:05}.gguf"))?;
    let (stem, number) = stem.rsplit_once('-')?;
    (number.len() == 5 && number.bytes().all(|b| b.is_ascii_digit())).then(|| stem.to_owned())
}

/// The name of part `index` of `n_parts`.
pub fn file_name(stem: &str, index: usize, n_parts: usize) -> String {
    format!("{stem}-{:05}-of-{n_parts:05}.gguf", index + 1)
}

/// Names the parts that are not there.
fn check_present(asked: &Path, paths: &[PathBuf]) -> Result<()> {
    /// Names before it says "and more".
    const MAX_NAMED: usize = 4;
    let missing: Vec<_> = paths
        .iter()
        .filter(|path| !path.exists())
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let named = printable::first_few(missing, MAX_NAMED);
    let what = format!(
        "it is one of the {} parts of a split model, and these are not beside it: {named}; download them \
         into the same folder",
        paths.len()
    );
    Err(Error::malformed(asked, what))
}

/// Opens part `index` of `n_parts`.
fn open_numbered(path: &Path, index: usize, n_parts: usize) -> Result<GgufFile> {
    let part = GgufFile::open(path)?;
    let found = (part.metadata().count(SPLIT_NO)?, part.metadata().count(SPLIT_COUNT)?);
    if found == (Some(index), Some(n_parts)) {
        return Ok(part);
    }
    let shown = |n: Option<usize>| n.map_or("none".into(), |n| n.to_string());
    let (no, count) = (shown(found.0), shown(found.1));
    let what = format!(
        "its name makes it part {index} (from 0) of {n_parts}, but its split.no is {no} and its split.count \
         {count}; bring the parts of one download together"
    );
    Err(Error::malformed(path, what))
}

/// Divides a model into files of at most `max_bytes` each, in order, if one does not suffice: the layouts, of which
/// the first has the metadata.
///
/// # Errors
/// As [`Layout::new`]; [`Error::Usage`] if a tensor alone, or the metadata, is larger.
pub fn divide(
    metadata: Vec<(String, Value)>,
    tensors: Vec<PlannedTensor>,
    alignment: usize,
    max_bytes: u64,
) -> Result<Vec<Layout>> {
    let n_tensors = tensors.len();
    let ends = ends(&metadata, &tensors, alignment, max_bytes)?;
    if ends.len() == 1 {
        return Ok(vec![Layout::new(metadata, tensors, alignment)?]);
    }
    if ends.len() > limits::MAX_SHARDS {
        let what = format!("{} files of {max_bytes} bytes; the limit is {}", ends.len(), limits::MAX_SHARDS);
        return Err(Error::usage(format!("{what}; allow larger ones with --split-max-size")));
    }
    let mut rest = tensors.into_iter();
    let (mut metadata, mut start) = (metadata, 0);
    let part = |(i, &end): (usize, &usize)| {
        let mut pairs = std::mem::take(&mut metadata);
        pairs.extend(split_pairs(i, ends.len(), n_tensors));
        let layout = Layout::new(pairs, rest.by_ref().take(end - start).collect(), alignment);
        start = end;
        layout
    };
    ends.iter().enumerate().map(part).collect()
}

/// Where each part ends among the tensors.
fn ends(
    metadata: &[(String, Value)],
    tensors: &[PlannedTensor],
    alignment: usize,
    max_bytes: u64,
) -> Result<Vec<usize>> {
    let own = encode_pairs(&split_pairs(0, 1, tensors.len())).len();
    // The padding of the header, and the alignment that a file may have to note.
    let empty = (FIXED_HEADER_BYTES + own + 2 * alignment + 64) as u64;
    let too_little = |what: &str, n: u64| {
        Err(Error::usage(format!("{what} takes {n} bytes of a file; give --split-max-size at least as many")))
    };
    let first = empty + encode_pairs(metadata).len() as u64;
    if first > max_bytes {
        return too_little("the metadata", first);
    }
    let (mut ends, mut n_bytes) = (Vec::new(), first);
    for (i, tensor) in tensors.iter().enumerate() {
        let data = place(tensor.clone(), 0)?.n_bytes.saturating_add(alignment as u64);
        let taken = data.saturating_add(described_bytes(tensor) as u64);
        if empty.saturating_add(taken) > max_bytes {
            return too_little(
                &format!("tensor {}", tensor.name.escape_debug()),
                empty.saturating_add(taken),
            );
        }
        if n_bytes + taken > max_bytes {
            ends.push(i);
            n_bytes = empty;
        }
        n_bytes += taken;
    }
    ends.push(tensors.len());
    Ok(ends)
}

/// What part `index` of `n_parts` says of itself.
fn split_pairs(index: usize, n_parts: usize, n_tensors: usize) -> Vec<(String, Value)> {
    let small = |n: usize| Value::U16(u16::try_from(n).expect("no more parts than the limit"));
    let pairs = [
        (SPLIT_NO, small(index)),
        (SPLIT_COUNT, small(n_parts)),
        (SPLIT_TENSORS, Value::I32(i32::try_from(n_tensors).expect("no more tensors than the limit"))),
    ];
    pairs.map(|(key, value)| (key.to_owned(), value)).to_vec()
}

#[cfg(test)]
mod tests {
    use gguf_simd::BlockType;

    use super::*;
    use crate::gguf::DEFAULT_ALIGNMENT;

    fn tensors(n: usize) -> Vec<PlannedTensor> {
        let tensor =
            |i| PlannedTensor { name: format!("t{i}"), shape: vec![3, 64], ty: BlockType::F32.into() };
        (0..n).map(tensor).collect()
    }

    #[test]
    fn no_part_is_larger_than_asked_for_and_nothing_is_lost() {
        let metadata = vec![("general.name".to_owned(), Value::String("x".repeat(500)))];
        for max_bytes in [1600, 1700, 2500, 4000, 100_000] {
            let layouts =
                divide(metadata.clone(), tensors(20), DEFAULT_ALIGNMENT, max_bytes).expect("enough");
            assert!(layouts.iter().all(|layout| layout.file_bytes() <= max_bytes), "{max_bytes}");
            let names = layouts.iter().flat_map(Layout::tensors).map(|tensor| tensor.name.clone());
            assert!(names.eq((0..20).map(|i| format!("t{i}"))), "{max_bytes}");
        }
        let one = divide(metadata.clone(), tensors(20), DEFAULT_ALIGNMENT, 100_000).expect("enough");
        let plain = Layout::new(metadata, tensors(20), DEFAULT_ALIGNMENT).expect("a layout");
        assert_eq!((one.len(), one[0].header()), (1, plain.header()));
    }

    #[test]
    fn what_does_not_fit_into_a_part_is_named() {
        let refused = |metadata: &[(String, Value)], max_bytes| {
            divide(metadata.to_vec(), tensors(2), DEFAULT_ALIGNMENT, max_bytes)
                .expect_err("too little")
                .to_string()
        };
        assert!(refused(&[], 700).contains("tensor t0 takes 1"), "{}", refused(&[], 700));
        let long = [("general.name".to_owned(), Value::String("x".repeat(5000)))];
        assert!(refused(&long, 2000).contains("the metadata takes 5"), "{}", refused(&long, 2000));
    }
}
