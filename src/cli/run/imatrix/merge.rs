//! Adds importance matrices together, and brings them from one format to the other.

use std::path::{Path, PathBuf};

use crate::cli::output::show;
use crate::error::{Error, Result};
use crate::new_file::target_of_kind;
use crate::printable;
use crate::printable::plural;
use crate::quantize::{Format, ImportanceMatrix};

/// Where an importance matrix is written.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct FormatArgs {
    /// The importance matrix to write
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(super) path: PathBuf,
    /// Its format [default: dat if FILE ends so, else gguf]
    #[arg(long, value_name = "FORMAT", value_enum)]
    format: Option<FormatName>,
    /// Replace an existing file
    #[arg(long)]
    force: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum FormatName {
    /// GGUF, with counts of every expert
    Gguf,
    /// What llama.cpp wrote until 2025
    Dat,
}

impl FormatArgs {
    /// Tells before hours are spent whether there is a file that is not to be replaced: any but an importance matrix.
    ///
    /// # Errors
    /// [`Error::Usage`] if so.
    pub(super) fn check(&self) -> Result<()> {
        let is_one = |path: &Path| ImportanceMatrix::open(path).is_ok();
        target_of_kind(&self.path, "imatrix.gguf", self.force, "an importance matrix", is_one).map(drop)
    }

    /// Writes `matrix`.
    ///
    /// # Errors
    /// As [`ImportanceMatrix::write`].
    pub(super) fn write(&self, matrix: &ImportanceMatrix) -> Result<()> {
        let format = match self.format {
            Some(FormatName::Gguf) => Format::Gguf,
            Some(FormatName::Dat) => Format::Legacy,
            None => Format::of_name(&self.path),
        };
        matrix.write(&self.path, format, self.force)
    }
}

/// Add importance matrices of one model together, or bring one into the other format.
#[derive(clap::Args, Debug)]
pub(in super::super) struct Args {
    /// Importance matrices, of either format
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    output: FormatArgs,
}

/// Merges as `args` say.
///
/// # Errors
/// Any.
pub(super) fn run(args: &Args) -> Result<()> {
    args.output.check()?;
    let mut merged = ImportanceMatrix::default();
    for path in &args.files {
        let matrix = ImportanceMatrix::open(path)?;
        merged.merge(&matrix).map_err(|e| Error::usage(format!("{}: {e}", path.display())))?;
    }
    args.output.write(&merged)?;
    let (path, n) = (printable::path(&args.output.path), plural(merged.entries.len(), "tensor"));
    show(&format!("{path}: {n} of {}\n", plural(args.files.len(), "file")))
}
