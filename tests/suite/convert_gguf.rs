//! GGUF files as the input of conversions: nothing is lost on the way but what a type costs.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::checkpoint::Spec;
use crate::common::parts::{split, write_part};
use crate::common::{convert, fairytale};
use gguf_kit::convert::{
    self, FileType, GgufInput, KeyChanges, Plan, PlanOptions, RunOptions, Silent, Summary,
};
use gguf_kit::error::Error;
use gguf_kit::gguf::{GgmlType, GgufFile, TensorInfo, Value};
use gguf_simd::BlockType;
use gguf_simd::kernels::Kernels;

fn again(input: &Path, output: &Path, options: &PlanOptions) -> Result<Summary, Error> {
    let input = GgufInput::open(input)?;
    let run_options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
    convert::run(&Plan::of_gguf(&input, options)?, output, &run_options, &Silent)
}

/// A folder with `tiny.gguf`, a small model in `file_type`.
fn workplace(file_type: FileType) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("a folder");
    Spec { n_embd: 256, n_ff: 512, ..Spec::default() }.write(dir.path());
    let path = dir.path().join("tiny.gguf");
    convert(dir.path(), &path, file_type);
    (dir, path)
}

#[test]
fn a_file_of_the_same_weights_gives_the_bytes_that_the_checkpoint_gives() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    convert(&fairytale(), &path("exact.gguf"), FileType::F32);
    for file_type in [FileType::Q4_K_M, FileType::F16] {
        let (direct, by_gguf) = (path(&format!("a-{file_type}.gguf")), path(&format!("b-{file_type}.gguf")));
        convert(&fairytale(), &direct, file_type);
        again(&path("exact.gguf"), &by_gguf, &PlanOptions::new(file_type)).expect("converted");
        assert!(fs::read(&direct).expect("a file") == fs::read(&by_gguf).expect("a file"), "{file_type}");
    }
}

#[test]
fn blocks_that_keep_their_type_are_copied() {
    let (dir, path) = workplace(FileType::Q4_K_M);
    let copy = dir.path().join("copy.gguf");
    let summary = again(&path, &copy, &PlanOptions::new(FileType::Q4_K_M)).expect("converted");
    assert!(fs::read(&path).expect("a file") == fs::read(&copy).expect("a file"));
    assert!(!summary.is_requantised);
    assert_eq!(summary.error().relative_rmse(), 0.0);
}

#[test]
fn what_is_quantised_again_is_told_and_measured_against_the_file_as_it_is() {
    let (dir, path) = workplace(FileType::Q8_0);
    let (input, small) = (GgufInput::open(&path).expect("a model"), dir.path().join("small.gguf"));
    let plan = Plan::of_gguf(&input, &PlanOptions::new(FileType::Q4_0)).expect("a plan");
    assert!(plan.is_requantised());
    assert!(
        plan.warnings().iter().any(|w| w.contains("quantised again (15 of Q8_0)")),
        "{:?}",
        plan.warnings()
    );
    let summary = again(&path, &small, &PlanOptions::new(FileType::Q4_0)).expect("converted");
    assert!(summary.is_requantised);
    let (before, after) = (GgufFile::open(&path).expect("a model"), GgufFile::open(&small).expect("a model"));
    let name = "blk.1.ffn_up.weight";
    let (was, is) = (values(&before, name), values(&after, name));
    let squares = |xs: &mut dyn Iterator<Item = f32>| xs.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let lost = squares(&mut was.iter().zip(&is).map(|(a, b)| b - a)) / squares(&mut was.iter().copied());
    let told = summary.tensors.iter().find(|t| t.name == name).expect("the tensor").error.relative_rmse();
    assert!((told - lost.sqrt()).abs() < 1e-9 && told > 0.01, "{told} and {}", lost.sqrt());
}

fn values(file: &GgufFile, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).expect("the tensor");
    let mut values = vec![0.0; tensor.n_elements()];
    Kernels::best().decode(tensor.ty.block_type().expect("blocks"), file.bytes(tensor), &mut values);
    values
}

#[test]
fn the_parts_of_a_split_file_make_the_file_they_were_split_from() {
    let (dir, path) = workplace(FileType::Q8_0);
    for (i, part) in split(&path, &[5]).iter().enumerate() {
        let joined = dir.path().join(format!("joined-{i}.gguf"));
        again(part, &joined, &PlanOptions::new(FileType::Q8_0)).expect("converted");
        assert!(fs::read(&path).expect("a file") == fs::read(&joined).expect("a file"));
    }
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let (_dir, path) = workplace(FileType::Q8_0);
    let [first, second] = split(&path, &[5]).try_into().expect("two parts");
    let message = || GgufInput::open(&first).expect_err("not whole").to_string();
    fs::copy(&first, &second).expect("writable");
    assert!(message().contains("makes it part 1 (from 0) of 2, but its split.no is 0"), "{}", message());
    fs::remove_file(&second).expect("writable");
    assert!(message().contains("part-00002-of-00002.gguf"), "{}", message());
    let renamed = first.with_file_name("model.gguf");
    fs::rename(&first, &renamed).expect("writable");
    let message = GgufInput::open(&renamed).expect_err("no number").to_string();
    assert!(message.contains("-00001-of-00002.gguf"), "{message}");
}

#[test]
fn metadata_is_carried_over_whatever_it_is_but_for_what_is_renewed() {
    let (dir, path) = workplace(FileType::F16);
    let file = GgufFile::open(&path).expect("a model");
    let mut pairs = file.metadata().to_pairs();
    pairs.push(("x.name".into(), Value::String("Ünïcode".into())));
    pairs.push(("quantize.imatrix.file".into(), Value::String("old.gguf".into())));
    let with_more = dir.path().join("more.gguf");
    write_part(&file, file.tensors(), pairs, &with_more);
    let converted = |name: &str, keys: KeyChanges| {
        let options = PlanOptions { keys, ..PlanOptions::new(FileType::Q8_0) };
        let path = dir.path().join(name);
        again(&with_more, &path, &options).expect("converted");
        GgufFile::open(&path).expect("a model")
    };
    let after = converted("a.gguf", KeyChanges::default());
    let (before, found) = (GgufFile::open(&with_more).expect("a model"), after.metadata());
    for key in before.metadata().keys().filter(|&key| key != "quantize.imatrix.file") {
        if key == "general.file_type" {
            assert_eq!(found.u32(key).expect("a number"), Some(7));
        } else {
            assert_eq!(found.to_json(key), before.metadata().to_json(key), "{key}");
        }
    }
    assert!(!found.contains("quantize.imatrix.file"));
    let kept = converted("b.gguf", KeyChanges { keeps_all: true, ..KeyChanges::default() });
    assert_eq!(kept.metadata().u32("general.file_type").expect("a number"), Some(1));
    assert!(kept.metadata().contains("quantize.imatrix.file"));
    let changes = KeyChanges {
        set: vec!["general.name=str:Other".parse().expect("a setting")],
        removed: vec!["tokenizer.chat_template".into(), "x.name".into()],
        keeps_all: false,
    };
    let changed = converted("c.gguf", changes);
    assert_eq!(changed.metadata().string("general.name").expect("a text"), Some("Other"));
    assert!(!changed.metadata().contains("x.name"));
}

#[test]
fn an_input_is_never_a_target_and_what_is_no_model_is_refused() {
    let (dir, path) = workplace(FileType::Q8_0);
    let plan = |path: &Path| {
        let input = GgufInput::open(path)?;
        Plan::of_gguf(&input, &PlanOptions::new(FileType::Q4_0))?.check_target(path, true)
    };
    let message = plan(&path).expect_err("an input").to_string();
    assert!(message.contains("is read here and cannot be written to"), "{message}");
    let other = dir.path().join("other.gguf");
    let file = GgufFile::open(&path).expect("a model");
    let architecture = |name: &str| vec![("general.architecture".to_owned(), Value::String(name.into()))];
    write_part(&file, file.tensors(), architecture("bloom"), &other);
    let message = plan(&other).expect_err("an unknown architecture").to_string();
    assert!(message.contains("bloom"), "{message}");
    fs::remove_file(&other).expect("writable");
    write_part(&file, &[], file.metadata().to_pairs(), &other);
    let message = plan(&other).expect_err("a vocabulary").to_string();
    assert!(message.contains("no weights"), "{message}");
}

#[test]
fn tensors_of_no_known_part_keep_their_type() {
    let (dir, path) = workplace(FileType::F16);
    let file = GgufFile::open(&path).expect("a model");
    let mut tensors = file.tensors().to_vec();
    let extra = TensorInfo { name: "blk.2.nextn.eh_proj.weight".into(), ..tensors[4].clone() };
    assert_eq!(extra.ty.block_type(), Some(BlockType::F16));
    tensors.push(extra);
    let with_more = dir.path().join("more.gguf");
    write_part(&file, &tensors, file.metadata().to_pairs(), &with_more);
    let input = GgufInput::open(&with_more).expect("a model");
    let plan = Plan::of_gguf(&input, &PlanOptions::new(FileType::Q8_0)).expect("a plan");
    assert!(plan.warnings().iter().any(|w| w.contains("nextn.eh_proj")), "{:?}", plan.warnings());
    let types: Vec<_> = plan.tensors().map(|tensor| tensor.ty).collect();
    assert_eq!((types[4], types[types.len() - 1]), (BlockType::Q8_0.into(), BlockType::F16.into()));
}

#[test]
fn tensors_without_weights_are_copied_with_a_note() {
    let (dir, path) = workplace(FileType::F16);
    let file = GgufFile::open(&path).expect("a model");
    let embedding = file.tensor("token_embd.weight").expect("there");
    // Bytes of the embedding under other names: numbers of any kind, some of which are not finite floats.
    let extra = |name: &str, ggml_id: u32, shape: &[usize], bytes: usize| TensorInfo {
        name: name.into(),
        shape: shape.to_vec(),
        ty: GgmlType::from_id(ggml_id),
        n_bytes: shape.iter().product::<usize>() * bytes,
        ..embedding.clone()
    };
    let extras = [
        extra("blk.0.wide", 28, &[32], 8),
        extra("blk.0.table", 26, &[3, 5], 4),
        extra("blk.0.ffn_up.map", 24, &[7], 1),
        extra("blk.0.counts", 25, &[2, 2, 3], 2),
        extra("z.ids", 27, &[4], 8),
    ];
    // In front of the others as well as behind them.
    let tensors = [&extras[..3], file.tensors(), &extras[3..]].concat();
    let with_more = dir.path().join("more.gguf");
    write_part(&file, &tensors, file.metadata().to_pairs(), &with_more);
    let input = GgufInput::open(&with_more).expect("a model");
    let options = PlanOptions { is_proved: true, ..PlanOptions::new(FileType::Q8_0) };
    let plan = Plan::of_gguf(&input, &options).expect("a plan");
    let note = plan.warnings().iter().find(|note| note.contains("copied as they are"));
    let named = ["blk.0.wide (F64)", "blk.0.table (I32)", "(I8)", "(I16)", "and 1 more"];
    assert!(note.is_some_and(|note| named.iter().all(|name| note.contains(name))), "{:?}", plan.warnings());
    let whole = GgufInput::open(&path).expect("a model");
    let without = Plan::of_gguf(&whole, &PlanOptions::new(FileType::Q8_0)).expect("a plan");
    assert_eq!(plan.n_parameters(), without.n_parameters());
    let to = dir.path().join("to.gguf");
    again(&with_more, &to, &options).expect("converted");
    let (before, after) = (GgufFile::open(&with_more).expect("there"), GgufFile::open(&to).expect("written"));
    for TensorInfo { name, .. } in &extras {
        let [from, to] = [&before, &after].map(|file| (file, file.tensor(name).expect("there")));
        assert_eq!((&from.1.shape, from.1.ty), (&to.1.shape, to.1.ty), "{name}");
        assert!(from.0.bytes(from.1) == to.0.bytes(to.1), "{name}");
    }
    assert_eq!(after.tensor("blk.0.ffn_up.weight").expect("there").ty, BlockType::Q8_0.into());
}
