//! Importance matrices as GGUF files: for a tensor `x`, `x.in_sum2` and `x.counts`, and `x.in_sum` since 2026.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use gguf_simd::BlockType;

use super::{Entry, ImportanceMatrix};
use crate::error::{Error, Result};
use crate::gguf::{DEFAULT_ALIGNMENT, GgufFile, GgufWriter, Layout, PlannedTensor, TensorInfo, Value};
use crate::mapped_file::MappedFile;
use crate::quantize::source::decode_each;

const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";
const SUMS: &str = ".in_sum";
const SQUARES: &str = ".in_sum2";
const COUNTS: &str = ".counts";

/// Reads the file of these bytes.
///
/// # Errors
/// [`Error::Malformed`] and others as the reader of GGUF finds them, or for a file of something else.
pub(super) fn read(path: &Path, bytes: Vec<u8>) -> Result<ImportanceMatrix> {
    let file = GgufFile::from_mapped(Arc::new(MappedFile::from_bytes(path, bytes)))?;
    let metadata = file.metadata();
    let ty = metadata.string("general.type").ok().flatten().unwrap_or("model");
    if ty != "imatrix" {
        return Err(Error::malformed(
            path,
            format!("not an importance matrix but a GGUF file of type \"{ty}\""),
        ));
    }
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for tensor in file.tensors() {
        let name = tensor.name.as_str();
        if let Some(name) = name.strip_suffix(SQUARES) {
            entries.entry(name.to_owned()).or_default().squares = floats(&file, tensor)?;
        } else if let Some(name) = name.strip_suffix(SUMS) {
            entries.entry(name.to_owned()).or_default().sums = Some(floats(&file, tensor)?);
        } else if let Some(name) = name.strip_suffix(COUNTS) {
            let counts = floats(&file, tensor)?;
            if let Some(bad) = counts.iter().find(|count| !(0.0..1e18).contains(*count)) {
                return Err(Error::malformed(path, format!("{} counts {bad} inputs", name.escape_debug())));
            }
            entries.entry(name.to_owned()).or_default().counts =
                counts.iter().map(|n| n.round() as u64).collect();
        }
    }
    for (name, entry) in &entries {
        if entry.sums.as_ref().is_some_and(|sums| sums.len() != entry.squares.len()) {
            let what = format!("{} has not as many sums as sums of squares", name.escape_debug());
            return Err(Error::malformed(path, what));
        }
    }
    let datasets =
        metadata.strings(DATASETS)?.map(|names| names.map(str::to_owned).collect()).unwrap_or_default();
    Ok(ImportanceMatrix { entries, datasets, chunk_len: metadata.u32(CHUNK_SIZE)?.unwrap_or(0) })
}

fn floats(file: &GgufFile, tensor: &TensorInfo) -> Result<Vec<f64>> {
    if tensor.ty.block_type() != Some(BlockType::F32) {
        let what = format!("{} has elements of {}; F32 is needed", tensor.name.escape_debug(), tensor.ty);
        return Err(Error::malformed(file.path(), what));
    }
    let mut values = vec![0.0; tensor.n_elements()];
    decode_each(file.bytes(tensor), &mut values, f32::from_le_bytes);
    Ok(values.into_iter().map(f64::from).collect())
}

/// Writes `matrix` to `path`.
///
/// # Errors
/// As [`GgufWriter::create`]; [`Error::Usage`] for names of tensors that GGUF has no room for.
pub(super) fn write(matrix: &ImportanceMatrix, path: &Path, overwrite: bool) -> Result<()> {
    let metadata = [
        ("general.type", Value::String("imatrix".into())),
        (DATASETS, Value::Strings(matrix.datasets.clone())),
        (CHUNK_COUNT, Value::U32(u32::try_from(matrix.n_chunks()).unwrap_or(u32::MAX))),
        (CHUNK_SIZE, Value::U32(matrix.chunk_len)),
    ];
    let (mut tensors, mut data) = (Vec::new(), Vec::new());
    for (name, entry) in &matrix.entries {
        let (n, n_in) = (entry.counts.len(), entry.squares.len() / entry.counts.len());
        let mut add = |suffix: &str, n_in: usize, values: Vec<f32>| {
            let name = format!("{name}{suffix}");
            tensors.push(PlannedTensor { name, shape: vec![n, n_in], ty: BlockType::F32.into() });
            data.push(values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
        };
        let narrowed = |values: &[f64]| values.iter().map(|&x| x as f32).collect();
        add(SQUARES, n_in, narrowed(&entry.squares));
        add(COUNTS, 1, entry.counts.iter().map(|&n| n as f32).collect());
        if let Some(sums) = &entry.sums {
            add(SUMS, n_in, narrowed(sums));
        }
    }
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let writer = GgufWriter::create(path, Layout::new(metadata, tensors, DEFAULT_ALIGNMENT)?, overwrite)?;
    for (i, bytes) in data.iter().enumerate() {
        writer.write_at(i, 0, bytes)?;
    }
    writer.finish().map(drop)
}
