//! The writer's files are whole or not there, and no file is lost to it.

use std::fs;
use std::path::Path;

use gguf_kit::Error;
use gguf_kit::gguf::{GgufFile, GgufWriter, Layout, PlannedTensor, Value};
use gguf_simd::BlockType;

const N_ROWS: usize = 64;
const ROW_BYTES: usize = 256 * 4;

/// A matrix of 64 rows of 256 floats.
fn layout() -> Layout {
    let tensor = PlannedTensor { name: "w".into(), shape: vec![N_ROWS, 256], ty: BlockType::F32.into() };
    Layout::new(vec![("general.architecture".into(), Value::String("llama".into()))], vec![tensor], 32)
        .unwrap()
}

fn write_whole(path: &Path, overwrite: bool) -> gguf_kit::Result<std::path::PathBuf> {
    let writer = GgufWriter::create(path, layout(), overwrite)?;
    writer.write_at(0, 0, &[7; N_ROWS * ROW_BYTES])?;
    writer.finish()
}

fn names_in(dir: &Path) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[track_caller]
fn assert_says(error: &Error, parts: &[&str]) {
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{message:?} should say {part:?}");
    }
}

#[test]
fn an_unfinished_file_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let writer = GgufWriter::create(&dir.path().join("m.gguf"), layout(), false).unwrap();
    writer.write_at(0, 0, &[1; 100]).unwrap();
    // Where files can do without a name it has none, else a hidden one.
    assert!(names_in(dir.path()).iter().all(|name| name.starts_with(".m.gguf.")));
    assert_eq!(fs::metadata(writer.partial_path()).unwrap().len(), layout().file_bytes());
    drop(writer);
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
fn a_finished_file_stands_alone() {
    let dir = tempfile::tempdir().unwrap();
    write_whole(&dir.path().join("m.gguf"), false).unwrap();
    assert_eq!(names_in(dir.path()), ["m.gguf"]);
}

#[test]
fn a_file_with_a_hole_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let writer = GgufWriter::create(&dir.path().join("m.gguf"), layout(), false).unwrap();
    writer.write_at(0, 0, &[1; ROW_BYTES]).unwrap();
    assert_says(&writer.finish().unwrap_err(), &["1024 bytes of tensor w", "65536"]);
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
fn threads_write_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let writer = GgufWriter::create(&path, layout(), false).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let writer = &writer;
            scope.spawn(move || {
                for row in (thread..N_ROWS).step_by(4) {
                    writer.write_at(0, (row * ROW_BYTES) as u64, &[row as u8; ROW_BYTES]).unwrap();
                }
            });
        }
    });
    writer.finish().unwrap();
    let file = GgufFile::open(&path).unwrap();
    let rows: Vec<&[u8]> = file.bytes(file.tensor("w").unwrap()).chunks(ROW_BYTES).collect();
    for (i, row) in rows.iter().enumerate() {
        assert!(row.iter().all(|&byte| usize::from(byte) == i), "row {i}");
    }
}

#[test]
#[should_panic(expected = "writing past the end of w")]
fn writing_past_a_tensor_is_a_bug() {
    let dir = tempfile::tempdir().unwrap();
    let writer = GgufWriter::create(&dir.path().join("m.gguf"), layout(), false).unwrap();
    let _ = writer.write_at(0, (N_ROWS * ROW_BYTES) as u64 - 1, &[1, 2]);
}

#[test]
fn an_existing_file_is_kept_unless_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    fs::write(&path, "precious").unwrap();
    let refused = write_whole(&path, false).unwrap_err();
    assert!(matches!(refused, Error::Usage { .. }), "{refused:?}");
    assert_says(&refused, &["m.gguf exists", "--force"]);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    write_whole(&path, true).unwrap();
    assert_eq!(GgufFile::open(&path).unwrap().tensors().len(), 1);
    assert_eq!(names_in(dir.path()), ["m.gguf"]);
}

#[test]
fn a_file_that_appears_meanwhile_is_kept_and_so_is_the_finished_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let writer = GgufWriter::create(&path, layout(), false).unwrap();
    writer.write_at(0, 0, &[7; N_ROWS * ROW_BYTES]).unwrap();
    fs::write(&path, "precious").unwrap();
    let refused = writer.finish().unwrap_err();
    assert!(matches!(refused, Error::Usage { .. }), "{refused:?}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    let kept = names_in(dir.path()).into_iter().find(|name| name != "m.gguf").expect("a second file");
    assert!(kept.starts_with("m.kept-") && kept.ends_with(".gguf"), "{kept}");
    assert_says(&refused, &["m.gguf was made by another program meanwhile", "kept as", &kept]);
    assert_eq!(GgufFile::open(&dir.path().join(kept)).unwrap().tensors().len(), 1);
}

#[test]
fn a_file_that_appears_meanwhile_with_the_same_content_makes_ours_needless() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let writer = GgufWriter::create(&path, layout(), false).unwrap();
    writer.write_at(0, 0, &[7; N_ROWS * ROW_BYTES]).unwrap();
    write_whole(&path, false).unwrap();
    assert_says(&writer.finish().unwrap_err(), &["m.gguf was made by another program", "the same content"]);
    assert_eq!(names_in(dir.path()), ["m.gguf"]);
}

#[test]
fn a_name_that_cannot_be_replaced_leaves_the_finished_file_under_another() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    let writer = GgufWriter::create(&path, layout(), true).unwrap();
    writer.write_at(0, 0, &[7; N_ROWS * ROW_BYTES]).unwrap();
    // Nothing takes the place of a folder that has files.
    fs::create_dir(&path).unwrap();
    fs::write(path.join("precious"), "").unwrap();
    let refused = writer.finish().unwrap_err();
    let kept = names_in(dir.path()).into_iter().find(|name| name != "m.gguf").expect("a second file");
    assert_says(&refused, &["cannot write", "m.gguf", "kept as", &kept]);
    assert!(!kept.starts_with('.'));
    assert_eq!(GgufFile::open(&dir.path().join(kept)).unwrap().tensors().len(), 1);
}

/// Only a file that never had a name can have one elsewhere.
#[test]
#[cfg(target_os = "linux")]
fn a_file_whose_folder_is_removed_meanwhile_is_kept_in_the_one_above() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("out");
    fs::create_dir(&folder).unwrap();
    let writer = GgufWriter::create(&folder.join("m.gguf"), layout(), false).unwrap();
    writer.write_at(0, 0, &[7; N_ROWS * ROW_BYTES]).unwrap();
    if !names_in(&folder).is_empty() {
        eprintln!("skipped: the file system of {} has no files without names", dir.path().display());
        return;
    }
    fs::remove_dir(&folder).unwrap();
    let refused = writer.finish().unwrap_err();
    let [kept] = &names_in(dir.path())[..] else { panic!("{:?}", names_in(dir.path())) };
    assert_says(&refused, &["cannot write", "out/m.gguf", "kept as", kept]);
    assert_eq!(GgufFile::open(&dir.path().join(kept)).unwrap().tensors().len(), 1);
}

#[test]
fn names_of_255_bytes_can_be_written_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["x".repeat(255), "\u{6a21}".repeat(85)] {
        let path = dir.path().join(name);
        write_whole(&path, false).unwrap();
        write_whole(&path, true).unwrap();
        assert_eq!(GgufFile::open(&path).unwrap().tensors().len(), 1);
    }
    assert_eq!(names_in(dir.path()).len(), 2);
}

#[test]
fn a_mapping_of_the_replaced_file_keeps_its_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.gguf");
    write_whole(&path, false).unwrap();
    let before = GgufFile::open(&path).unwrap();
    let writer = GgufWriter::create(&path, layout(), true).unwrap();
    writer.write_at(0, 0, &[9; N_ROWS * ROW_BYTES]).unwrap();
    writer.finish().unwrap();
    assert!(before.bytes(&before.tensors()[0]).iter().all(|&byte| byte == 7));
    let after = GgufFile::open(&path).unwrap();
    assert!(after.bytes(&after.tensors()[0]).iter().all(|&byte| byte == 9));
}

#[test]
fn targets_that_are_no_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert_says(&write_whole(dir.path(), true).unwrap_err(), &["is a directory", "model.gguf"]);
    let nowhere = dir.path().join("no/such/m.gguf");
    assert_says(&write_whole(&nowhere, true).unwrap_err(), &["no/such does not exist", "create it"]);
    assert_says(&write_whole(Path::new(""), true).unwrap_err(), &["does not name a file"]);
    if cfg!(unix) {
        assert_says(&write_whole(Path::new("/dev/null"), true).unwrap_err(), &["pipe or a device"]);
    }
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
#[cfg(target_os = "linux")]
fn a_disk_too_small_is_known_before_the_work() {
    let dir = tempfile::tempdir().unwrap();
    // Two exbibytes.
    let tensor = PlannedTensor { name: "w".into(), shape: vec![1 << 30, 1 << 29], ty: BlockType::F32.into() };
    let layout = Layout::new(vec![], vec![tensor], 32).unwrap();
    let needed = layout.file_bytes().to_string();
    let refused = GgufWriter::create(&dir.path().join("m.gguf"), layout, false).unwrap_err();
    assert!(matches!(refused, Error::Limit { .. }), "{refused:?}");
    assert_says(&refused, &["m.gguf", &needed, "smaller --type", "nothing was left behind"]);
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
#[cfg(unix)]
fn the_file_has_the_permissions_of_any_new_file() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let (ours, plain) = (dir.path().join("m.gguf"), dir.path().join("plain"));
    write_whole(&ours, false).unwrap();
    fs::write(&plain, "x").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(&ours), mode(&plain));
}

#[test]
#[cfg(unix)]
fn a_link_is_followed_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real.gguf"), dir.path().join("link.gguf"));
    fs::write(&real, "old").unwrap();
    std::os::unix::fs::symlink(&real, &link).unwrap();
    write_whole(&link, true).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(GgufFile::open(&real).unwrap().tensors().len(), 1);
}
