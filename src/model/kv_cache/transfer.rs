//! Brings the cached rows into a file and back, and tells whether they are numbers.

use std::io::{self, Read, Write};
use std::ops::Range;

use gguf_simd::attention::{CHUNK, CacheType};

use super::{KvCache, KvTypes};

impl KvCache {
    /// Writes the rows of all positions: the keys and then the values of each head, layer by layer.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_rows(&self, out: &mut impl Write) -> io::Result<()> {
        for (layer, head) in self.all_heads() {
            let head = self.head(layer, head);
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
        for (layer, head) in self.all_heads() {
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
        self.all_heads().all(|(layer, head)| {
            let head = self.head(layer, head);
            chunks(self.n_past).all(|positions| {
                are_finite(keys, head.keys(positions.clone())) && are_finite(values, head.values(positions))
            })
        })
    }

    /// The layer and the number of every head, in order.
    fn all_heads(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let n_head_kv = self.shape.n_head_kv;
        (0..self.shape.n_layer).flat_map(move |layer| (0..n_head_kv).map(move |head| (layer, head)))
    }
}

/// Whether rows are finite: each block of any type starts with a half, which is its scale or its element.
fn are_finite(cache_type: CacheType, rows: &[u8]) -> bool {
    const EXPONENT: u16 = 0x7c00;
    let blocks = rows.chunks_exact(cache_type.block_type().block_bytes());
    let mut halves = blocks.map(|block| u16::from_le_bytes([block[0], block[1]]));
    halves.all(|half| half & EXPONENT != EXPONENT)
}

/// Positions `0..n`, chunk by chunk.
fn chunks(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(CHUNK).map(move |start| start..n.min(start + CHUNK))
}
