//! Which parts of a mapped model stay in memory, and how the others get there in time.
//!
//! A pass reads every layer, in order, and the next pass reads them again. Left to itself, a system that
//! has less memory than that keeps what was used last, so that each page is gone before its turn comes
//! again and the whole file is read for every token. Therefore: `room` says how much memory there is for
//! weights, `parts` divides the file into what stays and what is streamed, `stream` reads the latter
//! ahead of the pass and lets go of it behind, and `disk` measures how fast that is. Everything remains
//! the mapped file: should something not be there in time, its use reads it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::error::{Error, Result};
use crate::mapped_file::MappedFile;
use crate::model::{Observer, Reads};

use parts::Parts;
use room::{Bound, Room};
use stream::Streamer;

mod disk;
mod parts;
mod room;
mod stream;

/// What is to become of a model's weights in memory.
#[derive(Clone, Debug)]
pub enum Plan {
    /// They fit: the whole file is read into memory.
    Whole {
        /// Bytes of the file.
        file_bytes: u64,
    },
    /// Some stay in memory, the others are read for every pass.
    Divided(Division),
    /// The system keeps what it can and reads the rest when it is used.
    Unplanned(Reason),
}

/// Why nothing can be planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// This system cannot be told what to keep in memory.
    System,
    /// There is not even room to stream everything.
    NoRoom {
        /// Bytes that would be needed.
        needed: u64,
        /// Bytes there are.
        there: u64,
    },
}

/// A file divided into what stays in memory and what does not.
#[derive(Clone, Debug)]
pub struct Division {
    parts: Parts,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Bytes there are for weights.
    pub room_bytes: u64,
    /// Bytes that are left to the system: all experts, of which a token needs a few.
    pub expert_bytes: u64,
    /// Bytes per second that the disk was measured to give; `None` if nothing is streamed or the system
    /// does not let it be measured.
    pub disk_rate: Option<f64>,
}

impl Division {
    /// Bytes that stay in memory.
    pub fn pinned_bytes(&self) -> u64 {
        self.parts.pinned.iter().map(|range| range.len() as u64).sum()
    }

    /// Bytes that every pass reads from disk: one token, or one batch of a prompt.
    pub fn streamed_bytes(&self) -> u64 {
        self.parts.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// Bytes of what is streamed that are in memory at the same time, at most.
    pub fn window_bytes(&self) -> u64 {
        self.parts.window as u64
    }

    /// Passes per second that the disk allows, if it was measured: as many tokens, generated one by one.
    pub fn passes_per_second(&self) -> Option<f64> {
        self.disk_rate.map(|rate| rate / self.streamed_bytes() as f64)
    }
}

impl Plan {
    /// Plans for a model of which passes read `reads` of `file`, with at most `ram` bytes for the whole
    /// process if that is given, of which `set_aside` will yet be taken by other things than weights.
    /// Measures the disk by reading the first part of what is to be streamed.
    ///
    /// # Errors
    /// [`Error::Limit`] if `ram` is too little, naming the least.
    pub(super) fn new(file: &MappedFile, reads: &Reads, ram: Option<u64>, set_aside: u64) -> Result<Self> {
        let file_bytes = file.bytes().len() as u64;
        if !MappedFile::CAN_STREAM {
            return Ok(if ram.is_some() {
                Self::Unplanned(Reason::System)
            } else {
                Self::Whole { file_bytes }
            });
        }
        let Some(room) = Room::now(ram, set_aside).filter(|room| room.bytes < file_bytes) else {
            return Ok(Self::Whole { file_bytes });
        };
        let for_experts = reads.used_expert_bytes as u64;
        let parts = match Parts::new(reads, room.bytes.saturating_sub(for_experts)) {
            Ok(parts) => parts,
            Err(least) => return too_little(&room, least + for_experts),
        };
        // What is cached of it already would make the disk look fast, and take room.
        parts.pieces.iter().for_each(|piece| file.release(piece.clone()));
        Ok(Self::Divided(Division {
            disk_rate: disk::rate(file, &parts),
            parts,
            file_bytes,
            room_bytes: room.bytes,
            expert_bytes: reads.expert_bytes as u64,
        }))
    }

    /// Bytes of the file that will be in memory at the same time, as far as that is planned.
    pub fn held_bytes(&self) -> u64 {
        match self {
            Self::Whole { file_bytes } => *file_bytes,
            Self::Divided(division) => division.pinned_bytes() + division.window_bytes(),
            Self::Unplanned(_) => 0,
        }
    }
}

/// What follows if weights need at least `needed` bytes and there is less room.
fn too_little(room: &Room, needed: u64) -> Result<Plan> {
    match room.bound {
        Bound::Told => Err(Error::limit(format!(
            "--ram is too little for this model: {} MiB are taken by other things than weights, and of the \
             weights at least {} MiB have to be in memory; use --ram {}M or more",
            mebibytes(room.beside),
            mebibytes(needed),
            // What the program itself needs differs a little from run to run.
            mebibytes(room.beside + needed) + 1,
        ))),
        Bound::System => Ok(Plan::Unplanned(Reason::NoRoom { needed, there: room.bytes })),
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// A plan that was followed.
#[derive(Debug)]
pub struct Residency {
    plan: Plan,
    refusal: Option<Refusal>,
    reader: Option<Reader>,
}

/// Reads a divided file for passes as they come to need it.
#[derive(Debug)]
struct Reader {
    file: Arc<MappedFile>,
    /// Reads what every pass needs and memory does not hold, if that is anything.
    streamer: Option<Streamer>,
    /// Bytes of experts that there is room for.
    expert_room: u64,
    /// Bytes of experts that were asked for in this stage.
    asked: AtomicU64,
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
    /// [`Error::Limit`] if the system refuses to start a thread.
    pub(super) fn new(file: &Arc<MappedFile>, reads: &Reads, plan: Plan) -> Result<Self> {
        let (mut refusal, mut reader) = (None, None);
        match &plan {
            Plan::Whole { .. } => file.populate(),
            Plan::Unplanned(_) => {}
            Plan::Divided(Division { parts, room_bytes, .. }) => {
                if let Some(embedding) = &reads.embedding {
                    file.expect_scattered_use(embedding.clone());
                }
                refusal = pin(file, parts);
                let mut streamer = None;
                if !parts.pieces.is_empty() {
                    streamer = Some(Streamer::new(Arc::clone(file), parts)?);
                }
                let expert_room = room_bytes.saturating_sub(plan.held_bytes());
                let (file, asked) = (Arc::clone(file), AtomicU64::new(0));
                reader = Some(Reader { file, streamer, expert_room, asked });
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

    /// Who has to be told how far passes come, if anyone.
    pub(super) fn observer(&self) -> Option<&dyn Observer> {
        self.reader.as_ref().map(|reader| reader as &dyn Observer)
    }
}

/// Reads what stays in memory, and locks it as far as the system allows.
fn pin(file: &MappedFile, parts: &Parts) -> Option<Refusal> {
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
            file.populate_range(range.clone());
        }
        // The system reads on behind the range; that would add up to more than there is room for.
        let behind = range.end..end;
        if parts.first_pieces().iter().all(|piece| !behind.contains(&piece.start)) {
            file.release(behind);
        }
    }
    refusal
}
