//! The bundled model's logits have the bits that are committed, on every processor.
//!
//! `determinism` compares the tiers of one machine with one another; here x86 and Arm are held against the
//! same hashes, and so is the arithmetic of yesterday: whatever changes a sum, a rounding, an encoder's
//! choice or a recipe is seen. How to renew the fixture: `fixtures/logits/MANIFEST.md`.

use std::fs;
use std::path::Path;

use crate::common::{convert, fairytale};
use gguf_kit::convert::FileType;
use gguf_kit::model::KvTypes;
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session, SessionOptions};
use gguf_simd::attention::CacheType;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// What is hashed: the file type of the model, and the type of cached keys and values.
const CASES: [(FileType, CacheType); 7] = [
    (FileType::F32, CacheType::F16),
    (FileType::BF16, CacheType::F16),
    (FileType::Q8_0, CacheType::F16),
    (FileType::Q6_K, CacheType::F16),
    (FileType::Q4_K_M, CacheType::F16),
    (FileType::Q4_K_M, CacheType::Q8_0),
    (FileType::IQ4_XS, CacheType::Q4_0),
];

fn fixture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/logits").join(name);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The prompt of the reference logits and its continuation: 45 ids.
fn ids() -> Vec<u32> {
    let reference = fixture("fairytale.json");
    let list = |key: &str| serde_json::from_value::<Vec<u32>>(reference[key].clone()).unwrap();
    [list("prompt"), list("greedy")].concat()
}

/// The SHA-256 of the logits of every position, as little-endian `f32`.
fn hash(model: &Path, kv_type: CacheType) -> String {
    let engine =
        Engine::load(model, EngineOptions { n_threads: Some(2), ..EngineOptions::default() }).unwrap();
    let ids = ids();
    let options = SessionOptions { n_ctx: ids.len(), n_batch: 16, kv_types: KvTypes::both(kv_type) };
    let mut session = Session::new(&engine, options).unwrap();
    let mut sha = Sha256::new();
    for logit in session.step(&ids, Logits::All).unwrap() {
        // The payload of a NaN is not part of the promise, so none may be there.
        assert!(logit.is_finite(), "{kv_type}: {logit}");
        sha.update(logit.to_le_bytes());
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn logits_of_the_bundled_model_have_the_committed_bits() {
    let dir = tempfile::tempdir().unwrap();
    let mut found = Map::new();
    for (file_type, kv_type) in CASES {
        let path = dir.path().join(format!("{file_type}.gguf"));
        if !path.exists() {
            convert(&fairytale(), &path, file_type);
        }
        found.insert(format!("{file_type}, keys and values {kv_type}"), hash(&path, kv_type).into());
    }
    let (found, expected) = (Value::Object(found), fixture("hashes.json"));
    let text = serde_json::to_string_pretty(&found).unwrap();
    assert!(
        found == expected,
        "the logits have other bits; these would be fixtures/logits/hashes.json:\n{text}"
    );
}

/// Calls `f` on a thread whose arithmetic flushes subnormal numbers to zero and rounds towards zero, as that of
/// an embedding program might, and which hands that down to the threads it starts.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn in_an_odd_environment(f: impl FnOnce()) {
    use std::arch::asm;
    #[cfg(target_arch = "x86_64")]
    let set = |control: u32| {
        // SAFETY: the bits are those of MXCSR: FTZ, DAZ, rounding, masked exceptions.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack)) };
    };
    #[cfg(target_arch = "aarch64")]
    let set = |control: u64| {
        // SAFETY: the bits are those of FPCR: FZ and rounding.
        unsafe { asm!("msr fpcr, {}", in(reg) control, options(nostack)) };
    };
    #[cfg(target_arch = "x86_64")]
    let (odd, default) = (0x1f80 | 0x8040 | 0x6000, 0x1f80);
    #[cfg(target_arch = "aarch64")]
    let (odd, default) = (1 << 24 | 3 << 22, 0);
    set(odd);
    let rounds_oddly = std::hint::black_box(1.0f32) + std::hint::black_box(f32::EPSILON * 0.75) == 1.0;
    f();
    set(default);
    assert!(rounds_oddly, "the environment was not set");
}

#[test]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn an_embedding_program_that_rounds_oddly_gets_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let mut found = String::new();
    in_an_odd_environment(|| {
        convert(&fairytale(), &path, FileType::Q8_0);
        found = hash(&path, CacheType::F16);
    });
    assert_eq!(found, fixture("hashes.json")["Q8_0, keys and values F16"]);
}
