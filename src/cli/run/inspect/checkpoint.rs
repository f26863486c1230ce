//! What is in a checkpoint.

use std::path::Path;

use serde_json::json;

use super::{Totals, table};
use crate::checkpoint::{Checkpoint, TensorView};
use crate::cli::output::{bytes, count, show, show_json};
use crate::convert::plan::check_config;
use crate::error::Result;
use crate::printable;

/// Shows the checkpoint at `path`, as text or as JSON.
///
/// # Errors
/// Any that opening the checkpoint gives; that it cannot be converted is none.
pub(super) fn show_checkpoint(path: &Path, as_json: bool) -> Result<()> {
    let checkpoint = Checkpoint::open(path)?;
    let mut totals = Totals::default();
    let mut tensors: Vec<(&str, Result<TensorView<'_>, String>)> = Vec::new();
    for name in checkpoint.tensor_names() {
        match checkpoint.tensor(name) {
            Ok(Some(tensor)) => {
                let n_elements = tensor.n_elements() as u64;
                totals.add(tensor.dtype.name(), n_elements, tensor.n_bytes);
                tensors.push((name, Ok(tensor)));
            }
            Ok(None) => {}
            Err(error) => tensors.push((name, Err(error.to_string()))),
        }
    }
    let why_not = why_not_convertible(&checkpoint);
    let classes = checkpoint.config().strings("architectures")?.unwrap_or_default();
    if as_json {
        let rows: Vec<_> = tensors
            .iter()
            .map(|(name, tensor)| match tensor {
                Ok(tensor) => {
                    json!({ "name": name, "shape": tensor.shape, "type": tensor.dtype.name(), "bytes": tensor.n_bytes })
                }
                Err(error) => json!({ "name": name, "error": error }),
            })
            .collect();
        return show_json(&json!({
            "file": path,
            "format": "checkpoint",
            "file_bytes": checkpoint.total_bytes(),
            "architectures": classes,
            "runs": why_not.is_none(),
            "why_not": why_not,
            "tensors": rows,
            "totals": totals.json(),
        }));
    }
    let mut out = format!(
        "{}\ncheckpoint, {} of weights, architecture {}\n{}\n",
        printable::path(path),
        bytes(checkpoint.total_bytes()),
        printable::line(&classes.join(", ")),
        totals.summary(),
    );
    out += &match why_not {
        None => "gguf-run can convert and run it\n".to_owned(),
        Some(reason) => format!("gguf-run cannot run it: {}\n", printable::line(&reason)),
    };
    out += &format!("\ntensors ({})\n", count(tensors.len() as u64));
    out += &tensor_lines(&tensors);
    out += "\ntypes\n";
    out += &totals.lines();
    show(&out)
}

fn tensor_lines(tensors: &[(&str, Result<TensorView<'_>, String>)]) -> String {
    let head = ["name", "shape", "type", "bytes"].map(str::to_owned).to_vec();
    let rows = tensors.iter().map(|(name, tensor)| match tensor {
        Ok(tensor) => vec![
            (*name).to_owned(),
            format!("{:?}", tensor.shape),
            tensor.dtype.name().to_owned(),
            count(tensor.n_bytes),
        ],
        Err(error) => vec![(*name).to_owned(), error.clone(), String::new(), String::new()],
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[false, false, false, true])
}

/// Why the checkpoint cannot be converted, as far as its configuration says; `None` if it can.
fn why_not_convertible(checkpoint: &Checkpoint) -> Option<String> {
    check_config(checkpoint).err().map(|error| error.to_string())
}
