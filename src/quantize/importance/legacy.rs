//! Importance matrices as llama.cpp wrote them until 2025:
//!
//! ```text
//! i32 entries, and for each: i32 n, name[n], i32 calls, i32 m, f32 values[m]      values / calls are the means
//! i32 calls of the longest, i32 n, name of the text[n]                            missing in the oldest files
//! ```
//!
//! A call is a chunk of text. There is one number of calls for all experts of a stack; what none of them saw has
//! the value 1 for each call.

use std::collections::BTreeMap;
use std::path::Path;

use byteorder::{ByteOrder, LittleEndian};

use super::{Entry, ImportanceMatrix};
use crate::error::{Error, Result};
use crate::limits;
use crate::new_file::{NewFile, free_target};

/// Tokens in a chunk, which the format does not tell: what llama.cpp takes unless told.
const CHUNK_LEN: u32 = 512;

/// A position in the bytes of a file.
struct Cursor<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        let taken = self.at.checked_add(n).and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            let left = self.bytes.len() - self.at;
            Error::malformed(
                self.path,
                format!(
                    "not an importance matrix: {what} at byte {} needs {n} bytes, and {left} are left",
                    self.at
                ),
            )
        })?;
        self.at += n;
        Ok(taken)
    }

    /// A number of things from 1 to `most`.
    fn count(&mut self, most: usize, what: &str) -> Result<usize> {
        let at = self.at;
        let n = LittleEndian::read_i32(self.take(4, what)?);
        usize::try_from(n).ok().filter(|n| (1..=most).contains(n)).ok_or_else(|| {
            let what = format!("not an importance matrix: {what} at byte {at} is {n}, not from 1 to {most}");
            Error::malformed(self.path, what)
        })
    }

    fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }
}

/// Reads the file of these bytes.
///
/// # Errors
/// [`Error::Malformed`] for what is none.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<ImportanceMatrix> {
    let mut cursor = Cursor { path, bytes, at: 0 };
    let n_entries = cursor.count(limits::MAX_TENSORS, "the number of entries")?;
    let mut entries = BTreeMap::new();
    for i in 0..n_entries {
        let n = cursor.count(limits::MAX_TENSOR_NAME_BYTES, &format!("the length of name {i}"))?;
        let name = String::from_utf8_lossy(cursor.take(n, &format!("name {i}"))?).into_owned();
        let shown = name.escape_debug().to_string();
        let n_calls = cursor.count(i32::MAX as usize, &format!("the number of calls of {shown}"))? as u64;
        let n_values = cursor.count(bytes.len() / 4, &format!("the number of values of {shown}"))?;
        let values = cursor.take(4 * n_values, &format!("the values of {shown}"))?;
        let sum = |value: &[u8]| f64::from(LittleEndian::read_f32(value)) * f64::from(CHUNK_LEN);
        let entry = Entry {
            sums: None,
            squares: values.chunks_exact(4).map(sum).collect(),
            counts: vec![n_calls * u64::from(CHUNK_LEN)],
        };
        if entries.insert(name, entry).is_some() {
            return Err(Error::malformed(path, format!("{shown} comes twice")));
        }
    }
    let mut datasets = Vec::new();
    if !cursor.is_at_end() {
        cursor.take(4, "the number of calls")?;
    }
    if !cursor.is_at_end() {
        let n = LittleEndian::read_i32(cursor.take(4, "the length of the text's name")?);
        let name = cursor.take(usize::try_from(n).unwrap_or(0), "the text's name")?;
        datasets.extend((!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned()));
    }
    Ok(ImportanceMatrix { entries, datasets, chunk_len: CHUNK_LEN })
}

/// Writes `matrix` to `path`. Experts that saw nothing become columns that count alike.
///
/// # Errors
/// [`Error::Usage`] if there is a file and `overwrite` is false; [`Error::Io`].
pub(super) fn write(matrix: &ImportanceMatrix, path: &Path, overwrite: bool) -> Result<()> {
    let target = free_target(path, "imatrix.dat", overwrite)?;
    let chunk_len = u64::from(if matrix.chunk_len == 0 { CHUNK_LEN } else { matrix.chunk_len });
    let entries: Vec<_> =
        matrix.entries.iter().filter(|(_, entry)| entry.counts.iter().any(|&n| n > 0)).collect();
    let mut bytes = Vec::new();
    let number = |bytes: &mut Vec<u8>, n: u64| {
        bytes.extend_from_slice(&i32::try_from(n).unwrap_or(i32::MAX).to_le_bytes());
    };
    number(&mut bytes, entries.len() as u64);
    for (name, entry) in entries {
        let n_calls = entry.counts.iter().max().map_or(0, |&most| most.div_ceil(chunk_len));
        number(&mut bytes, name.len() as u64);
        bytes.extend_from_slice(name.as_bytes());
        number(&mut bytes, n_calls);
        number(&mut bytes, entry.squares.len() as u64);
        bytes.extend(entry.weights().iter().flat_map(|mean| (mean * n_calls as f32).to_le_bytes()));
    }
    number(&mut bytes, matrix.n_chunks());
    let dataset = matrix.datasets.last().map_or("", String::as_str);
    number(&mut bytes, dataset.len() as u64);
    bytes.extend_from_slice(dataset.as_bytes());
    NewFile::write(target, path, &bytes, overwrite)
}
