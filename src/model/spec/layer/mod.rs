//! What a layer is made of: shapes and constants, no weights.

mod attention;
mod conv;
mod ffn;
mod hyper;
mod mixer;
mod mla;
mod ngram;
mod recurrent;
mod relative;
mod rwkv;

use gguf_simd::ops::Gate;

use super::faults::{first_constant_fault, first_count_fault};
use super::roles::Role;
use super::rope::RopeSpec;
use super::tensor::TensorId;
use crate::limits;

pub use attention::{
    AttentionGate, AttentionSpec, IndexerSpec, QkNormExtent, QkNormSpec, RopeOrder, RopeUse, TemperatureSpec,
    Window,
};
pub use conv::{ConvSpec, ShortConvSpec};
pub use ffn::{AdjugateSpec, ExpertsSpec, FfnShape, FfnSpec, GroupSpec, RouterSpec, Scoring, SharedSpec};
pub use hyper::{HyperEndSpec, HyperKind, HyperRoles, HyperSpec};
pub use mixer::MixerSpec;
pub use mla::MlaSpec;
pub use ngram::NgramSpec;
pub use recurrent::{DeltaNetSpec, HeadMambaSpec, HeadOrder, KdaSpec, LightningSpec, Mamba1Spec, Mamba2Spec};
pub use relative::RelativeSpec;
pub use rwkv::{ChannelMixSpec, Rwkv6Spec, Rwkv7Spec, RwkvRanks};

/// A transformer layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerSpec {
    /// The part that looks at other positions.
    pub mixer: MixerSpec,
    /// In front of the mixer; without one it gets the stream itself.
    pub mixer_norm: Option<NormSpec>,
    /// What files call it.
    pub mixer_norm_role: Role,
    /// Whether that norm and the one in front of the feed-forward part are of the stream itself, which goes on normed.
    pub norms_stream: bool,
    /// Of what the mixer adds to the stream.
    pub mixer_post_norm: Option<NormSpec>,
    /// What files call it.
    pub mixer_post_norm_role: Role,
    /// Of the stream with the mixer's output.
    pub mixer_stream_norm: Option<NormSpec>,
    /// The part that looks at one position alone.
    pub ffn: FfnSpec,
    /// What the feed-forward part gets.
    pub ffn_input: FfnInput,
    /// What files call the norm in front of it.
    pub ffn_norm_role: Role,
    /// Of what the feed-forward part adds to the stream.
    pub ffn_post_norm: Option<NormSpec>,
    /// What files call it.
    pub ffn_post_norm_role: Role,
    /// Of the stream with the feed-forward part's output.
    pub ffn_stream_norm: Option<NormSpec>,
    /// Multiplies what either part adds to the stream.
    pub residual_scale: f32,
    /// What multiplies what the mixer adds as well.
    pub mixer_scale: f32,
    /// What is added of the per-layer embedding, behind the feed-forward part.
    pub per_layer: Option<PerLayerInputSpec>,
    /// What becomes of the streams of a token, if it has several.
    pub altup: Option<AltUpSpec>,
    /// How its parts get their inputs from several streams of a token, and give outputs back.
    pub hyper: Option<HyperSpec>,
    /// What a table of n-grams adds to those streams before the mixer.
    pub ngram: Option<NgramSpec>,
    /// What one stored number multiplies behind the feed-forward part.
    pub stored_scale: Option<StoredScale>,
    /// Whether one stored number each multiplies what attention and the feed-forward part add.
    pub has_gains: bool,
    /// The layer that it is again: it has the same weights, and remembers positions of its own.
    pub repeats: Option<usize>,
    /// Of the stream that leaves it, with the weights of the norm in front of the output matrix.
    pub last_norm: Option<NormSpec>,
}

/// What one stored number of a layer multiplies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredScale {
    /// The stream that leaves the layer.
    Stream,
    /// The embedding, which is added to that stream again.
    Embedding,
}

/// What the feed-forward part of a layer gets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FfnInput {
    /// The stream with the mixer's output, normed if there is a norm.
    Sequential(Option<NormSpec>),
    /// What the mixer got: the two are parallel.
    Shared,
    /// The stream that the mixer got, through another norm: the two are parallel.
    Beside(NormSpec),
}

/// Streams that a token has at most.
pub const MAX_STREAMS: usize = 8;

/// Several streams, of which a layer computes with one, predicts the others and corrects them (Baykal et al. 2023,
/// "AltUp"), with a narrow part beside attention (Menghani et al. 2024, "LAuReL").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AltUpSpec {
    /// Streams of a token.
    pub n_stream: usize,
    /// The one that layers compute with.
    pub active: usize,
    /// Width of the narrow part.
    pub laurel_rank: usize,
    /// Of what routers look at, and of what the narrow part adds.
    pub norm: NormSpec,
}

impl AltUpSpec {
    pub(in crate::model::spec) fn fault(&self) -> Option<String> {
        let counts = [
            ("the number of streams of a token", self.n_stream, MAX_STREAMS),
            ("the rank of the part beside attention", self.laurel_rank, limits::MAX_HEAD_DIM),
        ];
        let (active, n) = (self.active, self.n_stream);
        first_count_fault(&counts)
            .or_else(|| (active >= n).then(|| format!("layers compute with stream {active} of {n}")))
            .or_else(|| self.norm.fault())
    }
}

/// What a layer adds of its part of the per-layer embedding `e`: `norm(proj(act(gate(stream)) * e))`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PerLayerInputSpec {
    /// Elements of `e`.
    pub n: usize,
    /// The gate's activation.
    pub activation: Gate,
    /// Of what is added.
    pub norm: NormSpec,
}

/// A norm of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormSpec {
    /// How a row is brought to its scale.
    pub kind: NormKind,
    /// Added to the mean square, or to the variance.
    pub eps: f32,
    /// Whether it has weights of its own; without, it only scales.
    pub has_weight: bool,
    /// Whether the name of its weights in GGUF has no suffix.
    pub is_bare: bool,
}

/// The kinds of norms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// By the root of the mean square (Zhang and Sennrich 2019).
    Rms,
    /// By the standard deviation, after the mean was subtracted (Ba et al. 2016); it may have a bias.
    Layer,
}

impl NormSpec {
    /// The weights of the norm that plays the part `role`.
    pub fn weights(&self, role: Role, layer: Option<usize>) -> TensorId {
        if self.is_bare { TensorId::bare(role, layer) } else { TensorId::weight(role, layer) }
    }

    pub(in crate::model::spec) fn fault(&self) -> Option<String> {
        first_constant_fault(&[("the epsilon of a norm", self.eps)])
    }
}

impl LayerSpec {
    /// Floats that it keeps of the text as a whole.
    pub fn state_len(&self) -> usize {
        let of_ngrams = self.ngram.as_ref().map_or(0, NgramSpec::state_len);
        of_ngrams.saturating_add(self.mixer.state_len())
    }

    /// What is wrong with the streams of layer `i`: its two parts take turns at them.
    fn hyper_fault(&self, i: usize) -> Option<String> {
        let Some(hyper) = &self.hyper else {
            return self.ngram.is_some().then(|| format!("layer {i} has n-grams, and no streams for them"));
        };
        let is_plain = matches!(self.ffn_input, FfnInput::Sequential(_))
            && !matches!(self.mixer, MixerSpec::None)
            && !matches!(self.ffn, FfnSpec::None)
            && self.altup.is_none()
            && self.per_layer.is_none()
            && self.stored_scale.is_none()
            && !self.norms_stream;
        let of_ngrams = self.ngram.as_ref().and_then(|ngram| ngram.fault());
        (!is_plain)
            .then(|| format!("layer {i} has parts beside those of hyper-connections"))
            .or_else(|| hyper.fault())
            .or(of_ngrams)
    }

    /// What is wrong with layer `i` of these, which name these rotary embeddings.
    pub(in crate::model::spec) fn fault(
        &self,
        i: usize,
        layers: &[Self],
        ropes: &[RopeSpec],
    ) -> Option<String> {
        let mixer = self.mixer.fault(i, layers, ropes);
        let ffn_norm = match self.ffn_input {
            FfnInput::Sequential(norm) => norm,
            FfnInput::Shared => None,
            FfnInput::Beside(norm) => Some(norm),
        };
        let streams = [self.mixer_stream_norm, self.ffn_stream_norm];
        let norms = [self.mixer_norm, self.mixer_post_norm, ffn_norm, self.ffn_post_norm];
        let mut norms = norms.into_iter().chain(streams).flatten();
        let ffn = self.ffn.fault();
        let repeats = self.repeats.filter(|&of| of >= i || layers[of].repeats.is_some());
        mixer
            .or(ffn)
            .or_else(|| repeats.map(|of| format!("layer {i} cannot be layer {of} again")))
            .or_else(|| self.last_norm.and_then(|norm| norm.fault()))
            .or_else(|| self.altup.and_then(|altup| altup.fault()))
            .or_else(|| self.hyper_fault(i))
            .or_else(|| norms.find_map(|norm| norm.fault()))
            .or_else(|| first_constant_fault(&[("the residual scale", self.residual_scale)]))
            .or_else(|| first_constant_fault(&[("the scale of values", self.mixer_scale)]))
    }
}
