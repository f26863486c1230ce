//! What a conversion did.

use std::path::PathBuf;
use std::time::Duration;

use crate::convert::calibrate::Won;
use crate::convert::proof::Proved;
use crate::convert::{FileType, Plan};
use crate::gguf::{GgmlType, PlacedTensor};
use crate::quantize::ErrorStats;

/// A finished conversion.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The file, or the parts of a model that was split.
    pub paths: Vec<PathBuf>,
    /// Its type.
    pub file_type: FileType,
    /// Its bytes, those of all parts.
    pub file_bytes: u64,
    /// Bits that a weight takes on average, in tensor data alone.
    pub bits_per_weight: f64,
    /// Whether weights were quantised before, so that errors count from what they were then.
    pub is_requantised: bool,
    /// What quantising them before lost, relative to the RMS of all weights, as their steps tell; `None` where they do
    /// not.
    pub source_error: Option<f64>,
    /// Source bytes that an earlier run had converted.
    pub n_resumed_bytes: u64,
    /// How long it took, with all that was written at once and reading back.
    pub duration: Duration,
    /// Every tensor, in file order.
    pub tensors: Vec<TensorSummary>,
    /// What was read back of each tensor, if the file proves itself.
    pub proof: Option<Vec<Proved>>,
    /// What calibrating won, if it was done.
    pub calibration: Option<Calibration>,
}

/// What calibrating won.
#[derive(Clone, Debug)]
pub struct Calibration {
    /// With what it was done, for people.
    pub what: String,
    /// By tensor.
    pub won: Vec<Won>,
}

/// What became of one tensor.
#[derive(Clone, Debug)]
pub struct TensorSummary {
    /// Its name in the file.
    pub name: String,
    /// Its type.
    pub ty: GgmlType,
    /// Its bytes.
    pub n_bytes: u64,
    /// What its encoding lost.
    pub error: ErrorStats,
}

impl Summary {
    /// Of `plan`, carried out in `paths`, with what the encoding of each tensor lost.
    pub(super) fn new(
        plan: &Plan<'_>,
        paths: Vec<PathBuf>,
        duration: Duration,
        errors: impl IntoIterator<Item = ErrorStats>,
    ) -> Self {
        let of_tensor = |(placed, error): (&PlacedTensor, ErrorStats)| TensorSummary {
            name: placed.name.clone(),
            ty: placed.ty,
            n_bytes: placed.n_bytes,
            error,
        };
        Self {
            paths,
            file_type: plan.file_type(),
            file_bytes: plan.file_bytes(),
            bits_per_weight: plan.bits_per_weight(),
            is_requantised: plan.is_requantised(),
            source_error: None,
            n_resumed_bytes: 0,
            proof: None,
            duration,
            calibration: None,
            tensors: plan.files().tensors().zip(errors).map(of_tensor).collect(),
        }
    }

    /// The same, of weights whose codes made squared errors of this sum before.
    pub(super) fn with_source_noise(self, noise: f64) -> Self {
        let squares = self.error().sum_squares;
        let source_error = (noise > 0.0 && squares > 0.0).then(|| (noise / squares).sqrt());
        Self { source_error, ..self }
    }

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
