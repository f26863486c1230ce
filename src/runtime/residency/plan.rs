//! What is to become of a model's weights in memory.

use super::disk;
use super::parts::Parts;
use super::room::{Bound, Room};
use crate::error::{Error, Result};
use crate::mapped_file::MappedFile;
use crate::model::Reads;

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
    pub(super) parts: Parts,
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
    pub(in crate::runtime) fn new(
        file: &MappedFile,
        reads: &Reads,
        ram: Option<u64>,
        set_aside: u64,
    ) -> Result<Self> {
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
