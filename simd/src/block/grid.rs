//! The grid of a block: what each weight can become while the scales stay.
//!
//! An encoder chooses scales and codes together. Who chooses codes otherwise (to let errors of one column make up
//! for those of another) needs the values that a weight has to choose from under the scales of a block, and a way
//! to put other codes beside these scales. Both are the same for all types: the value of a code is
//! `low + step * level`, where `level` belongs to the code and `low` and `step` to the weight. A type adds one
//! function, which packs codes.

use crate::block::{self, BlockType, block_types};
use crate::kernels::Kernels;

/// The longest block, in weights.
const MAX_LEN: usize = 256;

/// The longest block, in bytes, of types that have a grid.
const MAX_BYTES: usize = 210;

/// How a type packs codes, and what they stand for.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    levels: Levels,
    values: Values,
    /// Weights that share a scale.
    group: usize,
    /// Puts the codes of all weights of a block into it and leaves its scales alone.
    set_codes: fn(&mut [u8], &[u8]),
    /// Where the f16s stand that all values of a block, or a part of each, are multiples of.
    halves: &'static [usize],
}

/// The values that weights can have under one scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Values {
    /// `scale * q` for the whole numbers `q` from `least` to `greatest`; the scale may be negative.
    Centred {
        /// The least `q`, of code 0.
        least: i16,
        /// The greatest `q`.
        greatest: i16,
    },
    /// `scale * q + offset` for the whole numbers `q` from 0 to `greatest`; the scale is not negative.
    Offset {
        /// The greatest `q`.
        greatest: u8,
        /// Whether offsets are stored as something to subtract, so that none is above zero.
        is_subtracted: bool,
    },
    /// `scale * t` for the values `t` of a table; the scale may be negative if the table has signs of its own.
    Table {
        /// The `t` of the greatest magnitude.
        outermost: f32,
    },
}

/// The codes of a type.
#[derive(Clone, Copy, Debug)]
enum Levels {
    /// Codes are their own levels, from 0 to this one.
    Even(u8),
    /// The levels in ascending order, the codes of these, and the numbers of levels.
    Table(&'static [f32; 16], &'static [u8; 16], usize),
}

/// [`crate::block::tables::IQ4`] in ascending order, as it stands there.
const IQ4_LEVELS: [f32; 16] = block::tables::floats(&block::tables::IQ4);
const IQ4_CODES: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// [`crate::block::tables::FP4`] in ascending order; of its two zeros, the positive one.
const FP4_LEVELS: [f32; 16] =
    [-12.0, -8.0, -6.0, -4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, f32::INFINITY];
const FP4_CODES: [u8; 16] = [15, 14, 13, 12, 11, 10, 9, 0, 1, 2, 3, 4, 5, 6, 7, 7];

impl Grid {
    /// Of a type whose codes stand for the whole numbers from `least` to `greatest`, times the scale of `group` weights.
    pub(crate) const fn centred(
        (least, greatest): (i16, i16),
        group: usize,
        halves: &'static [usize],
        set_codes: fn(&mut [u8], &[u8]),
    ) -> Option<Self> {
        let levels = Levels::Even((greatest - least) as u8);
        Some(Self { levels, values: Values::Centred { least, greatest }, group, set_codes, halves })
    }

    /// Of a type whose codes `0..=greatest` are multiplied by the scale of `group` weights, to which an offset is added.
    pub(crate) const fn offset(
        greatest: u8,
        group: usize,
        halves: &'static [usize],
        set_codes: fn(&mut [u8], &[u8]),
    ) -> Option<Self> {
        let values = Values::Offset { greatest, is_subtracted: false };
        Some(Self { levels: Levels::Even(greatest), values, group, set_codes, halves })
    }

    /// [`Self::offset`], of a type that stores what is subtracted.
    pub(crate) const fn minimum(
        greatest: u8,
        group: usize,
        halves: &'static [usize],
        set_codes: fn(&mut [u8], &[u8]),
    ) -> Option<Self> {
        let values = Values::Offset { greatest, is_subtracted: true };
        Some(Self { levels: Levels::Even(greatest), values, group, set_codes, halves })
    }

    /// Of a type whose codes stand for [`crate::block::tables::IQ4`].
    pub(crate) const fn iq4(set_codes: fn(&mut [u8], &[u8])) -> Option<Self> {
        let values = Values::Table { outermost: IQ4_LEVELS[0] };
        let levels = Levels::Table(&IQ4_LEVELS, &IQ4_CODES, 16);
        Some(Self { levels, values, group: 32, set_codes, halves: &[0] })
    }

    /// Of a type whose codes stand for [`crate::block::tables::FP4`].
    pub(crate) const fn fp4(group: usize, set_codes: fn(&mut [u8], &[u8])) -> Option<Self> {
        let values = Values::Table { outermost: FP4_LEVELS[14] };
        let levels = Levels::Table(&FP4_LEVELS, &FP4_CODES, 15);
        Some(Self { levels, values, group, set_codes, halves: &[] })
    }

    /// The grid of a type; `None` of floats, and of types whose codes stand for several weights at once or have
    /// so few levels that the scale decides.
    pub fn of(ty: BlockType) -> Option<&'static Self> {
        TABLE[ty as usize].as_ref()
    }

    /// The values that weights can have under one scale.
    pub fn values(&self) -> Values {
        self.values
    }

    /// Weights that share a scale.
    pub fn group(&self) -> usize {
        self.group
    }

    /// Where the f16s stand in a block that all values of the block, or a part of each, are multiples of.
    pub fn halves(&self) -> &'static [usize] {
        self.halves
    }

    /// The code of the level nearest to `x`, and that level. What is not a number counts as the lowest.
    #[inline]
    pub fn nearest(&self, x: f32) -> (u8, f32) {
        match self.levels {
            Levels::Even(largest) => {
                let level = x.max(0.0).min(f32::from(largest)).round_ties_even();
                (level as u8, level)
            }
            Levels::Table(levels, codes, n) => {
                let mut at = 0;
                for i in 1..n {
                    at = if x > 0.5 * (levels[i - 1] + levels[i]) { i } else { at };
                }
                (codes[at], levels[at])
            }
        }
    }

    /// The greatest level and its code.
    fn greatest(&self) -> (u8, f32) {
        self.nearest(f32::MAX)
    }

    /// Reads the grid of each weight of `blocks`: the value of a code is `low + step * level`.
    ///
    /// # Panics
    /// If `blocks` is not whole blocks of `ty` with as many weights as `low` and `step` have room for, or `ty` is
    /// not the type of this grid.
    pub fn read(&self, kernels: &Kernels, ty: BlockType, blocks: &[u8], low: &mut [f32], step: &mut [f32]) {
        let (len, n_bytes) = (ty.block_len(), ty.block_bytes());
        assert_eq!(Some(blocks.len()), ty.row_bytes(low.len()), "{ty} blocks of {} weights", low.len());
        assert_eq!(low.len(), step.len(), "a step for each weight");
        let (code, level) = self.greatest();
        let (mut bytes, mut greatest) = ([0; MAX_BYTES], [0.0; MAX_LEN]);
        let outs = low.chunks_exact_mut(len).zip(step.chunks_exact_mut(len));
        for (block, (low, step)) in blocks.chunks_exact(n_bytes).zip(outs) {
            let (bytes, greatest) = (&mut bytes[..n_bytes], &mut greatest[..len]);
            bytes.copy_from_slice(block);
            (self.set_codes)(bytes, &[code; MAX_LEN][..len]);
            kernels.decode(ty, bytes, greatest);
            match self.levels {
                Levels::Even(_) => {
                    (self.set_codes)(bytes, &[0; MAX_LEN][..len]);
                    kernels.decode(ty, bytes, low);
                }
                // Levels are multiples of the scale: nothing is added.
                Levels::Table(..) => low.fill(0.0),
            }
            for ((step, low), greatest) in step.iter_mut().zip(low).zip(greatest) {
                *step = (*greatest - *low) / level;
            }
        }
    }

    /// What the values of `block` are multiples of, for the f16 at `half`: `out[i]` is the value of weight `i` if
    /// that f16 were 1 and the others 0.
    ///
    /// # Panics
    /// If `block` is not one block of `ty`, or `out` has not room for its weights.
    pub fn multiples(&self, kernels: &Kernels, ty: BlockType, block: &[u8], half: usize, out: &mut [f32]) {
        const ONE: [u8; 2] = 0x3c00u16.to_le_bytes();
        let mut bytes = [0; MAX_BYTES];
        let bytes = &mut bytes[..ty.block_bytes()];
        bytes.copy_from_slice(block);
        for &at in self.halves {
            bytes[at..at + 2].copy_from_slice(if at == half { &ONE } else { &[0; 2] });
        }
        kernels.decode(ty, bytes, out);
    }

    /// Puts `codes` into `blocks`, whose scales stay.
    ///
    /// # Panics
    /// If `blocks` is not whole blocks of `ty` with as many weights as there are codes, or `ty` is not the type of
    /// this grid.
    pub fn write(&self, ty: BlockType, codes: &[u8], blocks: &mut [u8]) {
        assert_eq!(Some(blocks.len()), ty.row_bytes(codes.len()), "{ty} blocks of {} codes", codes.len());
        let blocks = blocks.chunks_exact_mut(ty.block_bytes());
        for (block, codes) in blocks.zip(codes.chunks_exact(ty.block_len())) {
            (self.set_codes)(block, codes);
        }
    }
}

/// The grid of a type of a kind.
macro_rules! grid {
    (Float, $folder:ident) => {
        None
    };
    (Codebook, $folder:ident) => {
        None
    };
    ($kind:ident, $folder:ident) => {
        block::$folder::scalar::GRID
    };
}

/// Makes the table from the rows of [`block_types`].
macro_rules! table {
    ($($ty:ident: $ggml_id:literal, $len:literal, $bytes:literal, $kind:ident, $folder:ident;)*) => {
        /// The grid of every type, at its discriminant.
        static TABLE: [Option<Grid>; BlockType::COUNT] = [$(grid!($kind, $folder),)*];
    };
}
block_types!(table);
