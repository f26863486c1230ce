//! PEFT adapters, merged into their base as it is converted, compute what transformers and PEFT compute with the two
//! (tools/adapter_fixtures.py).

use std::fs;
use std::path::{Path, PathBuf};

use gguf_kit::checkpoint::{Adapter, Checkpoint, Config};
use gguf_kit::convert::{self, FileType, Plan, PlanOptions, RunOptions, Silent};
use gguf_kit::model::adapter::Adapter as GgufAdapter;
use gguf_kit::runtime::{Engine, EngineOptions};
use gguf_simd::kernels::Kernels;
use tempfile::TempDir;

use crate::common::npy::read_npy;
use crate::families::{TOLERANCE, logits};

const ADAPTERS: [&str; 6] =
    ["dora", "dora-turned", "embedding-of-tied", "lora", "resized", "rslora-whole-modules"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn adapter(name: &str) -> PathBuf {
    fixtures().join("adapters").join(name)
}

/// What the configuration of an adapter calls its base.
fn base_of(name: &str) -> String {
    let config = Config::open(&adapter(name).join("adapter_config.json")).expect("JSON");
    config.required_string("base_model_name_or_path").expect("a name").to_owned()
}

/// A base from fixtures/families with the tokenizer that they share.
pub(crate) fn base(family: &str) -> TempDir {
    let dir = tempfile::tempdir().expect("a folder");
    for from in [fixtures().join("families").join(family), fixtures().join("families/tokenizer")] {
        for entry in fs::read_dir(from).expect("a fixture") {
            let entry = entry.expect("readable");
            fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copied");
        }
    }
    dir
}

/// Converts the base in `dir` with adapters to F32.
fn convert(dir: &Path, adapters: &[(&Path, f32)]) -> gguf_kit::Result<PathBuf> {
    let path = dir.join(format!("{}.gguf", adapters.len()));
    write(dir, &path, adapters, false)
}

/// Writes one adapter of the base in `dir` as a GGUF file.
fn convert_adapter(dir: &Path, adapter: &Path) -> gguf_kit::Result<PathBuf> {
    write(dir, &dir.join("adapter.gguf"), &[(adapter, 1.0)], true)
}

/// Converts the base in `dir` with adapters, or these alone, to F32.
fn write(
    dir: &Path,
    path: &Path,
    adapters: &[(&Path, f32)],
    is_adapter_only: bool,
) -> gguf_kit::Result<PathBuf> {
    let adapters =
        adapters.iter().map(|(path, scale)| Adapter::open(path, *scale)).collect::<Result<_, _>>()?;
    let checkpoint = Checkpoint::open(dir)?.with_adapters(adapters)?;
    let options = PlanOptions::new(FileType::F32);
    let plan = if is_adapter_only {
        Plan::of_adapter(&checkpoint, &options)?
    } else {
        Plan::new(&checkpoint, &options)?
    };
    let options = RunOptions { overwrite: true, n_threads: 2, kernels: Kernels::best() };
    convert::run(&plan, path, &options, &Silent)?;
    Ok(path.to_owned())
}

#[test]
fn merged_adapters_compute_the_logits_of_peft() {
    for name in ADAPTERS {
        let family = base_of(name);
        let dir = base(&family);
        let gguf = convert(dir.path(), &[(&adapter(name), 1.0)]).unwrap_or_else(|e| panic!("{name}: {e}"));
        let engine = Engine::load(&gguf, EngineOptions::default()).expect("a sound file");
        assert_computes(&engine, name);
    }
}

/// Checks that a model computes the logits that PEFT computes with the adapter `name`.
#[track_caller]
fn assert_computes(engine: &Engine, name: &str) {
    let (shape, theirs) = read_npy(&adapter(name).join("logits.npy"));
    assert_eq!(shape, [ids_of(name).len(), engine.n_vocab()], "{name}");
    let ours = logits(engine, &ids_of(name), shape[0]);
    let greatest = theirs.iter().fold(0.0, |greatest: f32, x| greatest.max(x.abs()));
    let difference = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{name}: {:.1e}", difference / greatest);
    assert!(difference <= TOLERANCE * greatest, "{name}: {difference} of {greatest}");
}

/// The ids whose logits a fixture has.
fn ids_of(name: &str) -> Vec<u32> {
    let ids =
        fs::read_to_string(fixtures().join("families").join(base_of(name)).join("ids.txt")).expect("ids");
    ids.split_whitespace().take(8).map(|id| id.parse().expect("an id")).collect()
}

fn run(model: &Path, adapters: &[(&Path, f32)], n_threads: usize) -> gguf_kit::Result<Engine> {
    let adapters =
        adapters.iter().map(|(path, scale)| GgufAdapter::open(path, *scale)).collect::<Result<_, _>>()?;
    let options = EngineOptions { n_threads: Some(n_threads), ..EngineOptions::default() };
    Engine::open_with(model, options, adapters)
}

#[test]
fn adapters_compute_the_logits_of_peft_as_the_model_runs() {
    for name in ["embedding-of-tied", "lora"] {
        let dir = base(&base_of(name));
        let model = convert(dir.path(), &[]).expect("sound");
        let gguf = convert_adapter(dir.path(), &adapter(name)).unwrap_or_else(|e| panic!("{name}: {e}"));
        let engine = run(&model, &[(&gguf, 1.0)], 2).expect("sound");
        assert_computes(&engine, name);
        let bits = |engine: &Engine, n_batch| -> Vec<u32> {
            logits(engine, &ids_of(name), n_batch).iter().map(|x| x.to_bits()).collect()
        };
        let together = bits(&engine, 8);
        assert!(
            together == bits(&engine, 1)
                && together == bits(&run(&model, &[(&gguf, 1.0)], 1).expect("sound"), 3)
        );
        let plain = bits(&run(&model, &[], 2).expect("sound"), 8);
        assert!(plain == bits(&run(&model, &[(&gguf, 0.0)], 2).expect("sound"), 8), "nothing is added");
        assert!(plain != together);
        // Half of it twice.
        let halves = run(&model, &[(&gguf, 0.5), (&gguf, 0.5)], 2).expect("sound");
        assert_computes(&halves, name);
    }
}

#[test]
fn adapters_of_a_turned_matrix_run_as_they_merge() {
    let dir = base("gpt2");
    // A DoRA without its lengths, and without biases, is a LoRA.
    let (plain, folder) = (dir.path().join("plain"), adapter("dora-turned"));
    fs::create_dir(&plain).expect("a new folder");
    let config = fs::read_to_string(folder.join("adapter_config.json")).expect("a fixture");
    let config = config.replace("\"use_dora\": true", "\"use_dora\": false");
    fs::write(plain.join("adapter_config.json"), config).expect("written");
    let bytes = fs::read(folder.join("adapter_model.safetensors")).expect("a fixture");
    let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("sound");
    let kept =
        tensors.tensors().into_iter().filter(|(name, _)| name.contains("lora_A") || name.contains("lora_B"));
    safetensors::serialize_to_file(kept, None, &plain.join("adapter_model.safetensors")).expect("written");

    let model = convert(dir.path(), &[]).expect("sound");
    let gguf = convert_adapter(dir.path(), &plain).expect("sound");
    let merged = convert(dir.path(), &[(&plain, 1.0)]).expect("sound");
    let ids: Vec<u32> = (1..9).collect();
    let running = logits(&run(&model, &[(&gguf, 1.0)], 2).expect("sound"), &ids, 8);
    let merged = logits(&run(&merged, &[], 2).expect("sound"), &ids, 8);
    let greatest = merged.iter().fold(0.0, |greatest: f32, x| greatest.max(x.abs()));
    assert!(running.iter().zip(&merged).all(|(a, b)| (a - b).abs() <= 1e-5 * greatest));
}

#[test]
fn gguf_adapters_of_other_models_are_refused_by_name() {
    let llama = base("llama");
    let (model, gguf) = (
        convert(llama.path(), &[]).expect("sound"),
        convert_adapter(llama.path(), &adapter("lora")).expect("sound"),
    );
    let refusal =
        |model: &Path, adapter: &Path| run(model, &[(adapter, 1.0)], 1).expect_err("refused").to_string();
    let qwen = base("qwen2");
    let other = convert(qwen.path(), &[]).expect("sound");
    let message = refusal(&other, &gguf);
    assert!(message.contains("for the llama architecture, and the model is qwen2"), "{message}");
    let message = refusal(&model, &model);
    assert!(message.contains("not an adapter"), "{message}");
    let message = refusal(&model, &adapter("lora"));
    assert!(message.contains("--adapter-only"), "{message}");
    let mixtral = base("llama-mixtral");
    let message = refusal(&convert(mixtral.path(), &[]).expect("sound"), &gguf);
    assert!(message.contains("blk.0.") && message.contains("another model"), "{message}");
    for name in ["dora", "rslora-whole-modules"] {
        let message = convert_adapter(llama.path(), &adapter(name)).expect_err("not of low rank").to_string();
        assert!(message.contains("merge it instead"), "{message}");
    }
}

#[test]
fn an_adapter_applied_no_times_changes_no_byte() {
    let dir = base("llama");
    let plain = convert(dir.path(), &[]).expect("sound");
    let merged = convert(dir.path(), &[(&adapter("dora"), 0.0)]).expect("sound");
    assert!(fs::read(plain).expect("written") == fs::read(merged).expect("written"));
}

#[test]
fn adapters_of_other_models_and_of_other_kinds_are_refused_by_name() {
    let qwen = base("qwen2");
    let refusal =
        |path: &Path| convert(qwen.path(), &[(path, 1.0)]).expect_err("not for this base").to_string();
    let of_gpt2 = refusal(&adapter("dora-turned"));
    assert!(of_gpt2.contains("transformer.h.0.attn.c_attn.bias") && of_gpt2.contains("(gpt2)"), "{of_gpt2}");
    let of_llama = refusal(&adapter("lora"));
    assert!(of_llama.contains("another model") && of_llama.contains("[32, 32]"), "{of_llama}");

    let changed = tempfile::tempdir().expect("a folder");
    let with = |from: &str, to: &str| {
        let of = |name: &str| adapter("lora").join(name);
        let config = fs::read_to_string(of("adapter_config.json")).expect("a fixture");
        assert!(config.contains(from), "{from}");
        fs::write(changed.path().join("adapter_config.json"), config.replace(from, to)).expect("written");
        fs::copy(of("adapter_model.safetensors"), changed.path().join("adapter_model.safetensors"))
            .expect("copied");
        refusal(changed.path())
    };
    assert!(with("\"LORA\"", "\"IA3\"").contains("the kind IA3"));
    assert!(with("\"lora_bias\": false", "\"lora_bias\": true").contains("lora_bias is set"));
    assert!(with("k_proj|v_proj", "k_proj|(").contains("not a pattern of names"));
    fs::remove_file(changed.path().join("adapter_config.json")).expect("there");
    assert!(refusal(changed.path()).contains("adapter_config.json is missing"));
    fs::copy(adapter("lora").join("adapter_config.json"), changed.path().join("adapter_config.json"))
        .expect("copied");
    fs::remove_file(changed.path().join("adapter_model.safetensors")).expect("there");
    assert!(refusal(changed.path()).contains("adapter_model.safetensors is missing"));
}

#[test]
fn a_folder_with_an_adapter_alone_is_told_what_to_do() {
    let error = Checkpoint::open(&adapter("lora")).expect_err("not a model").to_string();
    assert!(error.contains("gguf-convert BASE --lora") && error.contains("--type"), "{error}");
}
