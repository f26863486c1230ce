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
