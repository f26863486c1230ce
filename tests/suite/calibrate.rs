//! Calibration: what it wins, that threads and interrupts change no byte, and what it refuses.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::checkpoint::Spec;
use crate::common::parts::split;
use crate::common::{convert, fairytale};
use crate::families::registered;
use crate::program::{json_of, stderr};
use gguf_kit::convert::calibrate::{CalibrateOptions, calibrate, folder_of};
use gguf_kit::convert::{self, FileType, GgufInput, Plan, PlanOptions, Progress, RunOptions, Silent};
use gguf_kit::error::{Error, Result};
use gguf_kit::gguf::GgufFile;
use gguf_kit::tokenizer::Tokenizer;
use gguf_simd::Kernels;

/// Seven matrices of each of four layers, and the embedding, which is the output matrix too.
const N_TENSORS: usize = 29;

fn tale() -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/text/the-clockmakers-lantern.txt");
    fs::read_to_string(path).expect("a tale")
}

/// A tiny model in `dir` as a file, and chunks of the tale.
fn model_and_texts(dir: &Path, n_texts: usize, n_ctx: usize) -> (PathBuf, Vec<Vec<u32>>) {
    let (tiny, path) = (dir.join("tiny"), dir.join("m.gguf"));
    fs::create_dir(&tiny).expect("writable");
    Spec { n_embd: 64, n_ff: 128, n_layer: 4, ..Spec::default() }.write(&tiny);
    convert(&tiny, &path, FileType::F16);
    let file = GgufFile::open(&path).expect("a file");
    let tokenizer = Tokenizer::from_metadata(file.metadata()).expect("a tokenizer");
    let ids = tokenizer.encode(&tale(), true, false).expect("tokens");
    let texts: Vec<_> = ids.chunks_exact(n_ctx).take(n_texts).map(<[u32]>::to_vec).collect();
    assert_eq!(texts.len(), n_texts, "the tale is long enough");
    (path, texts)
}

/// Calibrates the file at `model` as Q4_0 for `target` and converts it.
fn calibrated(
    model: &Path,
    texts: &[Vec<u32>],
    target: &Path,
    n_threads: usize,
    progress: &dyn Progress,
) -> Result<Vec<u8>> {
    let input = GgufInput::open(model)?;
    let plan_options = PlanOptions { is_calibrated: true, ..PlanOptions::new(FileType::Q4_0) };
    let plan = Plan::of_gguf(&input, &plan_options)?;
    let (folder, kernels) = (folder_of(target), Kernels::best());
    let options =
        CalibrateOptions { reference: model, texts, is_nearest: false, folder: &folder, n_threads, kernels };
    let calibrated = calibrate(&plan, &options, progress)?;
    assert_eq!(calibrated.won().count(), N_TENSORS);
    assert!(calibrated.won().filter(|won| won.is_kept()).count() > N_TENSORS / 2);
    let run_options = RunOptions { overwrite: true, n_threads, kernels };
    convert::run(&calibrated.put_into(plan), target, &run_options, &Silent)?;
    calibrated.remove()?;
    assert!(!folder.exists(), "the folder is removed");
    Ok(fs::read(target).expect("a file"))
}

/// Stops after some tensors.
struct StopsAfter(AtomicUsize);

impl Progress for StopsAfter {
    fn begin(&self, _total: u64) {}
    fn calibrating(&self, _total: u64) {}
    fn advance(&self, _bytes: u64) {
        self.0.store(self.0.load(Ordering::SeqCst).saturating_sub(1), Ordering::SeqCst);
    }
    fn verifying(&self) {}
    fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

#[test]
fn threads_and_interrupts_change_no_byte() {
    let dir = tempfile::tempdir().expect("a folder");
    let (model, texts) = model_and_texts(dir.path(), 16, 64);
    let target = dir.path().join("q.gguf");
    let at_once = calibrated(&model, &texts, &target, 1, &Silent).expect("calibrated");
    // In the first layer, in a later one, and in the last.
    for n_tensors in [3, 10, 12] {
        let stop = StopsAfter(AtomicUsize::new(n_tensors));
        let stopped = calibrated(&model, &texts, &target, 2, &stop);
        assert!(matches!(stopped, Err(Error::Interrupted)), "{n_tensors}");
        assert!(folder_of(&target).exists(), "finished layers are kept");
    }
    let resumed = calibrated(&model, &texts, &target, 3, &Silent).expect("calibrated");
    assert!(at_once == resumed, "the bytes differ");
}

/// Runs `gguf-convert` on the bundled model in `dir`.
fn run(dir: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(dir).arg(fairytale()).args(flags).output().expect("the program starts")
}

#[test]
fn a_calibrated_file_is_nearer_to_the_original_on_text_it_was_not_calibrated_with() {
    let dir = tempfile::tempdir().expect("a folder");
    let tale = tale();
    let (first, rest) = tale.split_at(tale[..4200].rfind(' ').expect("words"));
    fs::write(dir.path().join("first.txt"), first).expect("writable");
    fs::write(dir.path().join("rest.txt"), rest).expect("writable");
    let path = |name: &str| dir.path().join(name).to_str().expect("UTF-8").to_owned();
    let divergence = |name: &str, flags: &[&str]| {
        let output = run(dir.path(), &[&["--type", "Q4_0", "-o", name, "--json"], flags].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        let (base, model, text) = (path("base.gguf"), path(name), path("rest.txt"));
        let args = ["divergence", &base, &model, "-f", &text, "--ctx", "64", "--json", "--quiet"];
        json_of(args)["kl_divergence"]["value"].as_f64().expect("a number")
    };
    assert!(run(dir.path(), &["--type", "F32", "-o", "base.gguf", "-q"]).status.success());
    let plain = divergence("plain.gguf", &[]);
    let calibration = ["--calibrate", "first.txt", "--calibration-ctx", "64"];
    let calibrated = divergence("calibrated.gguf", &calibration);
    assert!(calibrated < 0.8 * plain, "{calibrated} for {plain}");
    assert!(!dir.path().join("calibrated.gguf.calibration").exists());
}

#[test]
fn without_a_text_the_programs_own_is_read_and_conversations_go_through_the_template() {
    let dir = tempfile::tempdir().expect("a folder");
    let tiny = dir.path().join("tiny");
    fs::create_dir(&tiny).expect("writable");
    Spec { n_embd: 64, n_ff: 64, n_layer: 1, ..Spec::default() }.write(&tiny);
    let line = r#"[{"role": "user", "content": "What lay in the box?"}, {"role": "assistant", "content": "A key."}]"#;
    fs::write(dir.path().join("chats.jsonl"), format!("{line}\n").repeat(64)).expect("writable");
    let chunks = |calibration: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
        command.current_dir(dir.path()).args(["tiny", "--type", "Q4_0", "--json", "-f", "-o", "m.gguf"]);
        command.args(["--calibration-ctx", "32"]).args(calibration).output().expect("the program starts")
    };
    let output = chunks(&["--calibration-chunks", "16", "--calibrate"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["calibration"]["with"], "calibrated with 16 chunks of 32 tokens");
    let output = chunks(&["--calibrate", "chats.jsonl"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let config = tiny.join("tokenizer_config.json");
    let text = fs::read_to_string(&config).expect("a configuration");
    fs::write(&config, text.replace("\"chat_template\"", "\"other\"")).expect("writable");
    let output = chunks(&["--calibrate", "chats.jsonl"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("no chat template"), "{}", stderr(&output));
}

#[test]
fn too_little_text_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("short.txt"), "Once upon a time there was little to read.").expect("writable");
    let output = run(dir.path(), &["--type", "Q4_0", "-o", "m.gguf", "--calibrate", "short.txt"]);
    assert_eq!(output.status.code(), Some(2));
    let message = stderr(&output);
    assert!(message.contains("short.txt") && message.contains("need at least 1024"), "{message}");
    assert!(!dir.path().join("m.gguf").exists() && !dir.path().join("m.gguf.calibration").exists());

    let (model, texts) = model_and_texts(dir.path(), 7, 32);
    let target = dir.path().join("q.gguf");
    let error = calibrated(&model, &texts, &target, 1, &Silent).expect_err("too few").to_string();
    assert!(error.contains("7 chunks of 32 tokens") && error.contains("8 are the least"), "{error}");
    assert!(!folder_of(&target).exists());
}

#[test]
fn layers_are_left_out_before_calibrating_and_not_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = run(dir.path(), &["--type", "Q4_0", "-o", "m.gguf", "--prune-layers", "3", "--calibrate"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--prune-layers") && !dir.path().join("m.gguf").exists());
}

#[test]
fn a_model_that_cannot_be_calibrated_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().expect("a folder");
    let fixture = registered().into_iter().find(|fixture| fixture.name == "gemma3n").expect("the fixture");
    fixture.convert(dir.path());
    fs::write(dir.path().join("tale.txt"), tale()).expect("writable");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    let flags = ["gemma3n", "--type", "Q8_0", "-o", "m.gguf", "--calibrate", "tale.txt"];
    let output = command.current_dir(dir.path()).args(flags).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("AltUp") && stderr(&output).contains("without --calibrate"));
    assert!(!dir.path().join("m.gguf").exists() && !dir.path().join("m.gguf.calibration").exists());
}

#[test]
fn any_part_of_a_split_model_calibrates_all_of_it() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("tiny")).expect("writable");
    Spec { n_embd: 64, n_ff: 128, n_layer: 1, ..Spec::default() }.write(&dir.path().join("tiny"));
    let whole = dir.path().join("whole.gguf");
    convert(&dir.path().join("tiny"), &whole, FileType::F16);
    let parts = split(&whole, &[4]);
    fs::write(dir.path().join("tale.txt"), tale()).expect("writable");
    let made = |input: &Path, name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
        command.current_dir(dir.path()).arg(input).args(["--type", "Q4_0", "-q", "-o", name]);
        command.args(["--calibrate", "tale.txt", "--calibration-ctx", "32", "--calibration-chunks", "8"]);
        let output = command.output().expect("the program starts");
        assert!(output.status.success(), "{}", stderr(&output));
        fs::read(dir.path().join(name)).expect("a file")
    };
    assert!(made(&whole, "a.gguf") == made(&parts[1], "b.gguf"));
}
