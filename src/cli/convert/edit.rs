//! `gguf-convert edit`: changes the metadata of a GGUF file and leaves its weights.

use std::path::{Path, PathBuf};

use super::key_args::KeyArgs;
use crate::chat::{SpecialTokens, Template};
use crate::cli::output::{note, show, warn};
use crate::convert::Setting;
use crate::error::{Error, Result};
use crate::gguf::edit::{self, Edit, Edited};
use crate::gguf::{GgufFile, parts};
use crate::model::{arch, check_tensors};
use crate::printable;
use crate::tokenizer::{Tokenizer, has_vocabulary};

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
    /// Replace an existing output file; change a model even if it cannot be used any more
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
    if args.dry_run && edit::is_cut_short(&args.file)? {
        let what = "an earlier edit was cut short, and is taken back by the next one; run without --dry-run";
        return Err(Error::malformed(&args.file, what));
    }
    if edit::recover(&args.file)? {
        note(format_args!("{}: took back an edit that was cut short", args.file.display()));
    }
    let file = GgufFile::open(&args.file)?;
    if let Some(first) = parts::first_of(&file)? {
        return Err(Error::usage(format!(
            "{} is a later part of a model in several files, whose metadata is read from the first; edit {first}",
            args.file.display()
        )));
    }
    let (mut pairs, mut notes) = (file.metadata().to_pairs(), Vec::new());
    changes.apply(&mut pairs, &mut notes)?;
    notes.iter().for_each(warn);
    let edit = Edit::new(&file, &pairs)?;
    if let Some(harm) = harm(&file, &edit) {
        let is_lost = args.output.is_none() && !args.force && !args.dry_run;
        let what = format!("the changed model could not be used: {harm}");
        if is_lost {
            return Err(Error::usage(format!(
                "{what}; -o writes another file, --force changes this one all the same"
            )));
        }
        warn(what);
    }
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

/// What would be wrong with a model after an edit and is not now.
fn harm(file: &GgufFile, edit: &Edit) -> Option<String> {
    let has_vocabulary = check_usable(file).ok()?;
    match edit.preview().and_then(|changed| check_usable(&changed)) {
        Ok(false) if has_vocabulary => Some("its vocabulary would be gone".to_owned()),
        Ok(_) => None,
        // Without a preview nothing is known.
        Err(e @ (Error::Io { .. } | Error::Limit { .. })) => {
            warn(format_args!("whether the changed model could be used is not checked: {e}"));
            None
        }
        // The path is that of the preview, also where advice names it.
        Err(Error::Malformed { path, what } | Error::Unsupported { path, what }) => {
            Some(what.replace(&*path.to_string_lossy(), &file.path().to_string_lossy()))
        }
        Err(e) => Some(e.to_string()),
    }
}

/// Checks that the header of a file is one of a model that this program has, with the tensors that it speaks of unless
/// other files have some of them. Returns whether it has a vocabulary.
///
/// # Errors
/// What using it would meet.
pub(super) fn check_usable(file: &GgufFile) -> Result<bool> {
    let metadata = file.metadata();
    let architecture = metadata.architecture()?;
    let family = arch::by_gguf_name(architecture)
        .ok_or_else(|| Error::unsupported(file.path(), arch::missing::architecture(architecture)))?;
    let spec = family.spec_of_file(metadata, &|name| Some(&file.tensor(name)?.shape))?;
    if !parts::is_part(file)? {
        check_tensors(file, architecture, &spec)?;
    }
    if !has_vocabulary(metadata) {
        return Ok(false);
    }
    let tokenizer = Tokenizer::from_metadata(metadata)?;
    if let Some(source) = tokenizer.chat_template() {
        Template::new(source, SpecialTokens::of(&tokenizer))?;
    }
    Ok(true)
}
