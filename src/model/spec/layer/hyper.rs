//! Hyper-connections: several streams of a token, of which every part gets a mixture.

use super::{MAX_STREAMS, NormSpec};
use crate::limits;
use crate::model::spec::Role;
use crate::model::spec::faults::{first_constant_fault, first_count_fault};

/// Streams of a token, of which every part of a layer gets a mixture and to each of which its output is added with a
/// weight (Zhu et al. 2024, "Hyper-Connections").
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HyperSpec {
    /// Width of a stream.
    pub n_embd: usize,
    /// Streams of a token.
    pub n_stream: usize,
    /// How streams become the input of a part, and where its output goes.
    pub kind: HyperKind,
}

/// How streams become the input of a part.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HyperKind {
    /// The mean of the streams, each normed and gated element by element; gates come from a narrow product (Qwen4).
    Gated {
        /// Width that gates are made from.
        rank: usize,
        /// Of each stream, with weights of its own.
        norm: NormSpec,
    },
    /// Their sum with weights, which are products of all streams normed together (DeepSeek V4, "mHC").
    Weighted {
        /// Of all streams together; it has no weights.
        norm: NormSpec,
        /// Added to the weights of inputs, and in balancing.
        eps: f32,
        /// Multiplies the weights of outputs.
        magnitude: f32,
        /// Added to the weights of outputs.
        output_eps: f32,
        /// How often the matrix by which streams are mixed is balanced, so that its rows and columns have equal sums;
        /// without one, streams stay as they are.
        n_balance: Option<usize>,
    },
}

/// How streams end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HyperEndSpec {
    /// What they are.
    pub hyper: HyperSpec,
    /// Whether the last one is their mean, and not made as the inputs of parts are.
    pub is_mean: bool,
}

/// What files call the tensors of one place where streams become one.
#[derive(Clone, Copy, Debug)]
pub struct HyperRoles {
    /// Of the norm of each stream.
    pub norm: Role,
    /// What gates are made from.
    pub down: Role,
    /// Gates.
    pub up: Role,
    /// The weights of outputs.
    pub inject: Role,
    /// All weights.
    pub map: Role,
    /// What multiplies each kind of weights.
    pub scale: Role,
    /// What is added to them.
    pub base: Role,
}

impl HyperRoles {
    /// In front of mixers.
    pub const MIXER: Self = Self {
        norm: Role::HcAttnNorm,
        down: Role::HcAttnDown,
        up: Role::HcAttnUp,
        inject: Role::HcAttnInject,
        map: Role::HcAttnFn,
        scale: Role::HcAttnScale,
        base: Role::HcAttnBase,
    };
    /// In front of feed-forward parts.
    pub const FFN: Self = Self {
        norm: Role::HcFfnNorm,
        down: Role::HcFfnDown,
        up: Role::HcFfnUp,
        inject: Role::HcFfnInject,
        map: Role::HcFfnFn,
        scale: Role::HcFfnScale,
        base: Role::HcFfnBase,
    };
    /// Behind all layers, where nothing is given back to streams.
    pub const END: Self = Self {
        norm: Role::HcHeadNorm,
        down: Role::HcHeadDown,
        up: Role::HcHeadUp,
        inject: Role::HcHeadUp,
        map: Role::HcHeadFn,
        scale: Role::HcHeadScale,
        base: Role::HcHeadBase,
    };
}

impl HyperSpec {
    /// Elements of all streams of a token.
    pub fn width(&self) -> usize {
        self.n_stream * self.n_embd
    }

    /// Whether outputs meet streams that were mixed.
    pub fn is_balanced(&self) -> bool {
        matches!(self.kind, HyperKind::Weighted { n_balance: Some(_), .. })
    }

    /// Kinds of weights, each with a scale of its own, and the weights of all, of a place that gives outputs back or of
    /// the end.
    pub fn n_weights(&self, gives: bool) -> (usize, usize) {
        let n = self.n_stream;
        match (gives, self.is_balanced()) {
            (false, _) => (1, n),
            (true, false) => (2, 2 * n),
            (true, true) => (3, (2 + n) * n),
        }
    }

    pub(in crate::model::spec) fn fault(&self) -> Option<String> {
        let (rank, n_balance) = match self.kind {
            HyperKind::Gated { rank, .. } => (rank, 1),
            HyperKind::Weighted { n_balance, .. } => (1, n_balance.unwrap_or(1)),
        };
        let counts = [
            ("the number of streams of a token", self.n_stream, MAX_STREAMS),
            ("the width of all streams", self.n_stream.saturating_mul(self.n_embd), limits::MAX_DIMENSION),
            ("the rank of hyper-connections", rank, limits::MAX_DIMENSION),
            ("how often hyper-connections are balanced", n_balance, limits::MAX_BALANCE),
        ];
        let of_kind = || match self.kind {
            HyperKind::Gated { norm, .. } => norm.fault(),
            HyperKind::Weighted { norm, eps, magnitude, .. } => norm.fault().or_else(|| {
                first_constant_fault(&[
                    ("the epsilon of hyper-connections", eps),
                    ("the magnitude of hyper-connections", magnitude),
                ])
            }),
        };
        first_count_fault(&counts).or_else(of_kind)
    }
}
