//! PEFT adapters, merged into their base as it is converted, compute what transformers and PEFT compute with the two
//! (tools/adapter_fixtures.py).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gguf_kit::checkpoint::{Adapter, Checkpoint, Config};
use gguf_kit::convert::{self, FileType, Plan, PlanOptions, RunOptions, Silent};
use gguf_kit::gguf::GgufFile;
use gguf_kit::model::adapter::Adapter as GgufAdapter;
use gguf_kit::runtime::{Engine, EngineOptions};
use gguf_simd::kernels::Kernels;
use tempfile::TempDir;

use crate::common::npy::read_npy;
use crate::families::{TOLERANCE, logits};

const ADAPTERS: [&str; 10] = [
    "dora",
    "dora-turned",
    "embedding-of-tied",
    "experts",
    "experts-apart",
    "lora",
    "resized",
    "rslora-whole-modules",
    "tokens",
    "tokens-of-tied",
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

pub(crate) fn adapter(name: &str) -> PathBuf {
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
pub(crate) fn convert(dir: &Path, adapters: &[(&Path, f32)]) -> gguf_kit::Result<PathBuf> {
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

#[test]
fn adapters_are_not_merged_into_matrices_that_mlx_has_changed() {
    let dir = base("../mlx/falcon-h1");
    let complaint = convert(dir.path(), &[(&adapter("lora"), 1.0)]).expect_err("other values").to_string();
    assert!(complaint.contains("MLX") && complaint.contains("--adapter-only"), "{complaint}");
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
fn adapters_of_modules_that_are_cut_or_called_otherwise_run_as_they_merge() {
    // What the base's file calls the module, and what the adapter does.
    for (family, in_file, module) in [
        ("internlm2", "model.layers.0.attention.wqkv", "model.layers.0.attention.wqkv"),
        ("baichuan", "model.layers.1.self_attn.W_pack", "model.layers.1.self_attn.W_pack"),
        ("refact", "transformer.h.0.attn.kv", "transformer.h.0.attn.kv"),
        ("refact", "transformer.h.1.mlp.gate_up_proj", "transformer.h.1.mlp.gate_up_proj"),
        (
            "granitemoe-shared",
            "model.layers.0.shared_mlp.input_linear",
            "model.layers.0.shared_mlp.input_linear",
        ),
        ("nemotron_h", "backbone.layers.2.mixer.q_proj", "model.layers.2.mixer.q_proj"),
        (
            "gemma3-multimodal",
            "language_model.model.layers.0.self_attn.q_proj",
            "model.language_model.layers.0.self_attn.q_proj",
        ),
    ] {
        let dir = base(family);
        let bytes = fs::read(dir.path().join("model.safetensors")).expect("a fixture");
        let tensors = safetensors::SafeTensors::deserialize(&bytes).expect("sound");
        let weight = tensors.tensor(&format!("{in_file}.weight"));
        let weight = weight.unwrap_or_else(|e| panic!("{family}: {e}"));
        let path = dir.path().join("cut");
        write_adapter(&path, &[(module, [weight.shape()[0], weight.shape()[1]])], false);
        let model = convert(dir.path(), &[]).expect("sound");
        let merged = convert(dir.path(), &[(&path, 1.0)]).unwrap_or_else(|e| panic!("{family}: {e}"));
        let alone = convert_adapter(dir.path(), &path).unwrap_or_else(|e| panic!("{family}: {e}"));
        let ids: Vec<u32> = (1..9).collect();
        let of = |model: &Path, adapters: &[(&Path, f32)]| {
            logits(&run(model, adapters, 2).expect("sound"), &ids, 8)
        };
        let (plain, merged, running) = (of(&model, &[]), of(&merged, &[]), of(&model, &[(&alone, 1.0)]));
        let distance = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let changed = distance(&plain, &merged);
        assert!(changed > 0.0, "{family}");
        assert!(distance(&running, &merged) <= 1e-3 * changed, "{family} {module}");
    }
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
fn an_adapter_whose_alpha_is_zero_becomes_one_of_zeros() {
    let (dir, changed) = (base("llama"), tempfile::tempdir().expect("a folder"));
    write_adapter(&changed.path().join("a"), &[("model.layers.0.self_attn.q_proj", [64, 32])], false);
    let config = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 0}"#;
    fs::write(changed.path().join("a/adapter_config.json"), config).expect("written");
    let gguf = convert_adapter(dir.path(), &changed.path().join("a")).expect("written");
    let file = GgufFile::open(&gguf).expect("a sound file");
    assert_eq!(file.metadata().f32("adapter.lora.alpha").expect("a number"), Some(1.0));
    // One of the two makes their product nothing.
    let bytes = fs::read(&gguf).expect("written");
    let words = bytes.chunks_exact(4).map(|word| f32::from_le_bytes(word.try_into().expect("four bytes")));
    let words: Vec<f32> = words.collect();
    assert!(words.windows(2 * 32).any(|matrix| matrix.iter().all(|&x| x == 0.0)));
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
    assert!(with("\"r\": 4", "\"r\": 8").contains("has rank 4, and adapter_config.json says 8"));
    fs::remove_file(changed.path().join("adapter_config.json")).expect("there");
    assert!(refusal(changed.path()).contains("adapter_config.json is missing"));
    fs::copy(adapter("lora").join("adapter_config.json"), changed.path().join("adapter_config.json"))
        .expect("copied");
    fs::remove_file(changed.path().join("adapter_model.safetensors")).expect("there");
    assert!(refusal(changed.path()).contains("adapter_model.safetensors is missing"));
}

/// Writes an adapter of rank 2, twice as strong as its products, for these matrices. Products and sums of its numbers are
/// exact in F32, in whatever order. `halves`: in F16.
fn write_adapter(dir: &Path, matrices: &[(&str, [usize; 2])], halves: bool) {
    fs::create_dir(dir).expect("a new folder");
    let config = r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM"}"#;
    fs::write(dir.join("adapter_config.json"), config).expect("written");
    let mut tensors = Vec::new();
    for &(module, [n_out, n_in]) in matrices {
        for (part, shape) in [("A", [2, n_in]), ("B", [n_out, 2])] {
            let values = (0..shape[0] * shape[1]).map(|i| adapter_value(part, i));
            let bytes: Vec<u8> = match halves {
                true => values.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect(),
                false => values.flat_map(f32::to_le_bytes).collect(),
            };
            tensors.push((format!("base_model.model.{module}.lora_{part}.weight"), shape, bytes));
        }
    }
    let dtype = if halves { safetensors::Dtype::F16 } else { safetensors::Dtype::F32 };
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(dtype, shape.to_vec(), bytes).expect("sound");
        (name.clone(), view)
    });
    safetensors::serialize_to_file(views, None, &dir.join("adapter_model.safetensors")).expect("written");
}

/// Element `i` of a matrix of [`write_adapter`].
fn adapter_value(part: &str, i: usize) -> f32 {
    let n = i * 37 % 23;
    if part == "A" { (n as f32 - 11.0) / 64.0 } else { (n as f32 - 7.0) / 32.0 }
}

#[test]
fn adapters_merge_onto_what_a_packed_base_decodes_to_in_f32_as_in_f16() {
    for name in ["gptq-4", "fp8-block", "bnb-nf4"] {
        let dir = tempfile::tempdir().expect("a folder");
        let bases = crate::convert_inputs::quantised(name, dir.path());
        let matrices = [
            ("model.layers.0.mlp.up_proj", [32, 128]),
            ("model.layers.1.mlp.up_proj", [32, 128]),
            ("model.layers.1.self_attn.o_proj", [128, 128]),
        ];
        let adapters = [false, true].map(|halves| dir.path().join(format!("halves-{halves}")));
        adapters.iter().zip([false, true]).for_each(|(dir, halves)| write_adapter(dir, &matrices, halves));
        let [packed, plain] = bases.each_ref().map(|base| {
            let [whole, halves] = adapters.each_ref().map(|adapter| {
                let path = convert(base, &[(adapter, 1.0)]).unwrap_or_else(|e| panic!("{name}: {e}"));
                tensors_of(&path)
            });
            assert!(whole == halves, "{name}: numbers that F16 holds");
            whole
        });
        assert!(packed == plain, "{name}");
    }
}

/// The data of each tensor of a file.
fn tensors_of(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let file = GgufFile::open(path).expect("written");
    file.tensors().iter().map(|tensor| (tensor.name.clone(), file.bytes(tensor).to_vec())).collect()
}

#[test]
fn adapters_of_single_experts_change_these_alone() {
    let dir = base("llama-mixtral");
    let path = dir.path().join("experts");
    write_adapter(&path, &[("model.layers.1.block_sparse_moe.experts.2.w1", [24, 32])], false);
    let plain = tensors_of(&convert(dir.path(), &[]).expect("sound"));
    let mut merged = tensors_of(&convert(dir.path(), &[(&path, 1.0)]).expect("sound"));
    let name = "blk.1.ffn_gate_exps.weight";
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    };
    let (before, after) = (floats(&plain[name]), floats(&merged[name]));
    assert_eq!(before.len(), 4 * 24 * 32);
    for (i, (before, after)) in before.iter().zip(&after).enumerate() {
        let (expert, row, column) = (i / (24 * 32), i / 32 % 24, i % 32);
        let product = |k: usize| adapter_value("B", row * 2 + k) * adapter_value("A", k * 32 + column);
        let expected = if expert == 2 { before + 2.0 * (product(0) + product(1)) } else { *before };
        assert_eq!(after.to_bits(), expected.to_bits(), "{expert} {row} {column}");
    }
    merged.insert(name.into(), plain[name].clone());
    assert!(merged == plain, "nothing else");
}

#[test]
fn a_folder_with_an_adapter_alone_is_told_what_to_do() {
    let error = Checkpoint::open(&adapter("lora")).expect_err("not a model").to_string();
    assert!(error.contains("gguf-convert BASE --lora") && error.contains("--type"), "{error}");
}
