//! Which parts of its file a pass reads: what residency plans are made from.

use std::ops::Range;

use super::layer::Layer;
use super::load::Weights;
use super::weights::Matrix;

/// The bytes of a model's file that its matrices take, by how a pass reads them. What is decoded at load
/// (norms, biases) is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads {
    /// `[n_layer + 1]`: what every pass reads whole, in the order of its stages: the matrices of each
    /// layer, experts excepted, then the output matrix and what pooled
    /// streams go through.
    pub stages: Vec<Vec<Range<usize>>>,
    /// The embedding, of which a pass reads a row for each token; `None` if it is the output matrix too.
    pub embedding: Option<Range<usize>>,
    /// Bytes of all experts.
    pub expert_bytes: usize,
    /// Bytes of the experts that a token goes through in one layer.
    pub used_expert_bytes: usize,
    /// Bytes of matrices that are in memory of the program's own, and not in the file.
    pub owned_bytes: usize,
}

impl Reads {
    /// What passes through a model with these weights read; each token goes through `n_expert_used` of
    /// `n_expert` experts.
    pub(super) fn new(weights: &Weights, n_expert: usize, n_expert_used: usize) -> Self {
        // An encoder has no output matrix: its last stage is what becomes of pooled streams.
        let output = weights.output.as_ref().and_then(|output| output.matrix.file_span());
        let pooled: Vec<_> = spans(weights.pooled.matrices().collect()).collect();
        let embedding = weights.token_embd.file_span();
        let experts = weights
            .layers
            .iter()
            .map(|layer| spans(layer.expert_matrices()).map(|span| span.len()).sum::<usize>());
        let (expert_bytes, most) = experts.fold((0, 0), |(sum, most), n: usize| (sum + n, most.max(n)));
        let layers = weights.layers.iter().map(|layer| spans(layer.matrices()).collect());
        Self {
            stages: layers.chain([output.iter().cloned().chain(pooled).collect()]).collect(),
            embedding: embedding.filter(|embedding| Some(embedding) != output.as_ref()),
            expert_bytes,
            owned_bytes: weights.layers.iter().flat_map(Layer::matrices).map(Matrix::owned_bytes).sum(),
            used_expert_bytes: most / n_expert.max(1) * n_expert_used,
        }
    }
}

/// The bytes of those matrices that are in the file.
fn spans(matrices: Vec<&Matrix>) -> impl Iterator<Item = Range<usize>> {
    matrices.into_iter().filter_map(Matrix::file_span)
}
