//! Matrix products of quantised weights with a batch of activations.
//!
//! The weights stay as they lie in the file. A *panel*, sixteen rows by one window of 256 columns, is
//! unpacked into scratch and multiplied with every column of the batch:
//!
//! ```text
//! 16 rows x 1 window of blocks --unpack (per type)--> panel: codes [k / 4][row][k % 4], scales [sub-block][row]
//! activation windows ----------copy (per class)-----> columns: codes [k / 4][k % 4], sums, scales
//! panel x up to `MAX_COLUMNS` columns --tile (per class and tier)--> window terms, added to the sums in order
//! ```
//!
//! Up to eight columns take a shorter way, [`few`], that reads the weights as one stream.
//!
//! A vector lane is a row, so an integer sum is complete inside its lane and the float operations
//! follow in exactly the order of [`crate::block`]: the results are those of the dot products, bit
//! for bit. What is specific to a block type is [`Format::unpack`], one body in
//! `block/<type>/unpack.rs` that every tier compiles again; what is specific to a tier is a [`Tier`]:
//! a few operations on vectors of 64 bytes, and the tiles.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx_vnni;
pub(crate) mod block32;
mod driver;
mod few;
pub(crate) mod float;
pub(crate) mod k;
mod lines;
#[cfg(target_arch = "aarch64")]
mod neon;
mod rows;
mod scratch;
mod table;

use core::ops::{Add, BitAnd, BitOr, Mul, Shl, Shr};

use crate::activation::{Q8KWindow, WINDOW_LEN};
use crate::block::codebook::Codebook;
use crate::columns::ColumnsMut;

pub(crate) use driver::unpack;
pub(crate) use lines::Lines;
pub(crate) use rows::Rows;
pub(crate) use table::{Batch, Product, batch, codes};

/// A batch product: whole rows of weights, whole columns of activations, and as many rows and columns
/// of results; at least one of each. Calling it takes the CPU features of its tier.
pub(crate) type Gemm<Window> = unsafe fn(&[u8], &[Window], &mut ColumnsMut<'_>);

/// Rows in a panel.
pub(crate) const ROWS: usize = 16;

/// The window sums of sixteen rows.
pub(crate) type Sums = [f32; ROWS];

/// A block type as the panel driver sees it: `N` bytes hold a window of 256 weights.
pub(crate) trait Format<const N: usize> {
    /// A window of the activations it takes.
    type Window: Copy;
    /// Its unpacked panels.
    type Panel: Copy;
    /// A panel to overwrite.
    const BLANK: Self::Panel;

    /// Says that only the first `n_bytes` of the window that is unpacked next are of its rows.
    fn limit(_panel: &mut Self::Panel, _n_bytes: usize) {}

    /// Unpacks one window of sixteen rows.
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, N>, panel: &mut Self::Panel);

    /// Lays out a window of activations for the tiles.
    fn copy<T: Tier>(window: &Self::Window, column: &mut Column);

    /// What its tiles multiply.
    fn codes<T: Tier>() -> Codes;

    /// The tile for `n_columns` columns, in `1..=T::MAX_COLUMNS`.
    fn tile<T: Tier>(n_columns: usize) -> Tile<Self::Panel>;
}

/// What the tiles of a type multiply: it decides how many products are summed before they are widened.
#[derive(Clone, Copy)]
pub(crate) struct Codes {
    /// Bits of a code.
    pub(crate) bits: u32,
    /// Words of four codes that share a scale.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code, reason = "what only AVX2's sums depend on"))]
    pub(crate) sub_words: usize,
}

/// Adds to `sums[c]` the window terms of a panel with column `c`. Calling it takes the CPU features of
/// the tier it belongs to, and as many columns and sums as it was asked for with.
pub(crate) type Tile<Panel> = unsafe fn(&Panel, &[Column], &mut [Sums]);

/// A window of activations as the tiles read it: single words, which the CPU can broadcast as it
/// loads them.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Column {
    /// Four codes a word, in the order of memory.
    pub(crate) codes: [i32; 64],
    /// Sums of codes; which, depends on the class of the tile.
    pub(crate) sums: [i32; 16],
    /// One scale per 32 values, or just the first for the whole window.
    pub(crate) scales: [f32; 8],
}

impl Column {
    /// A column to overwrite.
    pub(crate) const BLANK: Self = Self { codes: [0; 64], sums: [0; 16], scales: [0.0; 8] };

    /// Sets the codes.
    #[inline(always)]
    pub(crate) fn set_codes(&mut self, codes: &[i8; WINDOW_LEN]) {
        for (word, &[a, b, c, d]) in self.codes.iter_mut().zip(codes.as_chunks().0) {
            *word = i32::from_ne_bytes([a as u8, b as u8, c as u8, d as u8]);
        }
    }
}

/// A tier of CPU features, as the proof that the CPU has it.
pub(crate) trait Tier: Copy {
    /// Four bytes of each of sixteen rows; shifts, sums and products act on a row's 32 bits, and wrap.
    type Quad: Copy
        + Add<Output = Self::Quad>
        + Mul<Output = Self::Quad>
        + BitAnd<Output = Self::Quad>
        + BitOr<Output = Self::Quad>
        + Shl<u32, Output = Self::Quad>
        + Shr<u32, Output = Self::Quad>;

    /// Sixteen floats.
    type Lanes: Copy;

    /// What [`Tier::signed_codes`] adds to a code.
    const BYTE_BIAS: i32;

    /// The largest unsigned code that the tiles of [`k::WHOLE`] windows take.
    const TOP_WHOLE_CODE: u32;

    /// Columns a tile takes at most.
    const MAX_COLUMNS: usize;

    /// From this many columns a batch product is faster than a dot product per column.
    const MIN_COLUMNS: usize;

    /// Bytes `at..at + 16` of every row, four at a time.
    ///
    /// # Panics
    /// If they are not inside the rows.
    fn quads<const N: usize>(self, rows: &Rows<'_, N>, at: usize) -> [Self::Quad; 4];

    /// The same four bytes for every row.
    fn splat(self, bytes: u32) -> Self::Quad;

    /// Stores the bytes, row by row.
    fn store(self, quad: Self::Quad, out: &mut [u8; 64]);

    /// Stores pairs of `i16`, row by row.
    fn store_pairs(self, quad: Self::Quad, out: &mut [i32; ROWS]);

    /// Stores four `i8` scales of each row as the tiles want them, one vector for each scale.
    fn store_scales(self, quad: Self::Quad, out: &mut [[i32; ROWS]; 4]);

    /// Stores the values of the f16 in each row's first two bytes.
    fn store_f16(self, quad: Self::Quad, out: &mut [f32; ROWS]);

    /// Signed bytes as the tiles want codes of 8 bits: with [`Tier::BYTE_BIAS`] added.
    fn signed_codes(self, quad: Self::Quad) -> Self::Quad;

    /// Bit `i` of each row's lowest four bits, for `i` in 0..4, as bit 4 of byte `i`; other bits zero.
    fn spread_bits(self, quad: Self::Quad) -> Self::Quad;

    /// Looks every byte, each below 16, up in a table.
    fn lookup(self, table: &[u8; 16], quad: Self::Quad) -> Self::Quad;

    /// Stores 2^(e - 128), with `e` each row's first byte.
    fn store_half_powers(self, quad: Self::Quad, out: &mut [f32; ROWS]);

    /// Stores the halves of the unsigned E4M3 floats in each row's first byte, as [`crate::block::nvfp4`] reads them.
    fn store_e4m3(self, quad: Self::Quad, out: &mut [f32; ROWS]);

    /// Stores the codes of a super-block of a codebook plus `bias`, which wraps, in the order of the weights.
    fn store_codes<const B: usize, C: Codebook<B>>(self, block: &[u8; B], bias: u8, out: &mut [u8; 256]);

    /// Brings the words of a panel's codes into the order that the tier's tiles want.
    #[inline(always)]
    fn arrange(self, _codes: &mut [[u8; 64]; 64]) {}

    /// What the integer sums of a K type of some class begin with, for its bias, as the tiles want it: `-bias * sum` of each
    /// of the sub-blocks, which have scales of their own, unless the tier has an arithmetic of its own.
    #[inline(always)]
    fn first_sums(window: &Q8KWindow, class: k::Class) -> [i32; 16] {
        k::first_sums(window, class)
    }

    /// Asks for the cache lines of a value, to use soon.
    fn prefetch<V>(self, value: &V);

    /// Asks for the cache line at an address, whatever is there, to have it in the second cache later.
    fn prefetch_later(self, line: *const u8);

    /// Sixteen zeros.
    fn zero_lanes(self) -> Self::Lanes;

    /// Sixteen floats.
    fn f32_lanes(self, values: &[f32; 16]) -> Self::Lanes;

    /// Sixteen little-endian floats.
    fn f32_le_lanes(self, values: &[[u8; 4]; 16]) -> Self::Lanes;

    /// Sixteen f16 as floats.
    fn f16_lanes(self, values: &[[u8; 2]; 16]) -> Self::Lanes;

    /// Sixteen bf16 as floats.
    fn bf16_lanes(self, values: &[[u8; 2]; 16]) -> Self::Lanes;

    /// `w * x + sum`, fused.
    fn fma(self, w: Self::Lanes, x: Self::Lanes, sum: Self::Lanes) -> Self::Lanes;

    /// Stores sixteen floats.
    fn store_lanes(self, lanes: Self::Lanes, out: &mut [f32; 16]);

    /// The batch product of a type.
    fn gemm<const N: usize, F: Format<N>>() -> Gemm<F::Window>;

    /// The batch product of a float type.
    fn float_gemm<const N: usize, F: float::Float<N>>() -> Gemm<f32>;

    /// The tile for a K type.
    fn tile_k(class: k::Class, n_columns: usize) -> Tile<k::Panel>;

    /// The tile for a 32-weight type.
    fn tile_32(class: block32::Class, n_columns: usize) -> Tile<block32::Panel>;
}
