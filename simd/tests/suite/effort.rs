//! How much the tests try.

/// Whether a processor runs them itself; where one is usually emulated they try less.
pub(crate) const FULL: bool = cfg!(target_arch = "x86_64");
