//! Reads a divided file for the passes that come to need it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::parts::Parts;
use super::stream::Streamer;
use crate::error::Result;
use crate::mapped_file::MappedFile;
use crate::model::Observer;

/// Is told how far passes come, and sees to it that what they need is there.
#[derive(Debug)]
pub(super) struct Reader {
    file: Arc<MappedFile>,
    /// Reads what every pass needs and memory does not hold, if that is anything.
    streamer: Option<Streamer>,
    /// Bytes of experts that there is room for.
    expert_room: u64,
    /// Bytes of experts that were asked for in this stage.
    asked: AtomicU64,
}

impl Reader {
    /// Starts to read what of `parts` is streamed; there is room for `expert_room` bytes of experts.
    ///
    /// # Errors
    /// [`crate::Error::Limit`] if the system refuses to start a thread.
    pub(super) fn new(file: &Arc<MappedFile>, parts: &Parts, expert_room: u64) -> Result<Self> {
        let has_pieces = !parts.pieces.is_empty();
        let streamer = has_pieces.then(|| Streamer::new(Arc::clone(file), parts)).transpose()?;
        Ok(Self { file: Arc::clone(file), streamer, expert_room, asked: AtomicU64::new(0) })
    }
}

impl Observer for Reader {
    fn before(&self, stage: usize) {
        self.asked.store(0, Relaxed);
        if let Some(streamer) = &self.streamer {
            streamer.before(stage);
        }
    }

    /// Experts are read at once and no further than they go: read as they are used, they would come with
    /// much of their neighbours. Of the many that a prompt chooses, those that would push out the first
    /// ones wait until they are used.
    fn soon(&self, bytes: Range<usize>) {
        let n_bytes = bytes.len() as u64;
        if self.asked.fetch_add(n_bytes, Relaxed) + n_bytes <= self.expert_room {
            self.file.fetch(bytes);
        }
    }
}
