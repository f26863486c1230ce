//! Layers left out of a conversion.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{self, FileType, GgufInput, Plan, PlanOptions, Pruning, RunOptions, Silent};
use gguf_kit::gguf::GgufFile;
use gguf_simd::Kernels;
use safetensors::SafeTensors;

use crate::common::checkpoint::Spec;

fn options(layers: &[usize]) -> PlanOptions {
    let pruned = Pruning::new(layers.iter().copied());
    PlanOptions { name: Some("x".into()), pruned, ..PlanOptions::new(FileType::F32) }
}

fn run(plan: &Plan<'_>, path: &Path) -> Vec<u8> {
    let options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
    convert::run(plan, path, &options, &Silent).expect("a conversion");
    fs::read(path).expect("written")
}

fn checkpoint(path: &Path) -> Checkpoint {
    Checkpoint::open(path).expect("a sound checkpoint")
}

/// A family's fixture with the tokenizer beside it, in a new folder.
fn family(name: &str, dir: &Path) -> PathBuf {
    let fixtures = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/families"));
    let to = dir.join(name);
    fs::create_dir(&to).expect("a new folder");
    for from in [fixtures.join("tokenizer"), fixtures.join(name)] {
        for entry in fs::read_dir(from).expect("a fixture") {
            let entry = entry.expect("readable");
            fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
    to
}

#[test]
fn a_model_without_some_layers_is_the_model_that_never_had_them() {
    let dir = tempfile::tempdir().expect("a folder");
    let [whole, short] = ["whole", "short"].map(|name| dir.path().join(name));
    [&whole, &short].into_iter().for_each(|path| fs::create_dir(path).expect("a new folder"));
    Spec { n_layer: 5, ..Spec::default() }.write(&whole);
    Spec { n_layer: 2, ..Spec::default() }.write(&short);
    // The layers that stay are 0 and 3.
    let stored = fs::read(whole.join("model.safetensors")).expect("written");
    let stored = SafeTensors::deserialize(&stored).expect("written");
    let mut kept = BTreeMap::new();
    for (name, view) in stored.iter() {
        let layer = name.strip_prefix("model.layers.").map(|rest| rest.split('.').next().expect("a number"));
        match layer {
            None | Some("0") => drop(kept.insert(name.to_owned(), view)),
            Some("3") => drop(kept.insert(name.replace("layers.3.", "layers.1."), view)),
            Some(_) => {}
        }
    }
    safetensors::serialize_to_file(kept, None, &short.join("model.safetensors")).expect("writable");
    let expected =
        run(&Plan::new(&checkpoint(&short), &options(&[])).expect("a plan"), &dir.path().join("short.gguf"));
    let opened = checkpoint(&whole);
    let pruned =
        run(&Plan::new(&opened, &options(&[1, 2, 4])).expect("a plan"), &dir.path().join("pruned.gguf"));
    assert!(pruned == expected, "from a checkpoint");
    let path = dir.path().join("whole.gguf");
    run(&Plan::new(&opened, &options(&[])).expect("a plan"), &path);
    let input = GgufInput::open(&path).expect("written");
    let pruned =
        run(&Plan::of_gguf(&input, &options(&[4, 2, 1])).expect("a plan"), &dir.path().join("of-gguf.gguf"));
    assert!(pruned == expected, "from a GGUF file");
}

#[test]
fn arrays_of_layers_lose_the_elements_of_those_left_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let opened = checkpoint(&family("deci", dir.path()));
    let [whole, pruned] = ["whole.gguf", "pruned.gguf"].map(|name| dir.path().join(name));
    run(&Plan::new(&opened, &options(&[])).expect("a plan"), &whole);
    let input = GgufInput::open(&whole).expect("written");
    run(&Plan::of_gguf(&input, &options(&[1])).expect("a plan"), &pruned);
    let heads = |path: &Path| {
        let file = GgufFile::open(path).expect("written");
        let heads = file.metadata().i32s("deci.attention.head_count_kv").expect("numbers").expect("an array");
        (file.metadata().count("deci.block_count").expect("a count"), heads)
    };
    let (count, mut expected) = heads(&whole);
    expected.remove(1);
    assert_eq!((count, heads(&pruned)), (Some(5), (Some(4), expected)));
    let of_checkpoint = dir.path().join("checkpoint.gguf");
    run(&Plan::new(&opened, &options(&[1])).expect("a plan"), &of_checkpoint);
    assert_eq!(heads(&of_checkpoint), heads(&pruned));
}

#[test]
fn layers_that_would_become_others_are_kept_and_those_that_are_not_there_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    // Of every four layers the last has no rotary positions, as the architecture has it.
    let opened = checkpoint(&family("smollm3", dir.path()));
    let refused =
        |layers: &[usize]| Plan::new(&opened, &options(layers)).expect_err("no such model").to_string();
    assert!(refused(&[1]).contains("layer 3 would be layer 2"), "{}", refused(&[1]));
    assert!(refused(&[4]).contains("layer 4, and the model has 4, from 0 to 3"), "{}", refused(&[4]));
    assert!(refused(&[0, 1, 2, 3]).contains("leaves no layer"));
    Plan::new(&opened, &options(&[3])).expect("the rest keeps its numbers");
}
