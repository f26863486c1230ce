//! Brings the cached rows into a file and back, and tells whether they are numbers.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use gguf_simd::attention::{CHUNK, CacheType};

use super::chunk::HeadMut;
use super::group::Group;
use super::layout::Layout;
use super::rewind::Checkpoint;
use super::{KvCache, KvTypes};
use crate::error::Result;
use crate::model::spec::kv::KvSpec;
use crate::model::state::recurrent::{State, state_bytes};

/// Borders with states that a file keeps: those before and at the end of the last prompt and of the one before. The last
/// checkpoint is kept as well, whatever it is.
const MAX_KEPT: u64 = 4;

/// Bytes that they take, unless one does more.
const MAX_KEPT_BYTES: u64 = 256 << 20;

impl KvCache {
    /// The first position of which [`KvCache::write_rows`] writes rows, for each window of
    /// [`KvSpec::windows`]; a multiple of [`CHUNK`].
    pub fn first_held(&self) -> Vec<usize> {
        self.groups.iter().map(|group| group.span(self.n_past).start * CHUNK).collect()
    }

    /// Bytes of the rows that [`KvCache::write_rows`] writes of `n` positions, those before `first` left out
    /// for each window; [`u64::MAX`] if they cannot be counted, `None` if positions are left out that the next
    /// one sees, or a part of a chunk is.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] if the model's heads do not divide into the blocks of a type.
    pub fn row_bytes(spec: &KvSpec, types: KvTypes, n: usize, first: &[usize]) -> Result<Option<u64>> {
        let layout = Layout::new(spec, types)?;
        let mut n_bytes = 0u64;
        for (group, &first) in layout.groups.iter().zip(first) {
            if !first.is_multiple_of(CHUNK) || first > group.first_seen(n) {
                return Ok(None);
            }
            let of_group = (group.position_bytes as u64).saturating_mul((n - first) as u64);
            n_bytes = n_bytes.saturating_add(of_group);
        }
        Ok(Some(n_bytes))
    }

    /// Bytes of the states that [`KvCache::write_rows`] writes of `n` positions and of the positions `kept`;
    /// [`u64::MAX`] if they cannot be counted, `None` if these do not ascend from a first position to one before the
    /// last.
    pub fn state_bytes(spec: &KvSpec, n: usize, kept: &[usize]) -> Option<u64> {
        let ascends = kept.iter().chain([&n]).is_sorted_by(|a, b| a < b) && kept.first() != Some(&0);
        let n_states = u64::from(n > 0) + kept.len() as u64;
        (kept.is_empty() || ascends && spec.has_states())
            .then(|| state_bytes(&spec.states).saturating_mul(n_states))
    }

    /// The positions of checkpoints with states before the last position, which [`KvCache::write_rows`] writes as well.
    pub fn kept_states(&self) -> Vec<usize> {
        self.kept().map(|(n_past, _)| n_past).collect()
    }

    /// The checkpoints that go into a file: the last ones that were asked for, and the last of all.
    fn kept(&self) -> impl Iterator<Item = (usize, &Arc<State>)> {
        // A window would need what it held then as well.
        let is_any = !self.groups.iter().any(Group::drops);
        let earlier = self.checkpoints.iter().filter(move |earlier| is_any && earlier.n_past < self.n_past);
        let most = (MAX_KEPT_BYTES / self.recurrent.n_bytes().max(1)).clamp(1, MAX_KEPT) as usize;
        let (n, n_borders) =
            (earlier.clone().count(), earlier.clone().filter(|earlier| earlier.is_border).count());
        let mut borders = 0..;
        let kept = earlier.enumerate().filter(move |(i, earlier)| {
            let border = earlier.is_border.then(|| borders.next()).flatten();
            i + 1 == n || border.is_some_and(|border: usize| border + most >= n_borders)
        });
        kept.filter_map(|(_, earlier)| Some((earlier.n_past, earlier.state.as_ref()?)))
    }

    /// Writes the rows that it holds: the keys and then the values of each head, layer by layer, each from
    /// the first position that its window has ([`KvCache::first_held`]); then the states of recurrent mixers
    /// after [`KvCache::kept_states`] and after the last position.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_rows(&self, out: &mut impl Write) -> io::Result<()> {
        let first = self.first_held();
        for (layer, head) in self.layout.heads() {
            let (head, positions) = (self.head_of(layer, head), || chunks(first[layer.group]..self.n_past));
            positions().try_for_each(|positions| out.write_all(head.keys(positions)))?;
            if layer.rows.values.is_some() {
                positions().try_for_each(|positions| out.write_all(head.values(positions)))?;
            }
        }
        let last = self.recurrent.share().filter(|_| self.n_past > 0);
        self.kept().map(|(_, state)| state).chain(&last).try_for_each(|state| state.write(out))
    }

    /// Replaces what it holds by the rows of `n` positions, as [`KvCache::write_rows`] writes them; `first`
    /// is what [`KvCache::first_held`] said then, and [`KvCache::row_bytes`] can count them. Any bytes are
    /// valid rows. The states are yet to be read.
    ///
    /// # Errors
    /// What `input` says; the cache is then empty.
    ///
    /// # Panics
    /// If there is no room for `n` positions, or some of its chunks are shared.
    pub fn read_rows(&mut self, n: usize, first: &[usize], input: &mut impl Read) -> io::Result<()> {
        assert!(n <= self.n_ctx(), "{n} positions in a cache of {}", self.n_ctx());
        self.rewind(0);
        // A window may be written with more positions than it has slots for here.
        let held: Vec<_> =
            self.groups.iter_mut().zip(first).map(|(group, &first)| group.assign(first, n)).collect();
        let layout = Arc::clone(&self.layout);
        for (layer, head) in layout.heads() {
            let (first, held) = (first[layer.group], held[layer.group]);
            let group = &mut self.groups[layer.group];
            let keys: RowsMut = |head, positions| head.keys_mut(positions);
            let values: RowsMut = |head, positions| head.values_mut(positions);
            let parts = [Some((layer.rows.keys, keys)), layer.rows.values.map(|rows| (rows, values))];
            for (rows, part) in parts.into_iter().flatten() {
                skip(input, (held - first) * rows.row_bytes())?;
                for positions in chunks(held..n) {
                    let mut heads = group.chunk_mut(positions.start / CHUNK).heads_mut(layer);
                    let mut head = heads.nth(head).expect("one of its heads");
                    input.read_exact(part(&mut head, 0..positions.len()))?;
                }
            }
        }
        self.groups.iter_mut().zip(held).for_each(|(group, held)| group.note_filled(held, n));
        self.n_past = n;
        Ok(())
    }

    /// Reads the states of recurrent mixers after position `kept` as a checkpoint, after [`KvCache::read_rows`].
    ///
    /// # Errors
    /// What `input` says.
    pub fn read_kept_state(&mut self, kept: usize, input: &mut impl Read) -> io::Result<()> {
        self.recurrent.read(input)?;
        let held = self.groups.iter().map(|_| None).collect();
        self.checkpoints.push(Checkpoint {
            n_past: kept,
            is_border: true,
            held,
            state: self.recurrent.share(),
        });
        Ok(())
    }

    /// Reads the states of recurrent mixers after the last position into memory that is not shared.
    ///
    /// # Errors
    /// What `input` says.
    ///
    /// # Panics
    /// If the memory is shared.
    pub fn read_state(&mut self, input: &mut impl Read) -> io::Result<()> {
        if self.n_past > 0 { self.recurrent.read(input) } else { Ok(()) }
    }

    /// Whether all that [`KvCache::write_rows`] writes are finite numbers.
    pub fn is_finite(&self) -> bool {
        let (KvTypes { keys, values }, first) = (self.types(), self.first_held());
        let last = self.recurrent.share().filter(|_| self.n_past > 0);
        let mut states = self.kept().map(|(_, state)| state).chain(&last);
        states.all(|state| state.is_finite())
            && self.layout.heads().all(|(layer, head)| {
                let head = self.head_of(layer, head);
                chunks(first[layer.group]..self.n_past).all(|positions| {
                    are_finite(keys, head.keys(positions.clone()))
                        && (layer.rows.values.is_none() || are_finite(values, head.values(positions)))
                })
            })
    }
}

/// The keys or the values of some positions.
type RowsMut = for<'a> fn(&'a mut HeadMut<'_>, Range<usize>) -> &'a mut [u8];

/// Whether rows are finite: a block has an exponent in its first half, which is its scale or its element, but a
/// float of single precision in its last.
fn are_finite(cache_type: CacheType, rows: &[u8]) -> bool {
    let (at, exponent) = match cache_type {
        CacheType::F32 => (2, 0x7f80),
        CacheType::F16 | CacheType::Q8_0 | CacheType::Q4_0 => (0, 0x7c00),
    };
    let blocks = rows.chunks_exact(cache_type.block_type().block_bytes());
    let mut halves = blocks.map(|block| u16::from_le_bytes([block[at], block[at + 1]]));
    halves.all(|half| half & exponent != exponent)
}

/// Reads over `n_bytes`.
fn skip(input: &mut impl Read, n_bytes: usize) -> io::Result<()> {
    let n_read = io::copy(&mut input.take(n_bytes as u64), &mut io::sink())?;
    if n_read == n_bytes as u64 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Positions, which start with a chunk, chunk by chunk.
fn chunks(positions: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let end = positions.end;
    positions.step_by(CHUNK).map(move |start| start..end.min(start + CHUNK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_every_type_is_looked_at() {
        let one = |cache_type: CacheType| match cache_type {
            CacheType::F32 => 1e38_f32.to_le_bytes().to_vec(),
            // The scale of a block, or an element: 60000.
            _ => [&[0x53, 0x7b][..], &vec![0xff; cache_type.block_type().block_bytes() - 2]].concat(),
        };
        for cache_type in CacheType::ALL {
            let mut rows = [one(cache_type), one(cache_type)].concat();
            assert!(are_finite(cache_type, &rows), "{cache_type}");
            let (at, bytes) = match cache_type {
                CacheType::F32 => (rows.len() - 4, &f32::INFINITY.to_le_bytes()[..]),
                _ => (rows.len() / 2, &[0x00, 0x7c][..]),
            };
            rows[at..at + bytes.len()].copy_from_slice(bytes);
            assert!(!are_finite(cache_type, &rows), "{cache_type}");
        }
    }
}
