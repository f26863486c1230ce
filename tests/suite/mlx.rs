//! Checkpoints that `mlx_lm.convert` saved (tools/mlx_fixtures.py) make the weights of those that it converted.

use std::fs;
use std::path::{Path, PathBuf};

use gguf_kit::convert::FileType;
use gguf_kit::gguf::GgufFile;

use crate::common::convert_named;

/// Elements that share a scale in the fixture with codes.
const GROUP: usize = 32;

fn fixtures() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures"))
}

/// The F32 file of a folder of fixtures, with the tokenizer that all share.
fn converted(from: &str, dir: &Path) -> PathBuf {
    let checkpoint = dir.join(from.replace('/', "-"));
    fs::create_dir(&checkpoint).expect("a new folder");
    for from in [from, "families/tokenizer"] {
        for entry in fs::read_dir(fixtures().join(from)).expect("a fixture") {
            let entry = entry.expect("readable");
            fs::copy(entry.path(), checkpoint.join(entry.file_name())).expect("copied");
        }
    }
    let path = checkpoint.with_extension("gguf");
    convert_named(&checkpoint, &path, FileType::F32, "x");
    path
}

/// Names, shapes and values of all tensors.
fn tensors(path: &Path) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let file = GgufFile::open(path).expect("written");
    let values = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let tensors = file.tensors().iter();
    tensors.map(|tensor| (tensor.name.clone(), tensor.shape.clone(), values(file.bytes(tensor)))).collect()
}

/// Asserts that MLX's form of a family makes its tensors, each element as near as `bound` allows of its group.
#[track_caller]
fn assert_near(name: &str, bound: impl Fn(&[f32]) -> f32) {
    let dir = tempfile::tempdir().expect("a folder");
    let expected = tensors(&converted(&format!("families/{name}"), dir.path()));
    let found = tensors(&converted(&format!("mlx/{name}"), dir.path()));
    assert_eq!(found.len(), expected.len(), "{name}");
    for ((of_mlx, shape, values), (own, own_shape, own_values)) in found.iter().zip(&expected) {
        assert_eq!((of_mlx, shape), (own, own_shape), "{name}");
        for (group, own) in values.chunks(GROUP).zip(own_values.chunks(GROUP)) {
            let furthest = group.iter().zip(own).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(furthest <= bound(own), "{name}: {of_mlx} is {furthest} away");
        }
    }
}

/// What rounding to BF16 costs: of a multiplier or two, and of the product.
fn rounding(group: &[f32]) -> f32 {
    group.iter().fold(0.0, |most: f32, x| most.max(x.abs())) / 128.0
}

#[test]
fn norms_and_multipliers_that_mlx_has_computed_with_are_not_computed_with_again() {
    assert_near("qwen3next", rounding);
    assert_near("falcon-h1", rounding);
}

#[test]
fn stacks_of_codes_and_matrices_of_latent_vectors_are_those_of_the_experts_and_heads() {
    assert_near("deepseek2-v3", |group| {
        let (low, high) =
            group.iter().fold((0.0, 0.0), |(low, high): (f32, f32), x| (low.min(*x), high.max(*x)));
        // A step of the codes, and their scales are BF16.
        (high - low) / 15.0 * 1.1 + rounding(group)
    });
}
