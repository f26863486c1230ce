//! What a file or a request asks too much of the engine is refused before anything is computed, with
//! the fault named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::checkpoint::Spec;
use crate::common::model::{new_path, write_gguf, write_gguf_with};
use crate::common::options;
use gguf_kit::Error;
use gguf_kit::gguf::{GgufWriter, Layout, Value};
use gguf_kit::model::KvTypes;
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session, SessionOptions};
use gguf_simd::attention::CacheType;
use gguf_simd::{BlockType, Isa};

fn model_with(dir: &Path, extra: &[(&str, Value)]) -> PathBuf {
    let spec = Spec { n_embd: 256, ..Spec::default() };
    spec.write(dir);
    let path = new_path(dir, "m");
    write_gguf_with(dir, &path, |_| BlockType::F32, extra);
    path
}

fn load(path: &Path) -> Result<Engine, Error> {
    Engine::load(path, EngineOptions { n_threads: Some(2), ..EngineOptions::default() })
}

/// Loads a model whose metadata says something else than its tensors, and returns the message.
fn refusal(extra: &[(&str, Value)]) -> (Error, String) {
    let dir = tempfile::tempdir().unwrap();
    let error = load(&model_with(dir.path(), extra)).expect_err("the model must be refused");
    let message = error.to_string();
    (error, message)
}

#[test]
fn a_missing_tensor_is_named() {
    let (error, message) = refusal(&[("llama.block_count", Value::U32(3))]);
    assert!(matches!(error, Error::Malformed { .. }), "{message}");
    assert!(message.contains("blk.2.") && message.contains("missing"), "{message}");
}

#[test]
fn a_tensor_that_does_not_belong_is_named() {
    let (error, message) = refusal(&[("llama.block_count", Value::U32(1))]);
    assert!(matches!(error, Error::Unsupported { .. }), "{message}");
    assert!(message.contains("blk.1."), "{message}");
}

#[test]
fn a_wrong_shape_is_named_with_the_right_one() {
    let (error, message) = refusal(&[("llama.feed_forward_length", Value::U32(128))]);
    assert!(matches!(error, Error::Malformed { .. }), "{message}");
    assert!(message.contains("[96, 256]") && message.contains("[128, 256]"), "{message}");
}

#[test]
fn an_unknown_architecture_is_named_with_the_known_ones() {
    let (error, message) = refusal(&[("general.architecture", Value::String("mamba9".into()))]);
    assert!(matches!(error, Error::Unsupported { .. }), "{message}");
    assert!(message.contains("mamba9") && message.contains("supported: mamba, mamba2"), "{message}");
}

#[test]
fn a_part_of_a_split_model_under_another_name_is_refused() {
    let (error, message) = refusal(&[("split.count", Value::U32(3))]);
    assert!(
        matches!(error, Error::Malformed { .. }) && message.contains("-00001-of-00003.gguf"),
        "{message}"
    );
}

#[test]
fn a_type_without_kernels_is_named_with_those_that_have_some() {
    let dir = tempfile::tempdir().unwrap();
    let path = model_with(dir.path(), &[]);
    let mut bytes = fs::read(&path).unwrap();
    let name = b"blk.0.attn_q.weight";
    let at = bytes.windows(name.len()).position(|window| window == name).unwrap() + name.len();
    // The number of dimensions (2), the dimensions, then the type: I8.
    let ty = at + 4 + 2 * 8;
    bytes[ty..ty + 4].copy_from_slice(&24u32.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let error = load(&path).expect_err("no kernels");
    let message = error.to_string();
    assert!(matches!(error, Error::Unsupported { .. }), "{message}");
    assert!(message.contains("blk.0.attn_q.weight") && message.contains("blocks of I8"), "{message}");
    assert!(message.contains("Q4_K"), "{message}");
}

#[test]
fn a_file_of_a_vocabulary_only_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = new_path(dir.path(), "vocabulary");
    let metadata = vec![("general.architecture".to_owned(), Value::String("llama".into()))];
    GgufWriter::create(&path, Layout::new(metadata, Vec::new(), 32).unwrap(), false)
        .unwrap()
        .finish()
        .unwrap();
    let message = load(&path).expect_err("no weights").to_string();
    assert!(message.contains("no weights"), "{message}");
}

#[test]
fn options_this_machine_cannot_follow_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = model_with(dir.path(), &[]);
    for isa in Isa::all().filter(|isa| !isa.is_available()) {
        let options = EngineOptions { isa: Some(isa), ..EngineOptions::default() };
        let message = Engine::load(&path, options).expect_err("no such tier").to_string();
        assert!(message.contains(isa.name()) && message.contains("scalar"), "{message}");
    }
    let options = EngineOptions { n_threads: Some(0), ..EngineOptions::default() };
    assert!(matches!(Engine::load(&path, options), Err(Error::Usage { .. })));
}

#[test]
fn a_step_that_cannot_be_made_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = load(&model_with(dir.path(), &[])).unwrap();
    let mut session = Session::new(&engine, options(8, 4)).unwrap();
    session.step(&[1, 2, 3], Logits::None).unwrap();
    assert!(matches!(session.step(&[5; 6], Logits::Last), Err(Error::Limit { .. })));
    assert!(matches!(session.step(&[5, u32::MAX], Logits::Last), Err(Error::Usage { .. })));
    assert!(matches!(session.step(&[4096], Logits::Last), Err(Error::Usage { .. })));
    assert!(matches!(session.step(&[], Logits::Last), Err(Error::Usage { .. })));
    assert_eq!(session.n_past(), 3);
    assert!(session.step(&[], Logits::All).unwrap().is_empty());
    assert_eq!(session.step(&[5; 5], Logits::All).unwrap().len(), 5 * engine.n_vocab());
    assert_eq!((session.n_past(), session.n_ctx()), (8, 8));
}

#[test]
fn a_context_too_long_for_the_memory_is_refused_with_one_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    let engine = load(&model_with(dir.path(), &[])).unwrap();
    for n_ctx in [usize::MAX, usize::MAX / 1024, 1 << 40] {
        let error = Session::new(&engine, options(n_ctx, 512)).expect_err("no memory");
        let message = error.to_string();
        assert!(matches!(error, Error::Limit { .. }) && message.contains("--ctx"), "{message}");
    }
    assert!(matches!(Session::new(&engine, options(0, 1)), Err(Error::Usage { .. })));
}

#[test]
fn heads_that_do_not_divide_into_blocks_are_refused_with_the_type_that_works() {
    let dir = tempfile::tempdir().unwrap();
    Spec { head_dim: Some(40), ..Spec::default() }.write(dir.path());
    let path = new_path(dir.path(), "m");
    write_gguf(dir.path(), &path, |_| BlockType::F32);
    let engine = load(&path).unwrap();
    for cache_type in [CacheType::Q8_0, CacheType::Q4_0] {
        let values = KvTypes { values: cache_type, ..KvTypes::default() };
        for (what, kv_types) in [("keys", KvTypes::both(cache_type)), ("values", values)] {
            let error = Session::new(&engine, SessionOptions { kv_types, ..options(8, 4) }).unwrap_err();
            let message = error.to_string();
            assert!(matches!(error, Error::Usage { .. }), "{message}");
            for word in [what, cache_type.name(), "40", "--kv-type f16"] {
                assert!(message.contains(word), "{message}");
            }
        }
    }
    Session::new(&engine, options(8, 4)).expect("F16 takes any head");
}
