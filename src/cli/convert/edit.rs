//! `gguf-convert edit`: changes the metadata of a GGUF file and leaves its weights.

use std::path::{Path, PathBuf};

use super::key_args::KeyArgs;
use crate::cli::output::{note, show, warn};
use crate::convert::Setting;
use crate::error::{Error, Result};
use crate::gguf::GgufFile;
use crate::gguf::edit::{self, Edit, Edited};
use crate::printable;

/// Change the metadata of a GGUF file: its chat template, its name, any key.
///
/// The weights stay where they are, of whatever type. A change that fits into the header is made in place and
/// takes no time; another one writes the file anew, which takes the place of the old one when it is complete.
/// A crash loses nothing: the next edit finds what is left of the last one and takes it back. The file must not be
/// in use meanwhile.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// The GGUF file
    file: PathBuf,
    #[command(flatten)]
    keys: KeyArgs,
    /// The model's name: general.name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Write the changed file here and leave the old one
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace an existing output file
    #[arg(short, long)]
    force: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  gguf-convert edit model.gguf --override-kv tokenizer.chat_template=file:template.jinja
  gguf-convert edit model.gguf --override-kv tokenizer.ggml.add_bos_token=bool:false
  gguf-convert edit model.gguf --remove-kv general.tags -o other.gguf";

/// Runs the subcommand.
///
/// # Errors
/// Any.
pub(super) fn run(args: &Args) -> Result<()> {
    let mut changes = args.keys.changes();
    changes.set.extend(args.name.iter().map(|name| Setting::text("general.name", name)));
    if changes.is_empty() {
        return Err(Error::usage("there is nothing to change; give --override-kv, --remove-kv or --name"));
    }
    if edit::recover(&args.file)? {
        note(format_args!("{}: took back an edit that was cut short", args.file.display()));
    }
    let file = GgufFile::open(&args.file)?;
    let (mut pairs, mut notes) = (file.metadata().to_pairs(), Vec::new());
    changes.apply(&mut pairs, &mut notes)?;
    notes.iter().for_each(warn);
    let edit = Edit::new(&file, &pairs)?;
    // What is mapped must not change.
    drop(file);
    let said = |path: &Path, what: &str| {
        if args.quiet { Ok(()) } else { show(&format!("{}: {what}\n", printable::path(path))) }
    };
    let target = args.output.as_deref().unwrap_or(&args.file);
    match (args.dry_run, &args.output) {
        (true, None) if edit.is_in_place() => said(target, "would be changed in place"),
        (true, _) => said(target, "would be written anew"),
        (false, Some(output)) => {
            edit.write_beside(output, args.force)?;
            said(output, "written")
        }
        (false, None) => match edit.apply()? {
            Edited::InPlace => said(target, "changed in place"),
            Edited::Rewritten => said(target, "written anew"),
        },
    }
}
