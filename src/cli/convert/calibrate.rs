//! Calibrates before a conversion: reads the texts, and finds or makes the file whose layers are run.

use std::path::{Path, PathBuf};

use super::args::Args;
use crate::cli::output::warn_beyond_training;
use crate::cli::reading::Reader;
use crate::convert::calibrate::{CalibrateOptions, Calibrated, Folding, calibrate, folder_of};
use crate::convert::{FileType, Plan, Progress, RunOptions, cached_in};
use crate::error::{Error, Result};
use crate::gguf::parts;
use crate::model::SingleLayers;
use crate::printable::plural;
use crate::tokenizer::Tokenizer;

/// What calibrating made.
pub(super) struct Ready {
    pub(super) calibrated: Calibrated,
    /// With what it was done.
    pub(super) what: String,
    folder: PathBuf,
    /// A file that was made for it.
    made: Option<PathBuf>,
}

impl Ready {
    /// Removes what was kept to go on from.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub(super) fn remove(self) -> Result<()> {
        Folding::forget(&self.folder)?;
        if let Some(path) = self.made {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, "cannot remove", e))?;
        }
        self.calibrated.remove()
    }
}

/// Calibrates what `plan` quantises for the file at `output`; the plan is of the folded model afterwards, if it is to be.
///
/// # Errors
/// As [`calibrate`], and what reading the texts gives.
pub(super) fn run(
    args: &Args,
    plan: &mut Plan<'_>,
    output: &Path,
    run_options: &RunOptions,
    progress: &dyn Progress,
) -> Result<Ready> {
    // Told before a file is made for it.
    SingleLayers::check(&args.input, plan.spec())?;
    let folder = folder_of(output);
    let reference = reference(args, plan, &folder, run_options, progress)?;
    let made = (reference != args.input).then(|| reference.clone());
    let ready = with_reference(args, plan, (&reference, &folder), (run_options, progress));
    if let Err(Error::Usage { .. } | Error::Malformed { .. } | Error::Unsupported { .. }) = &ready {
        // Another run of the same would end likewise: nothing is kept for it. The folder stays if it holds layers.
        let _ = made.as_ref().map(std::fs::remove_file);
        let _ = Folding::forget(&folder);
        let _ = std::fs::remove_dir(&folder);
    }
    let (calibrated, what) = ready?;
    Ok(Ready { calibrated, what, folder, made })
}

/// Calibrates with the layers of `reference`, folded if they are to be; also says with what.
fn with_reference(
    args: &Args,
    plan: &mut Plan<'_>,
    (reference, folder): (&Path, &Path),
    (run_options, progress): (&RunOptions, &dyn Progress),
) -> Result<(Calibrated, String)> {
    let (texts, n_ctx) = (texts(args, reference)?, args.calibrate.ctx);
    warn_beyond_training(n_ctx, plan.spec().n_ctx_train);
    let mut what = format!("calibrated with {} of {n_ctx} tokens", plural(texts.len(), "chunk"));
    let options = CalibrateOptions {
        reference,
        texts: &texts,
        is_nearest: args.calibrate.nearest_codes,
        folder,
        n_threads: run_options.n_threads,
        kernels: run_options.kernels,
    };
    if !args.calibrate.fold {
        Folding::forget(folder)?;
        return Ok((calibrate(plan, &options, progress)?, what));
    }
    let folding = Folding::find(plan, &options, progress)?;
    let (n, left) = folding.won();
    let of = plural(folding.n_tried, "place");
    what += &format!(", {n} of {of} folded with {:.0} % of the nearest codes' error there", 100.0 * left);
    plan.fold(&folding);
    let folded = folding.write(reference, folder, run_options, progress)?;
    Ok((calibrate(plan, &CalibrateOptions { reference: &folded, ..options }, progress)?, what))
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

/// The chunks of all texts, or of the program's own if there are none.
fn texts(args: &Args, reference: &Path) -> Result<Vec<Vec<u32>>> {
    let file = parts::open_whole(reference)?;
    let tokenizer = Tokenizer::from_metadata(file.metadata())?;
    let (n_ctx, max_chunks) = (args.calibrate.ctx, args.calibrate.chunks);
    let reader = Reader { tokenizer: &tokenizer, n_ctx, max_chunks };
    let texts = match args.calibrate.texts.as_deref().unwrap_or_default() {
        [] => vec![reader.own()?],
        paths => paths.iter().map(|path| reader.read(path)).collect::<Result<_>>().map_err(|e: Error| {
            e.with_option_called("--ctx", "--calibration-ctx")
                .with_option_called("--chunks", "--calibration-chunks")
        })?,
    };
    Ok(texts.iter().flat_map(|text| (0..text.n_chunks()).map(|i| text.chunk(i))).collect())
}
