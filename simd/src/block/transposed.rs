//! Sixteen blocks of 32 weights side by side, for the encoders: a lane is a block.

use crate::block::k::usable;
use crate::wide::{LANES, Wide};

/// Weights in a block.
pub(crate) const LEN: usize = 32;

/// At most sixteen blocks, transposed: weight `i` of all of them lies side by side. Lanes without a block
/// hold zeros.
pub(crate) struct Transposed<V> {
    /// The weights, each divided by the unit of its block.
    pub(crate) x: [V; LEN],
    /// What the squared error of each weight counts.
    pub(crate) w: [V; LEN],
    /// A power of two for each block.
    pub(crate) units: [f32; LANES],
}

impl<V: Wide> Transposed<V> {
    /// Blocks on their own: each is divided by the power of two that brings its largest magnitude to
    /// between 1 and 2, and its importance is scaled to an average of one.
    #[inline(always)]
    pub(crate) fn of_blocks(isa: V::Proof, blocks: &[[f32; LEN]], importance: Option<&[[f32; LEN]]>) -> Self {
        let (mut units, mut weights) = ([1.0; LANES], [[1.0; LEN]; LANES]);
        for (j, block) in blocks.iter().enumerate() {
            units[j] = unit(block);
            if let Some(importance) = importance {
                weights[j] = error_weights(&importance[j]);
            }
        }
        Self::new(isa, blocks, units, &weights)
    }

    /// Blocks with powers of two to divide them by, and the weights of their squared errors.
    #[inline(always)]
    pub(crate) fn new(
        isa: V::Proof,
        blocks: &[[f32; LEN]],
        units: [f32; LANES],
        weights: &[[f32; LEN]; LANES],
    ) -> Self {
        let (mut x, mut w) = ([[0.0; LANES]; LEN], [[1.0; LANES]; LEN]);
        for (j, block) in blocks.iter().enumerate() {
            let inverse = 1.0 / units[j];
            for i in 0..LEN {
                x[i][j] = usable(block[i]) * inverse;
                w[i][j] = weights[j][i];
            }
        }
        let mut lanes = Self { x: [V::splat(isa, 0.0); LEN], w: [V::splat(isa, 0.0); LEN], units };
        for i in 0..LEN {
            (lanes.x[i], lanes.w[i]) = (V::load(isa, &x[i]), V::load(isa, &w[i]));
        }
        lanes
    }

    /// The weight of largest magnitude of each block, with its sign.
    #[inline(always)]
    pub(crate) fn extremes(&self) -> V {
        let isa = self.x[0].proof();
        let zero = V::splat(isa, 0.0);
        let (mut low, mut high) = (zero, zero);
        for &x in &self.x {
            low = low.min(x);
            high = high.max(x);
        }
        high.less_then_else(zero - low, low, high)
    }
}

/// The power of two at or below the largest magnitude of a block; at least 2^-100, so that its inverse
/// is finite.
#[inline(always)]
fn unit(block: &[f32; LEN]) -> f32 {
    let mut largest = f32::from_bits((127 - 100) << 23);
    for &value in block {
        let magnitude = usable(value).abs();
        largest = if magnitude > largest { magnitude } else { largest };
    }
    f32::from_bits(largest.to_bits() & 0x7f80_0000)
}

/// The importance of a block scaled to an average of one, and a little more, so that no weight is zero;
/// what is not finite and positive counts as zero. All one where there is no importance at all.
#[inline(always)]
fn error_weights(importance: &[f32; LEN]) -> [f32; LEN] {
    const FLOOR: f32 = 1e-6;
    let mut weights = [0.0; LEN];
    let mut lanes = [0.0; 8];
    for (i, &value) in importance.iter().enumerate() {
        weights[i] = if value > 0.0 && value < f32::INFINITY { value } else { 0.0 };
        lanes[i % 8] += weights[i];
    }
    let sum =
        ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
    let scale = LEN as f32 / sum;
    if !scale.is_normal() {
        return [1.0; LEN];
    }
    for weight in &mut weights {
        *weight = *weight * scale + FLOOR;
    }
    weights
}
