//! The parts of a layer. Each owns its spec and weights, takes its state and buffers, and adds to the
//! residual stream; parts know nothing of the decoder or of each other.

pub(super) mod attention;
pub(super) mod ffn;
mod norm;
mod stream;

pub(super) use attention::Attention;
pub(super) use ffn::Ffn;
pub(super) use norm::Norm;
pub(super) use stream::Stream;

use super::inputs::Formats;
use super::weights::Matrix;

/// A layer of a pre-norm transformer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) attn_norm: Norm,
    pub(super) attention: Attention,
    pub(super) ffn_norm: Norm,
    pub(super) ffn: Ffn,
}

impl Layer {
    /// The formats that its parts need the normed stream in.
    pub(super) fn input_formats(&self) -> Formats {
        self.attention.input_formats().union(self.ffn.input_formats())
    }

    /// The matrices that every token is multiplied with.
    pub(super) fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.attention.matrices().into_iter().chain(self.ffn.matrices())
    }

    /// The matrices of which each token is multiplied with a part.
    pub(super) fn expert_matrices(&self) -> impl Iterator<Item = &Matrix> {
        self.ffn.expert_matrices()
    }
}
