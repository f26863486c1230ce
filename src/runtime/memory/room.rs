//! How much memory is left for what is about to be made.

use super::{group_bytes, own_bytes, system_bytes};

/// Memory that is left free for what nothing counts: stacks, page tables, the allocator's own. Of what little
/// there is, a quarter is: little is then made of it.
const BESIDE: u64 = 16 << 20;

/// The share of a limit that is left free too, because what is counted as used follows with a delay.
const GROUP_SHARE: u64 = 64;

/// The share of the system's memory that is left to its other processes.
const SYSTEM_SHARE: u64 = 16;

/// The share that advice leaves free besides: it is to hold when it is followed a little later.
const ADVICE_SHARE: u64 = 32;

/// Memory that is not taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) struct Room {
    /// Bytes there are.
    pub(in crate::runtime) bytes: u64,
    /// Bytes that other things take or will take; part of no other number here.
    pub(in crate::runtime) beside: u64,
    /// Bytes of the bound, before anything is taken off.
    pub(in crate::runtime) whole: u64,
    /// What it is that ends there.
    pub(in crate::runtime) bound: Bound,
}

/// What bounds the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::runtime) enum Bound {
    /// A limit that was asked for.
    Told,
    /// What the system or a control group has.
    System,
}

/// Bytes that no process or system counts as taken, but that are to be left alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::runtime) struct Reserved {
    /// Of weights in memory: all of them count against a limit on the process.
    pub(in crate::runtime) weights: u64,
    /// Of those, the ones that the system counts as available, because it could evict them.
    pub(in crate::runtime) evictable: u64,
    /// What was promised and is not filled.
    pub(in crate::runtime) promised: u64,
}

impl Room {
    /// The room there is now, if the process may take `ram` bytes in all; `None` if nothing is known to
    /// bound it.
    pub(in crate::runtime) fn now(ram: Option<u64>, reserved: Reserved) -> Option<Self> {
        let Reserved { weights, evictable, promised } = reserved;
        let asked = ram.map(|ram| Self::told(ram, own_bytes(), promised.saturating_add(weights)));
        let set_aside = promised.saturating_add(evictable);
        let group = group_bytes().map(|bytes| Self::left(bytes, GROUP_SHARE, set_aside));
        let system = system_bytes().map(|bytes| Self::left(bytes, SYSTEM_SHARE, set_aside));
        [asked, group, system].into_iter().flatten().min_by_key(|room| room.bytes)
    }

    /// Room for `bytes`.
    pub(in crate::runtime) fn of(bytes: u64) -> Self {
        Self { bytes, beside: 0, whole: bytes, bound: Bound::System }
    }

    /// Of `ram` bytes for a process that has taken `own` of them.
    fn told(ram: u64, own: u64, set_aside: u64) -> Self {
        let beside = own.saturating_add(set_aside).saturating_add(BESIDE);
        Self { bytes: ram.saturating_sub(beside), beside, whole: ram, bound: Bound::Told }
    }

    /// Of `bytes` that are still free, all but one of `share` parts of them.
    pub(super) fn left(bytes: u64, share: u64, set_aside: u64) -> Self {
        let uncounted = BESIDE.min(bytes / 4);
        let beside = (bytes / share).saturating_add(set_aside).saturating_add(uncounted);
        Self { bytes: bytes.saturating_sub(beside), beside, whole: bytes, bound: Bound::System }
    }

    /// The bytes that can be advised to be taken a little later.
    pub(in crate::runtime) fn advised_bytes(&self) -> u64 {
        self.bytes - self.bytes / ADVICE_SHARE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn what_is_taken_or_set_aside_is_no_room() {
        let room = Room::told(500 * MIB, 30 * MIB, 100 * MIB);
        assert_eq!((room.bytes, room.beside), (500 * MIB - 146 * MIB, 146 * MIB));
        assert_eq!(Room::left(640 * MIB, 64, 14 * MIB).bytes, 600 * MIB);
        assert_eq!(Room::left(640 * MIB, 64, 14 * MIB).advised_bytes(), 600 * MIB - 600 * MIB / 32);
        assert_eq!(Room::left(32 * MIB, 64, MIB).bytes, (32 - 8 - 1) * MIB - MIB / 2);
        assert_eq!(Room::told(10, u64::MAX, 5).bytes, 0);
        assert_eq!(Room::left(0, 64, u64::MAX).bytes, 0);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_tightest_bound_counts() {
        let told = Room::now(Some(1 << 24), Reserved::default()).unwrap();
        assert_eq!((told.bytes, told.bound), (0, Bound::Told));
        assert_eq!(Room::now(Some(u64::MAX), Reserved::default()).unwrap().bound, Bound::System);
    }
}
