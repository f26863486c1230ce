//! Calibrates before a conversion: reads the texts, and finds or makes the file whose layers are run.

use std::path::{Path, PathBuf};

use super::args::Args;
use crate::cli::output::plural;
use crate::cli::run::input::read_text_trimmed;
use crate::convert::calibrate::{CalibrateOptions, Calibrated, calibrate, folder_of};
use crate::convert::{FileType, Plan, Progress, RunOptions, cached_in};
use crate::error::{Error, Result};
use crate::eval::Chunks;
use crate::gguf::parts;
use crate::model::SingleLayers;
use crate::tokenizer::Tokenizer;

/// What calibrating made.
pub(super) struct Ready {
    pub(super) calibrated: Calibrated,
    /// With what it was done.
    pub(super) what: String,
    /// A file that was made for it.
    made: Option<PathBuf>,
}

impl Ready {
    /// Removes what was kept to go on from.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn remove(self) -> Result<()> {
        if let Some(path) = self.made {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, "cannot remove", e))?;
        }
        self.calibrated.remove()
    }
}

/// Calibrates what `plan` quantises for the file at `output`.
///
/// # Errors
/// As [`calibrate`], and what reading the texts gives.
pub(super) fn run(
    args: &Args,
    plan: &Plan<'_>,
    output: &Path,
    run_options: &RunOptions,
    progress: &dyn Progress,
) -> Result<Ready> {
    // Told before a file is made for it.
    SingleLayers::check(&args.input, plan.spec())?;
    let folder = folder_of(output);
    let reference = reference(args, plan, &folder, run_options, progress)?;
    let made = (reference != args.input).then(|| reference.clone());
    let ready = with_reference(args, plan, (&reference, &folder), run_options, progress);
    if let (Some(made), Err(Error::Usage { .. } | Error::Malformed { .. } | Error::Unsupported { .. })) =
        (&made, &ready)
    {
        // Another run of the same would end likewise: nothing is kept for it. The folder stays if it holds layers.
        let _ = std::fs::remove_file(made);
        let _ = std::fs::remove_dir(&folder);
    }
    let (calibrated, what) = ready?;
    Ok(Ready { calibrated, what, made })
}

/// Calibrates with the layers of `reference`; also says with what.
fn with_reference(
    args: &Args,
    plan: &Plan<'_>,
    (reference, folder): (&Path, &Path),
    run_options: &RunOptions,
    progress: &dyn Progress,
) -> Result<(Calibrated, String)> {
    let (texts, n_ctx) = (texts(args, reference)?, args.calibrate.ctx);
    let what = format!("calibrated with {} of {n_ctx} tokens", plural(texts.len(), "chunk"));
    let options = CalibrateOptions {
        reference,
        texts: &texts,
        folder,
        n_threads: run_options.n_threads,
        kernels: run_options.kernels,
    };
    Ok((calibrate(plan, &options, progress)?, what))
}

/// The input as a GGUF file: itself, or what a checkpoint becomes without loss.
fn reference(
    args: &Args,
    plan: &Plan<'_>,
    folder: &Path,
    run_options: &RunOptions,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    if args.input.is_file() && plan.is_of_gguf() {
        return Ok(args.input.clone());
    }
    let types: Vec<&str> =
        plan.tensors().filter(|tensor| tensor.shape.len() > 1).map(|t| t.source_type).collect();
    let file_type = match types.first() {
        Some(&"BF16") if types.iter().all(|ty| *ty == "BF16") => FileType::BF16,
        Some(&"F16") if types.iter().all(|ty| *ty == "F16") => FileType::F16,
        _ => FileType::F32,
    };
    Ok(cached_in(folder, &args.input, file_type, run_options, progress)?.path)
}

/// The chunks of all texts.
fn texts(args: &Args, reference: &Path) -> Result<Vec<Vec<u32>>> {
    let file = parts::open_whole(reference)?;
    let tokenizer = Tokenizer::from_metadata(file.metadata())?;
    let first_token = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    let of = |name: &Path, text: &str| {
        let mut ids = tokenizer.encode(text, true, false)?;
        if tokenizer.adds_eos() {
            ids.pop();
        }
        let chunks = Chunks::new(ids, args.calibrate.ctx, args.calibrate.chunks, first_token);
        let chunks = chunks.map_err(|e| Error::usage(format!("{}: {e}", name.display())))?;
        Ok::<_, Error>((0..chunks.n_chunks()).map(|i| chunks.chunk(i)).collect::<Vec<_>>())
    };
    let files = args.calibrate.texts.as_deref().unwrap_or_default();
    let texts = files.iter().map(|path| of(path, &read_text_trimmed(path)?));
    Ok(texts.collect::<Result<Vec<_>>>()?.concat())
}
