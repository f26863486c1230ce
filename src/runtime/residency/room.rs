//! How much memory there is for weights.

use crate::runtime::memory;

/// Memory that is left free for what nobody counts: stacks, page tables, the allocator's own.
const BESIDE: u64 = 16 << 20;

/// The share of a limit that is left free too, because what is counted as used follows with a delay.
const GROUP_SHARE: u64 = 64;

/// The share of the system's memory that is left to its other processes.
const SYSTEM_SHARE: u64 = 16;

/// Memory for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Bytes there are.
    pub(super) bytes: u64,
    /// Bytes that other things take or will take; part of no other number here.
    pub(super) beside: u64,
    /// What it is that ends there.
    pub(super) bound: Bound,
}

/// What bounds the memory for weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    /// A limit that was asked for.
    Told,
    /// What the system or a control group has.
    System,
}

impl Room {
    /// The room there is now, if the process may take `ram` bytes in all and will yet take `set_aside`
    /// for other things than weights; `None` if nothing is known to bound it.
    pub(super) fn now(ram: Option<u64>, set_aside: u64) -> Option<Self> {
        let asked = ram.map(|ram| Self::told(ram, memory::own_bytes(), set_aside));
        let group = memory::group_bytes().map(|bytes| Self::left(bytes, GROUP_SHARE, set_aside));
        let system = memory::system_bytes().map(|bytes| Self::left(bytes, SYSTEM_SHARE, set_aside));
        [asked, group, system].into_iter().flatten().min_by_key(|room| room.bytes)
    }

    /// Of `ram` bytes for a process that has taken `own` of them.
    fn told(ram: u64, own: u64, set_aside: u64) -> Self {
        let beside = own.saturating_add(set_aside).saturating_add(BESIDE);
        Self { bytes: ram.saturating_sub(beside), beside, bound: Bound::Told }
    }

    /// Of `bytes` that are still free, all but one of `share` parts of them.
    fn left(bytes: u64, share: u64, set_aside: u64) -> Self {
        let beside = (bytes / share).saturating_add(set_aside).saturating_add(BESIDE);
        Self { bytes: bytes.saturating_sub(beside), beside, bound: Bound::System }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_taken_or_set_aside_is_no_room_for_weights() {
        let room = Room::told(500 * MIB, 30 * MIB, 100 * MIB);
        assert_eq!((room.bytes, room.beside), (500 * MIB - 146 * MIB, 146 * MIB));
        assert_eq!(Room::left(640 * MIB, 64, 14 * MIB).bytes, 600 * MIB);
        assert_eq!(Room::told(10, u64::MAX, 5).bytes, 0);
        assert_eq!(Room::left(0, 64, u64::MAX).bytes, 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_tightest_bound_counts() {
        let told = Room::now(Some(1 << 24), 0).unwrap();
        assert_eq!((told.bytes, told.bound), (0, Bound::Told));
        assert_eq!(Room::now(Some(u64::MAX), 0).unwrap().bound, Bound::System);
    }
}
