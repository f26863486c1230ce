//! Every format is decoded to the values that its own program gives it, and kept where a block type holds it.

use std::fs;
use std::path::{Path, PathBuf};

use gguf_simd::BlockType;
use gguf_simd::kernels::Kernels;
use safetensors::serialize_to_file;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Scratch, Stored, Tensors};
use crate::checkpoint::Checkpoint;
use crate::quantize::{STEP, Step, encode_rows_on_grids};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/quantised")
}

/// A checkpoint of the fixture `name`.
fn checkpoint(name: &str) -> (TempDir, Checkpoint) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = |extension: &str| fixtures().join(format!("{name}.{extension}"));
    let quantization: Value =
        serde_json::from_slice(&fs::read(file("json")).expect("a fixture")).expect("JSON");
    let config = json!({"architectures": ["LlamaForCausalLM"], "quantization_config": quantization});
    fs::write(dir.path().join("config.json"), config.to_string()).expect("written");
    fs::copy(file("safetensors"), dir.path().join("model.safetensors")).expect("copied");
    let checkpoint = Checkpoint::open(dir.path()).expect("sound");
    (dir, checkpoint)
}

/// All elements, read in pieces that begin anywhere, and the grids of all rows, read in pieces of some rows.
fn read(stored: &Stored<'_>) -> (Vec<f32>, Vec<Step>) {
    let (n, n_in) = (stored.shape().iter().product::<usize>(), stored.shape()[stored.shape().len() - 1]);
    let (mut scratch, mut steps, mut all_steps) = (Scratch::default(), Vec::new(), Vec::new());
    let mut rows = vec![0.0; n];
    for (i, out) in rows.chunks_mut(5 * n_in).enumerate() {
        stored.read(i * 5 * n_in, out, &mut steps, &mut scratch).expect("readable");
        all_steps.extend_from_slice(&steps);
    }
    let mut anywhere = vec![0.0; n];
    for (i, out) in anywhere.chunks_mut(333).enumerate() {
        stored.read(i * 333, out, &mut steps, &mut scratch).expect("readable");
    }
    assert!(rows == anywhere, "elements do not depend on what is read with them");
    (rows, all_steps)
}

/// Names, the type that holds the codes as they are, and whether its values are all those of the source.
const FORMATS: [(&str, Option<BlockType>, bool); 63] = [
    ("gptq-2", Some(BlockType::Q4_0), true),
    ("gptq-3", Some(BlockType::Q4_0), true),
    ("gptq-4", Some(BlockType::Q4_0), true),
    ("gptq-8", Some(BlockType::Q8_0), true),
    ("gptq-4-asym", Some(BlockType::Q5_0), true),
    ("gptq-3-asym-v2", Some(BlockType::Q4_0), true),
    ("gptq-4-v2", Some(BlockType::Q4_0), true),
    ("gptq-4-act-order", None, false),
    ("awq-gemm", Some(BlockType::Q5_0), true),
    ("awq-gemm-sym", Some(BlockType::Q4_0), true),
    ("awq-gemv", Some(BlockType::Q5_0), true),
    ("awq-gemv-fast", Some(BlockType::Q4_1), true),
    ("auto-round", Some(BlockType::Q5_0), true),
    ("mlx-4", Some(BlockType::Q4_1), true),
    ("mlx-3", Some(BlockType::Q4_1), true),
    ("mlx-6", None, false),
    ("fp8-block", None, false),
    ("fp8-row", None, false),
    ("fp8-tensor", None, false),
    ("compressed-4", Some(BlockType::Q4_0), true),
    ("compressed-4-asym", Some(BlockType::Q5_0), true),
    ("compressed-8", Some(BlockType::Q8_0), true),
    ("compressed-int8", Some(BlockType::Q8_0), true),
    ("bnb-nf4", None, false),
    ("bnb-nf4-nested", None, false),
    ("bnb-fp4", None, false),
    // The scales are F32 there and F16 in a block.
    ("llm-int8", Some(BlockType::Q8_0), false),
    ("torchao-int8", Some(BlockType::Q8_0), false),
    ("torchao-intx", Some(BlockType::Q8_0), false),
    ("torchao-int4", Some(BlockType::Q4_1), false),
    ("torchao-float8", None, false),
    ("quanto-int8", Some(BlockType::Q8_0), false),
    ("quanto-float8", None, false),
    ("bitnet", Some(BlockType::Q2_0), false),
    ("bitnet-auto", Some(BlockType::Q2_0), true),
    ("hqq-1", Some(BlockType::Q4_1), false),
    ("hqq-2", Some(BlockType::Q4_1), false),
    ("hqq-3", Some(BlockType::Q4_1), false),
    ("hqq-4", Some(BlockType::Q4_1), false),
    ("hqq-8", None, false),
    ("hqq-3-axis-0", None, false),
    ("hqq-4-axis-0", None, false),
    ("aqlm-2x8", None, false),
    ("aqlm-1x10", None, false),
    ("quanto-int4", Some(BlockType::Q4_1), false),
    ("quanto-int2", Some(BlockType::Q4_1), false),
    ("gptq-marlin", Some(BlockType::Q4_0), true),
    ("gptq-marlin-alone", Some(BlockType::Q4_0), true),
    ("awq-marlin", Some(BlockType::Q4_0), true),
    ("torchao-tiles", Some(BlockType::Q4_1), false),
    ("exl2", None, false),
    ("squeezellm-3", None, false),
    ("squeezellm-4", None, false),
    ("mlx-mxfp8", None, false),
    ("mlx-nvfp4", None, false),
    ("bnb-nf4-in-bf16", None, false),
    ("compressed-3-padded", Some(BlockType::Q4_0), true),
    ("compressed-4-plain-zeros", Some(BlockType::Q5_0), true),
    ("compressed-4-tensor", Some(BlockType::Q4_1), true),
    ("compressed-int8-tensor", None, false),
    ("compressed-mxfp8", None, false),
    ("gptq-3-planes", Some(BlockType::Q4_0), true),
    ("gptq-7-planes", Some(BlockType::Q8_0), true),
];

/// The greatest difference of one element, relative to the greatest element, that the order of two products makes.
const ROUNDING: f32 = 1e-7;

#[track_caller]
fn assert_decodes(name: &str, plain: &str) -> (Vec<f32>, Vec<Step>, Option<BlockType>) {
    let (_dir, checkpoint) = checkpoint(name);
    let tensors = Tensors::of(&checkpoint).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(tensors.names().collect::<Vec<_>>(), ["expected", plain], "{name}");
    let get = |name: &str| tensors.get(name).expect("readable").expect("named").clone();
    let expected = get("expected");
    // As what the family says of its shape does.
    let packed = get(plain).in_shape(expected.shape());
    assert_eq!(packed.shape(), expected.shape(), "{name}");
    let (found, steps) = read(&packed);
    let (expected, _) = read(&expected);
    let largest = expected.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
        assert!((found - expected).abs() <= largest * ROUNDING, "{name}[{i}]: {found} instead of {expected}");
    }
    let Stored::Packed(packed) = packed else { panic!("{name} is packed") };
    let n_in = packed.shape()[packed.shape().len() - 1];
    let levels = packed.levels().expect("readable");
    (found, steps, levels.and_then(|levels| levels.block_type(n_in)))
}

#[test]
fn every_format_means_what_its_own_program_decodes_and_blocks_keep_its_codes() {
    for (name, expected_type, is_exact) in FORMATS {
        let (values, steps, ty) = assert_decodes(name, "m.weight");
        // Rows of 128 are too short for groups of 256.
        assert_eq!(ty, expected_type, "{name}");
        let Some(ty) = ty else { continue };
        assert_eq!(steps.len() * STEP, values.len(), "{name}");
        let mut blocks = vec![0; ty.row_bytes(values.len()).expect("whole blocks")];
        let error = encode_rows_on_grids(
            Kernels::best(),
            ty,
            &values,
            128,
            (&steps, None),
            &mut blocks,
            &mut Vec::new(),
        );
        if is_exact {
            assert_eq!(error.relative_rmse(), 0.0, "{name} in {ty}");
        } else {
            // Half a unit in the last place of an F16 is half of 1/2048 for scales on average. A single scale may be
            // rounded by all of it, and where there is an offset both are.
            let bound = match (ty, name) {
                (BlockType::Q4_1, _) => 1.0 / 1024.0,
                (_, "bitnet") => 1.0 / 2048.0,
                _ => 1.0 / 4096.0,
            };
            assert!(error.relative_rmse() < bound, "{name} in {ty}: {}", error.relative_rmse());
        }
    }
    for name in ["mxfp4", "mlx-mxfp4", "nvfp4-modelopt", "nvfp4-compressed"] {
        assert_eq!(assert_decodes(name, "m.weight").2, None, "{name} has a table of its own");
    }
    assert_eq!(assert_decodes("fp8-stack", "m.stack").2, None);
}

/// Changes the header of a fixture and says what opening it says.
fn refusal(name: &str, from: &str, to: &str) -> String {
    assert_eq!(from.len(), to.len(), "the header keeps its length");
    let (dir, _) = checkpoint(name);
    let path = dir.path().join("model.safetensors");
    let bytes = fs::read(&path).expect("copied");
    let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect("in the header");
    let changed = [&bytes[..at], to.as_bytes(), &bytes[at + from.len()..]].concat();
    fs::write(&path, changed).expect("writable");
    match Checkpoint::open(dir.path()).and_then(|checkpoint| Tensors::of(&checkpoint).map(drop)) {
        Ok(()) => panic!("{name} was read"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_size_of_groups_that_no_matrix_has_is_refused_and_the_right_one_is_named() {
    let (dir, _) = checkpoint("mlx-4");
    for (size, found) in [(1_u64 << 63, "of 0 bits"), (0, "of 0 bits"), (9, "of 28 bits"), (65, "of 3 bits")]
    {
        let config = json!({
            "architectures": ["LlamaForCausalLM"],
            "quantization_config": {"group_size": size, "bits": 4},
        });
        fs::write(dir.path().join("config.json"), config.to_string()).expect("writable");
        let checkpoint = Checkpoint::open(dir.path()).expect("sound");
        let message = Tensors::of(&checkpoint).map(drop).expect_err("no such groups").to_string();
        let expected = [
            &format!("MLX codes {found}"),
            &format!("group_size of config.json says, {size};"),
            "64 for 4 bits",
        ];
        for words in expected {
            assert!(message.contains(words), "{words:?} is not in {message}");
        }
    }
}

#[test]
fn parts_that_are_missing_or_do_not_fit_are_named_before_anything_is_read() {
    for (name, from, to, said) in [
        ("gptq-4", "m.scales", "m.scalez", "tensor m.scales is missing"),
        ("gptq-4", "[128]", "[  9]", "shape does not fit"),
        (
            "gptq-4",
            "m.qzeros\":{\"dtype\":\"I32\",\"shape\":[4,4]",
            "m.qzeros\":{\"dtype\":\"I32\",\"shape\":[2,8]",
            "tensor m.qzeros has shape [2, 8]",
        ),
        ("awq-gemm", "m.qzeros", "m.qzeroz", "tensor m.qzeros is missing"),
        ("compressed-4", "m.weight_shape", "m.weight_shapf", "tensor m.weight_shape is missing"),
        ("bnb-nf4", "m.weight.absmax", "m.weight.absmin", "tensor m.weight.absmax is missing"),
        ("aqlm-2x8", "m.scales", "m.scalez", "tensor m.scales is missing"),
        ("aqlm-2x8", "[32,16,2]", "[32,32,1]", "do not fit codebooks of shape [2, 256, 1, 8]"),
        ("hqq-4", "m.nbits", "m.nbitz", "tensor m.nbits is missing"),
        ("bitnet", "m.weight_scale", "m.weight_scalf", "tensor m.weight_scale is missing"),
        ("quanto-int4", "m.weight._shift", "m.weight._shiff", "tensor m.weight._shift is missing"),
        ("quanto-int4", "[64,128]", "[8,1024]", "does not go with 128 scales"),
        (
            "gptq-marlin",
            "\"shape\":[4,64]",
            "\"shape\":[64,4]",
            "two words and a scale of each group for each output",
        ),
        ("torchao-tiles", "[8,1,32,4]", "[4,2,32,4]", "has other rows or groups than its scales"),
        ("exl2", "m.q_invperm", "m.q_invperq", "tensor m.q_invperm is missing"),
        ("exl2", "m.q_groups", "m.q_groupz", "tensor m.q_groups is missing"),
        ("exl2", "[22,64]", "[64,22]", "is of 22 outputs"),
        ("squeezellm-3", "[64,8]", "[8,64]", "has 8 tables of 64 numbers"),
        ("squeezellm-4", "m.vals", "m.valz", "tensor m.vals is missing"),
        ("torchao-int4", "m._weight_scale", "m._weight_scalf", "tensor m._weight_scale is missing"),
        (
            "torchao-int8",
            "m._weight_scale\":{\"dtype\":\"F32\",\"shape\":[32,1]",
            "m._weight_scale\":{\"dtype\":\"F32\",\"shape\":[1,32]",
            "tensor m._weight_zero_point has shape [32, 1]",
        ),
        ("mlx-4", "m.biases", "m.biazes", "tensor m.biases is missing"),
        ("mlx-mxfp4", "[32,16]", "[64, 8]", "neither a scale for each 1 by 16 weights"),
        ("mlx-mxfp4", "\"shape\":[32,4]", "\"shape\":[4,32]", "are not MLX's mxfp4 (4 words to a scale)"),
        (
            "bnb-nf4-in-bf16",
            "m.weight.quant_map",
            "m.weight.quant_mop",
            "tensor m.weight.quant_map is missing",
        ),
        ("bnb-nf4-nested", "m.weight.nested_absmax", "m.weight.nested_absmix", "nested_absmax is missing"),
        (
            "llm-int8",
            "m.SCB\":{\"dtype\":\"F32\",\"shape\":[32]",
            "m.SCB\":{\"dtype\":\"F64\",\"shape\":[16]",
            "neither one scale",
        ),
        ("compressed-mxfp8", "\"shape\":[32,4]", "\"shape\":[64,2]", "which is neither a scale for each"),
        ("compressed-3-padded", "[32,13]", "[16,26]", "has 16 rows, and weight_shape says 32"),
        ("awq-gemv-fast", "m.qzeros", "m.qzeroz", "tensor m.qzeros is missing"),
        ("awq-gemv-fast", "[8,128]", "[16,64]", "has other rows or groups than its scales"),
    ] {
        let message = refusal(name, from, to);
        assert!(message.contains(said), "\"{message}\" should say \"{said}\"");
    }
}

#[test]
fn tensors_without_elements_are_no_packed_ones() {
    let dir = tempfile::tempdir().expect("a folder");
    let zeros = [0; 8];
    let tensors = [
        ("m.qweight", Dtype::I32, vec![24, 0], &zeros[..0]),
        ("m.qzeros", Dtype::I32, vec![2, 1], &zeros),
        ("m.scales", Dtype::F32, vec![2, 0], &zeros[..0]),
        ("n.weight", Dtype::F8_E4M3, vec![0, 128], &zeros[..0]),
        ("n.weight_scale", Dtype::F32, vec![0, 1], &zeros[..0]),
    ];
    let views = tensors
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(dtype, shape, bytes).expect("sound")));
    serialize_to_file(views, None, &dir.path().join("model.safetensors")).expect("written");
    let config =
        json!({"architectures": ["LlamaForCausalLM"], "quantization_config": {"bits": 4}}).to_string();
    fs::write(dir.path().join("config.json"), config).expect("written");
    let checkpoint = Checkpoint::open(dir.path()).expect("sound");
    let tensors = Tensors::of(&checkpoint).expect("nothing to decode");
    assert_eq!(tensors.names().count(), 5);
}

/// What the first row becomes of a module of 8 rows of 192 codes of four bits, all of them 3, in groups of 128 and 64 with
/// scales of 1 and 2 and stored zero points of 7, as `settings` in the file `name` say.
fn row_of_uneven_groups(name: &str, settings: &Value) -> crate::error::Result<Vec<f32>> {
    let dir = tempfile::tempdir().expect("a folder");
    let codes = [0x33; 24 * 8 * 4];
    let zeros = [0x77; 2 * 4];
    let scales: Vec<u8> = (0..16).flat_map(|i| if i < 8 { 1.0_f32 } else { 2.0 }.to_le_bytes()).collect();
    let tensors = [
        ("m.qweight", Dtype::I32, vec![24, 8], &codes[..]),
        ("m.qzeros", Dtype::I32, vec![2, 1], &zeros),
        ("m.scales", Dtype::F32, vec![2, 8], &scales),
    ];
    let views = tensors
        .map(|(name, dtype, shape, bytes)| (name, TensorView::new(dtype, shape, bytes).expect("sound")));
    serialize_to_file(views, None, &dir.path().join("model.safetensors")).expect("written");
    let config = json!({"architectures": ["LlamaForCausalLM"]}).to_string();
    fs::write(dir.path().join("config.json"), config).expect("written");
    fs::write(dir.path().join(name), settings.to_string()).expect("written");
    let checkpoint = Checkpoint::open(dir.path())?;
    let tensors = Tensors::of(&checkpoint)?;
    let (values, _) = read(tensors.get("m.weight")?.expect("named"));
    Ok(values[..192].to_vec())
}

#[test]
fn what_settings_say_counts_where_shapes_leave_it_open() {
    let row = |first: usize, zero: f32| -> Vec<f32> {
        (0..192).map(|i| (3.0 - zero) * if i < first { 1.0 } else { 2.0 }).collect()
    };
    let of_config =
        |settings: Value| json!({"architectures": ["LlamaForCausalLM"], "quantization_config": settings});
    for (name, settings, expected) in [
        ("config.json", of_config(json!({"bits": 4, "group_size": 128})), row(128, 8.0)),
        // What does not fit, or says nothing, leaves groups of one length.
        ("config.json", of_config(json!({"bits": 4, "group_size": 32})), row(96, 8.0)),
        ("config.json", of_config(json!({"bits": 4})), row(96, 8.0)),
        // A module may have bits and groups of its own.
        (
            "config.json",
            of_config(json!({"bits": 2, "group_size": 32, "dynamic": {"m": {"bits": 4, "group_size": 128}}})),
            row(128, 8.0),
        ),
        ("quantize_config.json", json!({"bits": 4, "group_size": 128}), row(128, 8.0)),
        (
            "quantize_config.json",
            json!({"bits": 4, "group_size": 128, "checkpoint_format": "gptq_v2"}),
            row(128, 7.0),
        ),
    ] {
        let found = row_of_uneven_groups(name, &settings).unwrap_or_else(|e| panic!("{settings}: {e}"));
        assert!(found == expected, "{settings}");
    }
    let turned = of_config(json!({"bits": 4, "rotation_config": {"block_size": 32}}));
    let message = row_of_uneven_groups("config.json", &turned).expect_err("turned").to_string();
    assert!(message.contains("rotation_config") && message.contains("the original model"), "{message}");
}
