//! Where conversions write: an input is never lost, a file is whole or not there, and nothing is left over.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use crate::common::checkpoint::Spec;
use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{self, FileType, Plan, PlanOptions, Progress, RunOptions};
use gguf_kit::gguf::GgufFile;
use gguf_simd::kernels::Kernels;

/// A folder with a checkpoint in `tiny`, and the names of its files.
fn workplace() -> (tempfile::TempDir, Vec<String>) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let tiny = dir.path().join("tiny");
    fs::create_dir(&tiny).expect("a writable folder");
    Spec::default().write(&tiny);
    fs::write(tiny.join("README.md"), "---\nlicense: mit\n---\n").expect("writable");
    let names = names_in(&tiny);
    (dir, names)
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("a folder");
    let mut names: Vec<_> =
        entries.map(|entry| entry.expect("readable").file_name().into_string().expect("UTF-8")).collect();
    names.sort();
    names
}

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(dir).args(args);
    command
}

/// Runs `gguf-convert`, which must fail with `status` and say all of `words`.
fn assert_fails(dir: &Path, args: &[&str], status: i32, words: &[&str]) {
    let output = command(dir, args).output().expect("the program starts");
    assert_failed(&output, status, words);
}

fn assert_failed(output: &Output, status: i32, words: &[&str]) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
}

fn assert_converts(dir: &Path, args: &[&str]) {
    let output = command(dir, args).output().expect("the program starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn no_file_that_is_read_is_ever_written_to() {
    let (dir, names) = workplace();
    let tiny = dir.path().join("tiny");
    for name in &names {
        let path = tiny.join(name);
        let before = fs::read(&path).expect("readable");
        let mut ways = vec![path.clone(), tiny.join("../tiny").join(name)];
        #[cfg(unix)]
        {
            let (soft, hard) =
                (dir.path().join(format!("soft-{name}")), dir.path().join(format!("hard-{name}")));
            std::os::unix::fs::symlink(&path, &soft).expect("links");
            fs::hard_link(&path, &hard).expect("links");
            ways.extend([soft, hard]);
        }
        for way in ways {
            let output = way.to_str().expect("UTF-8");
            for force in [&["--force"][..], &[]] {
                let args = [&["tiny", "--type", "Q8_0", "-o", output], force].concat();
                assert_fails(dir.path(), &args, 2, &[name, "is read here", "another file"]);
            }
            assert!(fs::read(&path).expect("still there") == before, "{output}");
        }
    }
    // The weights named themselves, and from inside the folder.
    let args = ["model.safetensors", "--type", "F16", "-f", "-o", "model.safetensors"];
    assert_fails(&tiny, &args, 2, &["model.safetensors", "is read here"]);
    assert_eq!(names_in(&tiny), names);
}

#[test]
fn what_is_read_beside_the_model_is_not_written_to() {
    let (dir, _) = workplace();
    for (option, name, text) in [
        ("--metadata", "keys.json", r#"{"general.name": "M"}"#),
        ("--tensor-type-file", "rules.txt", "attn_q=Q8_0"),
    ] {
        fs::write(dir.path().join(name), text).expect("written");
        let args = ["tiny", "--type", "Q8_0", option, name, "-o", name, "--force"];
        assert_fails(dir.path(), &args, 2, &[name, "is read here"]);
        assert_eq!(fs::read_to_string(dir.path().join(name)).expect("still there"), text);
    }
}

#[test]
fn a_change_that_makes_a_file_useless_is_said() {
    let (dir, _) = workplace();
    let said = |change: &str| {
        let args = ["tiny", "--type", "Q8_0", "--override-kv", change, "-o", "m.gguf", "--force"];
        let output = command(dir.path(), &args).output().expect("the program starts");
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).contains("cannot use all of it")
    };
    assert!(said("llama.block_count=u32:9"));
    assert!(!said("general.name=str:Other"));
}

#[test]
fn nothing_else_of_a_checkpoint_is_replaced_or_made_up() {
    let (dir, names) = workplace();
    let tiny = dir.path().join("tiny");
    fs::write(tiny.join("weights.dat"), "weights").expect("writable");
    let force = |name: &str, words: &[&str]| {
        assert_fails(&tiny, &[".", "--type", "Q8_0", "-f", "-o", name], 2, words);
    };
    force("weights.dat", &["is not a GGUF file", "another file"]);
    force("pytorch_model.bin", &["would be taken for a part of the checkpoint"]);
    for name in
        ["added_tokens.json", "chat_template.jinja", "tokenizer.model", "other.safetensors", "new.json"]
    {
        force(name, &["part of the checkpoint", ".gguf"]);
    }
    assert_eq!(fs::read(tiny.join("weights.dat")).expect("still there"), b"weights");
    // A GGUF file may be there, and be replaced.
    for _ in 0..2 {
        assert_converts(&tiny, &[".", "--type", "Q8_0", "-q", "-f", "-o", "m.gguf"]);
    }
    assert_eq!(names_in(&tiny).len(), names.len() + 2);
}

#[test]
fn long_names_and_names_in_other_scripts_work() {
    let (dir, _) = workplace();
    let folder = "\u{6a21}".repeat(85);
    fs::rename(dir.path().join("tiny"), dir.path().join(&folder)).expect("255 bytes");
    let longest = format!("{}.gguf", "x".repeat(250));
    assert_converts(dir.path(), &[&folder, "--type", "Q8_0", "-q", "-o", &longest]);
    assert_converts(dir.path(), &[&folder, "--type", "Q8_0", "-q", "-f", "-o", &longest]);
    assert_converts(dir.path(), &[&folder, "--type", "Q8_0", "-q"]);
    let cache = dir.path().join("cache");
    fs::create_dir(&cache).expect("writable");
    let options = RunOptions { overwrite: false, n_threads: 1, kernels: Kernels::best() };
    let cached =
        convert::cached_in(&cache, &dir.path().join(&folder), FileType::Q8_0, &options, &convert::Silent);
    assert!(cached.expect("converted").path.starts_with(&cache));
}

#[cfg(unix)]
#[test]
fn a_link_to_nothing_is_followed_and_stays_a_link() {
    let (dir, _) = workplace();
    let link = dir.path().join("link.gguf");
    std::os::unix::fs::symlink("real.gguf", &link).expect("links");
    for force in [&[][..], &["-f"]] {
        assert_converts(dir.path(), &[&["tiny", "--type", "Q8_0", "-q", "-o", "link.gguf"], force].concat());
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert!(GgufFile::open(&dir.path().join("real.gguf")).is_ok());
    }
}

#[cfg(unix)]
#[test]
fn targets_that_are_not_files_are_explained() {
    let (dir, _) = workplace();
    let fifo = dir.path().join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().expect("mkfifo is there").success());
    for target in ["/dev/null", fifo.to_str().expect("UTF-8")] {
        let args = ["tiny", "--type", "Q8_0", "-f", "-o", target];
        assert_fails(dir.path(), &args, 2, &[target, "is a pipe or a device", "model.gguf"]);
    }
    assert_fails(dir.path(), &["tiny", "--type", "Q8_0", "-o", "new/"], 2, &["new does not exist"]);
    assert_fails(dir.path(), &["tiny", "--type", "Q8_0", "-o", "no/m.gguf"], 2, &["no does not exist"]);
    assert_eq!(names_in(dir.path()), ["fifo", "tiny"]);
}

/// Does something to the source when the first group has been converted, and counts the groups.
struct Meddler<'a> {
    meddle: &'a (dyn Fn() + Sync),
    n_groups: AtomicUsize,
}

impl Progress for Meddler<'_> {
    fn begin(&self, _total: u64) {}
    fn calibrating(&self, _total: u64) {}
    fn advance(&self, _bytes: u64) {
        if self.n_groups.fetch_add(1, Ordering::SeqCst) == 0 {
            (self.meddle)();
        }
    }
    fn verifying(&self) {}
    fn is_cancelled(&self) -> bool {
        false
    }
}

/// Converts the checkpoint in `tiny` while `meddle` meddles with it: the error's message, if it fails. What
/// fails must leave nothing.
fn meddled(dir: &Path, n_threads: usize, meddle: &(dyn Fn() + Sync)) -> Result<PathBuf, String> {
    let out = dir.join("out");
    fs::create_dir_all(&out).expect("writable");
    let checkpoint = Checkpoint::open(&dir.join("tiny")).expect("sound");
    let plan = Plan::new(&checkpoint, &PlanOptions::new(FileType::F16)).expect("sound");
    let options = RunOptions { overwrite: true, n_threads, kernels: Kernels::best() };
    let progress = Meddler { meddle, n_groups: AtomicUsize::new(0) };
    match convert::run(&plan, &out.join("m.gguf"), &options, &progress) {
        Ok(mut summary) => Ok(summary.paths.remove(0)),
        Err(e) => {
            assert_eq!(names_in(&out), [""; 0]);
            Err(e.to_string())
        }
    }
}

#[test]
fn a_source_that_changes_meanwhile_is_an_error_and_one_that_is_replaced_is_not() {
    let (dir, _) = workplace();
    let weights = dir.path().join("tiny/model.safetensors");
    let sound = fs::read(&weights).expect("readable");
    let file = || fs::OpenOptions::new().write(true).open(&weights).expect("writable");
    let message = meddled(dir.path(), 1, &|| {
        let mut file = file();
        std::io::Write::write_all(&mut std::io::BufWriter::new(&mut file), &sound).expect("writable");
        file.set_modified(SystemTime::now() + Duration::from_secs(1)).expect("settable");
    });
    let message = message.expect_err("the time changed");
    assert!(message.contains("model.safetensors") && message.contains("run again"), "{message}");

    let message = meddled(dir.path(), 2, &|| file().set_len(sound.len() as u64 / 2).expect("shortened"));
    let message = message.expect_err("cut short");
    assert!(message.contains("model.safetensors") && message.contains("cut short"), "{message}");

    fs::write(&weights, &sound).expect("writable");
    let undisturbed = meddled(dir.path(), 1, &|| ()).expect("sound");
    let undisturbed = fs::read(undisturbed).expect("readable");
    let replaced = meddled(dir.path(), 2, &|| {
        let other = dir.path().join("other");
        fs::write(&other, vec![0xa5; sound.len()]).expect("writable");
        fs::rename(other, &weights).expect("renamed");
    });
    assert!(fs::read(replaced.expect("the old file")).expect("readable") == undisturbed);
}

#[test]
fn a_panic_in_one_thread_ends_the_conversion_and_leaves_nothing() {
    let (dir, _) = workplace();
    for n_threads in [1, 4] {
        let outcome = std::panic::catch_unwind(|| {
            let _ = meddled(dir.path(), n_threads, &|| panic!("on purpose"));
        });
        assert!(outcome.is_err());
        assert_eq!(names_in(&dir.path().join("out")), [""; 0]);
    }
}

#[test]
fn two_conversions_of_one_checkpoint_are_the_same_bytes() {
    let (dir, _) = workplace();
    for (name, threads) in [("a.gguf", "1"), ("b.gguf", "3")] {
        assert_converts(dir.path(), &["tiny", "--type", "Q4_K_M", "-q", "--threads", threads, "-o", name]);
    }
    let read = |name: &str| fs::read(dir.path().join(name)).expect("written");
    assert!(read("a.gguf") == read("b.gguf"));
}

/// A checkpoint that takes some seconds: 69 M weights, all zero, in a file with holes.
fn large_checkpoint(dir: &Path) -> PathBuf {
    let spec = Spec { n_layer: 1, n_embd: 2048, n_ff: 8192, n_head: 32, n_head_kv: 8, ..Spec::default() };
    let large = dir.join("large");
    fs::create_dir(&large).expect("a writable folder");
    spec.write_sparse(&large);
    large
}

/// Waits until the program has begun to write in `out`: to a file there, or to one without a name.
#[cfg(target_os = "linux")]
fn wait_for_work(child: &Child, out: &Path) {
    let descriptors = PathBuf::from(format!("/proc/{}/fd", child.id()));
    let is_at_work = || {
        let links = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        links.filter_map(|link| fs::read_link(link.path()).ok()).any(|path| path.starts_with(out))
    };
    for _ in 0..60_000 {
        if is_at_work() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("the program does not begin to write");
}

#[cfg(target_os = "linux")]
#[test]
fn a_killed_conversion_costs_nothing_and_leaves_nothing_to_the_next() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = dir.path().canonicalize().expect("a folder").join("out");
    fs::create_dir(&out).expect("writable");
    let large = large_checkpoint(dir.path());
    let large = large.to_str().expect("UTF-8");
    let target = out.join("m.gguf");
    fs::write(&target, "the file of before").expect("writable");
    for delay in [0, 20, 100, 300] {
        let mut child =
            command(&out, &[large, "--type", "Q8_0", "-q", "-f", "-o", "m.gguf"]).spawn().expect("starts");
        wait_for_work(&child, &out);
        std::thread::sleep(Duration::from_millis(delay));
        child.kill().expect("killed");
        child.wait().expect("over");
        let found = fs::read(&target).expect("still there");
        assert!(found == b"the file of before" || GgufFile::open(&target).is_ok(), "half a file");
    }
    // What a killed program leaves where files cannot do without a name; its lock is not held.
    fs::write(out.join(".m.gguf.a1B2c3.gguf-kit.partial"), "half").expect("writable");
    assert_converts(&out, &[large, "--type", "Q8_0", "-q", "-f", "-o", "m.gguf"]);
    assert_eq!(names_in(&out), ["m.gguf"]);
}

#[test]
fn what_killed_programs_left_in_the_cache_goes_with_the_next_conversion() {
    let (dir, _) = workplace();
    let cache = dir.path().join("cache");
    fs::create_dir(&cache).expect("writable");
    fs::write(cache.join(".some other model-Q4_K_M-0123.gguf.a1B2c3.gguf-kit.partial"), "half")
        .expect("writable");
    fs::write(cache.join("a file of the user's.partial"), "whole").expect("writable");
    let options = RunOptions { overwrite: false, n_threads: 1, kernels: Kernels::best() };
    let made =
        convert::cached_in(&cache, &dir.path().join("tiny"), FileType::Q8_0, &options, &convert::Silent);
    let made = made.expect("converted").path;
    let name = made.file_name().expect("a name").to_str().expect("UTF-8");
    assert_eq!(names_in(&cache), ["a file of the user's.partial", name]);
}

#[cfg(unix)]
#[test]
fn a_file_size_limit_is_an_error_that_leaves_nothing() {
    let (dir, names) = workplace();
    let program = env!("CARGO_BIN_EXE_gguf-convert");
    let script = format!("ulimit -f 100; exec '{program}' tiny --type F16 -q -o out.gguf");
    let output = Command::new("sh").current_dir(dir.path()).args(["-c", &script]).output().expect("a shell");
    assert_failed(&output, 1, &["out.gguf", "ulimit -f", "nothing was left behind"]);
    assert_eq!(names_in(dir.path()), ["tiny"]);
    assert_eq!(names_in(&dir.path().join("tiny")), names);
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_signal_ends_a_conversion_in_order() {
    for (signal, status) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        assert_eq!(status_after(signal), Some(status), "{signal}");
    }
}

/// The status of a conversion that gets `signal` while it works. It must leave nothing.
#[cfg(target_os = "linux")]
fn status_after(signal: &str) -> Option<i32> {
    crate::program::let_hang_ups_end_children();
    let dir = tempfile::tempdir().expect("a temporary folder");
    let out = dir.path().canonicalize().expect("a folder").join("out");
    fs::create_dir(&out).expect("writable");
    let large = large_checkpoint(dir.path());
    let args = [large.to_str().expect("UTF-8"), "--type", "Q4_K_M", "--threads", "1"];
    let mut child = command(&out, &args).stderr(std::process::Stdio::null()).spawn().expect("it starts");
    wait_for_work(&child, &out);
    let kill = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
    assert!(kill.expect("kill is there").success());
    let status = child.wait().expect("it ends").code();
    assert_eq!(names_in(&out), [""; 0]);
    status
}
