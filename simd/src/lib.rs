//! Block formats of GGUF tensors and their arithmetic.
//!
//! The scalar code in `block/<type>/scalar.rs` defines each format; every other kernel equals it
//! bit for bit. This crate knows no file and no model: it does no I/O, starts no thread and
//! allocates nothing.

pub mod activation;
mod array;
pub mod attention;
pub mod block;
pub mod ceiling;
pub mod columns;
mod float_environment;
mod gemm;
pub mod half_float;
pub mod isa;
pub mod kernels;
pub mod ops;
mod quantize;
mod wide;

pub use activation::{Activation, ActivationFormat, Q8KWindow, Q8Window, WINDOW_LEN};
pub use block::BlockType;
pub use block::grid::{Grid, Values};
pub use columns::ColumnsMut;
pub use float_environment::FloatEnvironment;
pub use isa::Isa;
pub use kernels::{InputRow, Kernels};
