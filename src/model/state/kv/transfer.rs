//! Brings the cached rows into a file and back, and tells whether they are numbers.

use std::io::{self, Read, Write};
use std::ops::Range;
use std::sync::Arc;

use gguf_simd::attention::{CHUNK, CacheType};

use super::{KvCache, KvHead, KvTypes};

impl KvCache {
    /// Writes the rows of all positions: the keys and then the values of each head, layer by layer.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_rows(&self, out: &mut impl Write) -> io::Result<()> {
        for head in self.heads() {
            chunks(self.n_past).try_for_each(|positions| out.write_all(head.keys(positions)))?;
            chunks(self.n_past).try_for_each(|positions| out.write_all(head.values(positions)))?;
        }
        Ok(())
    }

    /// Replaces what it holds by the rows of `n` positions, as [`KvCache::write_rows`] writes them.
    /// Any bytes are valid rows.
    ///
    /// # Errors
    /// What `input` says; the cache is then empty.
    ///
    /// # Panics
    /// If there is no room for `n` positions, or some of its chunks are shared or missing.
    pub fn read_rows(&mut self, n: usize, input: &mut impl Read) -> io::Result<()> {
        assert!(n <= self.n_ctx, "{n} positions in a cache of {}", self.n_ctx);
        self.truncate(0);
        let layout = Arc::clone(&self.layout);
        for (layer, head) in layout.heads() {
            for positions in chunks(n) {
                let mut heads = self.chunk_mut(positions.start / CHUNK).heads_mut(layer);
                let mut rows = heads.nth(head).expect("one of its heads");
                input.read_exact(rows.keys_mut(0..positions.len()))?;
            }
            for positions in chunks(n) {
                let mut heads = self.chunk_mut(positions.start / CHUNK).heads_mut(layer);
                let mut rows = heads.nth(head).expect("one of its heads");
                input.read_exact(rows.values_mut(0..positions.len()))?;
            }
        }
        self.advance(n);
        Ok(())
    }

    /// Whether all keys and values of the positions there are are finite numbers.
    pub fn is_finite(&self) -> bool {
        let KvTypes { keys, values } = self.types();
        self.heads().all(|head| {
            chunks(self.n_past).all(|positions| {
                are_finite(keys, head.keys(positions.clone())) && are_finite(values, head.values(positions))
            })
        })
    }

    /// The heads of all layers, in order.
    fn heads(&self) -> impl Iterator<Item = KvHead<'_>> {
        self.layout.heads().map(|(layer, head)| KvHead { cache: self, layer, head })
    }
}

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

/// Positions `0..n`, chunk by chunk.
fn chunks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(CHUNK).map(move |start| start..n.min(start + CHUNK))
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
