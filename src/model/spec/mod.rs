//! What a model is, as data: no weights, no files.
//!
//! A family (`arch`) makes a [`ModelSpec`]; everything else is derived from it: which tensors there
//! are ([`slots`]), what each layer remembers ([`kv`]), what the decoder computes.

mod faults;
pub mod kv;
pub mod layer;
mod model;
mod pooled;
mod roles;
mod rope;
mod side;
mod slots;
mod tensor;

pub use model::{EmbedSpec, HeadSpec, ModelSpec, PerLayerSpec};
pub use pooled::{ClassifierActivation, ClassifierSpec, PooledSpec, Pooling};
pub use roles::Role;
pub use rope::{RopeFactors, RopeScaling, RopeSpec};
pub use side::Side;
pub(in crate::model) use slots::RATES;
pub use slots::{Presence, Promise, Promises, Slot, slots};
pub use tensor::{Suffix, TensorId};
