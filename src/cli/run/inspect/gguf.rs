//! What is in a GGUF file.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Totals, table};
use crate::cli::output::{bytes, count, plural, show, show_json};
use crate::error::Result;
use crate::gguf::GgufFile;
use crate::printable;
use crate::runtime::{Engine, EngineOptions};
use crate::tokenizer::Tokenizer;

/// Shows the GGUF file at `path`, as text or as JSON.
///
/// # Errors
/// Any that opening the file gives; that it cannot be run is none.
pub(super) fn show_gguf(path: &Path, full: bool, as_json: bool) -> Result<()> {
    let file = GgufFile::open(path)?;
    let mut totals = Totals::default();
    for tensor in file.tensors() {
        totals.add(tensor.ty.name(), tensor.n_elements() as u64, tensor.n_bytes as u64);
    }
    let why_not = why_not_runnable(&file);
    let why_not = why_not.as_deref();
    if as_json {
        show_json(&to_json(&file, &totals, why_not))
    } else {
        show(&text(&file, &totals, why_not, full))
    }
}

/// Why `gguf-run` cannot run the file; `None` if it can.
fn why_not_runnable(file: &GgufFile) -> Option<String> {
    if file.tensors().is_empty() {
        return Some(match Tokenizer::from_metadata(file.metadata()) {
            Ok(_) => "it holds no weights; `gguf-run tokenize` works with it".to_owned(),
            Err(error) => format!("it holds no weights, and its tokenizer cannot be used: {error}"),
        });
    }
    let engine = Engine::open(file.path(), EngineOptions { n_threads: Some(1), ..EngineOptions::default() });
    let runnable = engine.and_then(|engine| Tokenizer::from_metadata(engine.metadata()).map(drop));
    runnable.err().map(|error| error.to_string())
}

fn text(file: &GgufFile, totals: &Totals, why_not: Option<&str>, full: bool) -> String {
    let architecture = file.metadata().string("general.architecture").ok().flatten().unwrap_or("unnamed");
    let mut out = format!(
        "{}\nGGUF version {}, {}, architecture {}, alignment {}\n{}\n",
        printable::path(file.path()),
        file.version(),
        bytes(file.file_len()),
        printable::line(architecture),
        file.alignment(),
        totals.summary(),
    );
    out += &match why_not {
        None => "gguf-run can run it\n".to_owned(),
        Some(reason) => format!("gguf-run cannot run it: {}\n", printable::line(reason)),
    };
    out += &format!("\nmetadata ({})\n", plural(file.metadata().keys().len(), "key"));
    out += &metadata_lines(file, full);
    out += &format!("\ntensors ({})\n", count(file.tensors().len() as u64));
    out += &tensor_lines(file);
    out += "\ntypes\n";
    out += &totals.lines();
    out
}

fn metadata_lines(file: &GgufFile, full: bool) -> String {
    let metadata = file.metadata();
    let rows: Vec<_> = metadata
        .keys()
        .map(|key| {
            let whole = || printable::json(&metadata.to_json(key).to_string()).into_owned();
            let value = if full { whole() } else { metadata.display(key) };
            vec![key.to_owned(), value]
        })
        .collect();
    table(&rows, &[false, false])
}

fn tensor_lines(file: &GgufFile) -> String {
    let head = ["name", "shape", "type", "bytes"].map(str::to_owned).to_vec();
    let rows = file.tensors().iter().map(|tensor| {
        let n_bytes = count(tensor.n_bytes as u64);
        vec![tensor.name.clone(), format!("{:?}", tensor.shape), tensor.ty.name().to_owned(), n_bytes]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[false, false, false, true])
}

fn to_json(file: &GgufFile, totals: &Totals, why_not: Option<&str>) -> Value {
    let metadata: Map<String, Value> =
        file.metadata().keys().map(|key| (key.to_owned(), file.metadata().to_json(key))).collect();
    let tensors: Vec<_> = file
        .tensors()
        .iter()
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "shape": tensor.shape,
                "type": tensor.ty.name(),
                "offset": tensor.offset,
                "bytes": tensor.n_bytes,
            })
        })
        .collect();
    json!({
        "file": file.path(),
        "format": "gguf",
        "file_bytes": file.file_len(),
        "version": file.version(),
        "alignment": file.alignment(),
        "runs": why_not.is_none(),
        "why_not": why_not,
        "metadata": metadata,
        "tensors": tensors,
        "totals": totals.json(),
    })
}
