//! Which parts of a mapped model stay in memory, and how the others get there in time.
//!
//! A pass reads every layer, in order, and the next pass reads them again. Left to itself, a system that
//! has less memory than that keeps what was used last, so that each page is gone before its turn comes
//! again and the whole file is read for every token. Therefore a [`Plan`] is made for the
//! memory there is for weights: `parts` divides the file into what stays and what is streamed, and `disk`
//! measures how fast that will be. Then `stream` prefetches ahead of the pass and evicts behind it. Everything
//! remains the mapped file: what is not there in time is read at its use.

use std::sync::Arc;

use crate::error::Result;
use crate::mapped_file::MappedFile;
use crate::model::{Observer, Reads};

use parts::Parts;
use reader::Reader;

mod disk;
mod parts;
mod plan;
mod reader;
mod stream;

pub use plan::{Division, Plan};

/// A plan that was followed.
#[derive(Debug)]
pub struct Residency {
    plan: Plan,
    refusal: Option<Refusal>,
    reader: Option<Reader>,
}

/// That the system refused to lock all that should stay in memory.
#[derive(Debug)]
pub struct Refusal {
    /// Bytes that are locked nevertheless.
    pub locked_bytes: u64,
    /// The system's reason.
    pub reason: std::io::Error,
}

impl Residency {
    /// Follows `plan`: reads into memory what stays, and starts to read what is streamed. Where locking
    /// is refused, what should stay is read all the same; being used in every pass keeps it, unless
    /// something else presses for memory.
    ///
    /// # Errors
    /// [`Error::Limit`] if the system refuses to start a thread, [`Error::Io`] if the disk cannot deliver
    /// the weights.
    pub(super) fn new(file: &Arc<MappedFile>, reads: &Reads, plan: Plan) -> Result<Self> {
        let (mut refusal, mut reader) = (None, None);
        match &plan {
            Plan::Whole { .. } => file.populate()?,
            Plan::Unplanned => {}
            Plan::Divided(Division { parts, room_bytes, .. }) => {
                if let Some(embedding) = &reads.embedding {
                    file.expect_scattered_use(embedding.clone());
                }
                refusal = pin(file, parts)?;
                let expert_room = room_bytes.saturating_sub(plan.held_bytes());
                reader = Some(Reader::new(file, parts, expert_room)?);
            }
        }
        Ok(Self { plan, refusal, reader })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What the system refused to lock, if it did.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Bytes of the file that are to stay in memory though the system could evict them.
    pub(super) fn evictable_bytes(&self) -> u64 {
        let unlocked = |pinned: u64| self.refusal.as_ref().map_or(0, |refusal| pinned - refusal.locked_bytes);
        match &self.plan {
            Plan::Whole { file_bytes } => *file_bytes,
            Plan::Divided(division) => division.window_bytes() + unlocked(division.pinned_bytes()),
            Plan::Unplanned => 0,
        }
    }

    /// Who has to be told how far passes come, if anyone.
    pub(super) fn observer(&self) -> Option<&dyn Observer> {
        self.reader.as_ref().map(|reader| reader as &dyn Observer)
    }
}

/// Bytes of a file of which passes read `reads` that have to be in memory at least.
pub(super) fn least_bytes(reads: &Reads) -> u64 {
    match Parts::new(reads, 0) {
        Err(least) if MappedFile::CAN_STREAM => least + reads.used_expert_bytes as u64,
        _ => 0,
    }
}

/// Bytes that stay in memory if there is room for `room` bytes of such a file; `None` if that is too little.
pub(super) fn pinned_bytes(reads: &Reads, room: u64) -> Option<u64> {
    let parts = Parts::new(reads, room.saturating_sub(reads.used_expert_bytes as u64)).ok()?;
    Some(parts.pinned.iter().map(|range| range.len() as u64).sum())
}

/// Reads what stays in memory, and locks it as far as the system allows.
///
/// # Errors
/// [`Error::Io`] if the disk cannot deliver it.
fn pin(file: &MappedFile, parts: &Parts) -> Result<Option<Refusal>> {
    let mut refusal: Option<Refusal> = None;
    let mut locked_bytes = 0;
    let ends = parts.pinned.iter().skip(1).map(|next| next.start).chain([file.bytes().len()]);
    for (range, end) in parts.pinned.iter().zip(ends) {
        if refusal.is_none() {
            match file.lock(range.clone()) {
                Ok(()) => locked_bytes += range.len() as u64,
                Err(reason) => refusal = Some(Refusal { locked_bytes, reason }),
            }
        }
        if refusal.is_some() {
            file.populate_range(range.clone())?;
        }
        // The system reads on behind the range; that would add up to more than there is room for.
        let behind = range.end..end;
        if parts.first_pieces().iter().all(|piece| !behind.contains(&piece.start)) {
            file.release(behind);
        }
    }
    Ok(refusal)
}
