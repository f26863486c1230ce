//! A look at a checkpoint of the hub without its weights: small files are downloaded, weights are read where they are, as
//! far as they are asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::Repository;
use super::choice::Choice;
use super::client::{Client, Subject, Trouble, escaped};
use super::download::Fetcher;
use super::listing::Listing;
use super::{HubName, Settings, Wanted, Watch};
use crate::checkpoint::{Checkpoint, WeightsAmong};
use crate::error::{Error, Result};
use crate::read_file::{Ranges, ReadFile};

/// Bytes that are asked for at once at least: headers and small tensors come together.
const BLOCK_BYTES: u64 = 1 << 20;

/// A checkpoint whose weights are not here.
pub struct Look {
    /// The folder of its small files.
    folder: PathBuf,
    weights: WeightsAmong,
    /// The weight files: where they are, and their bytes.
    files: BTreeMap<String, (String, u64)>,
    name: HubName,
    settings: Arc<Settings>,
}

impl Look {
    /// Asks for a checkpoint. `None` for what is not one, is here already, or cannot be asked for now:
    /// [`fetch`](super::fetch) says what that means.
    ///
    /// # Errors
    /// As there.
    pub fn at(name: &HubName, settings: &Arc<Settings>, watch: &dyn Watch) -> Result<Option<Self>> {
        let repository = Repository::new(&settings.cache, name);
        if settings.is_offline || repository.what_is_there(name, Wanted::Model)?.is_some() {
            return Ok(None);
        }
        let client = Client::new(settings)?;
        let Ok(listing) = Listing::ask(&client, name, watch) else { return Ok(None) };
        let names = listing.names();
        let choice = Choice::new(name, Wanted::Model, &names)?;
        let Some(weights) = choice.weights() else { return Ok(None) };
        Fetcher::new(&client, &repository, name, &listing, watch).fetch(choice.first())?;
        let folder = repository.snapshot(&listing.commit);
        let files = choice.rest(&names, &folder)?.into_iter().filter_map(|file| {
            let n_bytes = listing.file(&file)?.n_bytes;
            let (endpoint, commit) = (&settings.endpoint, &listing.commit);
            let (repository, path) = (escaped(name.repository(), true), escaped(&file, true));
            Some((file, (format!("{endpoint}/{repository}/resolve/{commit}/{path}"), n_bytes)))
        });
        let files = files.collect();
        Ok(Some(Self { folder, weights, files, name: name.clone(), settings: Arc::clone(settings) }))
    }

    /// The folder of its small files, which is called as that of the whole would be.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Opens the checkpoint, of whose weights the headers are read.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`fetch`](super::fetch).
    pub fn open(&self) -> Result<Checkpoint> {
        Checkpoint::open_elsewhere(&self.folder, &self.weights, &|path| {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            // Modules behind the model are small, and were downloaded.
            let Some((url, n_bytes)) = self.files.get(file).filter(|_| path.parent() == Some(&*self.folder))
            else {
                return ReadFile::open(path);
            };
            let there = There {
                settings: Arc::clone(&self.settings),
                name: self.name.clone(),
                file: file.to_owned(),
                url: url.clone(),
                n_bytes: *n_bytes,
                block: Mutex::default(),
            };
            Ok(ReadFile::elsewhere(path, *n_bytes, Box::new(there)))
        })
    }
}

impl fmt::Debug for Look {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Look").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A file of the hub.
struct There {
    settings: Arc<Settings>,
    name: HubName,
    file: String,
    url: String,
    n_bytes: u64,
    /// Bytes that came last, and where they begin.
    block: Mutex<(u64, Vec<u8>)>,
}

impl fmt::Debug for There {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Ranges for There {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let n = out.len() as u64;
        let mut block = self.block.lock().unwrap_or_else(PoisonError::into_inner);
        let is_there =
            |(start, bytes): &(u64, Vec<u8>)| offset >= *start && offset + n <= start + bytes.len() as u64;
        if !is_there(&block) {
            let end = offset.saturating_add(n.max(BLOCK_BYTES)).min(self.n_bytes);
            *block = (offset, self.ask(offset, (end - offset) as usize)?);
        }
        let at = (offset - block.0) as usize;
        out.copy_from_slice(&block.1[at..at + out.len()]);
        Ok(())
    }
}

impl There {
    /// Bytes `first..first + n`.
    fn ask(&self, first: u64, n: usize) -> Result<Vec<u8>> {
        let client = Client::new(&self.settings)?;
        let subject = Subject { url: &self.url, name: &self.name, file: Some(&self.file) };
        let bytes =
            client.persist(&self.url, &Unwatched, || (false, self.ask_once(&client, &subject, first, n)));
        Ok(bytes?)
    }

    fn ask_once(
        &self,
        client: &Client<'_>,
        subject: &Subject<'_>,
        first: u64,
        n: usize,
    ) -> Result<Vec<u8>, Trouble> {
        let mut answer = client.get(&self.url, first, subject, &Unwatched)?;
        if first > 0 && answer.status != 206 {
            let what = "the server sends no parts of files, so that weights cannot be looked at where they are; convert without \
                        --dry-run, which downloads them";
            return Err(Error::io(&self.url, "cannot read", std::io::Error::other(what)).into());
        }
        let mut bytes = Vec::with_capacity(n);
        while bytes.len() < n {
            match answer.next(&Unwatched)? {
                Some(more) => bytes.extend(more),
                None => {
                    let what = format!("the answer ends after {} of {n} bytes", bytes.len());
                    return Err(Trouble::passing(what));
                }
            }
        }
        bytes.truncate(n);
        Ok(bytes)
    }
}

/// Shows no progress and cannot be cancelled: a request takes moments.
struct Unwatched;

impl Watch for Unwatched {
    fn begin(&self, _: u64, _: u64) {}
    fn reached(&self, _: u64) {}
    fn tell(&self, _: &str) {}
    fn is_cancelled(&self) -> bool {
        false
    }
}
