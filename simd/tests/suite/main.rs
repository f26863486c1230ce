//! The integration tests of this crate, in one program.

mod activations;
mod attention;
mod batches;
mod common;
mod effort;
mod golden_blocks;
mod grids;
mod input_rows;
mod k_types;
mod ops;
mod tiers_agree;
