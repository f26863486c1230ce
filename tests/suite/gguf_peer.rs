//! The `gguf` package of PyPI reads our files, and we read its files and those of llama.cpp.
//!
//! Needs `GGUF_PEER_PYTHON`, a Python that has the package, and `GGUF_VOCABS`, a folder of
//! vocabulary-only files; what is not set is skipped, unless `GGUF_REQUIRE=1`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::required_variable;
use crate::random::Random;
use gguf_kit::gguf::{GgmlType, GgufFile, GgufWriter, Layout, PlannedTensor, Value};
use gguf_simd::BlockType;
use serde_json::{Value as Json, json};

fn variable(name: &str) -> Option<PathBuf> {
    required_variable(name).map(PathBuf::from)
}

/// Runs a script that takes `path` as its argument and prints JSON.
fn run(python: &Path, script: &str, path: &Path) -> Json {
    let output = Command::new(python).arg("-c").arg(script).arg(path).output().expect("the Python starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

const READ: &str = r#"
import json, sys
from gguf import GGUFReader
reader = GGUFReader(sys.argv[1])
print(json.dumps({
    "fields": {k: f.contents() for k, f in reader.fields.items() if not k.startswith("GGUF.")},
    "tensors": [[t.name, t.tensor_type.name, [int(n) for n in reversed(t.shape)], int(t.data_offset),
                 sum((i % 251 + 1) * int(b) for i, b in enumerate(t.data.tobytes()))] for t in reader.tensors],
}))
"#;

/// A sum of the bytes that notices when they change places.
fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().enumerate().map(|(i, &byte)| (i as u64 % 251 + 1) * u64::from(byte)).sum()
}

#[test]
fn the_peer_reads_our_files() {
    let Some(python) = variable("GGUF_PEER_PYTHON") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.gguf");
    let pairs = vec![
        ("general.architecture".to_owned(), Value::String("llama".into())),
        ("a.u8".into(), Value::U8(200)),
        ("a.i8".into(), Value::I8(-3)),
        ("a.u16".into(), Value::U16(60_000)),
        ("a.i16".into(), Value::I16(-300)),
        ("a.u32".into(), Value::U32(4_000_000_000)),
        ("a.i32".into(), Value::I32(-70_000)),
        ("a.u64".into(), Value::U64(1 << 60)),
        ("a.i64".into(), Value::I64(-(1 << 60))),
        ("a.f32".into(), Value::F32(0.5)),
        ("a.f64".into(), Value::F64(0.1)),
        ("a.bool".into(), Value::Bool(true)),
        ("a.strings".into(), Value::Strings(vec!["x".into(), "ü\n".into(), String::new()])),
        ("a.u32s".into(), Value::U32s(vec![1, u32::MAX])),
        ("a.i32s".into(), Value::I32s(vec![-1, 5])),
        ("a.f32s".into(), Value::F32s(vec![0.25, -8.0])),
    ];
    // Q2_0 is younger than the package.
    let known = BlockType::all().filter(|&block_type| block_type != BlockType::Q2_0);
    let tensors = known.map(|block_type| PlannedTensor {
        name: format!("t.{block_type}"),
        shape: vec![2, 3, block_type.block_len().max(32)],
        ty: block_type.into(),
    });
    let layout = Layout::new(pairs, tensors.collect(), 64).unwrap();
    let writer = GgufWriter::create(&path, layout.clone(), false).unwrap();
    let mut random = Random::new(7);
    let mut expected = Vec::new();
    for (i, tensor) in layout.tensors().iter().enumerate() {
        let bytes: Vec<u8> = (0..tensor.n_bytes).map(|_| random.below(256) as u8).collect();
        writer.write_at(i, 0, &bytes).unwrap();
        expected.push(json!([tensor.name, tensor.ty.name(), tensor.shape, tensor.offset, checksum(&bytes)]));
    }
    writer.finish().unwrap();

    let read = run(&python, READ, &path);
    assert_eq!(read["tensors"], json!(expected));
    assert_eq!(
        read["fields"],
        json!({
            "general.architecture": "llama", "a.u8": 200, "a.i8": -3, "a.u16": 60_000, "a.i16": -300,
            "a.u32": 4_000_000_000_u32, "a.i32": -70_000, "a.u64": 1_u64 << 60, "a.i64": -(1_i64 << 60),
            "a.f32": 0.5, "a.f64": 0.1, "a.bool": true, "a.strings": ["x", "ü\n", ""],
            "a.u32s": [1, u32::MAX], "a.i32s": [-1, 5], "a.f32s": [0.25, -8.0], "general.alignment": 64,
        })
    );
}

const WRITE: &str = r#"
import json, sys
import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
writer = GGUFWriter(sys.argv[1], "llama")
writer.add_uint8("a.u8", 200); writer.add_int8("a.i8", -3); writer.add_uint16("a.u16", 60000)
writer.add_int16("a.i16", -300); writer.add_uint32("a.u32", 4000000000); writer.add_int32("a.i32", -70000)
writer.add_uint64("a.u64", 1 << 60); writer.add_int64("a.i64", -(1 << 60)); writer.add_float32("a.f32", 0.5)
writer.add_float64("a.f64", 0.1); writer.add_bool("a.bool", True); writer.add_string("a.string", "ü")
writer.add_array("a.strings", ["x", "", "ü"]); writer.add_array("a.nested", [[1, 2], [3]])
writer.add_tensor("floats", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
writer.add_tensor("halves", np.arange(6, dtype=np.float16).reshape(2, 3))
writer.add_tensor("codes", np.arange(2 * 66, dtype=np.uint8).reshape(2, 66), raw_dtype=GGMLQuantizationType.IQ2_XXS)
writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
print("null")
"#;

#[test]
fn we_read_the_peers_files() {
    let Some(python) = variable("GGUF_PEER_PYTHON") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.gguf");
    run(&python, WRITE, &path);
    let file = GgufFile::open(&path).unwrap();
    let metadata = file.metadata();
    for (key, expected) in [
        ("general.architecture", json!("llama")),
        ("a.u8", json!(200)),
        ("a.i8", json!(-3)),
        ("a.u16", json!(60_000)),
        ("a.i16", json!(-300)),
        ("a.u32", json!(4_000_000_000_u32)),
        ("a.i32", json!(-70_000)),
        ("a.u64", json!(1_u64 << 60)),
        ("a.i64", json!(-(1_i64 << 60))),
        ("a.f32", json!(0.5)),
        ("a.f64", json!(0.1)),
        ("a.bool", json!(true)),
        ("a.string", json!("ü")),
        ("a.strings", json!(["x", "", "ü"])),
        ("a.nested", json!([[1, 2], [3]])),
    ] {
        assert_eq!(metadata.to_json(key), expected, "{key}");
    }
    let floats: Vec<u8> = (0..24_u8).flat_map(|i| f32::from(i).to_le_bytes()).collect();
    let tensor = file.tensor("floats").unwrap();
    assert_eq!((tensor.shape.as_slice(), file.bytes(tensor)), ([2, 3, 4].as_slice(), floats.as_slice()));
    let codes = file.tensor("codes").unwrap();
    assert_eq!(
        (codes.ty.name().as_ref(), codes.shape.as_slice(), codes.n_bytes),
        ("IQ2_XXS", [2, 256].as_slice(), 132)
    );
    assert_eq!(codes.ty.block_type(), Some(BlockType::IQ2_XXS));
}

const SIZES: &str = r#"
import json
from gguf.constants import GGML_QUANT_SIZES
print(json.dumps([[int(t), t.name, length, size] for t, (length, size) in GGML_QUANT_SIZES.items()]))
"#;

#[test]
fn the_peer_knows_the_same_blocks() {
    let Some(python) = variable("GGUF_PEER_PYTHON") else { return };
    let sizes = run(&python, SIZES, Path::new(""));
    let rows = sizes.as_array().unwrap();
    assert!(rows.len() > 30);
    for row in rows {
        // The package still counts Q8_1's two scales as floats of 4 bytes; ggml stores 2 each.
        let expected = if row[1] == "Q8_1" { json!([9, "Q8_1", 32, 36]) } else { row.clone() };
        let ty = GgmlType::from_id(row[0].as_u64().unwrap() as u32);
        let block = ty.block().unwrap();
        assert_eq!(json!([ty.id(), ty.name(), block.len, block.bytes]), expected);
    }
}

#[test]
fn vocabulary_only_files_open() {
    let Some(folder) = variable("GGUF_VOCABS") else { return };
    let mut n_files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "gguf") {
            let file = GgufFile::open(&path).unwrap();
            assert!(file.tensors().is_empty(), "{}", path.display());
            let metadata = file.metadata();
            let n_tokens = metadata.array_len("tokenizer.ggml.tokens").unwrap().unwrap();
            let tokens = metadata.strings("tokenizer.ggml.tokens").unwrap().unwrap();
            assert_eq!(tokens.filter(|token| !token.is_empty()).count(), n_tokens);
            assert_eq!(metadata.i32s("tokenizer.ggml.token_type").unwrap().unwrap().len(), n_tokens);
            n_files += 1;
        }
    }
    assert!(n_files > 0, "the folder holds no .gguf files");
}
