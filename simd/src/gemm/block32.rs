//! The 32-weight types: a window is eight blocks with a float scale each.

use core::marker::PhantomData;

use crate::activation::Q8Window;
use crate::gemm::{Column, Format, ROWS, Rows, Tier, Tile};

/// Sixteen rows of one window each. Vectors come first: each lies in a cache line of its own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Panel {
    /// Codes: `[k / 4][row][k % 4]`; unsigned unless [`Class::bits`] is 8.
    pub(crate) codes: [[u8; 64]; 64],
    /// Scales: `[block][row]`.
    pub(crate) d: [[f32; ROWS]; 8],
    /// Minima: `[block][row]`.
    pub(crate) m: [[f32; ROWS]; 8],
    /// How many blocks of the window matter; the others are zero, or as they were.
    pub(crate) n_blocks: usize,
}

/// What distinguishes the tiles of 32-weight types.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    /// Whether blocks have minima; otherwise codes have a bias.
    pub(crate) minima: bool,
    /// Bits of a code. Codes of 8 bits are stored by [`Tier::signed_codes`].
    pub(crate) bits: u32,
}

/// A 32-weight type with `N` bytes in a window of eight blocks.
pub(crate) trait Format32<const N: usize> {
    /// Its tiles.
    const CLASS: Class;
    /// What is to be subtracted from each unsigned code.
    const BIAS: i32;

    /// Unpacks eight blocks of sixteen rows.
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, N>, panel: &mut Panel);
}

/// A 32-weight type as a [`Format`].
pub(crate) struct Block32<F>(PhantomData<F>);

impl<const N: usize, F: Format32<N>> Format<N> for Block32<F> {
    type Window = Q8Window;
    type Panel = Panel;
    const BLANK: Panel =
        Panel { codes: [[0; 64]; 64], d: [[0.0; ROWS]; 8], m: [[0.0; ROWS]; 8], n_blocks: 8 };

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, N>, panel: &mut Panel) {
        F::unpack(tier, rows, panel);
        tier.arrange(&mut panel.codes);
    }

    /// Sums become what the tiles need. With minima: the bits of the block's scaled sum, a float. With a
    /// bias: `-bias * sum` of each block, to begin with.
    #[inline(always)]
    fn copy<T: Tier>(window: &Q8Window, column: &mut Column) {
        column.set_codes(&window.codes);
        column.scales = window.scales;
        let bias = if F::CLASS.bits == 8 { T::BYTE_BIAS } else { F::BIAS };
        for j in 0..8 {
            column.sums[j] = if F::CLASS.minima {
                (window.sums[j] as f32 * window.scales[j]).to_bits().cast_signed()
            } else {
                -bias * window.sums[j]
            };
        }
    }

    #[inline(always)]
    fn tile<T: Tier>(n_columns: usize) -> Tile<Panel> {
        T::tile_32(F::CLASS, n_columns)
    }
}

/// Unpacks the nibbles of a block, 16 bytes `at` its row: first the low ones, then the high ones.
#[inline(always)]
pub(crate) fn unpack_nibbles<T: Tier, const N: usize>(
    tier: T,
    rows: &Rows<'_, N>,
    at: usize,
) -> [[T::Quad; 4]; 2] {
    let low_four = tier.splat(0x0f0f_0f0f);
    let [a, b, c, d] = tier.quads(rows, at);
    [
        [a & low_four, b & low_four, c & low_four, d & low_four],
        [(a >> 4) & low_four, (b >> 4) & low_four, (c >> 4) & low_four, (d >> 4) & low_four],
    ]
}

/// Sets the fifth bits of a block's nibbles from the four bytes of each row in `qh`: bit `i` belongs to
/// code `i`.
#[inline(always)]
pub(crate) fn add_fifth_bits<T: Tier>(tier: T, codes: &mut [[T::Quad; 4]; 2], qh: T::Quad) {
    for half in 0..2 {
        for t in 0..4 {
            let nibble = qh >> (16 * half + 4 * t) as u32;
            codes[half][t] = codes[half][t] | tier.spread_bits(nibble);
        }
    }
}

/// Stores the codes of block `j`.
#[inline(always)]
pub(crate) fn store_codes<T: Tier>(tier: T, codes: [[T::Quad; 4]; 2], panel: &mut Panel, j: usize) {
    for half in 0..2 {
        for t in 0..4 {
            tier.store(codes[half][t], &mut panel.codes[8 * j + 4 * half + t]);
        }
    }
}
