//! What a conversion did.

use std::path::PathBuf;
use std::time::Duration;

use gguf_simd::BlockType;

use crate::convert::FileType;
use crate::quantize::ErrorStats;

/// A finished conversion.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The file.
    pub path: PathBuf,
    /// Its type.
    pub file_type: FileType,
    /// Its bytes.
    pub file_bytes: u64,
    /// Bits that a weight takes on average, in tensor data alone.
    pub bits_per_weight: f64,
    /// Whether weights were quantised before, so that errors count from what they were then.
    pub is_requantised: bool,
    /// How long it took, reading back included.
    pub duration: Duration,
    /// Every tensor, in file order.
    pub tensors: Vec<TensorSummary>,
}

/// What became of one tensor.
#[derive(Clone, Debug)]
pub struct TensorSummary {
    /// Its name in the file.
    pub name: String,
    /// Its type.
    pub block_type: BlockType,
    /// Its bytes.
    pub n_bytes: u64,
    /// What its encoding lost.
    pub error: ErrorStats,
}

impl Summary {
    /// What the encoding of all tensors lost.
    pub fn error(&self) -> ErrorStats {
        let mut total = ErrorStats::default();
        for tensor in &self.tensors {
            total.merge(&tensor.error);
        }
        total
    }

    /// The `n` tensors with the largest relative error, the worst first; none without any.
    pub fn worst(&self, n: usize) -> Vec<&TensorSummary> {
        let mut lossy: Vec<&TensorSummary> =
            self.tensors.iter().filter(|tensor| tensor.error.relative_rmse() > 0.0).collect();
        lossy.sort_by(|a, b| b.error.relative_rmse().total_cmp(&a.error.relative_rmse()));
        lossy.truncate(n);
        lossy
    }
}
