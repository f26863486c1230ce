//! A checkpoint of the hub whose weights stay there: small files are downloaded, weights are read where they are, as far
//! as they are asked for. Of weights that are streamed the length is checked and no hash, which is of whole files.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::Repository;
use super::choice::Choice;
use super::client::{Answer, Client, Subject, Trouble, escaped};
use super::download::Fetcher;
use super::listing::Listing;
use super::{HubName, Settings, Wanted, Watch};
use crate::checkpoint::{Checkpoint, WeightsAmong};
use crate::error::{Error, Result};
use crate::read_file::{ReadFile, RemoteRead};

/// Bytes that are kept of what was read: threads that read together are not far from each other.
const KEPT_BYTES: u64 = 16 << 20;

/// Files of which bytes and a connection are kept while all are read: a matrix of experts may be spread over a few.
const MOST_STREAMED: usize = 8;

/// Bytes that are read and passed over rather than asked for past them.
const SKIPPED_BYTES: u64 = 1 << 20;

/// What a checkpoint is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To see what there is: weights are not compared or looked through, as that takes long.
    Look,
    /// To read all of it.
    Stream,
}

/// A checkpoint whose weights are not here.
pub struct RemoteCheckpoint {
    /// The folder of its small files.
    folder: PathBuf,
    weights: WeightsAmong,
    /// The weight files: where they are, and their bytes.
    files: BTreeMap<String, (String, u64)>,
    name: HubName,
    client: Arc<Client>,
}

impl RemoteCheckpoint {
    /// Asks for a checkpoint. `None` for what is not one, is here already, or cannot be asked for now:
    /// [`fetch`](super::fetch) says what that means.
    ///
    /// # Errors
    /// As there.
    pub fn at(name: &HubName, settings: &Settings, watch: &dyn Watch) -> Result<Option<Self>> {
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
        Ok(Some(Self { folder, weights, files, name: name.clone(), client: Arc::new(client) }))
    }

    /// The folder of its small files, which is called as that of the whole would be.
    pub fn folder(&self) -> &std::path::Path {
        &self.folder
    }

    /// Opens the checkpoint, of whose weights the headers are read at once. Reading ends with
    /// [`Error::Interrupted`] once `stop` is true.
    ///
    /// # Errors
    /// As [`Checkpoint::open`] and [`fetch`](super::fetch).
    pub fn open(&self, purpose: Purpose, stop: &'static AtomicBool) -> Result<Checkpoint> {
        let most = match purpose {
            // Headers are read one after the other, and little else is.
            Purpose::Look => 1,
            Purpose::Stream => MOST_STREAMED,
        };
        let recent = Arc::new(Recent { most, windows: Mutex::default() });
        Checkpoint::open_remote(&self.folder, &self.weights, &|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            // Modules behind the model are small, and were downloaded.
            let Some((url, n_bytes)) = self.files.get(name).filter(|_| path.parent() == Some(&*self.folder))
            else {
                return ReadFile::open(path);
            };
            let file = RemoteFile {
                client: Arc::clone(&self.client),
                name: self.name.clone(),
                file: name.to_owned(),
                url: url.clone(),
                n_bytes: *n_bytes,
                watch: Stoppable(stop),
                window: Arc::default(),
                recent: Arc::clone(&recent),
            };
            Ok(ReadFile::remote(path, *n_bytes, purpose == Purpose::Look, Box::new(file)))
        })
    }
}

impl fmt::Debug for RemoteCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteCheckpoint").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A file of the hub, whose bytes come in the order in which they are asked for: an answer is read on as long as what
/// is wanted follows, or is not far ahead.
struct RemoteFile {
    client: Arc<Client>,
    name: HubName,
    file: String,
    url: String,
    n_bytes: u64,
    watch: Stoppable,
    window: Arc<Mutex<Window>>,
    recent: Arc<Recent>,
}

/// The files that were read last. Others keep neither bytes nor a connection.
struct Recent {
    most: usize,
    /// The last one read is the last.
    windows: Mutex<VecDeque<Arc<Mutex<Window>>>>,
}

impl Recent {
    /// Counts `window` as read last, and empties those read long before. The caller holds its lock, so that no other
    /// thread empties it meanwhile; for the same reason those that others hold stay until the next call.
    fn read(&self, window: &Arc<Mutex<Window>>) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        windows.retain(|other| !Arc::ptr_eq(other, window));
        windows.push_back(Arc::clone(window));
        let mut n_over = windows.len().saturating_sub(self.most);
        windows.retain(|other| match other.try_lock() {
            Ok(mut other) if n_over > 0 => {
                n_over -= 1;
                *other = Window::default();
                false
            }
            _ => true,
        });
    }
}

/// What came last of a file.
#[derive(Default)]
struct Window {
    /// Where `bytes` begin.
    start: u64,
    bytes: VecDeque<u8>,
    /// What the bytes behind them come from.
    answer: Option<Answer>,
}

impl Window {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Fills `out` from `offset` on, if all of that is here.
    fn copy_to(&self, offset: u64, out: &mut [u8]) -> bool {
        let is_here = offset >= self.start && offset + out.len() as u64 <= self.end();
        if is_here {
            let first = (offset - self.start) as usize;
            let (front, back) = self.bytes.as_slices();
            let split = front.len().saturating_sub(first).min(out.len());
            let (of_front, of_back) = out.split_at_mut(split);
            of_front.copy_from_slice(&front[first.min(front.len())..][..split]);
            let first = (first + split).saturating_sub(front.len());
            of_back.copy_from_slice(&back[first..][..of_back.len()]);
        }
        is_here
    }

    /// Forgets what lies far in front of `offset`.
    fn trim(&mut self, offset: u64) {
        let n = offset.saturating_sub(self.start).saturating_sub(KEPT_BYTES).min(self.bytes.len() as u64);
        self.bytes.drain(..n as usize);
        self.start += n;
    }
}

impl fmt::Debug for RemoteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl RemoteRead for RemoteFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.copy_to(offset, out) {
            return Ok(());
        }
        self.recent.read(&self.window);
        let is_near = (window.start..=window.end().saturating_add(SKIPPED_BYTES)).contains(&offset);
        if !is_near {
            *window = Window { start: offset, ..Window::default() };
        }
        let end = offset + out.len() as u64;
        self.client.persist((&self.url, ""), &self.watch, || {
            let before = window.end();
            let outcome = self.read_on(&mut window, offset, end);
            if outcome.is_err() {
                window.answer = None;
            }
            (window.end() > before, outcome)
        })?;
        assert!(window.copy_to(offset, out), "what was asked for came");
        Ok(())
    }
}

impl RemoteFile {
    /// Reads on until byte `end`, of which those from `offset` on are wanted.
    fn read_on(&self, window: &mut Window, offset: u64, end: u64) -> Result<(), Trouble> {
        while window.end() < end {
            let answer = match &mut window.answer {
                Some(answer) => answer,
                None => {
                    let first = window.start + window.bytes.len() as u64;
                    window.answer.insert(self.ask(first)?)
                }
            };
            match answer.next(&self.watch)? {
                Some(more) => window.bytes.extend(more),
                None => {
                    let what = format!("the answer ends before byte {end} of {}", self.n_bytes);
                    return Err(Trouble::passing(what));
                }
            }
            window.trim(offset);
        }
        Ok(())
    }

    /// The answer to a request for the bytes from `first` on.
    fn ask(&self, first: u64) -> Result<Answer, Trouble> {
        let subject = Subject { url: &self.url, name: &self.name, file: Some(&self.file) };
        let answer = self.client.get(&self.url, first, &subject, &self.watch)?;
        if first > 0 && answer.status != 206 {
            let what = "the server sends no parts of files, so that weights cannot be read where they are; convert without \
                        --dry-run and --stream, which downloads them";
            return Err(Error::io(&self.url, "cannot read", std::io::Error::other(what)).into());
        }
        answer.check_total(self.n_bytes, &self.url)?;
        Ok(answer)
    }
}

/// Shows no progress; the conversion that reads has its own.
#[derive(Clone, Copy)]
struct Stoppable(&'static AtomicBool);

impl Watch for Stoppable {
    fn begin(&self, _: u64, _: u64) {}
    fn reached(&self, _: u64) {}
    fn tell(&self, _: &str) {}
    fn is_cancelled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_read_long_ago_keep_nothing_unless_they_are_being_read() {
        let recent = Recent { most: 2, windows: Mutex::default() };
        let windows: Vec<Arc<Mutex<Window>>> = (0..5).map(|_| Arc::default()).collect();
        let read = |i: usize| {
            let mut window = windows[i].lock().expect("sound");
            recent.read(&windows[i]);
            window.bytes = VecDeque::from([1]);
        };
        let kept = || -> Vec<bool> {
            windows.iter().map(|window| !window.lock().expect("sound").bytes.is_empty()).collect()
        };
        [0, 1, 0, 2].into_iter().for_each(read);
        assert_eq!(kept(), [true, false, true, false, false]);
        let held = windows[0].lock().expect("sound");
        [3, 4].into_iter().for_each(read);
        drop(held);
        assert_eq!(kept(), [true, false, false, false, true]);
        [3, 1].into_iter().for_each(read);
        assert_eq!(kept(), [false, true, false, true, false]);
    }
}
