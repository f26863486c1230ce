//! GGUF files as the parts that other programs split them into.

use std::path::{Path, PathBuf};

use gguf_kit::gguf::{DEFAULT_ALIGNMENT, GgufFile, GgufWriter, Layout, PlannedTensor, TensorInfo, Value};

/// The file at `path` as parts in its folder: a part ends before each of the tensors `ends`, which ascend.
pub(crate) fn split(path: &Path, ends: &[usize]) -> Vec<PathBuf> {
    let file = GgufFile::open(path).expect("a model");
    let (n, n_parts) = (file.tensors().len(), ends.len() + 1);
    let keys = |i: usize| {
        [
            ("split.no", Value::U16(i as u16)),
            ("split.count", Value::U16(n_parts as u16)),
            ("split.tensors.count", Value::I32(n as i32)),
        ]
        .map(|(key, value)| (key.to_owned(), value))
    };
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let parts = starts.zip(ends.iter().copied().chain([n])).enumerate();
    parts
        .map(|(i, (start, end))| {
            let path = path.with_file_name(format!("part-{:05}-of-{n_parts:05}.gguf", i + 1));
            let whole = if i == 0 { file.metadata().to_pairs() } else { Vec::new() };
            let pairs = whole.into_iter().chain(keys(i)).collect();
            write_part(&file, &file.tensors()[start..end], pairs, &path);
            path
        })
        .collect()
}

/// Writes some tensors of `file` with these metadata.
pub(crate) fn write_part(file: &GgufFile, tensors: &[TensorInfo], pairs: Vec<(String, Value)>, path: &Path) {
    let planned = tensors.iter().map(|tensor| PlannedTensor {
        name: tensor.name.clone(),
        shape: tensor.shape.clone(),
        ty: tensor.ty,
    });
    let layout = Layout::new(pairs, planned.collect(), DEFAULT_ALIGNMENT).expect("a layout");
    let writer = GgufWriter::create(path, layout, false).expect("a file");
    for (i, tensor) in tensors.iter().enumerate() {
        writer.write_at(i, 0, file.bytes(tensor)).expect("written");
    }
    writer.finish().expect("a file");
}
