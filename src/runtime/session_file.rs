//! The file of a conversation that is under way: a saved sequence, and a journal behind it that grows
//! with every message.
//!
//! The file is written in two ways. [`SessionFile::append`] adds a record in place and syncs it, which
//! is cheap: that is how nothing said is lost. [`SessionFile::replace`] writes keys and values, and all
//! the records say, to a new file that takes the name: expensive, and lost at worst as time. A copy of
//! the file is the whole conversation, at any moment.
//!
//! One program at a time has it, by a lock on the file itself. A lock stays with its file when another
//! takes the name, so the new one is locked before it does, and a file that was locked while it lost
//! its name is not the one to use.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::engine::Engine;
use super::journal::{self, Sum};
use super::sequence::Sequence;
use super::sequence_file::{End, Growth, attached_bytes, target};
use super::session::Session;
use super::session_options::SessionOptions;
use crate::error::{Error, Result};
use crate::new_file::NewFile;

/// The longest journal that is read: a thousand times what any context holds.
const MAX_JOURNAL_BYTES: u64 = 1 << 30;

/// A session file that this program alone writes to.
#[derive(Debug)]
pub struct SessionFile {
    path: PathBuf,
    file: File,
    /// Where the next record goes.
    end: u64,
    /// What its sum goes on from.
    sum: Sum,
    /// Records that are not on disk: the last attempts failed.
    unwritten: String,
    /// Whether something that is not a record stands behind `end`.
    is_ragged: bool,
}

/// What a session file holds.
#[derive(Debug)]
pub struct Resumed<'e> {
    /// The session, with what was attached to its sequence.
    pub session: Session<'e>,
    /// The records that were appended since, in order.
    pub records: Vec<String>,
    /// Whether the last record was torn and is left out.
    pub is_torn: bool,
}

impl SessionFile {
    /// Opens the session file at `path` for this program alone; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Usage`] if another program has it, or it holds no session with something attached;
    /// [`Error::Io`] if it cannot be opened or locked.
    pub fn open(path: &Path) -> Result<Option<Self>> {
        let path = target(path)?;
        loop {
            let file = match File::options().read(true).write(true).open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
                file => file.map_err(|e| Error::io(&path, "cannot open", e))?,
            };
            lock(&file, &path)?;
            if !has_name(&file, &path).map_err(|e| Error::io(&path, "cannot look for", e))? {
                continue;
            }
            if attached_bytes(&file, &path)? == 0 {
                return Err(Error::usage(format!(
                    "{} holds a text of `complete` and no conversation; name another file (--session)",
                    path.display()
                )));
            }
            let (end, sum) = (0, [0; 32]);
            return Ok(Some(Self { path, file, end, sum, unwritten: String::new(), is_ragged: false }));
        }
    }

    /// Makes a new file at `path` of `sequence` and what is `attached`.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is one meanwhile; as [`SessionFile::replace`].
    pub fn create(path: &Path, sequence: &Sequence<'_>, attached: &[u8]) -> Result<Self> {
        let path = target(path)?;
        let (file, end) = write_new(&path, sequence, attached, false)?;
        let Some(end) = end else {
            return Err(in_use(&path));
        };
        Ok(Self { path, file, end: end.at, sum: end.digest, unwritten: String::new(), is_ragged: false })
    }

    /// Reads what the file holds. One without a journal, from an earlier version, is replaced by one
    /// that has it.
    ///
    /// # Errors
    /// As [`Session::load`]; [`Error::Malformed`] if a record is damaged.
    pub fn resume<'e>(&mut self, engine: &'e Engine, options: SessionOptions) -> Result<Resumed<'e>> {
        let failed = |e| Error::io(&self.path, "cannot read", e);
        self.file.rewind().map_err(failed)?;
        let (session, end) = Session::read(engine, options, &self.path, &self.file)?;
        if end.growth == Growth::Fixed {
            let attached = session.sequence().attached().to_vec();
            self.replace(session.sequence(), &attached)?;
            return Ok(Resumed { session, records: Vec::new(), is_torn: false });
        }
        self.file.seek(SeekFrom::Start(end.at)).map_err(failed)?;
        let mut bytes = Vec::new();
        (&self.file).take(MAX_JOURNAL_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_JOURNAL_BYTES {
            let what =
                format!("the journal of {} is longer than 1 GiB; name another file", self.path.display());
            return Err(Error::limit(what));
        }
        self.sum = end.digest;
        let records = journal::read(&bytes, &mut self.sum).map_err(|n| {
            let what = format!("message record {n} behind the saved text does not have its checksum");
            Error::malformed(&self.path, format!("{what}; restore a copy, or name another file (--session)"))
        })?;
        self.end = end.at + records.n_bytes as u64;
        self.is_ragged = records.is_torn;
        Ok(Resumed { session, records: records.texts, is_torn: records.is_torn })
    }

    /// Appends a record, which is on disk when this returns. One that cannot be written is kept, and
    /// written before the next.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn append(&mut self, text: &str) -> Result<()> {
        self.unwritten.push_str(&journal::line(text, &mut self.sum));
        self.write().map_err(|e| {
            self.is_ragged = true;
            Error::io(&self.path, "cannot write", e)
        })
    }

    fn write(&mut self) -> io::Result<()> {
        if self.is_ragged {
            self.file.set_len(self.end)?;
            self.is_ragged = false;
        }
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(self.unwritten.as_bytes())?;
        self.file.sync_data()?;
        self.end += self.unwritten.len() as u64;
        self.unwritten.clear();
        Ok(())
    }

    /// Replaces the file by a new one of `sequence`, what is `attached` and no records.
    ///
    /// # Errors
    /// [`Error::Io`] if the system refuses. The file is then as it was.
    pub fn replace(&mut self, sequence: &Sequence<'_>, attached: &[u8]) -> Result<()> {
        let (file, end) = write_new(&self.path, sequence, attached, true)?;
        if let Some(end) = end {
            (self.file, self.end, self.sum) = (file, end.at, end.digest);
            self.unwritten.clear();
            self.is_ragged = false;
        }
        Ok(())
    }
}

/// Writes a new file, locked before it takes the name; its end is `None` if the name was taken and is
/// not to be overwritten.
fn write_new(
    path: &Path,
    sequence: &Sequence<'_>,
    attached: &[u8],
    overwrite: bool,
) -> Result<(File, Option<End>)> {
    let failed = |e| Error::io(path, "cannot write", e);
    let new = NewFile::create(path.to_owned())?;
    let end = sequence.write(new.file(), Growth::Journal, attached).map_err(failed)?;
    // A clone shares its lock.
    let file = new.file().try_clone().map_err(failed)?;
    lock(&file, path)?;
    let named = if overwrite { new.finish(true).map(Some) } else { new.finish_unless_taken() };
    Ok((file, named.map_err(failed)?.map(|_| end)))
}

fn lock(file: &File, path: &Path) -> Result<()> {
    file.try_lock().map_err(|e| match e {
        TryLockError::WouldBlock => in_use(path),
        TryLockError::Error(e) => Error::io(path, "cannot lock", e),
    })
}

fn in_use(path: &Path) -> Error {
    Error::usage(format!(
        "another chat is using {}; end it first, or name another file (--session)",
        path.display()
    ))
}

/// Whether `file` is what `path` names.
#[cfg(unix)]
fn has_name(file: &File, path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    let own = file.metadata()?;
    match fs::metadata(path) {
        Ok(named) => Ok((own.dev(), own.ino()) == (named.dev(), named.ino())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e),
    }
}

/// Elsewhere an open file keeps its name.
#[cfg(not(unix))]
fn has_name(_file: &File, path: &Path) -> io::Result<bool> {
    fs::exists(path)
}
