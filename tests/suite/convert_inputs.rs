//! Whatever a checkpoint is stored as, the same model comes out of it.

use std::fs;
use std::path::Path;

use crate::common;

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

/// Copies the files of `from`, but those whose name `is_left_out` says.
fn copy(from: &Path, to: &Path, is_left_out: impl Fn(&str) -> bool) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a fixture") {
        let entry = entry.expect("readable");
        if !is_left_out(&entry.file_name().to_string_lossy()) {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

fn converted(checkpoint: &Path, out: &Path) -> Vec<u8> {
    common::convert_named(checkpoint, out, gguf_kit::convert::FileType::F16, "x");
    fs::read(out).expect("written")
}

#[test]
fn shards_of_pytorch_make_the_file_that_safetensors_make() {
    let dir = tempfile::tempdir().expect("a folder");
    let [plain, shards] = ["plain", "shards"].map(|name| dir.path().join(name));
    for to in [&plain, &shards] {
        copy(&fixtures().join("families/tokenizer"), to, |_| false);
        copy(&fixtures().join("families/llama"), to, |name| to == &shards && name.ends_with(".safetensors"));
    }
    copy(&fixtures().join("pytorch/llama"), &shards, |_| false);
    let expected = converted(&plain, &dir.path().join("plain.gguf"));
    let index = shards.join("pytorch_model.bin.index.json");
    for (i, input) in
        [&shards, &index, &shards.join("pytorch_model-00002-of-00002.bin")].into_iter().enumerate()
    {
        assert!(converted(input, &dir.path().join(format!("{i}.gguf"))) == expected, "{input:?}");
    }
    fs::remove_file(&index).expect("removable");
    assert!(converted(&shards, &dir.path().join("set.gguf")) == expected, "a whole set without an index");
}
