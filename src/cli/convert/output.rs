//! Where conversions write.

use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use super::args::Args;
use crate::convert::Plan;
use crate::error::{Error, Result};

/// What stands for the type in a name.
const TYPE: &str = "{type}";

/// The path of the file that `plan` makes: what `-o` says, or there the default name if that is a folder.
///
/// # Errors
/// [`Error::Usage`] if several types would have one name.
pub(super) fn path_of(args: &Args, plan: &Plan<'_>) -> Result<PathBuf> {
    let Some(output) = &args.output else {
        return Ok(PathBuf::from(plan.default_file_name()));
    };
    if is_folder(output) {
        return Ok(output.join(plan.default_file_name()));
    }
    let name = output.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    if name.contains(TYPE) {
        return Ok(output.with_file_name(name.replace(TYPE, plan.file_type().name())));
    }
    if args.file_types.len() > 1 {
        return Err(Error::usage(format!(
            "-o {} is one name for {} files; put {TYPE} into it, as in model-{TYPE}.gguf, or name a folder",
            output.display(),
            args.file_types.len()
        )));
    }
    Ok(output.clone())
}

/// Whether a path is a folder, or written as one.
fn is_folder(path: &Path) -> bool {
    path.is_dir() || path.to_string_lossy().ends_with(['/', MAIN_SEPARATOR])
}
