//! Brings the cached rows into a file and back, and tells whether they are numbers.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use gguf_simd::attention::{CHUNK, CacheType};

use super::chunk::HeadMut;
use super::layout::Layout;
use super::{KvCache, KvTypes};
use crate::error::Result;
use crate::model::spec::kv::KvSpec;

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

    /// Writes the rows that it holds: the keys and then the values of each head, layer by layer, each from
    /// the first position that its window has ([`KvCache::first_held`]).
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
        Ok(())
    }

    /// Replaces what it holds by the rows of `n` positions, as [`KvCache::write_rows`] writes them; `first`
    /// is what [`KvCache::first_held`] said then, and [`KvCache::row_bytes`] can count them. Any bytes are
    /// valid rows.
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
        let kept: Vec<_> =
            self.groups.iter_mut().zip(first).map(|(group, &first)| group.assign(first, n)).collect();
        let layout = Arc::clone(&self.layout);
        for (layer, head) in layout.heads() {
            let (first, kept) = (first[layer.group], kept[layer.group]);
            let group = &mut self.groups[layer.group];
            let keys: RowsMut = |head, positions| head.keys_mut(positions);
            let values: RowsMut = |head, positions| head.values_mut(positions);
            let parts = [Some((layer.rows.keys, keys)), layer.rows.values.map(|rows| (rows, values))];
            for (rows, part) in parts.into_iter().flatten() {
                skip(input, (kept - first) * rows.row_bytes())?;
                for positions in chunks(kept..n) {
                    let mut heads = group.chunk_mut(positions.start / CHUNK).heads_mut(layer);
                    let mut head = heads.nth(head).expect("one of its heads");
                    input.read_exact(part(&mut head, 0..positions.len()))?;
                }
            }
        }
        self.groups.iter_mut().zip(kept).for_each(|(group, kept)| group.note_filled(kept, n));
        self.n_past = n;
        Ok(())
    }

    /// Whether all keys and values that [`KvCache::write_rows`] writes are finite numbers.
    pub fn is_finite(&self) -> bool {
        let (KvTypes { keys, values }, first) = (self.types(), self.first_held());
        self.layout.heads().all(|(layer, head)| {
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
