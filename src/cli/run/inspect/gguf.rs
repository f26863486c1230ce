//! What is in a GGUF file.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Totals, table};
use crate::cli::output::{bytes, count, show, show_json};
use crate::cli::run::args::{DEFAULT_BATCH, DEFAULT_MAX_CTX};
use crate::error::Error;
use crate::gguf::{GgufFile, parts};
use crate::model::KvTypes;
use crate::printable;
use crate::printable::plural;
use crate::runtime::{Demand, Engine, EngineOptions, SessionOptions};
use crate::tokenizer::{Tokenizer, has_vocabulary};

/// Shows the GGUF file at `path`, as text or as JSON.
///
/// # Errors
/// Any that opening the file gives; that it cannot be run is none.
pub(super) fn show_gguf(path: &Path, full: bool, as_json: bool) -> Result<(), Error> {
    // Of parts that are not all there the one that was asked for is shown; why it does not run is said beside.
    let file = parts::open_whole(path).or_else(|_| GgufFile::open(path))?;
    let mut totals = Totals::default();
    for tensor in file.tensors() {
        totals.add(&tensor.ty.name(), tensor.n_elements() as u64, tensor.n_bytes as u64);
    }
    let runs = run(&file);
    if as_json {
        show_json(&to_json(&file, &totals, &runs))
    } else {
        show(&text(&file, &totals, &runs, full))
    }
}

/// What the model takes in memory.
struct Memory {
    /// The context that it is counted for.
    n_ctx: usize,
    demand: Demand,
    /// Whether the file has a vocabulary, without which no text can be read or written.
    has_vocabulary: bool,
}

/// What `gguf-run` needs to run the file, or why it cannot.
fn run(file: &GgufFile) -> Result<Memory, String> {
    if file.tensors().is_empty() {
        return Err(match Tokenizer::from_metadata(file.metadata()) {
            Ok(_) => "it holds no weights; `gguf-run tokenize` works with it".to_owned(),
            Err(error) => format!("it holds no weights, and its tokenizer cannot be used: {error}"),
        });
    }
    let memory = || {
        let engine = Engine::open(file.path(), EngineOptions::default())?;
        let has_vocabulary = has_vocabulary(engine.metadata());
        if has_vocabulary {
            Tokenizer::from_metadata(engine.metadata())?;
        }
        let n_ctx = engine.spec().n_ctx_train.min(DEFAULT_MAX_CTX);
        let options = SessionOptions { n_ctx, n_batch: DEFAULT_BATCH, kv_types: KvTypes::default() };
        Ok(Memory { n_ctx, demand: engine.demand(options)?, has_vocabulary })
    };
    memory().map_err(|error: Error| error.to_string())
}

impl Memory {
    fn text(&self) -> String {
        let Demand { weights, least_weights, cache, buffers, tokenizer } = self.demand;
        format!(
            "in memory: weights {} (at least {} of them), keys and values {} and buffers {} (--ctx {}), tokenizer \
             about {}\n",
            bytes(weights),
            bytes(least_weights),
            bytes(cache),
            bytes(buffers),
            self.n_ctx,
            bytes(tokenizer),
        )
    }

    fn json(&self) -> Value {
        json!({
            "n_ctx": self.n_ctx,
            "weights_bytes": self.demand.weights,
            "least_weights_bytes": self.demand.least_weights,
            "cache_bytes": self.demand.cache,
            "buffers_bytes": self.demand.buffers,
            "tokenizer_bytes": self.demand.tokenizer,
        })
    }
}

fn text(file: &GgufFile, totals: &Totals, runs: &Result<Memory, String>, full: bool) -> String {
    let architecture = file.metadata().string("general.architecture").ok().flatten().unwrap_or("unnamed");
    let mut out = format!(
        "{}{}\nGGUF version {}, {}, architecture {}, alignment {}\n{}\n",
        printable::path(file.path()),
        if file.n_parts() > 1 {
            format!(" and the other parts, {} in all", file.n_parts())
        } else {
            String::new()
        },
        file.version(),
        bytes(file.file_len()),
        printable::line(architecture),
        file.alignment(),
        totals.summary(),
    );
    out += &match runs {
        Ok(memory) if memory.has_vocabulary => format!("gguf-run can run it\n{}", memory.text()),
        Ok(memory) => format!(
            "it has no vocabulary: gguf-run bench and logits --ids can run it, and nothing that needs text\n{}",
            memory.text()
        ),
        Err(reason) => format!("gguf-run cannot run it: {}\n", printable::line(reason)),
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
        let up_to = if tensor.ty.block().is_some() { "" } else { "up to " };
        let n_bytes = format!("{up_to}{}", count(tensor.n_bytes as u64));
        vec![tensor.name.clone(), format!("{:?}", tensor.shape), tensor.ty.name().into_owned(), n_bytes]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[false, false, false, true])
}

fn to_json(file: &GgufFile, totals: &Totals, runs: &Result<Memory, String>) -> Value {
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
                "type_id": tensor.ty.id(),
                "offset": tensor.offset,
                // Of a type whose blocks are not known, only the room it has is.
                "bytes": tensor.ty.block().map(|_| tensor.n_bytes),
                "room": tensor.n_bytes,
            })
        })
        .collect();
    json!({
        "file": file.path(),
        "format": "gguf",
        "file_bytes": file.file_len(),
        "parts": file.n_parts(),
        "version": file.version(),
        "alignment": file.alignment(),
        "runs": runs.is_ok(),
        "has_vocabulary": has_vocabulary(file.metadata()),
        "why_not": runs.as_ref().err(),
        "memory": runs.as_ref().ok().map(Memory::json),
        "metadata": metadata,
        "tensors": tensors,
        "totals": totals.json(),
    })
}
