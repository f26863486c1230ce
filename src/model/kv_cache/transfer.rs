//! Brings the cached rows into a file and back.

use std::io::{self, Read, Write};

use gguf_simd::attention::CHUNK;

use super::KvCache;
use super::rows::StoredRows;

impl KvCache {
    /// Writes the rows of all positions: the keys and then the values of each head, layer by layer.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_rows(&self, out: &mut impl Write) -> io::Result<()> {
        for head in &self.heads {
            for rows in [&head.keys, &head.values] {
                for start in (0..self.n_past).step_by(CHUNK) {
                    out.write_all(rows.get(start..self.n_past.min(start + CHUNK)))?;
                }
            }
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
    /// If there is no room for `n` positions.
    pub fn read_rows(&mut self, n: usize, input: &mut impl Read) -> io::Result<()> {
        assert!(n <= self.n_ctx, "{n} positions in a cache of {}", self.n_ctx);
        self.truncate(0);
        let read = self.append_rows(n, input);
        match read {
            Ok(()) => self.n_past = n,
            Err(_) => self.truncate(0),
        }
        read
    }

    fn append_rows(&mut self, n: usize, input: &mut impl Read) -> io::Result<()> {
        let mut chunk = Vec::new();
        for head in &mut self.heads {
            for rows in [&mut head.keys, &mut head.values] {
                read_into(rows, n, input, &mut chunk)?;
            }
        }
        Ok(())
    }
}

/// Appends `n` rows to those that are there, which are none.
fn read_into(rows: &mut StoredRows, n: usize, input: &mut impl Read, chunk: &mut Vec<u8>) -> io::Result<()> {
    for start in (0..n).step_by(CHUNK) {
        chunk.resize(CHUNK.min(n - start) * rows.rows().row_bytes(), 0);
        input.read_exact(chunk)?;
        rows.extend(chunk);
    }
    Ok(())
}
