//! Unpacks Q2_K for batch products.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::q2_k::{BLOCK_BYTES, HALVES};
use crate::gemm::k::{Class, KFormat, Panel, WHOLE, store_minima};
use crate::gemm::{Rows, Tier};

/// Q2_K in batch products.
///
/// A code times its scale is at most 3 * 15 = 45. Where the tiles take that, they get the products for
/// codes, and no scales.
pub(crate) struct Unpack;

/// Whether the tiles of a tier get products.
#[inline(always)]
const fn gets_products<T: Tier>() -> bool {
    3 * 15 <= T::TOP_WHOLE_CODE
}

impl KFormat<BLOCK_BYTES> for Unpack {
    fn class<T: Tier>() -> Class {
        let (sub_words, bits) = if gets_products::<T>() { (WHOLE, 6) } else { (4, 2) };
        Class { sub_words, minima: 16, bias: 0, bits }
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, BLOCK_BYTES>, panel: &mut Panel) {
        let halves = tier.quads(rows, HALVES - 12)[3];
        tier.store_f16(halves, &mut panel.d);
        tier.store_f16(halves >> 16, &mut panel.dmin);

        let low_four = tier.splat(0x0f0f_0f0f);
        let bytes = tier.quads(rows, 0);
        for t in 0..4 {
            store_minima(tier, (bytes[t] >> 4) & low_four, &mut panel.minima.as_chunks_mut().0[t]);
            if !gets_products::<T>() {
                tier.store_scales(bytes[t] & low_four, &mut panel.scales.as_chunks_mut().0[t]);
            }
        }
        for (half, words) in panel.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            unpack_half(tier, rows, half, [bytes[2 * half], bytes[2 * half + 1]], words);
        }
    }
}

/// Unpacks 128 weights of each row, whose scales are the low nibbles of `scales`.
#[inline(always)]
fn unpack_half<T: Tier>(
    tier: T,
    rows: &Rows<'_, BLOCK_BYTES>,
    half: usize,
    scales: [T::Quad; 2],
    words: &mut [[u8; 64]; 32],
) {
    let (low_two, scale_bits) = (tier.splat(0x0303_0303), tier.splat(0x0f));
    for g in 0..2 {
        let quads = tier.quads(rows, 16 + 32 * half + 16 * g);
        for part in 0..4 {
            // Sub-block `j` of the half: words `4 g..4 g + 4` of a part of 32 weights.
            let j = 2 * part + g;
            let scale = (scales[j / 4] >> (8 * (j % 4) as u32)) & scale_bits;
            for t in 0..4 {
                let codes = (quads[t] >> (2 * part as u32)) & low_two;
                // No byte of the product carries into the next.
                let codes = if gets_products::<T>() { codes * scale } else { codes };
                tier.store(codes, &mut words[4 * j + t]);
            }
        }
    }
}
