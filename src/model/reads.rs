//! Which parts of its file a pass reads: what residency plans are made from.

use std::ops::Range;

use super::decoder::Decoder;
use super::matrix::Matrix;
use super::weights::{FeedForward, LayerWeights};

/// The bytes of a model's file that its matrices take, by how a pass reads them. What is decoded at load
/// (norms, biases) is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads {
    /// `[n_layer + 1]`: what every pass reads whole, in the order of its stages: the matrices of each
    /// layer, experts excepted, then the output matrix.
    pub stages: Vec<Vec<Range<usize>>>,
    /// The embedding, of which a pass reads a row for each token; `None` if it is the output matrix too.
    pub embedding: Option<Range<usize>>,
    /// Bytes of all experts.
    pub expert_bytes: usize,
    /// Bytes of the experts that a token goes through in one layer.
    pub used_expert_bytes: usize,
}

impl Decoder {
    /// What passes read of the file.
    pub fn reads(&self) -> Reads {
        let weights = &self.weights;
        let output = weights.output.span();
        let embedding = weights.token_embd.span();
        let experts = weights.layers.iter().map(|layer| expert_matrices(layer).map(span_len).sum::<usize>());
        let (expert_bytes, most) = experts.fold((0, 0), |(sum, most), n: usize| (sum + n, most.max(n)));
        let (n_used, n_expert) = (self.hparams.n_expert_used, self.hparams.n_expert.max(1));
        let layers = weights.layers.iter().map(|layer| dense_matrices(layer).map(Matrix::span).collect());
        Reads {
            stages: layers.chain([vec![output.clone()]]).collect(),
            embedding: (embedding != output).then_some(embedding),
            expert_bytes,
            used_expert_bytes: most / n_expert * n_used,
        }
    }
}

fn span_len(matrix: &Matrix) -> usize {
    matrix.span().len()
}

/// The matrices of a layer that every token meets.
fn dense_matrices(layer: &LayerWeights) -> impl Iterator<Item = &Matrix> {
    let attention = [&layer.q, &layer.k, &layer.v, &layer.attn_output].map(|linear| &linear.matrix);
    let (dense, router) = match &layer.feed_forward {
        FeedForward::Dense(part) => (Some([&part.gate, &part.up, &part.down]), None),
        FeedForward::Experts(experts) => (None, Some(&experts.router)),
    };
    attention.into_iter().chain(router).chain(dense.into_iter().flatten().map(|linear| &linear.matrix))
}

/// The matrices of a layer of which every token meets a part.
fn expert_matrices(layer: &LayerWeights) -> impl Iterator<Item = &Matrix> {
    let experts = match &layer.feed_forward {
        FeedForward::Dense(_) => None,
        FeedForward::Experts(experts) => Some([&experts.gate, &experts.up, &experts.down]),
    };
    experts.into_iter().flatten()
}
