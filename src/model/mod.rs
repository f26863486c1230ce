//! What converter and runtime both know of a model: its numbers, its tensors, its parts.

pub mod arch;
pub mod hparams;
pub mod spec;

pub use arch::Family;
pub use hparams::{Hparams, Rope, RopeScaling};
pub use spec::{Presence, Role, Source, TensorSpec, Transform};
