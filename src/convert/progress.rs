//! How a conversion reports its progress, and how it is stopped.

/// A watcher of a conversion. Called from several threads at once.
pub trait Progress: Sync {
    /// `total` bytes of the checkpoint are going to be read.
    fn begin(&self, total: u64);
    /// Tensors of `total` bytes are going to be calibrated before.
    fn calibrating(&self, total: u64);
    /// `bytes` more of them have been converted.
    fn advance(&self, bytes: u64);
    /// The file is written; it is now read back and compared.
    fn verifying(&self);
    /// What was done until the conversion was stopped is kept in `place`, and another run goes on with it.
    fn kept(&self, place: &str) {
        let _ = place;
    }
    /// Whether to stop: asked between groups of rows.
    fn is_cancelled(&self) -> bool;
}

/// Watches nothing and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _total: u64) {}
    fn calibrating(&self, _total: u64) {}
    fn advance(&self, _bytes: u64) {}
    fn verifying(&self) {}
    fn is_cancelled(&self) -> bool {
        false
    }
}
