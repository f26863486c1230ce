//! Models that are split into several files.
//!
//! The parts are called `NAME-00001-of-00003.gguf` and so on. Each says in its metadata which of how many it is;
//! the first has the rest of the metadata as well, and every part its tensors.

use std::path::{Path, PathBuf};

use super::reader::GgufFile;
use crate::error::{Error, Result};
use crate::limits;

const SPLIT_NO: &str = "split.no";
const SPLIT_COUNT: &str = "split.count";
const SPLIT_TENSORS: &str = "split.tensors.count";

/// The metadata keys of a part.
pub const SPLIT_KEYS: [&str; 3] = [SPLIT_NO, SPLIT_COUNT, SPLIT_TENSORS];

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
    let more = match missing.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let named = missing[..missing.len().min(MAX_NAMED)].join(", ");
    let what = format!(
        "it is one of the {} parts of a split model, and these are not beside it: {named}{more}; download them \
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
