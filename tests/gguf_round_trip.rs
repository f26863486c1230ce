//! What the writer writes, the reader reads back the same; and files are whole or not there.

use std::fs;
use std::path::Path;

use gguf_kit::gguf::{GgufFile, GgufWriter, Layout, PlannedTensor, Value};
use gguf_simd::BlockType;

fn planned(name: &str, shape: &[usize], block_type: BlockType) -> PlannedTensor {
    PlannedTensor { name: name.into(), shape: shape.to_vec(), block_type }
}

fn small_layout() -> Layout {
    let metadata = vec![
        ("general.architecture".into(), Value::String("llama".into())),
        ("llama.block_count".into(), Value::U32(2)),
        ("tokenizer.ggml.tokens".into(), Value::Strings(vec!["a".into(), String::new(), "ü\n".into()])),
    ];
    let tensors = vec![planned("w", &[3, 64], BlockType::Q8_0), planned("norm", &[5], BlockType::F32)];
    Layout::new(metadata, tensors, 32).unwrap()
}

/// Bytes that differ from tensor to tensor and from place to place.
fn fill(tensor: usize, n_bytes: u64) -> Vec<u8> {
    (0..n_bytes).map(|i| (i * 7 + tensor as u64 * 31) as u8).collect()
}

fn write(path: &Path, layout: &Layout, overwrite: bool) -> gguf_kit::Result<std::path::PathBuf> {
    let writer = GgufWriter::create(path, layout.clone(), overwrite)?;
    for (i, tensor) in layout.tensors().iter().enumerate() {
        writer.write_at(i, 0, &fill(i, tensor.n_bytes))?;
    }
    writer.finish()
}

#[test]
fn a_written_file_reads_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("small.gguf");
    let layout = small_layout();
    assert_eq!(write(&path, &layout, false).unwrap(), path);
    let file = GgufFile::open(&path).unwrap();
    assert_eq!((file.version(), file.alignment()), (3, 32));
    assert_eq!(file.file_len(), layout.file_bytes());
    let metadata = file.metadata();
    assert_eq!(metadata.required_string("general.architecture").unwrap(), "llama");
    assert_eq!(metadata.required_count("llama.block_count").unwrap(), 2);
    let tokens: Vec<&str> = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap().collect();
    assert_eq!(tokens, ["a", "", "ü\n"]);
    for (i, placed) in layout.tensors().iter().enumerate() {
        let tensor = file.tensor(&placed.name).unwrap();
        assert_eq!(tensor.shape, placed.shape);
        assert_eq!(tensor.ty.block_type(), Some(placed.block_type));
        assert_eq!(file.bytes(tensor), fill(i, placed.n_bytes));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
}
