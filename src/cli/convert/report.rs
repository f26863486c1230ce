//! What `gguf-convert` prints: the plan of a dry run, the summary of a real one, and both as JSON.

use std::borrow::Cow;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::output::{self, percent};
use crate::convert::proof::Proved;
use crate::convert::summary::Calibration;
use crate::convert::{Plan, Summary};
use crate::printable;
use crate::quantize::ErrorStats;

/// Tensors named in the summary.
const N_WORST: usize = 3;

/// The plan as a table, with totals.
pub(super) fn plan_table(plan: &Plan<'_>, path: &Path) -> String {
    let rows: Vec<[String; 5]> = plan
        .tensors()
        .map(|tensor| {
            let ty = match tensor.instead_of {
                Some(wanted) => format!("{} (rows do not fit {wanted})", tensor.ty),
                None => tensor.ty.to_string(),
            };
            [
                printable::line(tensor.name).into_owned(),
                format!("{:?}", tensor.shape),
                tensor.source_type.to_string(),
                output::count(tensor.n_bytes),
                ty,
            ]
        })
        .collect();
    let header = ["tensor", "shape", "from", "bytes", "to"].map(str::to_owned);
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let [name, shape, from, bytes] = [0, 1, 2, 3].map(width);
    let mut text = String::new();
    for [a, b, c, d, e] in std::iter::once(&header).chain(&rows) {
        writeln!(text, "{a:name$}  {b:>shape$}  {c:from$}  {d:>bytes$}  {e}")
            .expect("a string takes everything");
    }
    let (n, parameters) = (plan.tensors().len(), output::count(plan.n_parameters()));
    let (total, bits) = (output::bytes(plan.file_bytes()), plan.bits_per_weight());
    let (model, ty) = (printable::line(plan.name()), plan.file_type());
    let path = files_text(&plan.paths(path));
    writeln!(text, "\n{model} as {ty}: {n} tensors, {parameters} weights, {bits:.3} bits per weight")
        .expect("a string");
    writeln!(text, "{total} would be written to {path}").expect("a string");
    text
}

/// The plan as JSON.
pub(super) fn plan_json(plan: &Plan<'_>, path: &Path) -> Value {
    let tensors: Vec<Value> = plan
        .tensors()
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "shape": tensor.shape,
                "source_type": tensor.source_type,
                "type": tensor.ty.name(),
                "instead_of": tensor.instead_of.map(|ty| ty.name()),
                "bytes": tensor.n_bytes,
            })
        })
        .collect();
    json!({
        "model": plan.name(),
        "type": plan.file_type().name(),
        "output": plan.paths(path)[0].to_string_lossy(),
        "bytes": plan.file_bytes(),
        "parameters": plan.n_parameters(),
        "bits_per_weight": plan.bits_per_weight(),
        "warnings": plan.warnings(),
        "tensors": tensors,
    })
}

/// What was done, in three lines.
pub(super) fn summary_text(summary: &Summary) -> String {
    let (path, ty) = (files_text(&summary.paths), summary.file_type);
    let (bytes, bits) = (output::bytes(summary.file_bytes), summary.bits_per_weight);
    let seconds = summary.duration.as_secs_f64();
    let mut text = format!("{path}: {ty}, {bytes}, {bits:.3} bits per weight, {seconds:.1} s\n");
    if summary.n_resumed_bytes > 0 {
        let found = output::bytes(summary.n_resumed_bytes);
        writeln!(text, "went on where an earlier run was: {found} of the input were converted")
            .expect("a string");
    }
    let worst: Vec<String> = summary
        .worst(N_WORST)
        .iter()
        .map(|tensor| {
            format!(
                "{} ({}) {}",
                printable::line(&tensor.name),
                tensor.ty,
                percent(tensor.error.relative_rmse())
            )
        })
        .collect();
    text.extend(summary.calibration.as_ref().map(calibration_text));
    if worst.is_empty() {
        let of_source = summary.source_error.map(|error| {
            format!("; the input's own codes had cost about {} of the weights' RMS", percent(error))
        });
        writeln!(text, "deviation: none, every weight is kept exactly{}", of_source.unwrap_or_default())
            .expect("a string takes everything");
    } else {
        let total = percent(summary.error().relative_rmse());
        let against = match summary.source_error {
            Some(error) => format!(" (beside about {} that the input's own codes had cost)", percent(error)),
            None if summary.is_requantised => " (beside what the input had lost before)".to_owned(),
            None => String::new(),
        };
        writeln!(text, "deviation: {total} of the weights' RMS{against}; largest in {}", worst.join(", "))
            .expect("a string");
    }
    text.extend(proof_text(summary));
    text
}

/// What was read back of the file, by type.
fn proof_text(summary: &Summary) -> Option<String> {
    let proof = summary.proof.as_ref()?;
    let mut types: Vec<(Cow<'_, str>, usize, ErrorStats, ErrorStats)> = Vec::new();
    for (tensor, Proved { measured, .. }) in summary.tensors.iter().zip(proof) {
        let name = tensor.ty.name();
        let place = types.iter().position(|known| known.0 == name).unwrap_or_else(|| {
            types.push((name, 0, ErrorStats::default(), ErrorStats::default()));
            types.len() - 1
        });
        let (_, n, found, told) = &mut types[place];
        *n += 1;
        found.merge(measured);
        told.merge(&tensor.error);
    }
    let mut text = String::from("read back from the disk, every tensor is what was encoded:\n");
    writeln!(text, "{:<8} {:>7}  {:>10}  {:>12}", "type", "tensors", "error", "when encoded")
        .expect("a string");
    for (name, n, found, told) in types {
        let [found, told] = [found, told].map(|stats| percent(stats.relative_rmse()));
        writeln!(text, "{name:<8} {n:>7}  {found:>10}  {told:>12}").expect("a string");
    }
    Some(text)
}

/// The file, or the first and the number of several.
fn files_text(paths: &[PathBuf]) -> String {
    let first = printable::path(&paths[0]);
    if paths.len() == 1 {
        first.to_string()
    } else {
        format!("{first} and the rest of {} parts", paths.len())
    }
}

/// Where the model card is.
pub(super) fn card_text(path: &Path) -> String {
    format!("{}: the model card\n", printable::path(path))
}

/// What was done, as JSON.
pub(super) fn summary_json(summary: &Summary) -> Value {
    let proved = |i: usize| summary.proof.as_ref().map(|proof| &proof[i]);
    let tensors: Vec<Value> = summary
        .tensors
        .iter()
        .enumerate()
        .map(|(i, tensor)| {
            json!({
                "name": tensor.name,
                "type": tensor.ty.name(),
                "bytes": tensor.n_bytes,
                "sha256": proved(i).map(|proved| &proved.sha256),
                "relative_rmse_read_back": proved(i).map(|proved| proved.measured.relative_rmse()),
                "relative_rmse": tensor.error.relative_rmse(),
                "max_error": tensor.error.max_error,
            })
        })
        .collect();
    json!({
        "file": summary.paths[0].to_string_lossy(),
        "files": summary.paths.iter().map(|path| path.to_string_lossy()).collect::<Vec<_>>(),
        "type": summary.file_type.name(),
        "bytes": summary.file_bytes,
        "bits_per_weight": summary.bits_per_weight,
        "seconds": summary.duration.as_secs_f64(),
        "resumed_bytes": summary.n_resumed_bytes,
        "relative_rmse": summary.error().relative_rmse(),
        "requantised": summary.is_requantised,
        "source_relative_rmse": summary.source_error,
        "calibration": summary.calibration.as_ref().map(calibration_json),
        "tensors": tensors,
    })
}

/// What calibrating won, as JSON.
fn calibration_json(Calibration { what, won }: &Calibration) -> Value {
    let tensors: Vec<Value> = won
        .iter()
        .map(|won| {
            json!({
                "name": won.name,
                "plain_output_error": won.plain,
                "output_error": won.chosen.min(won.plain),
                "kept": won.is_kept(),
                "tokens": won.n_tokens,
            })
        })
        .collect();
    json!({ "with": what, "tensors": tensors })
}

/// What calibrating won, in a line.
fn calibration_text(Calibration { what, won }: &Calibration) -> String {
    if won.is_empty() {
        return format!("{what}: no tensor is of a type that calibration chooses codes for\n");
    }
    let kept: Vec<_> = won.iter().filter(|won| won.is_kept()).collect();
    if kept.is_empty() {
        return format!("{what}: all of {} tensors have the nearest codes\n", won.len());
    }
    let logs: f64 = kept.iter().map(|won| (won.chosen / won.plain).ln()).sum();
    let ratio = (logs / kept.len() as f64).exp();
    format!(
        "{what}: {} of {} tensors have codes of their own, with {} of the output error of the nearest ones\n",
        kept.len(),
        won.len(),
        percent(ratio)
    )
}
