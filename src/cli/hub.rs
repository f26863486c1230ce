//! Models that are named by their repository on the hub.

use std::path::{Path, PathBuf};

use super::convert::progress::Bar;
use super::interrupt::Busy;
use crate::error::{Error, Result};
use crate::hub::{HubName, RemoteCheckpoint, Settings, Wanted, fetch};

/// The path of what `input` names: itself, or where `hf:ORG/NAME` lies once it is downloaded. Unless `quiet`, shows
/// progress.
///
/// # Errors
/// As [`fetch`]; those of the name and of the environment.
pub(super) fn local(input: &Path, wanted: Wanted, quiet: bool) -> Result<PathBuf> {
    let Some(name) = HubName::of(input)? else {
        return match HubName::meant_by(input).filter(|_| !input.exists()) {
            Some(name) => Err(Error::usage(format!(
                "there is no file or folder {}; a model of the Hugging Face Hub is named as in {name}",
                input.display()
            ))),
            None => Ok(input.to_owned()),
        };
    };
    let settings = Settings::from_env()?;
    let busy = Busy::begin();
    let bar = Bar::new(quiet, busy.stop());
    let fetched = fetch(&name, wanted, &settings, &bar);
    bar.clear();
    fetched
}

/// A look at the checkpoint that `input` names, whose weights stay on the hub; `None` for a path, and where there is nothing
/// to look at or everything is here.
///
/// # Errors
/// As [`local`].
pub(super) fn look(input: &Path, quiet: bool) -> Result<Option<RemoteCheckpoint>> {
    let Some(name) = HubName::of(input)? else { return Ok(None) };
    let settings = Settings::from_env()?;
    let busy = Busy::begin();
    let bar = Bar::new(quiet, busy.stop());
    let look = RemoteCheckpoint::at(&name, &settings, &bar);
    bar.clear();
    look
}
