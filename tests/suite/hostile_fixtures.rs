//! The known classes of attack, as files: each is refused from disk, by name, and is what its recipe
//! here makes. With `GGUF_WRITE_FIXTURES=1` the second test writes the files anew.

use std::fs;
use std::path::PathBuf;

use crate::hostile::{ARRAY, GgufBytes, STRING, U64, safetensors};
use gguf_kit::checkpoint::Shard;
use gguf_kit::gguf::GgufFile;

struct Fixture {
    name: &'static str,
    bytes: Vec<u8>,
    /// What the refusal says.
    says: &'static [&'static str],
}

fn fixture(name: &'static str, bytes: Vec<u8>, says: &'static [&'static str]) -> Fixture {
    Fixture { name, bytes, says }
}

/// Levels of nesting in the files; the tests of each reader build a million in memory.
const N_LEVELS: usize = 4096;

fn gguf_fixtures() -> Vec<Fixture> {
    const F32: u32 = 0;
    let tensor = |dims: &[u64], offset| GgufBytes::new(1, 0).tensor("w", dims, F32, offset).data(32, 64).0;
    let nested =
        (1..N_LEVELS).fold(GgufBytes::new(0, 1).array("deep", ARRAY, 1), |bytes, _| bytes.u32(ARRAY).u64(1));
    vec![
        fixture(
            "shape-past-end.gguf",
            tensor(&[4096, 4096], 0),
            &["tensor w lies at bytes", "the file has 160"],
        ),
        fixture(
            "offset-past-end.gguf",
            tensor(&[16], 1 << 40),
            &["tensor w lies at bytes", "the file has 128"],
        ),
        fixture("offset-overflow.gguf", tensor(&[16], u64::MAX - 31), &["tensor w: its offset overflows"]),
        fixture("shape-product-overflow.gguf", tensor(&[1 << 32, 1 << 32, 1], 0), &["more than any machine"]),
        fixture(
            "count-overflow.gguf",
            GgufBytes::new(u64::MAX, 1 << 61).data(32, 64).0,
            &["number of tensors"],
        ),
        fixture(
            "array-product-overflow.gguf",
            GgufBytes::new(0, 1).array("xs", U64, (1 << 61) + 1).data(32, 64).0,
            &["length of the array of metadata key xs", "2305843009213693953"],
        ),
        fixture("nested-arrays.gguf", nested.0, &["metadata key deep nests arrays"]),
        fixture(
            "string-longer-than-file.gguf",
            GgufBytes::new(0, 1).key("general.name", STRING).u64(1 << 30).bytes(b"short").0,
            &["metadata key general.name", "1073741824", "5 left"],
        ),
        fixture(
            "array-longer-than-file.gguf",
            GgufBytes::new(0, 1).array("tokenizer.ggml.tokens", STRING, 1 << 20).string("a").0,
            &["metadata key tokenizer.ggml.tokens", "1048576"],
        ),
    ]
}

fn safetensors_fixtures() -> Vec<Fixture> {
    let f32s = |shape: &str, start: u64, end: u64| {
        safetensors(
            &format!(r#"{{"w":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{end}]}}}}"#),
            16,
        )
    };
    let mut long = u64::MAX.to_le_bytes().to_vec();
    long.extend(b"{}");
    let nested = format!(r#"{{"__metadata__":{}{}}}"#, "[".repeat(N_LEVELS), "]".repeat(N_LEVELS));
    vec![
        fixture(
            "offset-past-end.safetensors",
            f32s("[1024]", 0, 4096),
            &["tensor w lies at", "the file has 16"],
        ),
        fixture(
            "shape-product-overflow.safetensors",
            f32s("[4294967296,4294967296]", 0, 16),
            &["any machine"],
        ),
        fixture("header-longer-than-file.safetensors", long, &["should have 18446744073709551615 bytes"]),
        fixture("nested-header.safetensors", safetensors(&nested, 0), &["expected a map at line 1"]),
    ]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/hostile")
}

#[test]
fn every_hostile_file_is_refused_by_name() {
    for Fixture { name, says, .. } in gguf_fixtures().into_iter().chain(safetensors_fixtures()) {
        let path = folder().join(name);
        let refused = if name.ends_with(".gguf") {
            GgufFile::open(&path).map(|_| ()).expect_err(name)
        } else {
            Shard::open(&path).map(|_| ()).expect_err(name)
        };
        let message = refused.to_string();
        for part in says.iter().chain([&name]) {
            assert!(message.contains(part), "{message:?} should say {part:?}");
        }
    }
}

#[test]
fn the_files_are_what_their_recipes_make() {
    let manifest = fs::read_to_string(folder().join("MANIFEST.md")).unwrap();
    let fixtures: Vec<Fixture> = gguf_fixtures().into_iter().chain(safetensors_fixtures()).collect();
    for Fixture { name, bytes, .. } in &fixtures {
        let path = folder().join(name);
        if std::env::var_os("GGUF_WRITE_FIXTURES").is_some() {
            fs::write(&path, bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == *bytes, "{name} differs from its recipe");
        assert!(manifest.contains(&format!("`{name}`")), "MANIFEST.md does not name {name}");
    }
    let n_files = fs::read_dir(folder()).unwrap().count();
    assert_eq!(n_files, fixtures.len() + 1, "each file has a recipe, and MANIFEST.md stands beside them");
}
