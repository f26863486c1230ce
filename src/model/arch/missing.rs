//! What is said of an architecture that this program does not have.

use std::collections::BTreeSet;

use super::families;

/// Architectures of GGUF files that need more than this program computes, and what that is.
const NEEDS: &[(&[&str], &str)] = &[
    (&["kimi-linear"], "a gated delta rule whose decays differ in a head"),
    (&["plamo2"], "state space layers whose inputs are normed and gated otherwise than Mamba's"),
    (&["rwkv6", "rwkv7", "rwkv6qwen2", "arwkv7"], "RWKV's recurrent layers"),
    (
        &["nomic-bert-moe", "neo-bert", "llama-embed"],
        "parts of its encoder that the encoders here do not have",
    ),
    (&["t5", "t5encoder"], "an encoder beside the decoder"),
    (&["grovemoe"], "experts that share parts in groups"),
    (&["clip"], "the image part of another model: it does not generate text"),
];

/// Names listed as the nearest.
const MAX_NEAREST: usize = 3;

/// How alike a name must be to be called near, from 0 to 1.
const LEAST_LIKENESS: f64 = 0.7;

/// Says that `name` is not among the names of GGUF architectures that are supported, what it would need if that
/// is known, and which are the nearest.
pub fn architecture(name: &str) -> String {
    let names: Vec<&str> = families::ALL.iter().map(|family| family.gguf_name).collect();
    let need = NEEDS.iter().find(|(archs, _)| archs.contains(&name)).map(|(_, need)| *need);
    say("architecture", name, &names, need)
}

/// As [`architecture`], of classes in the `architectures` of config.json.
pub fn classes(classes: &[&str]) -> String {
    let names: Vec<&str> =
        families::ALL.iter().flat_map(|family| family.checkpoint_classes.iter().copied()).collect();
    say("architecture", &classes.join(", "), &names, None)
}

/// As [`architecture`], of the `model_type` of config.json.
pub fn model_type(name: &str) -> String {
    let names: Vec<&str> =
        families::ALL.iter().flat_map(|family| family.model_types.iter().copied()).collect();
    say("model_type", name, &names, None)
}

fn say(what: &str, name: &str, supported: &[&str], need: Option<&str>) -> String {
    let need =
        need.map_or(String::new(), |need| format!("; it needs {need}, which this program does not compute"));
    let mut nearest: Vec<(f64, &str)> =
        supported.iter().map(|other| (strsim::jaro_winkler(name, other), *other)).collect();
    nearest.sort_by(|a, b| b.0.total_cmp(&a.0));
    let nearest: Vec<&str> = nearest
        .iter()
        .take(MAX_NEAREST)
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .map(|(_, name)| *name)
        .collect();
    let nearest = if nearest.is_empty() {
        String::new()
    } else {
        format!("; the nearest supported: {}", nearest.join(", "))
    };
    format!("{what} \"{name}\"{need}{nearest} (the README lists all {})", n_architectures())
}

/// How many architectures are supported; some have several spellings of their checkpoints.
fn n_architectures() -> usize {
    let names: BTreeSet<&str> = families::ALL.iter().map(|family| family.gguf_name).collect();
    names.len()
}
