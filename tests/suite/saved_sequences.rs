//! A sequence that is written to a file and read back goes on with the same bits; a file that does not
//! fit is refused with the remedy, whatever its bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::checkpoint::Spec;
use crate::common::model::{mixed_k, new_path, write_gguf};
use crate::common::texts::bits;
use crate::common::{fairytale, options};
use crate::families::registered;
use crate::hostile::{Effort, for_each_mutation};
use crate::program::{assert_fails, json_of, run_with_input, stderr, stdout};
use gguf_kit::Error;
use gguf_kit::model::KvTypes;
use gguf_kit::runtime::{Engine, EngineOptions, Evaluator, Logits, Part, Sequence, Session, SessionOptions};
use gguf_simd::attention::CacheType;
use sha2::{Digest, Sha256};

const KEYS_APART: KvTypes = KvTypes { keys: CacheType::Q8_0, values: CacheType::F16 };

/// A model and its engine, in a folder of their own.
fn model(dir: &Path, name: &str) -> (PathBuf, Engine) {
    let folder = dir.join(name);
    fs::create_dir_all(&folder).unwrap();
    Spec { n_head: 2, n_head_kv: 1, head_dim: Some(64), ..Spec::default() }.write(&folder);
    let path = new_path(dir, name);
    write_gguf(&folder, &path, mixed_k);
    let engine = load(&path);
    (path, engine)
}

fn load(path: &Path) -> Engine {
    Engine::load(path, EngineOptions { n_threads: Some(2), ..EngineOptions::default() }).unwrap()
}

fn session(engine: &Engine, n: u32, kv_types: KvTypes) -> Session<'_> {
    let mut session = Session::new(engine, SessionOptions { kv_types, ..options(400, 64) }).unwrap();
    let ids: Vec<u32> = (0..n).map(|i| i * i * 37 % 4000).collect();
    session.step(&ids, Logits::None).unwrap();
    session
}

fn refusal(engine: &Engine, path: &Path) -> (Error, String) {
    let error = Sequence::load(engine, options(400, 64), path).expect_err("it must be refused");
    let message = error.to_string();
    (error, message)
}

#[test]
fn a_sequence_from_a_file_goes_on_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let (_, engine) = model(dir.path(), "m");
    let file = dir.path().join("text.session");
    for kv_types in CacheType::ALL.map(KvTypes::both).into_iter().chain([KEYS_APART]) {
        for n in [0, 1, 256, 300] {
            let mut saved = session(&engine, n, kv_types);
            let attached = kv_types.to_string().repeat(n as usize).into_bytes();
            saved.sequence().save(&file, &attached).unwrap();
            let options = SessionOptions { kv_types, ..options(310, 64) };
            let mut loaded = Session::load(&engine, options, &file).unwrap();
            assert_eq!(loaded.sequence().ids(), saved.sequence().ids());
            assert_eq!(loaded.sequence().attached(), attached);
            let next = [5, 6, 7];
            let expected = bits(saved.step(&next, Logits::All).unwrap());
            assert!(bits(loaded.step(&next, Logits::All).unwrap()) == expected, "{kv_types}, {n} positions");
        }
    }
}

#[test]
fn a_context_with_angles_of_its_own_does_not_go_on_from_a_short_one() {
    let dir = tempfile::tempdir().unwrap();
    let fixtures = registered();
    let fixture = fixtures.iter().find(|fixture| fixture.name == "phi3-longrope-short").expect("a fixture");
    let engine = load(&fixture.convert(dir.path()));
    let short = engine.spec().short_context().expect("a model with two kinds of angles");
    let file = dir.path().join("text.session");
    for (n_ctx, same, other) in [(short, short - 1, short + 1), (short + 1, short + 2, short)] {
        let mut saved = Session::new(&engine, options(n_ctx, 8)).unwrap();
        saved.step(&fixture.ids()[..8], Logits::None).unwrap();
        saved.sequence().save(&file, b"").unwrap();
        Session::load(&engine, options(same, 8), &file).unwrap();
        let refused = Session::load(&engine, options(other, 8), &file).expect_err("other angles");
        assert!(refused.to_string().contains("angles of its own"), "{refused}");
    }
    let mut evaluator = Evaluator::new(&engine, options(short + 1, 8)).unwrap();
    let mut sequence = Sequence::new(&engine, options(short, 8)).unwrap();
    let part = Part::new(&mut sequence, &[1], Logits::None);
    let refused = evaluator.step(&mut [part]).expect_err("other angles").to_string();
    assert!(refused.contains("other angles"), "{refused}");
}

#[test]
fn a_fork_is_saved_with_what_it_shares() {
    let dir = tempfile::tempdir().unwrap();
    let (_, engine) = model(dir.path(), "m");
    let [forked, whole] = ["forked", "whole"].map(|name| dir.path().join(name));
    session(&engine, 300, KvTypes::default()).sequence().save(&whole, &[]).unwrap();
    let sequence = Sequence::load(&engine, options(400, 64), &whole).unwrap();
    sequence.fork(300).unwrap().save(&forked, &[]).unwrap();
    assert!(fs::read(&forked).unwrap() == fs::read(&whole).unwrap());
}

#[test]
fn a_file_that_does_not_go_with_the_request_is_refused_with_the_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let (path, engine) = model(dir.path(), "m");
    let file = dir.path().join("text.session");
    session(&engine, 30, KEYS_APART).sequence().save(&file, &[]).unwrap();
    let (error, message) = refusal(&engine, &file);
    assert!(matches!(error, Error::Usage { .. }) && message.contains("--kv-type q8_0,f16"), "{message}");
    session(&engine, 30, KvTypes::default()).sequence().save(&file, &[]).unwrap();
    let error = Sequence::load(&engine, options(29, 64), &file).expect_err("no room");
    assert!(matches!(error, Error::Limit { .. }) && error.to_string().contains("--ctx 30"), "{error}");

    // One bit of a weight, at the end of the file.
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let changed = dir.path().join("changed.gguf");
    fs::write(&changed, bytes).unwrap();
    let (error, message) = refusal(&load(&changed), &file);
    assert!(matches!(error, Error::Usage { .. }) && message.contains("another model"), "{message}");
    let copied = dir.path().join("copied.gguf");
    fs::copy(&path, &copied).unwrap();
    Sequence::load(&load(&copied), options(400, 64), &file).expect("the same model elsewhere");
}

#[test]
fn a_damaged_file_is_refused_whatever_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (_, engine) = model(dir.path(), "m");
    let file = dir.path().join("text.session");
    session(&engine, 30, KvTypes::default()).sequence().save(&file, &[]).unwrap();
    let sound = fs::read(&file).unwrap();
    for len in [0, 7, 8, 20, 75, 83, 84, 100, sound.len() - 33, sound.len() - 1] {
        fs::write(&file, &sound[..len]).unwrap();
        let (error, message) = refusal(&engine, &file);
        assert!(message.contains("text.session"), "{message}");
        assert_eq!(matches!(error, Error::Usage { .. }), len < 8, "{len}: {message}");
    }
    let with = |at: usize, bytes: &[u8]| {
        let mut changed = sound.clone();
        changed[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(&file, changed).unwrap();
        refusal(&engine, &file)
    };
    // The magic, the version, an unknown type, the number of layers, and what each keeps.
    assert!(matches!(with(0, b"GGUF").0, Error::Usage { .. }));
    assert!(matches!(with(8, &[99]).0, Error::Unsupported { .. }));
    assert!(with(44, &[200]).1.contains("type 200"));
    for (at, byte) in [(52, 9), (55, 1), (56, 3), (60, 5)] {
        assert!(matches!(with(at, &[byte]).0, Error::Malformed { .. }), "{at}");
    }
    // Positions beyond the context, beyond the file, and beyond counting.
    assert!(matches!(with(68, &500u64.to_le_bytes()).0, Error::Limit { .. }));
    assert!(with(68, &31u64.to_le_bytes()).1.contains("31 positions"));
    assert!(matches!(with(68, &u64::MAX.to_le_bytes()).0, Error::Limit { .. }));
    assert!(with(76, &[1]).1.contains("1 bytes more"));
    assert!(with(76, &u64::MAX.to_le_bytes()).1.contains("more than can be counted"));
    // A token, a key and the digest.
    for at in [84, sound.len() / 2, sound.len() - 1] {
        let (error, message) = with(at, &[!sound[at]]);
        assert!(matches!(error, Error::Malformed { .. }) && message.contains("digest"), "{message}");
    }
    let mut longer = sound.clone();
    longer.push(0);
    fs::write(&file, longer).unwrap();
    assert!(matches!(refusal(&engine, &file).0, Error::Malformed { .. }));
}

/// Puts the digest of the bytes before it at the end of a saved sequence.
fn seal(mut content: Vec<u8>) -> Vec<u8> {
    let digest = Sha256::digest(&content);
    content.extend(digest);
    content
}

#[test]
fn whatever_a_file_with_a_sound_digest_says_is_refused_or_there() {
    let dir = tempfile::tempdir().unwrap();
    let (_, engine) = model(dir.path(), "m");
    let file = dir.path().join("text.session");
    session(&engine, 5, KvTypes::default()).sequence().save(&file, b"attached").unwrap();
    let whole = fs::read(&file).unwrap();
    let content = &whole[..whole.len() - 32];
    assert!(seal(content.to_vec()) == whole);
    // Magic, version, fingerprint, types, two layers, counts, where the rows begin, and five ids.
    let n_header = 8 + 4 + 32 + 8 + 4 + 2 * 16 + 16 + 8 + 5 * 4;
    for_each_mutation(content, n_header, Effort::SMALL, |mutated| {
        fs::write(&file, seal(mutated)).unwrap();
        if let Ok(sequence) = Sequence::load(&engine, options(400, 64), &file) {
            assert!(sequence.n_past() <= 400 && sequence.ids().len() == sequence.n_past());
            assert!(sequence.ids().iter().all(|&id| (id as usize) < engine.n_vocab()));
        }
    });
}

#[test]
fn a_model_whose_layers_are_alike_has_files_of_the_early_versions_and_reads_the_later() {
    let dir = tempfile::tempdir().unwrap();
    let (_, engine) = model(dir.path(), "m");
    let file = dir.path().join("text.session");
    let mut saved = session(&engine, 300, KvTypes::default());
    saved.sequence().save(&file, b"attached").unwrap();
    let whole = fs::read(&file).unwrap();
    assert_eq!(whole[8..12], 1u32.to_le_bytes());
    let (before, rest) = whole[..whole.len() - 32].split_at(8);
    // The version, the types and what they follow, the layers, and the counts.
    let (_, rest) = rest.split_at(4);
    let (model, rest) = rest.split_at(32 + 8);
    let (layers, rest) = rest.split_at(4 + 3 * 4);
    let (counts, rest) = rest.split_at(16);
    let layer = [&layers[4..], &[0; 4]].concat();
    // Each layer's own, with a window of 0 for none, and where the rows begin.
    let version = 3u32.to_le_bytes();
    let later = [before, &version, model, &layers[..4], &layer, &layer, counts, &[0; 8], rest].concat();
    fs::write(&file, seal(later)).unwrap();
    let mut loaded = Session::load(&engine, options(310, 64), &file).unwrap();
    assert_eq!(loaded.sequence().ids(), saved.sequence().ids());
    assert_eq!(loaded.sequence().attached(), b"attached");
    let expected = bits(saved.step(&[5], Logits::Last).unwrap());
    assert!(bits(loaded.step(&[5], Logits::Last).unwrap()) == expected);
}

#[test]
fn keys_that_are_no_numbers_are_the_fault_of_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let (_, engine) = model(dir.path(), "m");
    let file = dir.path().join("text.session");
    for kv_type in CacheType::ALL {
        let kv_types = KvTypes::both(kv_type);
        session(&engine, 5, kv_types).sequence().save(&file, &[]).unwrap();
        let whole = fs::read(&file).unwrap();
        let mut content = whole[..whole.len() - 32].to_vec();
        // The scale of the last block of values, or their last element; the type's block is a NaN then.
        let n_bytes = kv_type.block_type().block_bytes();
        let at = content.len() - n_bytes;
        let nan: &[u8] = if kv_type == CacheType::F32 { &[0, 0, 0xc0, 0x7f] } else { &[0, 0x7e] };
        content[at..at + nan.len()].copy_from_slice(nan);
        fs::write(&file, seal(content)).unwrap();
        let options = SessionOptions { kv_types, ..options(400, 64) };
        let error = Sequence::load(&engine, options, &file).expect_err("a NaN");
        let message = error.to_string();
        assert!(matches!(error, Error::Malformed { .. }), "{message}");
        assert!(message.contains("text.session") && message.contains("--session"), "{message}");
    }
}

#[test]
fn a_session_file_saves_the_prompt_the_next_time() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tale.session");
    let (model, file) = (fairytale(), file.to_str().expect("paths of tests are UTF-8"));
    let model = model.to_str().expect("paths of tests are UTF-8");
    let complete = |prompt: &str, more: &[&str]| {
        let args = ["complete", model, "--type", "Q8_0", "-p", prompt, "-n", "4", "--temp", "0", "--json"];
        json_of(args.iter().chain(more))
    };
    let prompt = "Once upon a time there was a king who had a daughter.";
    let longer = format!("{prompt} She");
    let with_file = ["--session", file];
    let first = complete(prompt, &with_file);
    assert_eq!(first["statistics"]["prompt_tokens_reused"], 0);
    let second = complete(&longer, &with_file);
    let n_prompt = first["statistics"]["prompt_tokens"].as_u64().expect("a count");
    assert_eq!(second["statistics"]["prompt_tokens_reused"].as_u64(), Some(n_prompt));
    assert_eq!(second["text"], complete(&longer, &[])["text"], "what is reused does not change the text");
    let other = ["complete", model, "--type", "Q8_0", "-p", prompt, "--session", file, "--kv-type", "q8_0"];
    assert_fails(other, 2, &["tale.session", "--kv-type f16"]);
}

#[test]
fn a_chat_goes_on_where_its_session_file_ended() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("tale.session");
    let (model, file) = (fairytale(), file.to_str().expect("paths of tests are UTF-8"));
    let model = model.to_str().expect("paths of tests are UTF-8");
    let chat = |lines: &str, more: &[&str]| {
        let args = ["chat", model, "--type", "Q8_0", "-n", "6", "--temp", "0", "--ctx", "512"];
        let output = run_with_input(args.iter().chain(more), lines);
        (stdout(&output), stderr(&output))
    };
    let with_file = ["--session", file];
    let (both, _) = chat("Tell me of a king.\nGo on.\n", &[]);
    let (first, notes) = chat("Tell me of a king.\n", &with_file);
    assert!(!notes.contains("goes on after"), "{notes}");
    let (second, notes) = chat("Go on.\n", &with_file);
    assert!(notes.contains("goes on after 2 messages") && notes.contains("were in the cache"), "{notes}");
    assert_eq!(first + &second, both);
    assert!(chat("/clear\n", &with_file).1.contains("goes on after 4 messages"));
    assert!(!chat("/stats\n", &with_file).1.contains("goes on after"), "it was forgotten");
    let (_, notes) = chat("/system\n", &["--session", file, "--system", "Be brief."]);
    assert!(notes.contains("Be brief."), "{notes}");
    assert!(chat("/system\n", &with_file).1.contains("Be brief."), "the system message is kept");
}

#[test]
fn a_session_file_with_something_else_than_a_conversation_is_refused_by_chat() {
    let dir = tempfile::tempdir().unwrap();
    let [model, file] = ["tale.gguf", "other.session"].map(|name| dir.path().join(name));
    let mut convert = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    let converted = convert.arg(fairytale()).args(["--type", "Q8_0", "--quiet", "-o"]).arg(&model).status();
    assert!(converted.expect("gguf-convert starts").success());
    let engine = load(&model);
    session(&engine, 30, KvTypes::default()).sequence().save(&file, b"[1, 2").unwrap();
    let [model, file] = [&model, &file].map(|path| path.to_str().expect("paths of tests are UTF-8"));
    assert_fails(["chat", model, "--session", file], 1, &["other.session", "conversation", "--session"]);
}

#[test]
fn a_session_file_that_cannot_be_written_is_refused_before_anything_is_computed() {
    let dir = tempfile::tempdir().unwrap();
    let (model, folder) = (fairytale(), dir.path().to_str().expect("paths of tests are UTF-8"));
    let model = model.to_str().expect("paths of tests are UTF-8");
    let missing = format!("{folder}/no/such.session");
    let kept = format!("{folder}/notes.txt");
    fs::write(&kept, "This is not a session.").unwrap();
    for command in [vec!["complete", model, "-p", "x"], vec!["chat", model]] {
        let with = |file| command.iter().copied().chain(["--session", file]);
        assert_fails(with(folder), 2, &[folder, "is a directory"]);
        assert_fails(with(&missing), 2, &["no", "does not exist"]);
        assert_fails(with("/dev/null"), 2, &["/dev/null", "device"]);
        assert_fails(with(&kept), 2, &["notes.txt", "no saved session"]);
    }
    assert_eq!(fs::read_to_string(&kept).unwrap(), "This is not a session.");
}
