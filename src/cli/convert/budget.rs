//! Conversions to a size rather than to a type.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;

use crate::cli::output::{bytes, note};
use crate::cli::values::{count, file_bytes, memory_bytes};
use crate::convert::budget::{self, Size, memory_beside};
use crate::convert::{Overrides, Plan, PlanOptions, RunOptions, TokenizerDifferences};
use crate::error::{Error, Result};
use crate::new_file::{NewFile, target_of};
use crate::quantize::Sensitivity;

/// How large the file is to be.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "A size instead of a type")]
pub(super) struct BudgetArgs {
    /// Choose the type of each tensor so that the file takes at most SIZE, as in 4G or 3.5GiB
    #[arg(long, value_name = "SIZE", value_parser = file_bytes, group = "budget", conflicts_with = "file_types")]
    target_size: Option<u64>,
    /// Choose the type of each tensor so that a weight takes at most BITS on average
    #[arg(long, value_name = "BITS", value_parser = bits, group = "budget", conflicts_with = "file_types")]
    bpw: Option<f64>,
    /// Choose the type of each tensor so that the model runs in so much memory, as in 8G, with --ctx tokens
    #[arg(long, value_name = "SIZE", value_parser = memory_bytes, group = "budget", conflicts_with = "file_types")]
    fit: Option<u64>,
    /// Tokens of context that --fit leaves room for, keys and values in F16; 0 takes what the model was trained for
    #[arg(long = "ctx", value_name = "N", default_value_t = 4096, value_parser = count, requires = "fit", conflicts_with = "file_types")]
    fit_ctx: usize,
    /// What errors of each tensor cost, as gguf-run sensitivity measured it [default: what they usually cost]
    #[arg(long, value_name = "FILE", requires = "budget")]
    sensitivity: Option<PathBuf>,
    /// Write the types that were chosen to a file, for --tensor-type-file; with --dry-run as well
    #[arg(long, value_name = "FILE", requires = "budget")]
    save_types: Option<PathBuf>,
}

impl BudgetArgs {
    /// The file of a measurement.
    pub(super) fn sensitivity(&self) -> Option<&Path> {
        self.sensitivity.as_deref()
    }

    /// Whether a size is asked for.
    pub(super) fn is_given(&self) -> bool {
        self.target_size.is_some() || self.bpw.is_some() || self.fit.is_some()
    }

    /// The size asked for, of a model that `plan` is for, and what it is called in the name of a file.
    ///
    /// # Panics
    /// If none is.
    fn size(&self, plan: &Plan<'_>) -> Result<(Size, String)> {
        Ok(match (self.target_size, self.bpw, self.fit) {
            (Some(n), ..) => (Size::Bytes(n), format!("{n}B")),
            (_, Some(bits), _) => (Size::BitsPerWeight(bits), format!("{bits}bpw")),
            (.., Some(memory)) => (self.size_within(memory, plan)?, format!("fit-{memory}B")),
            _ => unreachable!("a size was asked for"),
        })
    }

    /// What the memory leaves for weights.
    fn size_within(&self, memory: u64, plan: &Plan<'_>) -> Result<Size> {
        let n_ctx = if self.fit_ctx == 0 { plan.spec().n_ctx_train } else { self.fit_ctx };
        let beside = memory_beside(plan.spec(), n_ctx)?;
        memory.checked_sub(beside).map(Size::Bytes).ok_or_else(|| {
            Error::usage(format!(
                "beside its weights this model takes about {} for {} tokens of context; give --fit more, or a shorter \
                 --ctx",
                bytes(beside),
                n_ctx
            ))
        })
    }

    /// The options of a plan of the size asked for, if one was; `plan` makes plans.
    ///
    /// # Errors
    /// As [`budget::fit`] and [`Sensitivity::open`]; [`Error::Usage`] or [`Error::Io`] if the types cannot be
    /// saved.
    pub(super) fn fitted<'a>(
        &self,
        plan: impl Fn(&PlanOptions) -> Result<Plan<'a>>,
        options: &PlanOptions,
        run_options: &RunOptions,
        is_quiet: bool,
    ) -> Result<Option<PlanOptions>> {
        if !self.is_given() {
            return Ok(None);
        }
        let sensitivity = self.sensitivity.as_deref().map(Sensitivity::open).transpose()?;
        let types = self.save_types.as_deref().map(|path| Ok::<_, Error>((path, free_types(path)?)));
        let types = types.transpose()?;
        let spinner = if is_quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
        spinner.set_message("choosing types");
        spinner.enable_steady_tick(Duration::from_millis(200));
        // To choose types nothing has to be proven of the tokenizer.
        let trial = PlanOptions { tokenizer_differences: TokenizerDifferences::Unchecked, ..options.clone() };
        let fitted = plan(&trial).and_then(|plan| {
            let (size, label) = self.size(&plan)?;
            let what = (&options.overrides, options.is_calibrated);
            let allocation = budget::fit(&plan, what, size, sensitivity.as_ref(), run_options)?;
            Ok((label, allocation))
        });
        spinner.finish_and_clear();
        let (label, allocation) = fitted?;
        if let Some((path, target)) = types {
            NewFile::write(target, path, allocation.lines().as_bytes(), false)?;
        }
        if let Some(divergence) = allocation.divergence.filter(|_| !is_quiet) {
            note(format_args!("the types are expected to move predictions by {divergence:.4} nats"));
        }
        let rules = options.overrides.tensors.iter().cloned().chain(allocation.overrides());
        let overrides = Overrides { tensors: rules.collect(), ..options.overrides.clone() };
        Ok(Some(PlanOptions {
            overrides,
            file_type: allocation.file_type,
            label: Some(label),
            ..options.clone()
        }))
    }
}

/// Where types are written: not over another file.
fn free_types(path: &Path) -> Result<PathBuf> {
    let target = target_of(path, "types.txt")?;
    if path.exists() {
        return Err(Error::usage(format!("{} exists; give --save-types another name", path.display())));
    }
    Ok(target)
}

fn bits(text: &str) -> Result<f64, String> {
    let bits: Option<f64> = text.parse().ok().filter(|bits| (0.1..=32.0).contains(bits));
    bits.ok_or_else(|| "bits per weight are needed, 0.1 to 32, as in 4.6".into())
}
