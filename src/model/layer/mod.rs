//! The parts of a layer. Each owns its spec and weights, takes its state and buffers, and adds to the
//! residual stream; parts know nothing of the decoder or of each other.

pub(super) mod altup;
pub(super) mod attention;
pub(super) mod ffn;
pub(super) mod hyper;
pub(super) mod mixer;
pub(super) mod ngram;
pub(super) mod norm;
pub(super) mod per_layer;
pub(super) mod pooled;
pub(super) mod rows;
pub(super) mod stream;

pub(super) use altup::{AltUp, AltUpEnds, AltUpScratch, Laurel};
pub(super) use attention::{Attention, AttentionScratch, Mla, MlaScratch, Needs};
pub(super) use ffn::Ffn;
pub(super) use hyper::{Hyper, HyperLayer, HyperScratch};
pub(super) use mixer::{
    DeltaNet, HeadMamba, HeadMambaScratch, Kda, KdaScratch, Lightning, Mamba1, Mamba1Scratch, Mamba2,
    RecurrentNeeds, RecurrentScratch, Rwkv6, Rwkv6Scratch, Rwkv7, Rwkv7Scratch, ShortConv,
};
pub(super) use ngram::{Ngram, NgramScratch};
pub(super) use norm::{Norm, norm_into};
pub(super) use per_layer::{PerLayerEmbedding, PerLayerInput};
pub(super) use stream::{Residual, Stream, StreamNeeds};

use super::inputs::Formats;
use super::spec::layer::StoredScale;
use super::weights::{Linear, Matrix};

/// A layer of a transformer.
#[derive(Debug)]
pub(super) struct Layer {
    /// In front of the mixer.
    pub(super) mixer_norm: Option<Norm>,
    /// Whether that norm and the one in front of the feed-forward part are of the stream itself, which goes on normed.
    pub(super) norms_stream: bool,
    pub(super) mixer: Mixer,
    pub(super) mixer_residual: Residual,
    /// Of the stream with the mixer's output.
    pub(super) mixer_stream_norm: Option<Norm>,
    pub(super) ffn_input: FfnInput,
    pub(super) ffn: Ffn,
    pub(super) ffn_residual: Residual,
    /// Of the stream with the feed-forward part's output.
    pub(super) ffn_stream_norm: Option<Norm>,
    pub(super) per_layer: Option<PerLayerInput>,
    /// What becomes of the streams of a token, if it has several.
    pub(super) altup: Option<AltUp>,
    /// How its parts get their inputs from those streams, and give outputs back.
    pub(super) hyper: Option<HyperLayer>,
    /// What a table of n-grams adds to them before the mixer.
    pub(super) ngram: Option<Ngram>,
    /// A stored number, and what it multiplies.
    pub(super) stored_scale: Option<(StoredScale, f32)>,
    /// Of the stream that leaves the layer.
    pub(super) last_norm: Option<Norm>,
}

/// The part that looks at other positions.
#[derive(Debug)]
pub(super) enum Mixer {
    Attention(Box<Attention>),
    Mla(Box<Mla>),
    ShortConv(Box<ShortConv>),
    DeltaNet(Box<DeltaNet>),
    Mamba2(Box<Mamba2>),
    Mamba1(Box<Mamba1>),
    HeadMamba(Box<HeadMamba>),
    AttentionAndMamba2(Box<(Attention, Mamba2)>),
    Rwkv6(Box<Rwkv6>),
    Rwkv7(Box<Rwkv7>),
    Kda(Box<Kda>),
    Lightning(Box<Lightning>),
    Linear(Linear),
    None,
}

/// What the feed-forward part gets.
#[derive(Debug)]
pub(super) enum FfnInput {
    /// The stream with the mixer's output, normed if there is a norm.
    Sequential(Option<Norm>),
    /// What the mixer got.
    Shared,
    /// The stream that the mixer got, through another norm.
    Beside(Norm),
}

impl Mixer {
    /// The formats its input is needed in.
    fn input_formats(&self) -> Formats {
        match self {
            Self::Attention(part) => part.input_formats(),
            Self::Mla(part) => part.input_formats(),
            Self::ShortConv(part) => part.input_formats(),
            Self::DeltaNet(part) => part.input_formats(),
            Self::Mamba2(part) => part.input_formats(),
            Self::Mamba1(part) => part.input_formats(),
            Self::HeadMamba(part) => part.input_formats(),
            Self::Kda(part) => part.input_formats(),
            Self::Lightning(part) => part.input_formats(),
            Self::AttentionAndMamba2(parts) => parts.0.input_formats().union(parts.1.input_formats()),
            Self::Linear(linear) => Formats::of([&linear.matrix]),
            // Its products take mixtures of the input.
            Self::Rwkv6(_) | Self::Rwkv7(_) | Self::None => Formats::default(),
        }
    }

    /// What it needs buffers for, if it is attention.
    pub(super) fn attention_needs(&self) -> Option<Needs<'_>> {
        match self {
            Self::Attention(part) => Some(part.needs()),
            Self::AttentionAndMamba2(parts) => Some(parts.0.needs()),
            Self::Mla(part) => Some(part.needs()),
            _ => None,
        }
    }

    /// What it needs buffers for, if it is recurrent and has none of its own.
    pub(super) fn recurrent_needs(&self) -> Option<RecurrentNeeds<'_>> {
        match self {
            Self::Attention(_) | Self::Mla(_) | Self::Linear(_) | Self::None => None,
            Self::Mamba1(_) | Self::Rwkv6(_) | Self::Rwkv7(_) | Self::Kda(_) => None,
            Self::ShortConv(part) => Some(part.needs()),
            Self::DeltaNet(part) => Some(part.needs()),
            Self::Lightning(part) => Some(part.needs()),
            Self::Mamba2(part) => Some(part.needs()),
            Self::HeadMamba(part) => Some(part.needs()),
            Self::AttentionAndMamba2(parts) => Some(parts.1.needs()),
        }
    }

    /// Whether it can remember positions without computing their outputs.
    pub(super) fn stores_apart(&self) -> bool {
        self.attention_needs().is_some() && self.recurrent_needs().is_none()
    }

    /// The part, if it is a state-space mixer whose numbers decay each for itself.
    pub(super) fn as_mamba1(&self) -> Option<&Mamba1> {
        match self {
            Self::Mamba1(part) => Some(part),
            _ => None,
        }
    }

    /// The part, if it is a state-space mixer whose heads' steps are made of the convolved values.
    pub(super) fn as_head_mamba(&self) -> Option<&HeadMamba> {
        match self {
            Self::HeadMamba(part) => Some(part),
            _ => None,
        }
    }

    /// The part, if it is RWKV-6's.
    pub(super) fn as_rwkv6(&self) -> Option<&Rwkv6> {
        match self {
            Self::Rwkv6(part) => Some(part),
            _ => None,
        }
    }

    /// The part, if it is RWKV-7's.
    pub(super) fn as_rwkv7(&self) -> Option<&Rwkv7> {
        match self {
            Self::Rwkv7(part) => Some(part),
            _ => None,
        }
    }

    /// The part, if it is Kimi's delta-net.
    pub(super) fn as_kda(&self) -> Option<&Kda> {
        match self {
            Self::Kda(part) => Some(part),
            _ => None,
        }
    }

    /// Whether its queries see the whole text.
    pub(super) fn is_bidirectional(&self) -> bool {
        matches!(self, Self::Attention(part) if !part.spec.is_causal)
    }

    /// The part, if it is attention over latent vectors.
    pub(super) fn as_mla(&self) -> Option<&Mla> {
        match self {
            Self::Mla(part) => Some(part),
            _ => None,
        }
    }

    fn matrices(&self) -> Vec<&Matrix> {
        match self {
            Self::Attention(part) => part.matrices(),
            Self::Mla(part) => part.matrices(),
            Self::ShortConv(part) => part.matrices(),
            Self::DeltaNet(part) => part.matrices(),
            Self::Mamba2(part) => part.matrices(),
            Self::Mamba1(part) => part.matrices(),
            Self::HeadMamba(part) => part.matrices(),
            Self::AttentionAndMamba2(parts) => [parts.0.matrices(), parts.1.matrices()].concat(),
            Self::Rwkv6(part) => part.matrices(),
            Self::Rwkv7(part) => part.matrices(),
            Self::Kda(part) => part.matrices(),
            Self::Lightning(part) => part.matrices(),
            Self::Linear(linear) => vec![&linear.matrix],
            Self::None => Vec::new(),
        }
    }
}

impl Layer {
    /// The formats that the mixer's input is needed in: also the feed-forward part's, if it is the same.
    pub(super) fn mixer_formats(&self) -> Formats {
        let beside = Formats::of(self.altup.iter().map(|altup| &altup.laurel.left.matrix));
        let formats = self.mixer.input_formats().union(beside);
        match self.ffn_input {
            FfnInput::Shared => formats.union(self.ffn.input_formats()),
            FfnInput::Sequential(_) | FfnInput::Beside(_) => formats,
        }
    }

    /// The formats that its parts need the normed stream in.
    pub(super) fn input_formats(&self) -> Formats {
        self.mixer_formats().union(self.ffn.input_formats())
    }

    /// The matrices that every token is multiplied with.
    pub(super) fn matrices(&self) -> Vec<&Matrix> {
        let per_layer = self.per_layer.iter().flat_map(PerLayerInput::matrices);
        let altup = self.altup.iter().flat_map(AltUp::matrices);
        let hyper = self.hyper.iter().flat_map(HyperLayer::places).flat_map(Hyper::matrices);
        let ngram = self.ngram.iter().flat_map(Ngram::matrices);
        let parts = self.mixer.matrices().into_iter().chain(self.ffn.matrices());
        parts.chain(per_layer).chain(altup).chain(hyper).chain(ngram).collect()
    }

    /// The matrices of which each token is multiplied with a part.
    pub(super) fn expert_matrices(&self) -> Vec<&Matrix> {
        self.ffn.expert_matrices()
    }

    /// Which buffers of the stream it needs.
    pub(super) fn stream_needs(&self) -> StreamNeeds {
        let per_layer = self.per_layer.is_some();
        StreamNeeds {
            sums: per_layer || !self.mixer_residual.is_plain() || !self.ffn_residual.is_plain(),
            nested: matches!(self.ffn, Ffn::GatedAndExperts(_)),
            kept: matches!(self.stored_scale, Some((StoredScale::Embedding, _))),
        }
    }
}
