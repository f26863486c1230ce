//! The integration tests of this crate, in one program.

mod activations;
mod batches;
mod common;
mod effort;
mod golden_blocks;
mod grids;
mod k_types;
mod tiers_agree;
