//! From checkpoint to GGUF, or from one GGUF to another: plan, recipe, transform, pipeline, verify.
//!
//! [`Plan::new`] or [`Plan::of_gguf`] decides everything before a byte is written: whether the architecture and the
//! tokenizer are known, which checkpoint tensors make which GGUF tensors, their types, the metadata
//! and every offset. [`run`] then takes groups of rows in parallel from the checkpoint to
//! blocks in the file, reads the file back, and gives it its name. [`cached`] does both for a
//! checkpoint that is to be run rather than converted, and keeps the result.

mod adapters;
mod blocks;
pub mod budget;
pub mod cache;
mod cache_key;
pub mod calibrate;
pub mod file_type;
mod gguf_input;
mod importance;
pub mod keys;
mod metadata;
mod names;
mod naming;
mod other_parts;
mod output;
mod parallel;
pub mod pipeline;
pub mod plan;
pub mod progress;
pub mod proof;
mod prune;
mod ranker;
pub mod recipe;
mod resume;
mod sources;
mod stored;
pub mod summary;
mod target;
mod tokenizer_check;
mod transform;
mod verify;

pub use cache::{Cached, cached, cached_in};
pub use file_type::FileType;
pub use gguf_input::GgufInput;
pub use importance::ImportanceFile;
pub use keys::{KeyChanges, Setting};
pub use pipeline::{RunOptions, run, run_all, run_all_resumable};
pub use plan::{Plan, PlanOptions, PlannedRow, TokenizerDifferences};
pub use progress::{Progress, Silent};
pub use prune::Pruning;
pub use ranker::Answers;
pub use recipe::Overrides;
pub use summary::{Summary, TensorSummary};
