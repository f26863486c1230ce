//! Floats that lie on grids already, as quantisation-aware training leaves them, keep their levels.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use gguf_kit::checkpoint::Checkpoint;
use gguf_kit::convert::{self, FileType, Plan, PlanOptions, RunOptions, Silent};
use gguf_kit::gguf::GgufFile;
use gguf_simd::BlockType;
use gguf_simd::half_float::{bf16_to_f32, f16_to_f32, f32_to_bf16};
use gguf_simd::kernels::Kernels;
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;

use crate::adapters::base;

const NAME: &str = "model.layers.0.mlp.up_proj.weight";

/// Weights of codes from -6 to 5 and a scale in F16, as BF16 saves them: the nearest plain Q4_0 has another scale.
fn weights(n: usize) -> Vec<u16> {
    let scale = f16_to_f32(0x2293);
    (0..n).map(|i| f32_to_bf16(((i * 7 + i / 32) % 12) as f32 * scale - 6.0 * scale)).collect()
}

/// The model in `dir` with weights on a grid; these.
fn put_on_grid(dir: &Path) -> Vec<f32> {
    let path = dir.join("model.safetensors");
    let bytes = fs::read(&path).expect("a fixture");
    let tensors = SafeTensors::deserialize(&bytes).expect("sound");
    let found = tensors.tensor(NAME).expect("there");
    let (dtype, shape) = (found.dtype(), found.shape().to_vec());
    let weights = weights(shape.iter().product());
    let on_grid: Vec<u8> = weights.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut all: HashMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
    all.insert(NAME.into(), TensorView::new(dtype, shape, &on_grid).expect("as many bytes"));
    let changed = safetensors::serialize(all, None).expect("sound");
    fs::write(path, changed).expect("writable");
    weights.into_iter().map(bf16_to_f32).collect()
}

#[test]
fn weights_on_a_grid_keep_their_levels() {
    let dir = base("llama");
    let weights = put_on_grid(dir.path());
    let checkpoint = Checkpoint::open(dir.path()).expect("sound");
    for (file_type, others) in [(FileType::Q4_0, BlockType::Q4_0), (FileType::KEEP, BlockType::BF16)] {
        let plan = Plan::new(&checkpoint, &PlanOptions::new(file_type)).expect("sound");
        let notes: Vec<_> =
            plan.warnings().iter().filter(|note| note.contains("lie on grids already")).collect();
        assert!(matches!(notes[..], [note] if note.contains("of 1 tensor")), "{:?}", plan.warnings());
        let path = dir.path().join(format!("{file_type}.gguf"));
        let options = RunOptions { overwrite: false, n_threads: 2, kernels: Kernels::best() };
        convert::run(&plan, &path, &options, &Silent).expect("a conversion");
        let file = GgufFile::open(&path).expect("sound");
        let tensor = |name: &str| file.tensors().iter().find(|tensor| tensor.name == name).expect("there");
        let of = |name: &str| tensor(name).ty.block_type();
        assert_eq!(
            [of("blk.0.ffn_up.weight"), of("blk.1.ffn_up.weight")],
            [Some(BlockType::Q4_0), Some(others)]
        );
        let mut kept = vec![0.0; weights.len()];
        Kernels::best().decode(BlockType::Q4_0, file.bytes(tensor("blk.0.ffn_up.weight")), &mut kept);
        // Half a unit in the last place of BF16, to which the floats were rounded, and of the scale in F16.
        let bound = 1.0 / 256.0 + 1.0 / 2048.0;
        assert!(kept.iter().zip(&weights).all(|(a, b)| (a - b).abs() <= b.abs() * bound));
    }
}
