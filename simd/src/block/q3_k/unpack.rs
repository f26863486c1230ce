//! Unpacks Q3_K for batch products.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::q3_k::BLOCK_BYTES;
use crate::gemm::k::{Class, KFormat, Panel, WHOLE, less_32};
use crate::gemm::{Rows, Tier};

/// Q3_K in batch products.
///
/// A code in `-4..=3` times its scale in `-32..=31` lies in `-124..=128`. Where the tiles take bytes up to
/// 252, they get the products, raised by 124, for codes, and no scales.
pub(crate) struct Unpack;

/// What the products are raised by.
const PRODUCT_BIAS: u32 = 124;

/// Whether the tiles of a tier get products.
#[inline(always)]
const fn gets_products<T: Tier>() -> bool {
    128 + PRODUCT_BIAS <= T::TOP_WHOLE_CODE
}

impl KFormat<BLOCK_BYTES> for Unpack {
    fn class<T: Tier>() -> Class {
        if gets_products::<T>() {
            Class { sub_words: WHOLE, minima: 0, bias: PRODUCT_BIAS.cast_signed(), bits: 8 }
        } else {
            Class { sub_words: 4, minima: 0, bias: 4, bits: 3 }
        }
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, BLOCK_BYTES>, panel: &mut Panel) {
        let tail = tier.quads(rows, BLOCK_BYTES - 16);
        tier.store_f16(tail[3] >> 16, &mut panel.d);
        let scales = unpack_scales(tier, tail);
        if !gets_products::<T>() {
            for t in 0..4 {
                let signed = less_32(tier, scales[t]);
                tier.store_scales(signed, &mut panel.scales.as_chunks_mut().0[t]);
            }
        }
        for (half, words) in panel.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            unpack_half(tier, rows, half, [scales[2 * half], scales[2 * half + 1]], words);
        }
    }
}

/// The sixteen scales in `0..64`, a byte each, from the last sixteen bytes of the rows, whose first
/// two do not belong to them (see [`crate::block::q3_k::scales`] for the layout).
#[inline(always)]
fn unpack_scales<T: Tier>(tier: T, tail: [T::Quad; 4]) -> [T::Quad; 4] {
    let word = |t: usize| (tail[t] >> 16) | (tail[t + 1] << 16);
    let (a, b, c) = (word(0), word(1), word(2));
    let (low_four, high_two) = (tier.splat(0x0f0f_0f0f), tier.splat(0x3030_3030));
    [
        (a & low_four) | ((c << 4) & high_two),
        (b & low_four) | ((c << 2) & high_two),
        ((a >> 4) & low_four) | (c & high_two),
        ((b >> 4) & low_four) | ((c >> 2) & high_two),
    ]
}

/// Unpacks 128 weights of each row with their scales.
#[inline(always)]
fn unpack_half<T: Tier>(
    tier: T,
    rows: &Rows<'_, BLOCK_BYTES>,
    half: usize,
    scales: [T::Quad; 2],
    words: &mut [[u8; 64]; 32],
) {
    let (low_two, bit_two) = (tier.splat(0x0303_0303), tier.splat(0x0404_0404));
    for g in 0..2 {
        let low = tier.quads(rows, 32 + 32 * half + 16 * g);
        let high = tier.quads(rows, 16 * g);
        for part in 0..4 {
            // Sub-block `j` of the half: words `4 g..4 g + 4` of a part of 32 weights.
            let j = 2 * part + g;
            let (scale, offset) = product_terms(tier, scales[j / 4] >> (8 * (j % 4) as u32));
            for t in 0..4 {
                // This bit of a byte goes to bit 2.
                let bit = 4 * half + part;
                let high = if bit < 2 { high[t] << (2 - bit) as u32 } else { high[t] >> (bit - 2) as u32 };
                let codes = ((low[t] >> (2 * part as u32)) & low_two) | (high & bit_two);
                let codes = if gets_products::<T>() { codes * scale + offset } else { codes };
                tier.store(codes, &mut words[4 * j + t]);
            }
        }
    }
}

/// Factor and summand that make raised products of codes, four bytes at a time; the scale is the lowest
/// six bits of `scale`.
///
/// With `s = scale - 32`, a raised product is `q * s + 124 - 4 * s`, for `q` in `0..8`: in `0..=252`. It
/// is what remains of a byte whatever the product carries into the bytes above, since the summand, the
/// same in each byte, takes away from them what they got.
#[inline(always)]
fn product_terms<T: Tier>(tier: T, scale: T::Quad) -> (T::Quad, T::Quad) {
    let s = (scale & tier.splat(0x3f)) + tier.splat(32u32.wrapping_neg());
    let summand = tier.splat(PRODUCT_BIAS) + s * tier.splat(4u32.wrapping_neg());
    (s, summand * tier.splat(0x0101_0101))
}
