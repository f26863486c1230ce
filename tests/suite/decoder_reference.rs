//! The decoder computes what a forward pass in float64 over the checkpoint computes, and what
//! llama.cpp computes for models of other shapes.
//!
//! The second part needs `GGUF_LLAMA_CPP_PYTHON`, a Python that has llama-cpp-python; it is skipped, and
//! said to be, where that is not set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::checkpoint::Spec;
use crate::common::model::{new_path, write_gguf, write_gguf_with};
use crate::common::npy::floats;
use crate::common::required_variable;
use gguf_kit::gguf::Value;
use gguf_kit::runtime::{Engine, EngineOptions, Logits, Session};
use gguf_simd::BlockType;
use serde_json::json;

fn load(path: &Path) -> Engine {
    Engine::load(path, EngineOptions { n_threads: Some(2), ..EngineOptions::default() }).unwrap()
}

fn step(engine: &Engine, ids: &[u32]) -> Vec<f32> {
    let mut session = Session::new(engine, crate::common::options(256, 16)).unwrap();
    session.step(ids, Logits::All).unwrap().to_vec()
}

fn greatest(logits: &[f32]) -> u32 {
    let best = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    u32::try_from(best.0).unwrap()
}

/// The greatest difference, in units of the spread (standard deviation) of the reference.
fn distance(found: &[f32], reference: &[f32]) -> f32 {
    assert_eq!(found.len(), reference.len());
    let n = reference.len() as f32;
    let mean = reference.iter().sum::<f32>() / n;
    let variance = reference.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / n;
    let difference = found.iter().zip(reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    difference / variance.sqrt()
}

struct Reference {
    prompt: Vec<u32>,
    greedy: Vec<u32>,
    kept_positions: Vec<usize>,
    /// `[kept_positions.len(), n_vocab]`.
    logits: Vec<f32>,
}

fn reference() -> Reference {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/logits");
    let text = fs::read_to_string(dir.join("fairytale.json")).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let list = |key: &str| serde_json::from_value::<Vec<u32>>(json[key].clone()).unwrap();
    Reference {
        prompt: list("prompt"),
        greedy: list("greedy"),
        kept_positions: list("kept_positions").into_iter().map(|i| i as usize).collect(),
        logits: floats(&fs::read(dir.join("fairytale.f32")).unwrap()),
    }
}

fn fairytale(dir: &Path, ty: BlockType) -> Engine {
    let path = new_path(dir, ty.name());
    write_gguf(&crate::common::fairytale(), &path, |_| ty);
    load(&path)
}

#[test]
fn logits_are_those_of_a_float64_forward_pass() {
    let dir = tempfile::tempdir().unwrap();
    let reference = reference();
    let ids = [reference.prompt.clone(), reference.greedy.clone()].concat();
    // BF16 holds the checkpoint exactly; what is left is the half precision of the cache.
    for (ty, tolerance) in [(BlockType::F32, 2e-3), (BlockType::BF16, 2e-3), (BlockType::Q8_0, 0.1)] {
        let engine = fairytale(dir.path(), ty);
        let (logits, n_vocab) = (step(&engine, &ids), engine.n_vocab());
        for (position, expected) in reference.kept_positions.iter().zip(reference.logits.chunks(n_vocab)) {
            let distance = distance(&logits[position * n_vocab..][..n_vocab], expected);
            println!("{ty} at {position}: {distance}");
            assert!(distance < tolerance, "{ty}: {distance} at position {position}");
        }
    }
}

#[test]
fn the_greedy_continuation_is_that_of_a_float64_forward_pass() {
    let dir = tempfile::tempdir().unwrap();
    let reference = reference();
    let engine = fairytale(dir.path(), BlockType::F32);
    let mut session = Session::new(&engine, crate::common::options(128, 64)).unwrap();
    let mut id = greatest(session.step(&reference.prompt, Logits::Last).unwrap());
    let mut found = vec![id];
    while found.len() < reference.greedy.len() {
        id = greatest(session.step(&[id], Logits::Last).unwrap());
        found.push(id);
    }
    assert_eq!(found, reference.greedy);
}

/// Prints nothing; writes the logits of every position as floats to its third argument.
const PEER: &str = r#"
import json, sys
import numpy as np
from llama_cpp import Llama
model = Llama(sys.argv[1], n_ctx=256, logits_all=True, verbose=False, n_threads=2)
ids = json.loads(sys.argv[2])
model.eval(ids)
np.array(model.scores[: len(ids)], dtype="<f4").tofile(sys.argv[3])
"#;

fn peer_logits(python: &Path, model: &Path, ids: &[u32], dir: &Path) -> Vec<f32> {
    let out = dir.join("logits.f32");
    let ids = serde_json::to_string(ids).unwrap();
    let run = Command::new(python).args(["-c", PEER]).arg(model).arg(ids).arg(&out).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    floats(&fs::read(out).unwrap())
}

#[test]
fn llama_cpp_computes_the_same_for_every_shape() {
    let Some(python) = required_variable("GGUF_LLAMA_CPP_PYTHON").map(PathBuf::from) else { return };
    let linear = Spec { rope_scaling: json!({"type": "linear", "factor": 4.0}), ..Spec::default() };
    let yarn = [
        ("llama.rope.scaling.type", Value::String("yarn".into())),
        ("llama.rope.scaling.factor", Value::F32(4.0)),
        ("llama.rope.scaling.original_context_length", Value::U32(32)),
    ];
    type Shape<'a> = (&'a str, Spec, &'a [(&'a str, Value)]);
    let shapes: [Shape<'_>; 8] = [
        ("dense", Spec::default(), &[]),
        ("untied", Spec { is_tied: false, ..Spec::default() }, &[]),
        ("experts", Spec::mixtral(), &[]),
        ("biases", Spec { has_biases: true, ..Spec::default() }, &[]),
        ("llama3 rope", Spec::llama3_rope(), &[]),
        ("wide heads", Spec { head_dim: Some(48), ..Spec::default() }, &[]),
        ("linear", linear, &[]),
        ("yarn", Spec::default(), &yarn),
    ];
    // Long enough for positions to matter.
    let ids: Vec<u32> = (0..150).map(|i| i * i * 37 % 4000).collect();
    for (name, spec, extra) in shapes {
        let dir = tempfile::tempdir().unwrap();
        spec.write(dir.path());
        let path = new_path(dir.path(), "m");
        write_gguf_with(dir.path(), &path, |_| BlockType::F32, extra);
        let expected = peer_logits(&python, &path, &ids, dir.path());
        let distance = distance(&step(&load(&path), &ids), &expected);
        println!("{name}: {distance}");
        assert!(distance < 1e-2, "{name}: {distance}");
    }
}
