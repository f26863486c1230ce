//! Shows what an importance matrix holds.

use std::fmt::Write;
use std::path::PathBuf;

use serde_json::json;

use crate::cli::output::{show, show_json};
use crate::error::Result;
use crate::printable;
use crate::printable::plural;
use crate::quantize::{Entry, ImportanceMatrix};

/// Show an importance matrix: for each tensor the rows that it saw, and how unevenly its columns matter.
#[derive(clap::Args, Debug)]
pub(in super::super) struct Args {
    /// The importance matrix, of either format
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// What is told of an entry.
struct Facts {
    n_rows: u64,
    n_unseen: usize,
    n_matrices: usize,
    n_in: usize,
    /// The mean of the squares of all columns.
    mean: f64,
    /// The share of the heaviest hundredth of the columns.
    top_share: f64,
}

impl Facts {
    fn of(entry: &Entry) -> Self {
        let (n_unseen, n_matrices) = entry.n_unseen();
        let mut columns: Vec<f64> = entry.squares.clone();
        columns.sort_by(|a, b| b.total_cmp(a));
        let (n, n_rows) = (columns.len(), entry.counts.iter().sum::<u64>());
        let total: f64 = columns.iter().sum();
        let top: f64 = columns[..n.div_ceil(100)].iter().sum();
        let n_in = n / n_matrices;
        Self {
            n_rows,
            n_unseen,
            n_matrices,
            n_in,
            mean: total / (n_in as f64 * n_rows.max(1) as f64),
            top_share: if total > 0.0 { top / total } else { 0.0 },
        }
    }
}

/// Shows as `args` say.
///
/// # Errors
/// Any.
pub(super) fn run(args: &Args) -> Result<()> {
    let matrix = ImportanceMatrix::open(&args.file)?;
    let facts: Vec<(&String, Facts)> =
        matrix.entries.iter().map(|(name, entry)| (name, Facts::of(entry))).collect();
    if args.json {
        let entries: Vec<_> = facts
            .iter()
            .map(|(name, facts)| {
                json!({
                    "name": name, "rows": facts.n_rows, "matrices": facts.n_matrices, "unseen": facts.n_unseen,
                    "columns": facts.n_in, "mean_square": facts.mean, "top_percent_share": facts.top_share,
                })
            })
            .collect();
        return show_json(&json!({
            "file": args.file.to_string_lossy(),
            "datasets": matrix.datasets,
            "chunks": matrix.n_chunks(),
            "chunk_tokens": matrix.chunk_len,
            "entries": entries,
        }));
    }
    let width = facts.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max("tensor".len());
    let mut text =
        format!("{:width$}  {:>9}  {:>7}  mean square  top 1 %  unseen\n", "tensor", "rows", "columns");
    for (name, facts) in &facts {
        let unseen = if facts.n_matrices > 1 {
            format!("{} of {}", facts.n_unseen, facts.n_matrices)
        } else {
            String::new()
        };
        let (name, share) = (printable::line(name), facts.top_share * 100.0);
        let line = format!(
            "{name:width$}  {:>9}  {:>7}  {:>11.4e}  {share:>5.1} %  {unseen}",
            facts.n_rows, facts.n_in, facts.mean
        );
        writeln!(text, "{}", line.trim_end()).expect("a string takes everything");
    }
    let names: Vec<_> = matrix.datasets.iter().map(|name| printable::line(name)).collect();
    let from = if names.is_empty() { String::new() } else { format!(" of {}", names.join(", ")) };
    let (n, chunks) = (plural(facts.len(), "tensor"), plural(matrix.n_chunks() as usize, "chunk"));
    writeln!(text, "\n{n}, {chunks} of {} tokens{from}", matrix.chunk_len)
        .expect("a string takes everything");
    show(&text)
}
