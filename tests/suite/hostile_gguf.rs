//! Hostile, broken and foreign GGUF files end in an error that says what is wrong: never in a panic,
//! an unbounded allocation, or a read outside the file.

use crate::hostile::{
    ARRAY, BOOL, Effort, F32, GgufBytes, STRING, U32, U64, assert_says, for_each_mutation, open_gguf,
    touch_gguf,
};
use gguf_kit::Error;

/// Numbers of tensor types.
const TYPE_F32: u32 = 0;
const TYPE_Q4_K: u32 = 12;

/// A sound header: a pair of each shape, two tensors.
fn sound_header() -> GgufBytes {
    GgufBytes::new(2, 6)
        .key("general.architecture", STRING)
        .string("llama")
        .key("llama.block_count", U32)
        .u32(1)
        .array("tokens", STRING, 2)
        .string("a")
        .string("bc")
        .array("scores", F32, 2)
        .bytes(&1.5_f32.to_le_bytes())
        .bytes(&(-2.0_f32).to_le_bytes())
        .array("nested", ARRAY, 2)
        .u32(U64)
        .u64(1)
        .u64(7)
        .u32(BOOL)
        .u64(2)
        .bytes(&[0, 1])
        .key("flag", BOOL)
        .bytes(&[1])
        .tensor("matrix", &[8, 2], TYPE_F32, 0)
        .tensor("empty", &[0, 3], TYPE_F32, 64)
}

fn sound() -> GgufBytes {
    sound_header().data(32, 64)
}

/// A header with one tensor, described so, and 64 bytes of data.
fn one_tensor(dims: &[u64], ty: u32, offset: u64) -> GgufBytes {
    GgufBytes::new(1, 0).tensor("w", dims, ty, offset).data(32, 64)
}

#[test]
fn the_sound_file_is_read_whole() {
    let file = sound().open().unwrap();
    touch_gguf(&file);
    let metadata = file.metadata();
    assert!(metadata.keys().eq([
        "general.architecture",
        "llama.block_count",
        "tokens",
        "scores",
        "nested",
        "flag"
    ]));
    assert_eq!(metadata.f32s("scores").unwrap().unwrap(), [1.5, -2.0]);
    assert_eq!(metadata.to_json("nested"), serde_json::json!([[7], [false, true]]));
    assert_eq!(metadata.bool("flag").unwrap(), Some(true));
    assert_eq!(file.tensor("matrix").unwrap().shape, [2, 8]);
    assert_eq!(file.bytes(file.tensor("matrix").unwrap()), [0xa5; 64]);
    assert_eq!(file.bytes(file.tensor("empty").unwrap()), [0; 0]);
}

#[test]
fn reader_rejects_every_truncation() {
    let sound = sound().0;
    for n in 0..sound.len() {
        let message = open_gguf(sound[..n].to_vec()).expect_err("a truncated file opened").to_string();
        assert!(message.starts_with("test.gguf"), "{message}");
    }
    assert_says(
        &open_gguf(sound[..14].to_vec()).unwrap_err().to_string(),
        &["number of tensors at offset 8 needs 8 bytes", "6 left (of 14)"],
    );
}

#[test]
fn reader_survives_every_changed_byte() {
    let n_header = sound_header().0.len();
    for_each_mutation(&sound().0, n_header, Effort::FULL, |bytes| {
        if let Ok(file) = open_gguf(bytes) {
            touch_gguf(&file);
        }
    });
}

#[test]
fn reader_rejects_a_shape_past_the_end() {
    let message = one_tensor(&[32, 1], TYPE_F32, 0).refusal();
    assert_says(&message, &["tensor w lies at bytes 96 to 224", "the file has 160"]);
}

#[test]
fn reader_rejects_an_offset_past_the_end() {
    assert_says(&one_tensor(&[8], TYPE_F32, 64).refusal(), &["lies at bytes 128 to 160"]);
    assert_says(&one_tensor(&[8], TYPE_F32, u64::MAX - 31).refusal(), &["offset overflows"]);
    assert_says(&one_tensor(&[8], TYPE_F32, (1 << 63) - 64).refusal(), &["lies at bytes"]);
}

#[test]
fn reader_rejects_shapes_whose_products_overflow() {
    for dims in [&[1 << 32, 1 << 32][..], &[1 << 62], &[u64::MAX], &[1 << 16; 4], &[u64::MAX, u64::MAX, 0]] {
        assert_says(
            &one_tensor(dims, TYPE_F32, 0).refusal(),
            &["tensor w", "more than any machine can address"],
        );
    }
}

#[test]
fn reader_rejects_counts_the_file_cannot_hold() {
    for n in [5, 1 << 32, 1 << 60, u64::MAX] {
        assert_says(&GgufBytes::new(n, 0).data(32, 64).refusal(), &["number of tensors", &n.to_string()]);
    }
    for n in [100, 1 << 61, u64::MAX] {
        assert_says(
            &GgufBytes::new(0, n).data(32, 64).refusal(),
            &["number of metadata pairs", &n.to_string()],
        );
    }
}

#[test]
fn reader_rejects_array_lengths_whose_bytes_overflow() {
    for (element, n) in
        [(U64, 1 << 61), (U64, (1 << 61) + 1), (F32, 1 << 62), (STRING, u64::MAX), (ARRAY, 1 << 60)]
    {
        let message = GgufBytes::new(0, 1).array("xs", element, n).data(32, 64).refusal();
        assert_says(&message, &["length of the array of metadata key xs", &n.to_string()]);
    }
}

#[test]
fn reader_rejects_arrays_nested_a_million_deep() {
    let mut bytes = GgufBytes::new(0, 1).array("deep", ARRAY, 1);
    for _ in 0..1_000_000 {
        bytes = bytes.u32(ARRAY).u64(1);
    }
    let refused = bytes.open().unwrap_err();
    assert!(matches!(refused, Error::Limit { .. }), "{refused:?}");
    assert_says(&refused.to_string(), &["metadata key deep nests arrays"]);
}

#[test]
fn reader_rejects_strings_and_arrays_longer_than_the_file() {
    let message = GgufBytes::new(0, 1).key("s", STRING).u64(1000).bytes(&[b'x'; 50]).refusal();
    assert_says(&message, &["length of the value of metadata key s", "1000", "50 left"]);
    let message = GgufBytes::new(0, 1).u64(1000).bytes(&[b'k'; 50]).refusal();
    assert_says(&message, &["length of metadata key 0", "1000"]);
    let message =
        GgufBytes::new(0, 1).array("xs", STRING, 3).string("a").string("b").u64(9).bytes(b"c").refusal();
    assert_says(&message, &["element 2 of metadata key xs", "1 left"]);
}

#[test]
fn reader_limits_what_the_file_could_hold() {
    let long_key = "k".repeat(65_535);
    GgufBytes::new(0, 1).key(&long_key, U32).u32(1).open().expect("the longest key of the format");
    let message = GgufBytes::new(0, 1).key(&(long_key + "k"), U32).u32(1).refusal();
    assert_says(&message, &["65536", "at most 65535"]);
    let long_name = "n".repeat(1000);
    let message = GgufBytes::new(1, 0).tensor(&long_name, &[8], TYPE_F32, 0).data(32, 64).refusal();
    assert_says(&message, &["name of tensor 0", "1000", "at most 512"]);
    let n = (1 << 24) + 1;
    let message = GgufBytes::new(0, 1).array("xs", BOOL, n as u64).bytes(&vec![0; n]).refusal();
    assert_says(&message, &["16777217", "at most 16777216"]);
}

#[test]
fn reader_rejects_overlapping_tensors() {
    let bytes =
        GgufBytes::new(2, 0).tensor("a", &[16], TYPE_F32, 0).tensor("b", &[8], TYPE_F32, 32).data(32, 64);
    assert_says(&bytes.refusal(), &["tensors a and b overlap"]);
}

#[test]
fn reader_rejects_misaligned_offsets() {
    assert_says(&one_tensor(&[8], TYPE_F32, 16).refusal(), &["offset 16", "alignment 32"]);
}

#[test]
fn reader_rejects_broken_descriptions() {
    assert_says(&one_tensor(&[1; 5], TYPE_F32, 0).refusal(), &["5 dimensions; 0 to 4"]);
    assert_says(&one_tensor(&[], TYPE_Q4_K, 0).refusal(), &["rows hold 1 elements", "multiple of 256"]);
    assert_says(&one_tensor(&[128], TYPE_Q4_K, 0).refusal(), &["rows hold 128 elements", "multiple of 256"]);
}

#[test]
fn scalars_and_tensors_without_elements_are_read() {
    let header = GgufBytes::new(3, 0).tensor("scalar", &[], TYPE_F32, 0);
    let file = header.tensor("none", &[0], TYPE_F32, 32).tensor("rows", &[4, 0], TYPE_F32, 32).data(32, 64);
    let file = file.open().unwrap();
    touch_gguf(&file);
    let of = |name| {
        let tensor = file.tensor(name).unwrap();
        (tensor.shape.clone(), tensor.n_elements(), tensor.n_bytes)
    };
    assert_eq!(of("scalar"), (vec![], 1, 4));
    assert_eq!(of("none"), (vec![0], 0, 0));
    assert_eq!(of("rows"), (vec![0, 4], 0, 0));
}

#[test]
fn tensors_of_unknown_types_have_the_room_up_to_the_next_one() {
    let header = GgufBytes::new(3, 0).tensor("last", &[8], 139, 96).tensor("first", &[1 << 40], 31, 0);
    let file = header.tensor("between", &[8], TYPE_F32, 64).data(32, 100).open().unwrap();
    touch_gguf(&file);
    let of = |name| {
        let tensor = file.tensor(name).unwrap();
        (tensor.ty.name().into_owned(), tensor.n_bytes)
    };
    assert_eq!(of("first"), ("type 31 (Q4_0_4_4)".into(), 64));
    assert_eq!(of("between"), ("F32".into(), 32));
    assert_eq!(of("last"), ("type 139".into(), 4));
    assert_says(&one_tensor(&[8], 139, 96).refusal(), &["tensor w lies at bytes", "the file has"]);
    assert_says(&one_tensor(&[1 << 40, 1 << 40], 139, 0).refusal(), &["more than any machine can address"]);
}

#[test]
fn names_that_are_not_utf8_are_read_and_shown_with_replacements() {
    let header = GgufBytes::new(2, 1).string(b"k\xff").u32(U32).u32(7);
    let tensor = |header: GgufBytes, name: &[u8]| header.string(name).u32(1).u64(0).u32(TYPE_F32).u64(0);
    let file = tensor(tensor(header, b"t\xfe"), b"t\xff").data(32, 0).open().unwrap();
    touch_gguf(&file);
    assert_eq!(file.metadata().u32("k\u{fffd}").unwrap(), Some(7));
    assert!(file.tensors().iter().map(|tensor| tensor.name.as_str()).eq(["t\u{fffd}"; 2]));
    let header = GgufBytes::new(2, 0);
    assert_says(&tensor(tensor(header, b"t\xfe"), b"t\xfe").data(32, 0).refusal(), &["the name of another"]);
}

#[test]
fn reader_rejects_names_that_are_no_names() {
    let twice = |name| GgufBytes::new(2, 0).tensor(name, &[0], TYPE_F32, 0).tensor(name, &[0], TYPE_F32, 0);
    assert_says(&twice("w").refusal(), &["tensor 1 (w) has the name of another"]);
    assert_says(&twice("").refusal(), &["tensor 0 () has no name"]);
    assert_says(&GgufBytes::new(0, 1).key("", U32).u32(1).refusal(), &["key 0 is empty"]);
    let twice = GgufBytes::new(0, 2).key("a.b", U32).u32(1).key("a.b", U32).u32(2);
    assert_says(&twice.refusal(), &["metadata key a.b comes twice"]);
}

#[test]
fn control_characters_in_names_reach_no_terminal() {
    let message = GgufBytes::new(0, 1).key("\x1b[2J", 99).refusal();
    assert_says(&message, &["\\u{1b}[2J", "type 99"]);
    assert!(!message.contains('\x1b'));
}

#[test]
fn reader_rejects_alignments_that_are_none() {
    for alignment in [0, 1 << 21, u32::MAX] {
        let message = GgufBytes::new(0, 1).key("general.alignment", U32).u32(alignment).refusal();
        assert_says(&message, &["general.alignment", &alignment.to_string(), "from 1 to 1048576"]);
    }
    let message = GgufBytes::new(0, 1).key("general.alignment", STRING).string("32").refusal();
    assert_says(&message, &["general.alignment should be an integer", "is a string"]);
}

#[test]
fn alignments_of_others_are_followed() {
    for alignment in [1_u32, 8, 24, 48] {
        let header = GgufBytes::new(1, 1).key("general.alignment", U64).u64(alignment.into());
        let header = header.tensor("w", &[8], TYPE_F32, alignment.into());
        let n = alignment as usize;
        let data_start = header.0.len().next_multiple_of(n);
        let file = header.data(n, n + 32).open().unwrap();
        assert_eq!(file.alignment(), n);
        assert_eq!(file.tensor("w").unwrap().offset, (data_start + n) as u64);
    }
}

#[test]
fn a_stated_alignment_is_followed() {
    let header = GgufBytes::new(1, 1).key("general.alignment", U32).u32(256).tensor("w", &[8], TYPE_F32, 0);
    let file = header.data(256, 32).open().unwrap();
    assert_eq!(file.alignment(), 256);
    assert_eq!(file.tensor("w").unwrap().offset, 256);
}

#[test]
fn other_versions_and_byte_orders_are_named() {
    let version = |bytes: [u8; 4]| GgufBytes(b"GGUF".to_vec()).bytes(&bytes).u64(0).u64(0);
    assert_says(&version(1_u32.to_le_bytes()).refusal(), &["not supported", "version 1"]);
    assert_says(&version(4_u32.to_le_bytes()).refusal(), &["GGUF version 4", "versions 2 and 3"]);
    assert_says(&version(3_u32.to_be_bytes()).refusal(), &["big-endian"]);
    assert_eq!(version(2_u32.to_le_bytes()).open().unwrap().version(), 2);
}

#[test]
fn foreign_files_are_called_by_their_name() {
    let says = |bytes: &[u8], part| assert_says(&GgufBytes(bytes.to_vec()).refusal(), &[part]);
    says(b"", "not a GGUF file but empty");
    says(b"GG", "ends within its first four bytes");
    says(b"\x10\0\0\0\0\0\0\0{\"a\":1}", "convert it with gguf-convert");
    says(b"\xde\xad\xbe\xef!", "starts with the bytes [de, ad, be, ef]");
}

#[test]
fn strings_that_are_not_utf8_are_read_as_bytes_and_refused_as_text() {
    let header = GgufBytes::new(0, 2).key("a", STRING).string(b"\xff").array("b", STRING, 1).string(b"x\xff");
    let file = header.open().unwrap();
    let metadata = file.metadata();
    assert_says(&metadata.string("a").unwrap_err().to_string(), &["metadata key a is not UTF-8"]);
    assert_says(&metadata.strings("b").err().unwrap().to_string(), &["key b has an element 0", "not UTF-8"]);
    assert_eq!(metadata.string_bytes("a").unwrap(), Some(&b"\xff"[..]));
    assert!(metadata.byte_strings("b").unwrap().unwrap().eq([b"x\xff"]));
    assert_eq!(metadata.display("a"), "\"\u{fffd}\"");
    touch_gguf(&file);
}

#[test]
fn truth_values_are_zero_or_one() {
    assert_says(
        &GgufBytes::new(0, 1).key("flag", BOOL).bytes(&[2]).refusal(),
        &["metadata key flag", "value 2"],
    );
    assert_says(
        &GgufBytes::new(0, 1).array("flags", BOOL, 2).bytes(&[1, 7]).refusal(),
        &["flags", "value 7"],
    );
}

#[test]
fn getters_name_the_key_and_what_is_there() {
    let file = sound().open().unwrap();
    let metadata = file.metadata();
    let says = |e: Error, parts: &[&str]| assert_says(&e.to_string(), parts);
    says(
        metadata.count("general.architecture").unwrap_err(),
        &["general.architecture should be", "is a string"],
    );
    says(metadata.string("llama.block_count").unwrap_err(), &["should be a string, and is the integer 1"]);
    says(metadata.f32s("tokens").unwrap_err(), &["an array of f32, and is an array of 2 string"]);
    says(metadata.required_count("llama.head").unwrap_err(), &["llama.head is missing"]);
    assert_eq!(metadata.u32("absent").unwrap(), None);
}

#[test]
fn integers_of_any_width_are_read_and_checked() {
    const I32: u32 = 5;
    const I64: u32 = 11;
    let header = GgufBytes::new(0, 3)
        .key("wide", U64)
        .u64(1 << 40)
        .key("negative", I64)
        .bytes(&(-1_i64).to_le_bytes())
        .array("list", I32, 2)
        .bytes(&(-1_i32).to_le_bytes())
        .bytes(&5_i32.to_le_bytes());
    let file = header.open().unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.u64("wide").unwrap(), Some(1 << 40));
    assert_says(&metadata.u32("wide").unwrap_err().to_string(), &["wide", "1099511627776"]);
    assert_says(&metadata.u64("negative").unwrap_err().to_string(), &["is the integer -1"]);
    assert_eq!(metadata.i32s("list").unwrap(), Some(vec![-1, 5]));
    assert_eq!(metadata.to_json("negative"), serde_json::json!(-1));
}
