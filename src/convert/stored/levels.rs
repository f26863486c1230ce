//! Which block type holds the codes of a tensor as they are.

use gguf_simd::half_float::{f16_to_f32, f32_to_f16};
use gguf_simd::{BlockType, Grid, Values};

/// The types whose blocks hold codes under one scale that is an F16, from few bits to many.
const HOLDERS: [BlockType; 7] = [
    BlockType::TQ1_0,
    BlockType::Q2_0,
    BlockType::Q4_0,
    BlockType::Q4_1,
    BlockType::Q5_0,
    BlockType::Q5_1,
    BlockType::Q8_0,
];

/// What the grids of a tensor have in common.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::convert) struct Levels {
    /// The least code and the greatest.
    codes: (i32, i32),
    /// The least and the greatest `q - z`, if every `z` is whole.
    range: Option<(i32, i32)>,
    /// Whether every scale is an F16.
    has_exact_scales: bool,
    /// Whether the value of a code of zero is an F16 everywhere.
    has_exact_offsets: bool,
    /// Columns that share a scale.
    group: usize,
}

impl Levels {
    /// Grids of these codes and groups, of which none has been seen yet.
    pub(super) fn new(codes: (i32, i32), group: usize) -> Self {
        Self {
            codes,
            range: Some((i32::MAX, i32::MIN)),
            has_exact_scales: true,
            has_exact_offsets: true,
            group,
        }
    }

    /// Adds a grid: its scale, the value of a code of zero, and `z` if codes are counted from one.
    pub(super) fn add(&mut self, scale: f32, least: f32, zero: Option<f32>) {
        self.has_exact_scales &= is_f16(scale);
        self.has_exact_offsets &= is_f16(least);
        let zero = zero.filter(|z| z.fract() == 0.0 && z.abs() < 1024.0);
        self.range = self.range.zip(zero).map(|((lo, hi), z)| {
            let z = z as i32;
            (lo.min(self.codes.0 - z), hi.max(self.codes.1 - z))
        });
    }

    /// Grids of both.
    pub(in crate::convert) fn and(self, other: &Self) -> Self {
        Self {
            codes: (self.codes.0.min(other.codes.0), self.codes.1.max(other.codes.1)),
            range: self.range.zip(other.range).map(|((a, b), (c, d))| (a.min(c), b.max(d))),
            has_exact_scales: self.has_exact_scales && other.has_exact_scales,
            has_exact_offsets: self.has_exact_offsets && other.has_exact_offsets,
            group: if self.group.is_multiple_of(other.group) {
                other.group
            } else {
                gcd(self.group, other.group)
            },
        }
    }

    /// The smallest block type that holds rows of `n_in` such codes as they are, with the values that they had but
    /// for the rounding of scales that are not F16.
    pub(in crate::convert) fn block_type(&self, n_in: usize) -> Option<BlockType> {
        let fits = |ty: BlockType| {
            let n = ty.block_len();
            n_in.is_multiple_of(n) && (self.group.is_multiple_of(n) || self.group >= n_in)
        };
        let within = |least: i32, greatest: i32| {
            self.range
                .is_some_and(|(lo, hi)| least <= lo && hi <= greatest || least <= -hi && -lo <= greatest)
        };
        let n_codes = self.codes.1 - self.codes.0 + 1;
        let is_exact = self.has_exact_scales && self.has_exact_offsets;
        let holds = |ty: BlockType| match ty {
            // The first has no grid, and the grid of the second leaves out -128, which a block can hold.
            BlockType::TQ1_0 => within(-1, 1),
            BlockType::Q8_0 => within(-128, 127),
            _ => match Grid::of(ty).expect("a type with a grid").values() {
                Values::Centred { least, greatest } => within(least.into(), greatest.into()),
                Values::Offset { greatest, .. } => {
                    n_codes <= i32::from(greatest) + 1 && (is_exact || self.range.is_none())
                }
                Values::Table { .. } => false,
            },
        };
        HOLDERS.into_iter().find(|&ty| holds(ty) && fits(ty))
    }
}

fn is_f16(x: f32) -> bool {
    f16_to_f32(f32_to_f16(x)) == x
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
