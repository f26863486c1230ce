//! No file imports, directly or by others, a file that imports it; and inside `src/model` only the folders named
//! here know each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::tidy::{Paths, parse, rust_files};

/// Circles that are still there, each as its files: to become fewer.
const KNOWN: &[&[&str]] = &[
    &["chat::jinja::filters", "chat::jinja::interpreter", "chat::jinja::json"],
    &["cli::run::chat::lines", "cli::run::chat::reader"],
    &["convert::pipeline", "convert::verify"],
    &["convert::plan", "convert::tokenizer_check"],
    &["gguf::header", "gguf::reader"],
    &["tokenizer::special_ids", "tokenizer::vocabulary"],
];

/// Which folders of `src/model` each of them may import from, beside itself.
const MODEL_EDGES: &[(&str, &[&str])] = &[
    ("spec", &[]),
    ("arch", &["spec"]),
    ("weights", &[]),
    ("state", &["spec", "memory"]),
    (
        "layer",
        &["spec", "weights", "state", "batch", "compute", "inputs", "memory", "product", "profile", "rope"],
    ),
    ("load", &["spec", "weights", "adapter", "layer", "rope", "memory"]),
];

/// The files that each file imports, by module path.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// `src/model/spec/kv.rs` as `model::spec::kv`, a folder's `mod.rs` as the folder.
fn module(name: &str) -> String {
    let path = name.trim_start_matches("src/").trim_end_matches(".rs");
    path.trim_end_matches("/mod").replace('/', "::")
}

fn graph() -> Graph {
    let files = rust_files("src");
    let modules: BTreeSet<String> = files.iter().map(|(name, _)| module(name)).collect();
    let mut graph = Graph::new();
    for (name, text) in &files {
        let here = module(name);
        let imports =
            Paths::of(&parse(name, text)).into_iter().filter_map(|path| resolve(&here, &path, &modules));
        graph.insert(here.clone(), imports.filter(|there| !is_kin(&here, there)).collect());
    }
    graph
}

/// The file that a path in the module `here` leads to: the longest beginning that is one.
fn resolve(here: &str, path: &[String], modules: &BTreeSet<String>) -> Option<String> {
    let mut at: Vec<&str> = here.split("::").collect();
    let mut rest = path.iter().map(String::as_str).peekable();
    match *rest.peek()? {
        "crate" | "gguf_kit" => {
            rest.next();
            at.clear();
        }
        "self" => {
            rest.next();
        }
        "super" => {
            while rest.next_if_eq(&"super").is_some() {
                at.pop();
            }
        }
        child if modules.contains(&format!("{here}::{child}")) => {}
        _ => return None,
    }
    at.extend(rest);
    (1..=at.len()).rev().map(|n| at[..n].join("::")).find(|found| modules.contains(found) && found != here)
}

/// Whether one is a folder around the other: a folder's file and its parts belong together.
fn is_kin(a: &str, b: &str) -> bool {
    a.starts_with(&format!("{b}::")) || b.starts_with(&format!("{a}::"))
}

fn reachable<'g>(graph: &'g Graph, from: &str) -> BTreeSet<&'g str> {
    let mut found = BTreeSet::new();
    let mut pending: Vec<&str> = graph[from].iter().map(String::as_str).collect();
    while let Some(next) = pending.pop() {
        if found.insert(next) {
            pending.extend(graph[next].iter().map(String::as_str));
        }
    }
    found
}

#[test]
fn files_do_not_import_each_other_in_circles() {
    let graph = graph();
    let reach: BTreeMap<&str, BTreeSet<&str>> =
        graph.keys().map(|file| (file.as_str(), reachable(&graph, file))).collect();
    let mut circles: BTreeSet<Vec<&str>> = BTreeSet::new();
    for (file, others) in reach.iter().filter(|(file, others)| others.contains(**file)) {
        circles.insert(others.iter().copied().filter(|other| reach[other].contains(file)).collect());
    }
    let known: BTreeSet<Vec<&str>> = KNOWN.iter().map(|circle| circle.to_vec()).collect();
    assert_eq!(circles, known, "left: the circles there are; right: those known");
}

#[test]
fn folders_of_the_model_know_only_those_they_may() {
    let mut wrong = Vec::new();
    for (file, imports) in graph() {
        let Some(folder) = file.strip_prefix("model::").and_then(|rest| rest.split("::").next()) else {
            continue;
        };
        let Some((_, allowed)) = MODEL_EDGES.iter().find(|(name, _)| *name == folder) else { continue };
        for there in imports.iter().filter_map(|there| there.strip_prefix("model::")) {
            let there = there.split("::").next().unwrap_or(there);
            if there != folder && !allowed.contains(&there) {
                wrong.push(format!("{file} imports model::{there}"));
            }
        }
    }
    assert!(wrong.is_empty(), "not among the allowed edges:\n{}", wrong.join("\n"));
}
