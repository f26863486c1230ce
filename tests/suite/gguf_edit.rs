//! Edits of metadata: the tensors stay what they are, and nothing is lost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::checkpoint::Spec;
use crate::common::convert;
use crate::common::parts::split;
use gguf_kit::convert::FileType;
use gguf_kit::gguf::GgufFile;
use gguf_kit::gguf::Value;
use gguf_kit::gguf::edit::{Edit, Edited, recover};

const TEMPLATE: &str = "tokenizer.chat_template";

fn workplace() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    Spec::default().write(dir.path());
    let path = dir.path().join("tiny.gguf");
    convert(dir.path(), &path, FileType::Q8_0);
    (dir, path)
}

/// Gives the file a template of `n` letters.
fn with_template(path: &Path, n: usize) -> Edited {
    let file = GgufFile::open(path).expect("a model");
    let mut pairs = file.metadata().to_pairs();
    pairs.retain(|(key, _)| key != TEMPLATE);
    pairs.push((TEMPLATE.into(), Value::String("x".repeat(n))));
    let edit = Edit::new(&file, &pairs).expect("sound pairs");
    drop(file);
    edit.apply().expect("written")
}

/// The tensors' names and bytes, and the template.
fn content(path: &Path) -> (Vec<(String, Vec<u8>)>, Option<usize>) {
    let file = GgufFile::open(path).expect("a model");
    let tensors =
        file.tensors().iter().map(|tensor| (tensor.name.clone(), file.bytes(tensor).to_vec())).collect();
    (tensors, file.metadata().string(TEMPLATE).expect("a text").map(str::len))
}

#[test]
fn a_header_that_ends_in_the_same_place_or_before_is_changed_in_place() {
    let (_dir, path) = workplace();
    let (tensors, _) = content(&path);
    assert_eq!(with_template(&path, 1000), Edited::Rewritten);
    let n_bytes = fs::metadata(&path).expect("a file").len();
    // The same length, much shorter, and up to the first length again by taking the padding back.
    for n in [1000, 7, 400, 1000] {
        assert_eq!(with_template(&path, n), Edited::InPlace, "{n}");
        assert_eq!(fs::metadata(&path).expect("a file").len(), n_bytes);
        let (now, template) = content(&path);
        assert!(now == tensors, "{n}");
        assert_eq!(template, Some(n));
    }
}

#[test]
fn a_header_that_grows_makes_a_new_file_with_the_same_tensors() {
    let (dir, path) = workplace();
    let (tensors, _) = content(&path);
    assert_eq!(with_template(&path, 5000), Edited::Rewritten);
    let (now, template) = content(&path);
    assert!(now == tensors);
    assert_eq!(template, Some(5000));
    // Beside what the workplace began with there is nothing.
    let left: Vec<_> =
        fs::read_dir(dir.path()).expect("a folder").map(|e| e.expect("an entry").file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("edit")), "{left:?}");
}

#[cfg(unix)]
#[test]
fn a_file_that_is_written_anew_is_readable_by_those_who_could_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, path) = workplace();
    for mode in [0o600, 0o640] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        let n = content(&path).1.map_or(5000, |n| 2 * n);
        assert_eq!(with_template(&path, n), Edited::Rewritten);
        assert_eq!(fs::metadata(&path).expect("a file").permissions().mode() & 0o777, mode);
    }
}

#[test]
fn a_few_bytes_too_short_for_padding_are_written_anew() {
    let (_dir, path) = workplace();
    with_template(&path, 1000);
    let (tensors, _) = content(&path);
    // Some length below has its end one multiple of the alignment before, and too near for a pair of padding.
    let done: Vec<Edited> = (960..1000).rev().map(|n| with_template(&path, n)).collect();
    assert!(done.contains(&Edited::InPlace) && done.contains(&Edited::Rewritten), "{done:?}");
    assert!(content(&path).0 == tensors);
}

fn run(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gguf-convert"));
    command.current_dir(dir).arg("edit").args(args).output().expect("the program starts")
}

#[test]
fn the_command_sets_and_removes_keys_and_takes_texts_from_files() {
    let (dir, path) = workplace();
    let (tensors, _) = content(&path);
    fs::write(dir.path().join("t.jinja"), "{{ messages }}\n").expect("written");
    let set = format!("{TEMPLATE}=file:t.jinja");
    let output = run(dir.path(), &["tiny.gguf", "--override-kv", &set, "--remove-kv", "general.size_label"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let file = GgufFile::open(&path).expect("a model");
    assert_eq!(file.metadata().string(TEMPLATE).expect("a text"), Some("{{ messages }}\n"));
    assert!(!file.metadata().contains("general.size_label"));
    assert!(content(&path).0 == tensors);
    // With -o the file itself stays, and another is replaced by force only.
    let before = fs::read(&path).expect("a file");
    let other = ["tiny.gguf", "--name", "Other", "-o", "other.gguf"];
    assert_eq!(run(dir.path(), &other).status.code(), Some(0));
    assert!(fs::read(&path).expect("a file") == before);
    let file = GgufFile::open(&dir.path().join("other.gguf")).expect("a model");
    assert_eq!(file.metadata().string("general.name").expect("a text"), Some("Other"));
    assert_eq!(run(dir.path(), &other).status.code(), Some(2));
    for (args, reason) in [
        (&["tiny.gguf"][..], "nothing to change"),
        (&["tiny.gguf", "--override-kv", "general.alignment=u32:64"], "cannot be changed by itself"),
        (&["tiny.gguf", "--override-kv", "x=5"], "KEY=TYPE:VALUE"),
    ] {
        let output = run(dir.path(), args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(reason), "{output:?}");
    }
    assert!(fs::read(&path).expect("a file") == before);
}

#[test]
fn a_model_stays_usable_unless_that_is_forced() {
    let (dir, path) = workplace();
    let before = fs::read(&path).expect("a file");
    fs::write(dir.path().join("t.jinja"), "{% for m in messages %}").expect("written");
    let template = format!("{TEMPLATE}=file:t.jinja");
    for (change, reason) in [
        (["--remove-kv", "llama.block_count"], "llama.block_count"),
        (["--override-kv", "tokenizer.ggml.pre=str:llama-pbe"], "llama-pbe"),
        (["--override-kv", "general.architecture=str:lama"], "lama"),
        (["--remove-kv", "tokenizer.ggml.model"], "vocabulary would be gone"),
        (["--override-kv", &template], "endfor"),
        (["--override-kv", "llama.block_count=int:1"], "not part of"),
        (["--override-kv", "llama.block_count=int:3"], "blk.2."),
        (["--override-kv", "llama.attention.head_count_kv=int:1"], "attn_k"),
    ] {
        let args = [&["tiny.gguf"][..], &change].concat();
        let output = run(dir.path(), &args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{change:?}: {said}");
        assert!(said.contains(reason) && said.contains("--force") && !said.contains("/tmp"), "{said}");
        assert!(fs::read(&path).expect("a file") == before);
        let beside = run(dir.path(), &[&args[..], &["-o", "other.gguf", "--force"]].concat());
        assert_eq!(beside.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&beside.stderr).contains(reason));
    }
    let forced = run(dir.path(), &["tiny.gguf", "--remove-kv", "llama.block_count", "--force"]);
    assert_eq!(forced.status.code(), Some(0));
    // What is no use already can be changed, and mended, as one likes.
    let mended = run(dir.path(), &["tiny.gguf", "--override-kv", "llama.feed_forward_length=u32:1"]);
    assert_eq!(mended.status.code(), Some(0));
}

#[test]
fn what_says_where_tensors_are_and_what_no_reader_looks_at_is_not_changed() {
    let (dir, path) = workplace();
    let name_of = |path: &PathBuf| path.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
    let files: Vec<String> = split(&path, &[1, 2]).iter().map(name_of).collect();
    for (file, change, reason) in [
        ("tiny.gguf", ["--override-kv", "split.count=u16:3"], "split.count"),
        (&files[0], ["--remove-kv", "split.count"], "split.count"),
        (&files[1], ["--override-kv", "general.name=str:Other"], &files[0]),
    ] {
        let before = fs::read(dir.path().join(file)).expect("a file");
        let output = run(dir.path(), &[&[file][..], &change, &["--force"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(reason), "{said}");
        assert!(fs::read(dir.path().join(file)).expect("a file") == before);
    }
    assert_eq!(run(dir.path(), &[files[0].as_str(), "--name", "Other"]).status.code(), Some(0));
}

#[test]
fn an_edit_that_was_cut_short_is_taken_back_before_the_next() {
    let (dir, path) = workplace();
    let whole = fs::read(&path).expect("a file");
    // As a crash leaves it: the journal of an edit, and half of the edit done.
    let old = whole[20..120].to_vec();
    let mut journal = b"GGUFEDIT".to_vec();
    journal.extend_from_slice(&(whole.len() as u64).to_le_bytes());
    journal.extend_from_slice(&20_u64.to_le_bytes());
    journal.extend_from_slice(&old);
    journal.extend_from_slice(&crc32fast::hash(&journal).to_le_bytes());
    fs::write(dir.path().join("tiny.gguf.edit-journal"), &journal).expect("written");
    let mut broken = whole.clone();
    broken[20..70].fill(0xff);
    fs::write(&path, &broken).expect("written");
    assert!(GgufFile::open(&path).is_err());
    let output = run(dir.path(), &["tiny.gguf", "--name", "Other", "--dry-run"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("was cut short"), "{output:?}");
    assert!(fs::read(&path).expect("a file") == broken);
    // A link has no journal of its own.
    let link = dir.path().join("link.gguf");
    #[cfg(unix)]
    std::os::unix::fs::symlink("tiny.gguf", &link).expect("a link");
    let name = if link.exists() { "link.gguf" } else { "tiny.gguf" };
    let output = run(dir.path(), &[name, "--name", "Other", "-o", "other.gguf"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("took back an edit"), "{output:?}");
    assert!(fs::read(&path).expect("a file") == whole);
    assert!(!recover(&path).expect("nothing left"));
}
