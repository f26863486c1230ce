//! What the writer writes, the reader reads back the same.

use std::path::Path;

use crate::random::Random;
use gguf_kit::gguf::{GgufFile, GgufWriter, Layout, Metadata, PlannedTensor, Value};
use gguf_simd::BlockType;
use serde_json::json;

fn planned(name: &str, shape: &[usize], block_type: BlockType) -> PlannedTensor {
    PlannedTensor { name: name.into(), shape: shape.to_vec(), ty: block_type.into() }
}

/// Writes random bytes for every tensor, in pieces, and returns them.
fn write(path: &Path, layout: Layout, random: &mut Random) -> Vec<Vec<u8>> {
    let writer = GgufWriter::create(path, layout, false).unwrap();
    let mut contents = Vec::new();
    for (i, tensor) in writer.layout().tensors().iter().enumerate() {
        let bytes: Vec<u8> = (0..tensor.n_bytes).map(|_| random.below(256) as u8).collect();
        let n_piece = 1 + random.below(200);
        for (p, piece) in bytes.chunks(n_piece).enumerate() {
            writer.write_at(i, (p * n_piece) as u64, piece).unwrap();
        }
        contents.push(bytes);
    }
    assert_eq!(writer.finish().unwrap(), path);
    contents
}

fn random_string(random: &mut Random) -> String {
    let alphabet = ['a', 'Z', '0', '\n', '"', '\\', 'ü', '▁', '漢', '🦊', '\0'];
    (0..random.below(12)).map(|_| alphabet[random.below(alphabet.len())]).collect()
}

fn random_value(random: &mut Random) -> Value {
    let bits = random.next();
    let n = random.below(20);
    match random.below(19) {
        0 => Value::U8(bits as u8),
        1 => Value::I8(bits as i8),
        2 => Value::U16(bits as u16),
        3 => Value::I16(bits as i16),
        4 => Value::U32(bits as u32),
        5 => Value::I32(bits as i32),
        6 => Value::U64(bits),
        7 => Value::I64(bits as i64),
        8 => Value::F32(bits as u32 as f32 / 7.0),
        9 => Value::F64(bits as f64 / 7.0),
        10 => Value::Bool(bits & 1 == 1),
        11 => Value::String(random_string(random)),
        12 => Value::Strings((0..n).map(|_| random_string(random)).collect()),
        13 => Value::U32s((0..n).map(|_| random.next() as u32).collect()),
        14 => Value::I32s((0..n).map(|_| random.next() as i32).collect()),
        15 => Value::U8s((0..n).map(|_| random.next() as u8).collect()),
        17 => Value::U64s((0..n).map(|_| random.next()).collect()),
        16 => Value::Bools((0..n).map(|_| random.next().is_multiple_of(2)).collect()),
        _ => Value::F32s((0..n).map(|_| random.below(1000) as f32 / 7.0).collect()),
    }
}

fn assert_reads_as(metadata: &Metadata, key: &str, value: &Value) {
    let expected = match value {
        Value::U8(x) => json!(x),
        Value::I8(x) => json!(x),
        Value::U16(x) => json!(x),
        Value::I16(x) => json!(x),
        Value::U32(x) => json!(x),
        Value::I32(x) => json!(x),
        Value::U64(x) => json!(x),
        Value::I64(x) => json!(x),
        Value::F64(x) => json!(x),
        Value::Bool(x) => json!(x),
        Value::String(x) => json!(x),
        Value::Strings(x) => json!(x),
        Value::U8s(x) => json!(x),
        Value::U32s(x) => json!(x),
        Value::U64s(x) => json!(x),
        Value::I32s(x) => json!(x),
        Value::Bools(x) => json!(x),
        // JSON holds these in their shortest form, so they are compared as floats.
        Value::F32(x) => return assert_eq!(metadata.f32(key).unwrap(), Some(*x), "{key}"),
        Value::F32s(x) => return assert_eq!(metadata.f32s(key).unwrap().as_ref(), Some(x), "{key}"),
        Value::Copied(_) => unreachable!("only readers make such values"),
    };
    assert_eq!(metadata.to_json(key), expected, "{key}");
}

#[test]
fn random_files_read_back_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(0x5eed);
    let types: Vec<BlockType> = BlockType::all().collect();
    for round in 0..100 {
        let pairs: Vec<(String, Value)> =
            (0..random.below(12)).map(|i| (format!("key.{i}"), random_value(&mut random))).collect();
        let tensors: Vec<PlannedTensor> = (0..random.below(6))
            .map(|i| {
                let block_type = types[random.below(types.len())];
                let mut shape: Vec<usize> = (0..random.below(4)).map(|_| random.below(4)).collect();
                shape.push(random.below(3) * block_type.block_len());
                planned(&format!("t{i}.weight"), &shape, block_type)
            })
            .collect();
        let alignment = 8 << random.below(6);
        let layout = Layout::new(pairs.clone(), tensors.clone(), alignment).unwrap();
        let file_bytes = layout.file_bytes();
        let path = dir.path().join(format!("{round}.gguf"));
        let contents = write(&path, layout, &mut random);

        let file = GgufFile::open(&path).unwrap();
        assert_eq!((file.version(), file.alignment(), file.file_len()), (3, alignment, file_bytes));
        assert_eq!(file.metadata().keys().len(), pairs.len() + usize::from(alignment != 32));
        for (key, value) in &pairs {
            assert_reads_as(file.metadata(), key, value);
        }
        assert_eq!(file.tensors().len(), tensors.len());
        for (tensor, content) in tensors.iter().zip(contents) {
            let found = file.tensor(&tensor.name).unwrap();
            assert_eq!((&found.shape, found.ty), (&tensor.shape, tensor.ty));
            assert_eq!(file.bytes(found), content);
        }
    }
}

#[test]
fn display_is_short_and_escaped() {
    let pairs = vec![
        ("long".into(), Value::String(format!("a\n{}", "x".repeat(100)))),
        ("many".into(), Value::Strings((0..9).map(|i| format!("t{i}")).collect())),
        ("few".into(), Value::F32s(vec![0.1, -2.0])),
        ("n".into(), Value::U32(7)),
        ("none".into(), Value::I32s(vec![])),
    ];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("display.gguf");
    write(&path, Layout::new(pairs, vec![], 32).unwrap(), &mut Random::new(1));
    let file = GgufFile::open(&path).unwrap();
    let shown = |key| file.metadata().display(key);
    assert_eq!(shown("long"), format!("\"a\\n{}…\" (102 bytes)", "x".repeat(58)));
    assert_eq!(shown("many"), r#"[string; 9]: "t0", "t1", "t2", "t3", …"#);
    assert_eq!(shown("few"), "[f32; 2]: 0.1, -2.0");
    assert_eq!(shown("n"), "7");
    assert_eq!(shown("none"), "[i32; 0]");
    assert_eq!(shown("absent"), "");
    assert_eq!(file.metadata().to_json("few"), json!([0.1, -2.0]));
}

#[test]
fn a_layout_refuses_what_no_reader_takes() {
    let says = |pairs: Vec<(String, Value)>, tensors: Vec<PlannedTensor>, alignment, part: &str| {
        let message = Layout::new(pairs, tensors, alignment).unwrap_err().to_string();
        assert!(message.contains(part), "{message:?} should say {part:?}");
    };
    let pair = |key: &str| (key.to_owned(), Value::U32(1));
    let tensor = |shape: &[usize]| planned("w", shape, BlockType::F32);
    says(vec![pair("a"), pair("a")], vec![], 32, "twice");
    says(vec![pair("")], vec![], 32, "empty");
    says(vec![pair(&"k".repeat(65_536))], vec![], 32, "longer than 65535");
    says(vec![], vec![tensor(&[1]), tensor(&[2])], 32, "twice");
    says(vec![], vec![planned("", &[1], BlockType::F32)], 32, "empty");
    says(vec![], vec![planned(&"n".repeat(64), &[1], BlockType::F32)], 32, "63 bytes");
    says(vec![], vec![tensor(&[])], 32, "0 dimensions");
    says(vec![], vec![tensor(&[1; 5])], 32, "5 dimensions");
    says(vec![], vec![planned("w", &[2, 896], BlockType::Q4_K)], 32, "rows hold 896 elements and Q4_K needs");
    says(vec![], vec![tensor(&[usize::MAX, 2])], 32, "larger than any machine");
    says(
        vec![],
        vec![tensor(&[usize::MAX / 8]), planned("v", &[usize::MAX / 4], BlockType::F32)],
        32,
        "larger",
    );
    for alignment in [0, 4, 24, 1 << 21] {
        says(vec![], vec![], alignment, "power of two from 8");
    }
    says(vec![("general.alignment".into(), Value::U32(64))], vec![], 32, "general.alignment is U32(64)");
}
