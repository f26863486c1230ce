//! The K types: a window is one super-block with integer scales of its sub-blocks.

use core::marker::PhantomData;

use crate::activation::Q8KWindow;
use crate::gemm::{Codes, Column, Format, Lines, ROWS, Rows, Tier, Tile};

/// Sixteen rows of one super-block each.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Panel {
    /// Unsigned codes: `[k / 4][row][k % 4]`.
    pub(crate) codes: [[u8; 64]; 64],
    /// Scales, by [`Tier::store_scales`]: `[sub-block][row]`.
    pub(crate) scales: [[i32; ROWS]; 16],
    /// Minima of two neighbouring sub-blocks as a pair of `i16`: `[pair][row]`.
    pub(crate) minima: [[i32; ROWS]; 8],
    /// The scale of the scales.
    pub(crate) d: [f32; ROWS],
    /// The scale of the minima.
    pub(crate) dmin: [f32; ROWS],
    /// What a tile asks for on its way.
    pub(crate) ahead: Lines,
}

/// What distinguishes the tiles of K types.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    /// Words of four codes that share a scale: 8 or 4, or [`WHOLE`].
    pub(crate) sub_words: usize,
    /// Minima in a window: 16, 8 or none.
    pub(crate) minima: usize,
    /// What is to be subtracted from each unsigned code, where there are no minima.
    pub(crate) bias: i32,
    /// Bits of a code.
    pub(crate) bits: u32,
}

/// The words of a whole window, as [`Class::sub_words`]: codes that have no scale but the window's.
///
/// Small codes can be multiplied with the integer scales of their sub-blocks as they are unpacked,
/// exactly, if the products still fit bytes: up to [`Tier::TOP_WHOLE_CODE`]. The tiles then have no
/// scales to deal with.
pub(crate) const WHOLE: usize = 64;

/// A K type of `N` bytes a super-block.
pub(crate) trait KFormat<const N: usize> {
    /// What [`Panel::d`] is to be multiplied with.
    const UNIT: f32 = 1.0;

    /// Its tiles on a tier.
    fn class<T: Tier>() -> Class;

    /// Unpacks one super-block of sixteen rows.
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, N>, panel: &mut Panel);
}

/// A K type as a [`Format`].
pub(crate) struct K<F>(PhantomData<F>);

impl<const N: usize, F: KFormat<N>> Format<N> for K<F> {
    type Window = Q8KWindow;
    type Panel = Panel;
    const BLANK: Panel = Panel {
        codes: [[0; 64]; 64],
        scales: [[0; ROWS]; 16],
        minima: [[0; ROWS]; 8],
        d: [0.0; ROWS],
        dmin: [0.0; ROWS],
        ahead: Lines::NONE,
    };

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, N>, panel: &mut Panel) {
        panel.ahead = rows.ahead_of_tile();
        F::unpack(tier, rows, panel);
        tier.arrange(&mut panel.codes);
    }

    /// Sums become what the tiles begin with. With minima: pairs of `i16` to multiply with
    /// [`Panel::minima`]. With a bias: those of [`Tier::first_sums`], or `-bias * sum` of the whole
    /// window.
    #[inline(always)]
    fn copy<T: Tier>(window: &Q8KWindow, column: &mut Column) {
        column.set_codes(&window.codes);
        column.scales[0] = window.scale * F::UNIT;
        let (sums, class) = (window.sums, F::class::<T>());
        let pair = |low: i16, high: i16| i32::from(low.cast_unsigned()) | i32::from(high) << 16;
        match (class.minima, class.sub_words) {
            (16, _) => {
                for j in 0..8 {
                    column.sums[j] = pair(sums[2 * j], sums[2 * j + 1]);
                }
            }
            (1.., _) => {
                for j in 0..4 {
                    column.sums[j] = pair(sums[4 * j] + sums[4 * j + 1], sums[4 * j + 2] + sums[4 * j + 3]);
                }
            }
            (0, WHOLE) => {
                let sum: i32 = sums.into_iter().map(i32::from).sum();
                column.sums[0] = -class.bias * sum;
            }
            (0, _) => column.sums = T::first_sums(window, class),
        }
    }

    fn codes<T: Tier>() -> Codes {
        let Class { bits, sub_words, .. } = F::class::<T>();
        Codes { bits, sub_words }
    }

    #[inline(always)]
    fn tile<T: Tier>(n_columns: usize) -> Tile<Panel> {
        T::tile_k(F::class::<T>(), n_columns)
    }
}

/// `-bias * sum` of each sub-block of four or eight words.
#[inline(always)]
pub(crate) fn first_sums(window: &Q8KWindow, class: Class) -> [i32; 16] {
    let sixteens = window.sums.map(|sum| -class.bias * i32::from(sum));
    if class.sub_words == 4 {
        return sixteens;
    }
    let mut sums = [0; 16];
    for (sum, &[a, b]) in sums.iter_mut().zip(sixteens.as_chunks().0) {
        *sum = a + b;
    }
    sums
}

/// Unpacks the scales and minima of Q4_K and Q5_K from their twelve bytes, and `d` and `dmin` from the
/// four before (see [`crate::block::k::scales`] for the layout).
#[inline(always)]
pub(crate) fn unpack_head<T: Tier>(tier: T, head: [T::Quad; 4], panel: &mut Panel) {
    let [halves, a, b, c] = head;
    tier.store_f16(halves, &mut panel.d);
    tier.store_f16(halves >> 16, &mut panel.dmin);

    let low_six = tier.splat(0x3f3f_3f3f);
    let low_four = tier.splat(0x0f0f_0f0f);
    let high_two = tier.splat(0x3030_3030);
    let scales = panel.scales.as_chunks_mut().0;
    tier.store_scales(a & low_six, &mut scales[0]);
    tier.store_scales((c & low_four) | ((a >> 2) & high_two), &mut scales[1]);

    let minima = panel.minima.as_chunks_mut().0;
    store_minima(tier, b & low_six, &mut minima[0]);
    store_minima(tier, ((c >> 4) & low_four) | ((b >> 2) & high_two), &mut minima[1]);
}

/// Stores four minima of each row, of a byte each, as two pairs of `i16`.
#[inline(always)]
pub(crate) fn store_minima<T: Tier>(tier: T, minima: T::Quad, out: &mut [[i32; ROWS]; 2]) {
    let (low, high) = (tier.splat(0x0000_00ff), tier.splat(0x00ff_0000));
    tier.store_pairs((minima & low) | ((minima << 8) & high), &mut out[0]);
    tier.store_pairs(((minima >> 16) & low) | ((minima >> 8) & high), &mut out[1]);
}

/// Bytes in `0..64`, each less 32, as signed numbers.
#[inline(always)]
pub(crate) fn less_32<T: Tier>(tier: T, bytes: T::Quad) -> T::Quad {
    // Where bit 5 is set, that clears it; elsewhere it sets it and those above.
    let (low_five, bit_five) = (tier.splat(0x1f1f_1f1f), tier.splat(0x2020_2020));
    let (negative, seven_less) = (tier.splat(0xe0e0_e0e0), tier.splat(7u32.wrapping_neg()));
    (bytes & low_five) | (negative + (bytes & bit_five) * seven_less)
}
