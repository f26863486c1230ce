//! Divides a file into what stays in memory and what is streamed.
//!
//! Every layer gives an equal share to be streamed: so the disk has work all through a pass, and what has
//! to be held of a layer while it is computed is small. The output matrix gives last: prompts may not need
//! it, and tied to the embedding it is read here and there. The unit is a huge page of the file, since the
//! system caches and evicts whole ones; a unit that two stages share stays.

use std::ops::Range;

use crate::model::Reads;

/// Bytes of a unit: a huge page of most systems.
const UNIT: usize = 2 << 20;

/// Bytes of a unit at least. Models whose layers are smaller than a few huge pages get smaller units;
/// some evicted pages then stay resident, where the system caches in larger pieces.
const MIN_UNIT: usize = 64 << 10;

/// Units of a layer at least, on average, unless they are the smallest.
const UNITS_PER_STAGE: usize = 8;

/// Units that are read at once.
const UNITS_PER_PIECE: usize = 4;

/// Pieces that are read ahead beside what a stage needs: what the disk gives while the longest parallel
/// regions are computed.
const PIECES_AHEAD: usize = 4;

/// A file divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parts {
    /// What stays in memory, ascending.
    pub(super) pinned: Vec<Range<usize>>,
    /// What is read for every pass, in its order: ranges of a few units.
    pub(super) pieces: Vec<Range<usize>>,
    /// `[n_stages + 1]`: stage `s` needs the pieces `firsts[s]..firsts[s + 1]`.
    pub(super) firsts: Vec<usize>,
    /// Bytes of pieces that are held at the same time, at most.
    pub(super) window: usize,
}

/// Bytes of the file that belong to one stage and to nothing else between them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Run {
    stage: usize,
    bytes: Range<usize>,
    /// The whole units inside, in bytes.
    inner: Range<usize>,
}

impl Parts {
    /// Divides what passes read so that as much as possible stays in `room` bytes.
    ///
    /// # Errors
    /// The least room that suffices, if that is more.
    pub(super) fn new(reads: &Reads, room: u64) -> Result<Self, u64> {
        let unit = unit_for(reads);
        let runs = runs(reads, unit);
        let mut n_units = vec![0; reads.stages.len()];
        runs.iter().for_each(|run| n_units[run.stage] += run.inner.len() / unit);
        let n_bytes: usize = runs.iter().map(|run| run.bytes.len()).sum();
        let needed = |n| {
            let most = share(&n_units, n).into_iter().max().unwrap_or(0);
            (n_bytes - n * unit) as u64 + window(n, most, unit) as u64
        };
        // What is needed never grows with the units streamed: the least of them that suffice.
        let (mut enough, mut too_few) = (n_units.iter().sum(), 0);
        if needed(enough) > room {
            return Err(needed(enough));
        }
        while too_few < enough {
            let middle = usize::midpoint(too_few, enough);
            if needed(middle) <= room { enough = middle } else { too_few = middle + 1 }
        }
        let shares = share(&n_units, enough);
        let most = shares.iter().copied().max().unwrap_or(0);
        Ok(divide(&runs, shares, unit, window(enough, most, unit)))
    }

    /// The pieces that are in memory when a pass begins: as many as the window holds.
    pub(super) fn first_pieces(&self) -> &[Range<usize>] {
        let mut n_bytes = 0;
        let fits = |piece: &&Range<usize>| {
            n_bytes += piece.len();
            n_bytes <= self.window
        };
        &self.pieces[..self.pieces.iter().take_while(fits).count()]
    }
}

/// Bytes that are held of `n` streamed units, if a stage needs up to `most` of them at once.
fn window(n: usize, most: usize, unit: usize) -> usize {
    n.min(most + PIECES_AHEAD * UNITS_PER_PIECE) * unit
}

/// The unit that suits a model.
fn unit_for(reads: &Reads) -> usize {
    let n_bytes: usize = reads.stages.iter().flatten().map(Range::len).sum();
    let wanted = n_bytes / reads.stages.len().max(1) / UNITS_PER_STAGE;
    // The power of two that is not above it.
    let below = 1 << wanted.max(1).ilog2();
    usize::clamp(below, MIN_UNIT, UNIT)
}

/// What the stages read, in the order of the file; neighbours of one stage that lie within a unit of each
/// other are one run, with the small tensors between them.
fn runs(reads: &Reads, unit: usize) -> Vec<Run> {
    let stages = reads.stages.iter().enumerate();
    let mut ranges: Vec<_> =
        stages.flat_map(|(stage, ranges)| ranges.iter().map(move |range| (range.clone(), stage))).collect();
    ranges.sort_unstable_by_key(|(range, stage)| (range.start, *stage));
    let mut runs: Vec<Run> = Vec::new();
    for (bytes, stage) in ranges {
        match runs.last_mut() {
            Some(last) if last.stage == stage && bytes.start < last.bytes.end.saturating_add(unit) => {
                last.bytes.end = last.bytes.end.max(bytes.end);
            }
            // Tensors that overlap, as a file may say, are read twice but held once.
            last => {
                let start = last.map_or(bytes.start, |last| bytes.start.max(last.bytes.end));
                let end = bytes.end.max(start);
                runs.push(Run { stage, bytes: start..end, inner: 0..0 });
            }
        }
    }
    for run in &mut runs {
        let start = run.bytes.start.next_multiple_of(unit);
        run.inner = start..(run.bytes.end / unit * unit).max(start);
    }
    runs
}

/// How many of `n` units each stage gives to be streamed, of the `n_units` it has: the layers evenly, and
/// the last stage, the output matrix, what they do not have.
fn share(n_units: &[usize], n: usize) -> Vec<usize> {
    let Some((output, layers)) = n_units.split_last() else {
        return Vec::new();
    };
    let n_in_layers: usize = layers.iter().sum();
    let n_from_layers = n.min(n_in_layers);
    // Of the first layers together, rounded down: so the roundings do not add up.
    let given = |first: usize| (first as u128 * n_from_layers as u128 / n_in_layers.max(1) as u128) as usize;
    let mut before = 0;
    let mut shares = Vec::with_capacity(n_units.len());
    for units in layers {
        shares.push(given(before + units) - given(before));
        before += units;
    }
    shares.push((n - n_from_layers).min(*output));
    shares
}

/// Cuts the last units of every stage, as many as `shares` say, into pieces; the rest stays.
fn divide(runs: &[Run], mut shares: Vec<usize>, unit: usize, window: usize) -> Parts {
    let mut pinned = Vec::new();
    let mut pieces = Vec::new();
    for run in runs.iter().rev() {
        let n = shares[run.stage].min(run.inner.len() / unit);
        shares[run.stage] -= n;
        let streamed = run.inner.end - n * unit..run.inner.end;
        if n == 0 {
            pinned.push(run.bytes.clone());
            continue;
        }
        pinned.extend([streamed.end..run.bytes.end, run.bytes.start..streamed.start]);
        let starts = streamed.clone().step_by(UNITS_PER_PIECE * unit);
        pieces
            .extend(starts.map(|start| (run.stage, start..streamed.end.min(start + UNITS_PER_PIECE * unit))));
    }
    pinned.retain(|range| !range.is_empty());
    pinned.reverse();
    pieces.sort_unstable_by_key(|(stage, range)| (*stage, range.start));
    let firsts = (0..=shares.len()).map(|stage| pieces.partition_point(|(of, _)| *of < stage)).collect();
    Parts { pinned, pieces: pieces.into_iter().map(|(_, range)| range).collect(), firsts, window }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    /// `n` layers of two matrices with a small tensor between them, then the output matrix.
    fn reads(n: usize) -> Reads {
        let layer = |i: usize| {
            let start = 100 + i * 40 * MIB;
            vec![start..start + 15 * MIB, start + 15 * MIB + 4096..start + 39 * MIB]
        };
        let at = 100 + n * 40 * MIB;
        let output = std::iter::once(at..at + 50 * MIB).collect();
        Reads {
            stages: (0..n).map(layer).chain([output]).collect(),
            embedding: None,
            expert_bytes: 0,
            used_expert_bytes: 0,
            owned_bytes: 0,
        }
    }

    fn total(ranges: &[Range<usize>]) -> usize {
        ranges.iter().map(Range::len).sum()
    }

    /// Checks what holds for every division of `reads`.
    fn check(parts: &Parts, reads: &Reads, room: u64) {
        let mut all = [parts.pinned.clone(), parts.pieces.clone()].concat();
        all.sort_unstable_by_key(|range| range.start);
        assert!(all.windows(2).all(|pair| pair[0].end <= pair[1].start), "nothing twice");
        let covered = |at: usize| all.iter().any(|range| range.contains(&at));
        assert!(reads.stages.iter().flatten().all(|range| covered(range.start) && covered(range.end - 1)));
        let (pinned, streamed) = (total(&parts.pinned), total(&parts.pieces));
        assert!(pinned as u64 + parts.window.min(streamed) as u64 <= room, "{pinned} {streamed} {room}");
        assert_eq!((parts.firsts[0], parts.firsts[reads.stages.len()]), (0, parts.pieces.len()));
        for (stage, bounds) in parts.firsts.windows(2).enumerate() {
            let pieces = &parts.pieces[bounds[0]..bounds[1]];
            assert!(total(pieces) <= parts.window, "a stage is held whole");
            let (first, last) = (reads.stages[stage][0].start, reads.stages[stage].last().unwrap().end);
            assert!(pieces.iter().all(|piece| first <= piece.start && piece.end <= last), "its own bytes");
        }
    }

    #[test]
    fn what_stays_fills_the_room_at_every_size() {
        let reads = reads(8);
        let n_bytes = total(&reads.stages.concat());
        let least = Parts::new(&reads, 0).expect_err("no room");
        for room in (least..n_bytes as u64 + (4 << 20)).step_by(7 * MIB / 2) {
            let parts = Parts::new(&reads, room).unwrap();
            check(&parts, &reads, room);
            let unused = room - total(&parts.pinned) as u64 - parts.window as u64;
            assert!(parts.pieces.is_empty() || unused < 2 * UNIT as u64, "{unused} of {room} unused");
        }
        assert!(Parts::new(&reads, least - 1).is_err());
        assert!(Parts::new(&reads, n_bytes as u64 + UNIT as u64).unwrap().pieces.is_empty());
    }

    #[test]
    fn layers_give_evenly_and_the_output_last() {
        assert_eq!(share(&[10, 10, 10, 10, 7], 0), [0; 5]);
        assert_eq!(share(&[10, 10, 10, 10, 7], 10), [2, 3, 2, 3, 0]);
        assert_eq!(share(&[3, 10, 0, 10, 7], 23), [3, 10, 0, 10, 0]);
        assert_eq!(share(&[3, 10, 0, 10, 7], 26), [3, 10, 0, 10, 3]);
        assert_eq!(share(&[0, 0, 7], 5), [0, 0, 5]);
        assert_eq!(share(&[], 0), [0; 0]);
    }

    #[test]
    fn small_models_get_small_units_and_hostile_ones_no_overflow() {
        let stage = |range: Range<usize>| vec![range];
        let of =
            |stages| Reads { stages, embedding: None, expert_bytes: 0, used_expert_bytes: 0, owned_bytes: 0 };
        let small = of((0..7).map(|i| stage(i * MIB..(i + 1) * MIB)).collect());
        assert_eq!(unit_for(&small), 128 << 10);
        check(&Parts::new(&small, 4 << 20).unwrap(), &small, 4 << 20);
        // Two stages that read the same bytes, and one that reads nothing.
        let shared = of(vec![stage(0..9 * MIB), stage(0..9 * MIB), Vec::new(), stage(3 * MIB..5 * MIB)]);
        let parts = Parts::new(&shared, 64 << 20).unwrap();
        assert_eq!(total(&parts.pinned) + total(&parts.pieces), 9 * MIB);
        let parts = Parts::new(&of(vec![Vec::new()]), 0).unwrap();
        assert!(parts.pinned.is_empty() && parts.pieces.is_empty());
    }
}
