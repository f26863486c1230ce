//! What sessions and sequences are made for.

use crate::error::{Error, Result};
use crate::model::{KvOptions, KvTypes};

/// The dimensions of a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// Positions there is room for.
    pub n_ctx: usize,
    /// Tokens evaluated together; at most `n_ctx` are used. It changes speed and memory, never results:
    /// buffers are for so many, and layers with a window keep so many positions beside it.
    pub n_batch: usize,
    /// The types of cached keys and values.
    pub kv_types: KvTypes,
}

impl SessionOptions {
    /// These options with a batch of `n_ctx` tokens at most.
    ///
    /// # Errors
    /// [`Error::Usage`] for a context or a batch of none.
    pub(super) fn checked(self) -> Result<Self> {
        if self.n_ctx == 0 || self.n_batch == 0 {
            return Err(Error::usage("a session needs a --ctx and a --batch of at least 1"));
        }
        Ok(Self { n_batch: self.n_batch.min(self.n_ctx), ..self })
    }

    /// The room of a session's cache.
    pub(super) fn cache(self) -> KvOptions {
        let Self { n_ctx, n_batch, kv_types } = self;
        KvOptions { n_ctx, n_batch, types: kv_types }
    }
}
