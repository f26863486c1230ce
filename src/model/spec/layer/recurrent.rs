//! Parts of layers that remember the positions before in a state of fixed size.

use gguf_simd::ops::{Gate, padded_columns};

use super::NormSpec;
use super::conv::ConvSpec;
use crate::limits;
use crate::model::spec::faults::{first_constant_fault, first_count_fault};

/// A gated delta-net (Yang et al. 2024, "Gated Delta Networks"): queries, keys and values go through a short
/// convolution; each value head has a matrix of its own, `[head_dim_k, head_dim_v]`, that decays and is
/// corrected towards the value at each key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DeltaNetSpec {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Query and key heads; divides `n_head_v`.
    pub n_head_k: usize,
    /// Value heads.
    pub n_head_v: usize,
    /// Elements of a query and of a key head.
    pub head_dim_k: usize,
    /// Elements of a value head.
    pub head_dim_v: usize,
    /// Positions that the convolution reaches over.
    pub n_taps: usize,
    /// Which value heads share a key head.
    pub order: HeadOrder,
    /// Whether the strength and the decay of each head are products of one matrix: for each key head first the
    /// strengths, then the decays.
    pub has_joint_gates: bool,
    /// What outputs are gated by.
    pub gate: Gate,
    /// Of each head's output, before it is gated.
    pub norm: NormSpec,
}

/// A state-space mixer (Dao and Gu 2024, "Mamba-2"): each head has a matrix, `[n_state, head_dim]`, that decays and
/// to which the product of an input of the position and its values is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mamba2Spec {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Heads.
    pub n_head: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Groups of heads that share what is written and read; divides `n_head`.
    pub n_group: usize,
    /// Elements of what is written and of what is read.
    pub n_state: usize,
    /// Positions that the convolution reaches over.
    pub n_taps: usize,
    /// Of the gated outputs of each group.
    pub norm: Option<NormSpec>,
}

/// A state-space mixer (Gu and Dao 2023, "Mamba"): each channel has a state of a few numbers, which decay each at a pace
/// of its own and to which the product of an input of the position and the channel's value is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mamba1Spec {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Channels.
    pub n_inner: usize,
    /// Numbers of a channel's state.
    pub n_state: usize,
    /// Width that the channels' time steps are made from.
    pub n_rank: usize,
    /// Positions that the convolution reaches over.
    pub n_taps: usize,
    /// Of what time steps are made from, of what is written and of what is read.
    pub norm: Option<NormSpec>,
}

/// A state-space mixer with heads as in Mamba-2, whose steps, and what is written and read, are made of the convolved
/// values as in Mamba (Preferred Networks 2025, "PLaMo 2").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HeadMambaSpec {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Heads.
    pub n_head: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Elements of what is written and of what is read, which all heads share.
    pub n_state: usize,
    /// Width that the heads' steps are made from.
    pub n_rank: usize,
    /// Positions that the convolution reaches over.
    pub n_taps: usize,
    /// Of what is written, of what is read and of what steps are made from.
    pub norm: NormSpec,
}

/// Kimi's delta-net (Moonshot AI 2025, "Kimi Linear"): as a gated one, but each row of a head's matrix,
/// `[head_dim, head_dim]`, decays at its own rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KdaSpec {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Heads, of queries, keys and values alike.
    pub n_head: usize,
    /// Elements of a head, and of a narrow vector.
    pub head_dim: usize,
    /// Whether decays and gates are made of narrow vectors instead of the input itself.
    pub is_narrow: bool,
    /// What the logarithms of decays are bounded by, which is negative: they are this times sigmoids.
    pub bound: Option<f32>,
    /// Whether files have its rates in a row.
    pub has_row_of_rates: bool,
    /// Positions that the convolutions reach over.
    pub n_taps: usize,
    /// Of each head's output, before it is gated.
    pub norm: NormSpec,
}

/// Attention without a softmax (Qin et al. 2024, "Lightning Attention-2"): each head has a matrix, `[head_dim, head_dim]`,
/// that decays at its own rate and to which the product of each key and value is added.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LightningSpec {
    /// Width of the residual stream.
    pub n_embd: usize,
    /// Heads, of queries, keys and values alike.
    pub n_head: usize,
    /// Elements of a head.
    pub head_dim: usize,
    /// Multiplies the slopes of heads, which are the powers `h + 1` of `2^(-8 / n_head)`.
    pub pace: f32,
    /// Of the outputs of all heads together, before they are gated.
    pub norm: NormSpec,
}

/// Which value heads share a key head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadOrder {
    /// Those that follow each other.
    Grouped,
    /// Those that are as many apart as there are key heads.
    Tiled,
}

impl Mamba2Spec {
    /// Elements of all heads.
    pub fn n_inner(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// Its convolution, of values, of what is written and of what is read.
    pub fn conv(&self) -> ConvSpec {
        let n_channels = self.n_inner() + 2 * self.n_group * self.n_state;
        ConvSpec { n_channels, n_taps: self.n_taps, has_bias: true, is_centred: false }
    }

    /// Rows of the matrix of its input: gates, what is convolved, and a time step for each head.
    pub fn n_rows(&self) -> usize {
        self.n_inner() + self.conv().n_channels + self.n_head
    }

    /// Floats that it remembers: those of the convolution, then the matrices.
    pub fn state_len(&self) -> usize {
        self.conv().state_len() + self.n_head * self.n_state * padded_columns(self.head_dim)
    }

    pub(super) fn fault(&self) -> Option<String> {
        let Self { n_head, head_dim, n_group, n_state, .. } = *self;
        let counts = [
            ("the number of state-space heads", n_head, limits::MAX_HEAD_DIM),
            ("the length of a state-space head", head_dim, limits::MAX_HEAD_DIM),
            ("the number of state-space groups", n_group, limits::MAX_HEAD_DIM),
            ("the size of a state", n_state, limits::MAX_HEAD_DIM),
        ];
        first_count_fault(&counts)
            .or_else(|| {
                (!n_head.is_multiple_of(n_group))
                    .then(|| format!("{n_head} state-space heads do not divide among {n_group} groups"))
            })
            .or_else(|| self.conv().fault())
            .or_else(|| self.norm.and_then(|norm| norm.fault()))
    }
}

impl Mamba1Spec {
    /// Its convolution, of the values.
    pub fn conv(&self) -> ConvSpec {
        ConvSpec { n_channels: self.n_inner, n_taps: self.n_taps, has_bias: true, is_centred: false }
    }

    /// Rows of the matrix of what depends on the values: what time steps are made from, what is written and what is
    /// read.
    pub fn n_rows(&self) -> usize {
        self.n_rank + 2 * self.n_state
    }

    /// Floats that it remembers: those of the convolution, then the channels' states.
    pub fn state_len(&self) -> usize {
        self.conv().state_len() + self.n_state * padded_columns(self.n_inner)
    }

    pub(super) fn fault(&self) -> Option<String> {
        let counts = [
            ("the number of state-space channels", self.n_inner, limits::MAX_DIMENSION),
            ("the size of a state", self.n_state, limits::MAX_HEAD_DIM),
            ("the width that time steps are made from", self.n_rank, limits::MAX_DIMENSION),
        ];
        first_count_fault(&counts)
            .or_else(|| self.conv().fault())
            .or_else(|| self.norm.and_then(|norm| norm.fault()))
    }
}

impl HeadMambaSpec {
    /// Elements of all heads.
    pub fn n_inner(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// Its convolution, of the values.
    pub fn conv(&self) -> ConvSpec {
        ConvSpec { n_channels: self.n_inner(), n_taps: self.n_taps, has_bias: false, is_centred: false }
    }

    /// Rows of the matrix of what depends on the values: what is written, what is read and what steps are made from.
    pub fn n_rows(&self) -> usize {
        self.n_rank + 2 * self.n_state
    }

    /// Floats that it remembers: those of the convolution, then the matrices.
    pub fn state_len(&self) -> usize {
        self.conv().state_len() + self.n_head * self.n_state * padded_columns(self.head_dim)
    }

    pub(super) fn fault(&self) -> Option<String> {
        let counts = [
            ("the number of state-space heads", self.n_head, limits::MAX_HEAD_DIM),
            ("the length of a state-space head", self.head_dim, limits::MAX_HEAD_DIM),
            ("the size of a state", self.n_state, limits::MAX_HEAD_DIM),
            ("the width that time steps are made from", self.n_rank, limits::MAX_DIMENSION),
        ];
        first_count_fault(&counts).or_else(|| self.conv().fault()).or_else(|| self.norm.fault())
    }
}

impl KdaSpec {
    /// Elements of all heads.
    pub fn n_inner(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// The convolution of queries, as that of keys and that of values.
    pub fn conv(&self) -> ConvSpec {
        ConvSpec { n_channels: self.n_inner(), n_taps: self.n_taps, has_bias: false, is_centred: false }
    }

    /// Floats of the matrix of a head, whose columns are filled up to whole vectors.
    pub fn matrix_len(&self) -> usize {
        self.head_dim * padded_columns(self.head_dim)
    }

    /// Floats that it remembers: those of the three convolutions, then the matrices.
    pub fn state_len(&self) -> usize {
        3 * self.conv().state_len() + self.n_head * self.matrix_len()
    }

    pub(super) fn fault(&self) -> Option<String> {
        let counts = [
            ("the number of heads of a delta-net", self.n_head, limits::MAX_HEAD_DIM),
            ("the length of a head of a delta-net", self.head_dim, limits::MAX_HEAD_DIM),
        ];
        let bound = first_constant_fault(&[("the bound of decays, negated", -self.bound.unwrap_or(-1.0))]);
        first_count_fault(&counts).or(bound).or_else(|| self.conv().fault()).or_else(|| self.norm.fault())
    }
}

impl LightningSpec {
    /// Elements of all heads.
    pub fn n_inner(&self) -> usize {
        self.n_head * self.head_dim
    }

    /// What each head's matrix decays by with every position.
    pub fn decays(&self) -> impl Iterator<Item = f32> {
        let Self { n_head, pace, .. } = *self;
        let slope = move |head: usize| libm::exp2(-8.0 / n_head as f64 * (head + 1) as f64);
        (0..n_head).map(move |head| libm::exp(-slope(head) * f64::from(pace)) as f32)
    }

    /// Floats that it remembers: the matrices, whose columns are filled up to whole vectors.
    pub fn state_len(&self) -> usize {
        self.n_inner() * padded_columns(self.head_dim)
    }

    pub(super) fn fault(&self) -> Option<String> {
        let counts = [
            ("the number of heads of linear attention", self.n_head, limits::MAX_HEAD_DIM),
            ("the length of a head of linear attention", self.head_dim, limits::MAX_HEAD_DIM),
            ("the width of all heads", self.n_head.saturating_mul(self.head_dim), limits::MAX_DIMENSION),
        ];
        let pace = first_constant_fault(&[("the pace of linear attention", self.pace)]);
        first_count_fault(&counts).or(pace).or_else(|| self.norm.fault())
    }
}

impl DeltaNetSpec {
    /// Elements of all query heads, and of all key heads.
    pub fn n_keys(&self) -> usize {
        self.n_head_k * self.head_dim_k
    }

    /// Elements of all value heads.
    pub fn n_values(&self) -> usize {
        self.n_head_v * self.head_dim_v
    }

    /// Its convolution, of all queries, keys and values.
    pub fn conv(&self) -> ConvSpec {
        ConvSpec {
            n_channels: 2 * self.n_keys() + self.n_values(),
            n_taps: self.n_taps,
            has_bias: false,
            is_centred: false,
        }
    }

    /// Floats of the matrix of a head, whose columns are filled up to whole vectors.
    pub fn matrix_len(&self) -> usize {
        self.head_dim_k * padded_columns(self.head_dim_v)
    }

    /// Floats that it remembers: those of the convolution, then the matrices.
    pub fn state_len(&self) -> usize {
        self.conv().state_len() + self.n_head_v * self.matrix_len()
    }

    /// The key head of a value head.
    pub fn key_head(&self, head: usize) -> usize {
        match self.order {
            HeadOrder::Grouped => head / (self.n_head_v / self.n_head_k),
            HeadOrder::Tiled => head % self.n_head_k,
        }
    }

    pub(super) fn fault(&self) -> Option<String> {
        let Self { n_head_k, n_head_v, head_dim_k, head_dim_v, .. } = *self;
        let counts = [
            ("the number of key heads of a delta-net", n_head_k, limits::MAX_HEAD_DIM),
            ("the number of value heads of a delta-net", n_head_v, limits::MAX_HEAD_DIM),
            ("the length of a key head of a delta-net", head_dim_k, limits::MAX_HEAD_DIM),
            ("the length of a value head of a delta-net", head_dim_v, limits::MAX_HEAD_DIM),
        ];
        first_count_fault(&counts)
            .or_else(|| {
                (!n_head_v.is_multiple_of(n_head_k)).then(|| {
                    format!("{n_head_v} value heads of a delta-net do not divide among {n_head_k} key heads")
                })
            })
            .or_else(|| self.conv().fault())
            .or_else(|| self.norm.fault())
    }
}
