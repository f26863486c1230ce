//! Short convolutions of channels along the text.

use gguf_simd::ops::MAX_TAPS;

use crate::limits;
use crate::model::spec::faults::first_count_fault;

/// A convolution of each channel with its last few values, or with those around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvSpec {
    /// Channels.
    pub n_channels: usize,
    /// Positions that an output depends on, its own among them.
    pub n_taps: usize,
    /// Whether it may have a bias.
    pub has_bias: bool,
    /// Whether as many positions behind its own count as before it, and nothing is remembered.
    pub is_centred: bool,
}

/// A gated short convolution (Liquid AI 2025, LFM2): `out(c * conv(b * x))`, where `b`, `c` and `x` are products of
/// the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShortConvSpec {
    /// Width of the residual stream, and channels.
    pub n_embd: usize,
    /// Positions that an output depends on.
    pub n_taps: usize,
    /// Whether as many of them lie behind its own as before it.
    pub is_centred: bool,
}

impl ConvSpec {
    /// Floats that it remembers: the values before the next.
    pub fn state_len(&self) -> usize {
        if self.is_centred { 0 } else { self.n_taps.saturating_sub(1).saturating_mul(self.n_channels) }
    }

    pub(super) fn fault(&self) -> Option<String> {
        first_count_fault(&[
            ("the number of convolved channels", self.n_channels, limits::MAX_DIMENSION),
            ("the length of a convolution", self.n_taps, MAX_TAPS),
        ])
    }
}

impl ShortConvSpec {
    /// Its convolution.
    pub fn conv(&self) -> ConvSpec {
        ConvSpec {
            n_channels: self.n_embd,
            n_taps: self.n_taps,
            has_bias: false,
            is_centred: self.is_centred,
        }
    }

    pub(super) fn fault(&self) -> Option<String> {
        let is_lopsided = self.is_centred && self.n_taps.is_multiple_of(2);
        let what = || format!("a convolution of {} positions has no middle", self.n_taps);
        self.conv().fault().or_else(|| is_lopsided.then(what))
    }
}
