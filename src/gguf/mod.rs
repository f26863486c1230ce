//! The GGUF file format: values, reader, layout, writer. Knows nothing of models.
//!
//! A file is a header (metadata pairs and tensor descriptions) followed by the tensors' data, each
//! tensor at a multiple of the alignment. Source: the format's description in the ggml project,
//! `docs/gguf.md`. Shapes are outermost first everywhere outside this folder; the format's reversed
//! order stays inside it.

mod contents;
mod cursor;
pub mod edit;
pub mod ggml_type;
mod header;
mod journal;
pub mod layout;
pub mod metadata;
mod metadata_view;
pub mod model_writer;
mod numbers;
pub mod parts;
pub mod reader;
pub mod value;
pub mod writer;

pub use ggml_type::{Block, GgmlType, floats_of_f64s};
pub use layout::{Layout, PlacedTensor, PlannedTensor};
pub use metadata::Metadata;
pub use model_writer::ModelWriter;
pub use reader::{GgufFile, TensorInfo};
pub use value::Value;
pub use writer::GgufWriter;

/// The first four bytes of a file.
pub const MAGIC: [u8; 4] = *b"GGUF";

/// The metadata key that changes the alignment of the tensors' data.
const ALIGNMENT_KEY: &str = "general.alignment";

/// The alignment of the tensors' data where `general.alignment` is absent.
pub const DEFAULT_ALIGNMENT: usize = 32;
