//! `gguf-run inspect`: shows what is in a model, or what this program computes with.

mod checkpoint;
mod gguf;
mod kernels;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::locate::{Located, locate};
use crate::cli::output::{bytes, count, show, show_json};
use crate::convert::proof::{self, Checked};
use crate::error::{Error, Result};
use crate::printable;
use crate::threads::ThreadCounts;

/// Show what is in a model: metadata, tensors, types, totals.
///
/// Works on every GGUF file, also on those that gguf-run cannot run (it says why), and on checkpoints.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// A GGUF file, or a checkpoint: a folder, a .safetensors file or a model.safetensors.index.json
    #[arg(value_name = "MODEL", required_unless_present = "kernels")]
    model: Option<PathBuf>,
    /// Show instead which CPU tier the kernel for each type and operation comes from; needs no MODEL
    #[arg(long, conflicts_with_all = ["model", "full"])]
    kernels: bool,
    /// Check the data of every tensor against the hashes that `gguf-convert --verify` put into the file; a damaged file is
    /// a failure
    #[arg(long, conflicts_with_all = ["kernels", "full"])]
    verify: bool,
    /// Show long strings and arrays whole
    #[arg(long)]
    full: bool,
    /// Print one JSON object, with everything whole
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  gguf-run inspect model.gguf
  gguf-run inspect model.gguf --json | jq .totals
  gguf-run inspect --kernels";

/// Runs the subcommand.
///
/// # Errors
/// Any.
pub(super) fn run(args: &Args) -> Result<()> {
    let Some(model) = &args.model else {
        return kernels::show_kernels(args.json);
    };
    match locate(model, false)? {
        Located::Gguf(path) if args.verify => show_proof(&path, args.json),
        Located::Gguf(path) => gguf::show_gguf(&path, args.full, args.json),
        Located::Checkpoint(path) if args.verify => Err(Error::usage(format!(
            "{} is a checkpoint; --verify is about GGUF files that gguf-convert --verify made",
            path.display()
        ))),
        Located::Checkpoint(path) => checkpoint::show_checkpoint(&path, args.json),
    }
}

/// Checks a file against its own proof, and shows what that says.
fn show_proof(path: &Path, as_json: bool) -> Result<()> {
    let Checked { program, n_tensors, errors } = proof::check(path, ThreadCounts::of_machine().many)?;
    if as_json {
        let errors: Map<String, Value> =
            errors.into_iter().map(|(name, error)| (name, error.into())).collect();
        return show_json(
            &json!({ "program": program, "tensors": n_tensors, "sound": true, "relative_rmse": errors }),
        );
    }
    let worst = errors.iter().max_by(|a, b| a.1.total_cmp(&b.1)).filter(|(_, error)| *error > 0.0);
    let worst = worst.map(|(name, error)| {
        format!("; the largest error, measured then, is {:.3} % in {name}", error * 100.0)
    });
    show(&format!(
        "{}: the data of all {n_tensors} tensors is what {program} wrote{}\n",
        printable::path(path),
        worst.unwrap_or_default()
    ))
}

/// The tensors of one type.
#[derive(Debug)]
struct TypeTotal {
    name: String,
    n_tensors: usize,
    n_elements: u64,
    n_bytes: u64,
}

/// Totals by type, in the order the types come up.
#[derive(Debug, Default)]
struct Totals {
    types: Vec<TypeTotal>,
}

impl Totals {
    fn add(&mut self, name: &str, n_elements: u64, n_bytes: u64) {
        let total = match self.types.iter().position(|total| total.name == name) {
            Some(i) => &mut self.types[i],
            None => {
                self.types.push(TypeTotal { name: name.to_owned(), n_tensors: 0, n_elements: 0, n_bytes: 0 });
                self.types.last_mut().expect("just pushed")
            }
        };
        total.n_tensors += 1;
        total.n_elements = total.n_elements.saturating_add(n_elements);
        total.n_bytes = total.n_bytes.saturating_add(n_bytes);
    }

    fn n_elements(&self) -> u64 {
        self.types.iter().map(|total| total.n_elements).sum()
    }

    fn n_bytes(&self) -> u64 {
        self.types.iter().map(|total| total.n_bytes).sum()
    }

    /// `None` without elements.
    fn bits_per_weight(&self) -> Option<f64> {
        let n_elements = self.n_elements();
        (n_elements > 0).then(|| self.n_bytes() as f64 * 8.0 / n_elements as f64)
    }

    fn summary(&self) -> String {
        let bits =
            self.bits_per_weight().map_or(String::new(), |bits| format!(", {bits:.3} bits per weight"));
        format!("{} parameters in {}{bits}", count(self.n_elements()), bytes(self.n_bytes()))
    }

    fn lines(&self) -> String {
        let rows = self.types.iter().map(|total| {
            let cells = [count(total.n_tensors as u64), count(total.n_elements), bytes(total.n_bytes)];
            std::iter::once(total.name.clone()).chain(cells).collect()
        });
        let head = ["type", "tensors", "elements", "bytes"].map(str::to_owned).to_vec();
        table(&std::iter::once(head).chain(rows).collect::<Vec<_>>(), &[false, true, true, true])
    }

    fn json(&self) -> Value {
        let types: Vec<_> = self
            .types
            .iter()
            .map(|total| {
                json!({
                    "type": total.name,
                    "tensors": total.n_tensors,
                    "elements": total.n_elements,
                    "bytes": total.n_bytes,
                })
            })
            .collect();
        json!({
            "parameters": self.n_elements(),
            "tensor_bytes": self.n_bytes(),
            "bits_per_weight": self.bits_per_weight(),
            "types": types,
        })
    }
}

/// Rows as lines with aligned columns, two spaces in; `right[i]` aligns column `i` to the right. Each
/// row is one line, whatever its cells quote from files.
fn table(rows: &[Vec<String>], right: &[bool]) -> String {
    let one_line = |row: &Vec<String>| row.iter().map(|cell| printable::line(cell).into_owned()).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(one_line).collect();
    let width =
        |column: usize| rows.iter().map(|row: &Vec<String>| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..right.len()).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for ((cell, &width), &right) in row.iter().zip(&widths).zip(right) {
            let cell = if right { format!("  {cell:>width$}") } else { format!("  {cell:<width$}") };
            line.push_str(&cell);
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_group_by_type_and_weigh_bits() {
        let mut totals = Totals::default();
        totals.add("Q4_K", 256, 144);
        totals.add("F32", 256, 1024);
        totals.add("Q4_K", 256, 144);
        assert_eq!(totals.types.len(), 2);
        assert_eq!((totals.types[0].n_tensors, totals.types[0].n_bytes), (2, 288));
        assert_eq!(totals.bits_per_weight(), Some(1312.0 * 8.0 / 768.0));
        assert_eq!(Totals::default().bits_per_weight(), None);
    }

    #[test]
    fn columns_are_aligned() {
        let rows = [["a", "1"], ["two\n", "23"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, &[false, true]), "  a       1\n  two\\n  23\n");
    }
}
