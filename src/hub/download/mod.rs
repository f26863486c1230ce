//! Brings files into the cache: each goes on where it was, and has its name only once its hash is right.

mod partial;

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::time::Duration;

use super::Watch;
use super::cache::Repository;
use super::client::{Client, NO_SUCH_BYTES, Subject, Trouble, escaped};
use super::listing::{Listing, RemoteFile};
use super::name::HubName;
use crate::error::{Error, Result};
use partial::Partial;

/// Room that is left on the disk.
const SPARE_BYTES: u64 = 64 << 20;

/// Brings files of one commit.
pub(super) struct Fetcher<'a> {
    client: &'a Client,
    repository: &'a Repository,
    name: &'a HubName,
    listing: &'a Listing,
    watch: &'a dyn Watch,
}

/// What running again finds.
const NEXT_TIME: &str = ": what has come is kept, and the rest is asked for";

/// Between looks at whether another program has finished a file.
const LOCK_PAUSE: Duration = Duration::from_millis(50);

impl<'a> Fetcher<'a> {
    pub(super) fn new(
        client: &'a Client,
        repository: &'a Repository,
        name: &'a HubName,
        listing: &'a Listing,
        watch: &'a dyn Watch,
    ) -> Self {
        Self { client, repository, name, listing, watch }
    }

    /// Brings the files called `names`, unless they are there.
    pub(super) fn fetch(&self, names: &[String]) -> Result<()> {
        let files: Vec<&RemoteFile> =
            names.iter().map(|name| self.listing.file(name).expect("of the listing")).collect();
        let there: Vec<u64> = files.iter().map(|file| self.n_bytes_of(file)).collect();
        let (total, mut done) = (
            files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.n_bytes)),
            there.iter().sum::<u64>(),
        );
        self.check_room(total.saturating_sub(done))?;
        self.watch.begin(total, done);
        for (file, there) in files.into_iter().zip(there) {
            done -= there;
            if !self.is_complete(file) {
                self.bring(file, done)?;
            }
            done += file.n_bytes;
            self.repository.show(&self.listing.commit, file)?;
        }
        Ok(())
    }

    fn is_complete(&self, file: &RemoteFile) -> bool {
        fs::metadata(self.repository.blob(file)).is_ok_and(|found| found.len() == file.n_bytes)
    }

    /// What of `file` is there.
    fn n_bytes_of(&self, file: &RemoteFile) -> u64 {
        let len = |path: &Path| fs::metadata(path).map_or(0, |found| found.len());
        if self.is_complete(file) {
            file.n_bytes
        } else {
            len(&self.repository.partial(file)).min(file.n_bytes)
        }
    }

    /// Checks that the disk has room for `n_bytes` more.
    fn check_room(&self, n_bytes: u64) -> Result<()> {
        let blobs = self.repository.blobs()?;
        match free_bytes(&blobs) {
            Some(free) if n_bytes > 0 && free < n_bytes.saturating_add(SPARE_BYTES) => {
                Err(Error::limit(format!(
                    "{} needs {n_bytes} bytes more in {}, where {free} are free; make room, or set HF_HOME to a folder on \
                 another disk",
                    self.name,
                    blobs.display()
                )))
            }
            _ => Ok(()),
        }
    }

    /// Brings one file; `before` is what is there of those before it.
    fn bring(&self, file: &RemoteFile, before: u64) -> Result<()> {
        let lock = self.repository.lock_file(file)?;
        self.wait_for(&lock, &file.name)?;
        if self.is_complete(file) {
            return Ok(());
        }
        let url = format!(
            "{}/{}/resolve/{}/{}",
            self.client.settings.endpoint,
            escaped(self.name.repository(), true),
            self.listing.commit,
            escaped(&file.name, true)
        );
        let subject = Subject { url: &url, name: self.name, file: Some(&file.name) };
        let mut partial = Partial::open(self.repository.partial(file), file)?;
        let mut n_wrong = 0;
        let brought = self.client.persist((&url, NEXT_TIME), self.watch, || {
            let start = partial.n_bytes;
            let outcome = self.go_on(&mut partial, &subject, before, &mut n_wrong);
            (partial.n_bytes > start, outcome)
        });
        brought?;
        partial.finish(&self.repository.blob(file))
    }

    /// Locks a file, once no other program has done so. Where files cannot be locked, two programs may do the same work; a
    /// wrong hash then starts it again.
    fn wait_for(&self, lock: &File, name: &str) -> Result<()> {
        let mut has_told = false;
        while let Err(TryLockError::WouldBlock) = lock.try_lock() {
            if self.watch.is_cancelled() {
                return Err(Error::Interrupted);
            }
            if !has_told {
                self.watch.tell(&format!("waiting for another program, which downloads {name}"));
                has_told = true;
            }
            std::thread::sleep(LOCK_PAUSE);
        }
        Ok(())
    }

    /// Asks once for what is missing of a file.
    fn go_on(
        &self,
        partial: &mut Partial<'_>,
        subject: &Subject<'_>,
        before: u64,
        n_wrong: &mut u32,
    ) -> Result<(), Trouble> {
        if partial.n_bytes < partial.file.n_bytes {
            let mut answer = self.client.get(subject.url, partial.n_bytes, subject, self.watch)?;
            match answer.status {
                NO_SUCH_BYTES => {
                    partial.restart()?;
                    return Err(Trouble::passing("the server has less than what had come"));
                }
                // It sends the whole file.
                200 => partial.restart()?,
                _ => {}
            }
            answer.check_total(partial.file.n_bytes, subject.url)?;
            while let Some(bytes) = answer.next(self.watch)? {
                partial.add(&bytes)?;
                self.watch.reached(before + partial.n_bytes);
            }
            if partial.n_bytes < partial.file.n_bytes {
                return Err(Trouble::passing(format!(
                    "the answer ends after {} of {} bytes",
                    partial.n_bytes, partial.file.n_bytes
                )));
            }
        }
        let found = partial.hash();
        if found == partial.file.hash.text() {
            return Ok(());
        }
        partial.restart()?;
        *n_wrong += 1;
        let what = format!("the hub names the hash {}, and what came has {found}", partial.file.hash.text());
        if *n_wrong > 1 {
            let what = format!(
                "{what}, twice; something on the way damages it, as a proxy may. What came was removed"
            );
            return Err(Error::malformed(subject.url, what).into());
        }
        self.watch.tell(&format!("{}: {what}; it is downloaded anew", partial.file.name));
        Err(Trouble::passing(what))
    }
}

/// What the disk of a folder has room for, where the system tells.
#[cfg(unix)]
fn free_bytes(folder: &Path) -> Option<u64> {
    let found = rustix::fs::statvfs(folder).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(not(unix))]
fn free_bytes(_: &Path) -> Option<u64> {
    None
}
