//! Models of the Hugging Face Hub by name: `hf:ORG/NAME`, `hf:ORG/NAME@REVISION`, `hf:ORG/NAME:FILE`.
//!
//! - [`name`]: takes such a name apart;
//! - [`settings`]: what the environment says;
//! - `listing`: asks the hub what a revision holds;
//! - `choice`: decides which of its files are needed;
//! - `client`: HTTP;
//! - `download`: fetches one file, resumes it after a cut, and checks it against the hub's hash;
//! - `look`: reads weights where they are, without a copy;
//! - `cache`: the folder of a repository.
//!
//! The cache is laid out as that of Python's huggingface_hub, so that neither program downloads what the other has:
//!
//! ```text
//! models--ORG--NAME/refs/main                    the commit that main was
//! models--ORG--NAME/snapshots/COMMIT/config.json a link to
//! models--ORG--NAME/blobs/HASH                   the content
//! models--ORG--NAME/blobs/HASH.incomplete        what has come of one so far
//! ```

mod cache;
mod choice;
mod client;
mod download;
mod listing;
pub mod name;
mod remote;
pub mod settings;

use std::path::PathBuf;

use crate::error::{Error, Result};
use cache::Repository;
use choice::Choice;
use client::Client;
use listing::Listing;
pub use name::HubName;
pub use remote::{Purpose, RemoteCheckpoint};
pub use settings::Settings;

/// What a name is to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A checkpoint or, where the name says so or there is nothing else, a GGUF file.
    Model,
    /// A PEFT adapter.
    Adapter,
}

/// Follows downloads.
pub trait Watch {
    /// `total` bytes are to come, of which `there` are there.
    fn begin(&self, total: u64, there: u64);
    /// So many bytes of all files are there.
    fn reached(&self, n_bytes: u64);
    /// Something happened that is worth a line.
    fn tell(&self, what: &str);
    /// Whether to stop.
    fn is_cancelled(&self) -> bool;
}

/// The files of `name`, which are downloaded unless they are there: the folder of a checkpoint or an adapter, or the
/// path of a GGUF file (of the first part of several).
///
/// Where the hub cannot be reached, and in offline mode, that is what was downloaded before, if it is complete.
///
/// # Errors
/// [`Error::Io`] naming the address if the hub cannot be reached or refuses, and what to do; [`Error::Usage`] if the
/// repository holds nothing that serves, or several; [`Error::Malformed`] for content that is not what the hub named;
/// [`Error::Limit`] if the disk has too little room; [`Error::Interrupted`].
pub fn fetch(name: &HubName, wanted: Wanted, settings: &Settings, watch: &dyn Watch) -> Result<PathBuf> {
    let repository = Repository::new(&settings.cache, name);
    if settings.is_offline {
        return repository.what_is_there(name, wanted)?.ok_or_else(|| {
            Error::usage(format!(
                "{name} is not complete in {}, and HF_HUB_OFFLINE forbids to download it; unset that, or give a path",
                settings.cache.display()
            ))
        });
    }
    let client = Client::new(settings)?;
    let listing = match Listing::ask(&client, name, watch) {
        Ok(listing) => listing,
        Err(client::Failure::Unreachable(error)) => {
            return match repository.what_is_there(name, wanted)? {
                Some(path) => {
                    watch.tell(&format!("{error}; the copy from the last time is used"));
                    Ok(path)
                }
                None => Err(error),
            };
        }
        Err(client::Failure::Refused(error)) => return Err(error),
    };
    let names = listing.names();
    let choice = Choice::new(name, wanted, &names)?;
    let fetcher = download::Fetcher::new(&client, &repository, name, &listing, watch);
    fetcher.fetch(choice.first())?;
    let snapshot = repository.snapshot(&listing.commit);
    fetcher.fetch(&choice.rest(&names, &snapshot)?)?;
    repository.remember(name.revision(), &listing.commit)?;
    Ok(choice.path_in(&snapshot))
}
