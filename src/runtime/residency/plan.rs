//! What is to become of a model's weights in memory.

use super::disk;
use super::parts::Parts;
use crate::error::{Error, Result};
use crate::mapped_file::MappedFile;
use crate::model::Reads;
use crate::runtime::memory::{Bound, Room, mebibytes, shown};

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
    /// A limit was asked for, and this system cannot be told what to keep in memory: it keeps what it can
    /// and reads the rest when it is used.
    Unplanned,
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
    /// Plans for a model of which passes read `reads` of `file`, to hold it in `room`; `None` if nothing is
    /// known to bound that. Measures the disk by reading the first part of what is to be streamed.
    ///
    /// # Errors
    /// [`Error::Limit`] if there is too little room to stream the weights.
    pub(in crate::runtime) fn new(file: &MappedFile, reads: &Reads, room: Option<Room>) -> Result<Self> {
        let file_bytes = file.bytes().len() as u64;
        let Some(room) = room.filter(|room| room.bytes < file_bytes) else {
            return Ok(Self::Whole { file_bytes });
        };
        if !MappedFile::CAN_STREAM {
            return Ok(Self::Unplanned);
        }
        let for_experts = reads.used_expert_bytes as u64;
        let parts = match Parts::new(reads, room.bytes.saturating_sub(for_experts)) {
            Ok(parts) => parts,
            Err(least) => return Err(too_little(&room, least + for_experts)),
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
            Self::Unplanned => 0,
        }
    }
}

/// The error of weights that need at least `needed` bytes.
fn too_little(room: &Room, needed: u64) -> Error {
    Error::limit(match room.bound {
        Bound::Told => format!(
            "--ram is too little for this model: {} MiB are taken by other things than weights, and of the \
             weights at least {} MiB have to be in memory; use --ram {}M or more",
            mebibytes(room.beside),
            mebibytes(needed),
            // What the program itself needs differs a little from run to run.
            mebibytes(room.beside + needed) + 1,
        ),
        Bound::System => format!(
            "of the model's weights at least {} have to be in memory, and there is room for {}; use a smaller --ctx \
             or --batch, or end other programs",
            shown(needed),
            shown(room.bytes),
        ),
    })
}
