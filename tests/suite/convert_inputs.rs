//! Whatever a checkpoint is stored as, the same model comes out of it.

use std::fs;
use std::path::{Path, PathBuf};

use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{FileType, Plan, PlanOptions};
use gguf_kit::gguf::GgufFile;
use gguf_simd::BlockType;
use gguf_simd::kernels::Kernels;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::common;
use crate::common::checkpoint::{Spec, write_json};

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

pub(crate) fn converted(checkpoint: &Path, out: &Path) -> Vec<u8> {
    common::convert_named(checkpoint, out, FileType::F32, "x");
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

/// A tiny model whose `up_proj` of each layer is the fixture `name`: as its format has it, and as plain floats.
pub(crate) fn quantised(name: &str, dir: &Path) -> [PathBuf; 2] {
    let spec = Spec { n_embd: 128, n_ff: 32, ..Spec::default() };
    let read = |path: PathBuf| fs::read(path).expect("a fixture");
    let packed = read(fixtures().join(format!("quantised/{name}.safetensors")));
    let packed = SafeTensors::deserialize(&packed).expect("a fixture");
    let quantization: serde_json::Value =
        serde_json::from_slice(&read(fixtures().join(format!("quantised/{name}.json")))).expect("JSON");
    ["packed", "plain"].map(|kind| {
        let to = dir.join(kind);
        fs::create_dir(&to).expect("a new folder");
        spec.write(&to);
        let (path, is_plain) = (to.join("model.safetensors"), kind == "plain");
        let stored = read(path.clone());
        let stored = SafeTensors::deserialize(&stored).expect("written above");
        let mut tensors: Vec<(String, TensorView<'_>)> = stored
            .iter()
            .filter(|(name, _)| !name.ends_with("up_proj.weight"))
            .map(|(name, view)| (name.to_owned(), view))
            .collect();
        for layer in 0..spec.n_layer {
            let module = format!("model.layers.{layer}.mlp.up_proj");
            tensors.extend(packed.iter().filter(|(name, _)| (*name == "expected") == is_plain).map(
                |(name, view)| {
                    let part = name.strip_prefix("m.").unwrap_or("weight");
                    (format!("{module}.{part}"), view)
                },
            ));
        }
        safetensors::serialize_to_file(tensors, None, &path).expect("writable");
        let mut config = spec.config();
        if !is_plain {
            config["quantization_config"] = quantization.clone();
        }
        write_json(&to.join("config.json"), &config);
        to
    })
}

#[test]
fn quantised_checkpoints_make_the_file_of_the_values_that_they_stand_for() {
    for name in ["gptq-4-act-order", "awq-gemm", "compressed-4-asym", "fp8-block", "bnb-nf4-nested", "mlx-4"]
    {
        let dir = tempfile::tempdir().expect("a folder");
        let [packed, plain] = quantised(name, dir.path());
        assert!(
            converted(&packed, &dir.path().join("a.gguf")) == converted(&plain, &dir.path().join("b.gguf")),
            "{name}"
        );
    }
}

#[test]
fn keeping_keeps_every_value_in_the_smallest_type_that_holds_it() {
    for (name, expected) in [
        ("gptq-4", BlockType::Q4_0),
        ("gptq-4-asym", BlockType::Q5_0),
        ("awq-gemm-sym", BlockType::Q4_0),
        ("compressed-8", BlockType::Q8_0),
        ("mlx-4", BlockType::Q4_1),
        ("mxfp4", BlockType::MXFP4),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let [packed, _] = quantised(name, dir.path());
        let summary = common::convert(&packed, &dir.path().join("kept.gguf"), FileType::KEEP);
        let type_of = |name: &str| {
            summary.tensors.iter().find(|tensor| tensor.name == name).expect("written").ty.block_type()
        };
        assert_eq!(type_of("blk.1.ffn_up.weight"), Some(expected), "{name}");
        assert_eq!(type_of("blk.1.ffn_gate.weight"), Some(BlockType::BF16), "{name}");
        assert_eq!(summary.error().relative_rmse(), 0.0, "{name}");
        assert!(!summary.is_requantised, "{name}");
    }
}

#[test]
fn nvfp4_keeps_its_codes_and_the_scale_of_the_whole_is_beside_them() {
    for name in ["nvfp4-modelopt", "nvfp4-compressed", "mlx-nvfp4"] {
        let dir = tempfile::tempdir().expect("a folder");
        let [packed, plain] = quantised(name, dir.path());
        let path = dir.path().join("kept.gguf");
        let summary = common::convert(&packed, &path, FileType::KEEP);
        assert_eq!(summary.error().relative_rmse(), 0.0, "{name}");
        common::convert(&plain, &dir.path().join("plain.gguf"), FileType::F32);
        let (kept, plain) = (GgufFile::open(&path), GgufFile::open(&dir.path().join("plain.gguf")));
        let (kept, plain) = (kept.expect("sound"), plain.expect("sound"));
        let floats = |file: &GgufFile, name: &str| {
            let tensor = file.tensor(name)?;
            let mut values = vec![0.0; tensor.shape.iter().product()];
            Kernels::best().decode(tensor.ty.block_type()?, file.bytes(tensor), &mut values);
            Some(values)
        };
        let weight = "blk.1.ffn_up.weight";
        assert_eq!(kept.tensor(weight).and_then(|tensor| tensor.ty.block_type()), Some(BlockType::NVFP4));
        // MLX has none.
        let scale = floats(&kept, "blk.1.ffn_up.scale");
        assert_eq!(scale.is_some(), name != "mlx-nvfp4", "{name}");
        let scale = scale.map_or(1.0, |scale| scale[0]);
        let (found, expected) =
            (floats(&kept, weight).expect("there"), floats(&plain, weight).expect("there"));
        // Products in another order differ in the last bit.
        let is_near =
            |(found, expected): (&f32, &f32)| (found * scale - expected).abs() <= expected.abs() * 2e-7;
        assert!(found.iter().zip(&expected).all(is_near), "{name}");
        let checkpoint = Checkpoint::open(&packed).expect("sound");
        let plan = Plan::new(&checkpoint, &PlanOptions::new(FileType::F16)).expect("sound");
        assert!(plan.tensors().all(|row| !row.name.ends_with(".scale")), "{name}, not kept");
    }
}
