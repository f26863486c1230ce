//! The engine: sessions, batches, sampling.
