//! Unpacks Q6_K for batch products.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::q6_k::BLOCK_BYTES;
use crate::gemm::k::{Class, KFormat, Panel};
use crate::gemm::{Rows, Tier};

/// Q6_K in batch products.
pub(crate) struct Unpack;

impl KFormat<BLOCK_BYTES> for Unpack {
    fn class<T: Tier>() -> Class {
        Class { sub_words: 4, minima: 0, bias: 32, bits: 6 }
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, BLOCK_BYTES>, panel: &mut Panel) {
        tier.store_f16(tier.quads(rows, 194)[3] >> 16, &mut panel.d);
        let scales = tier.quads(rows, 192);
        for t in 0..4 {
            tier.store_scales(scales[t], &mut panel.scales.as_chunks_mut().0[t]);
        }
        for (half, words) in panel.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            unpack_half(tier, rows, half, words);
        }
    }
}

/// Unpacks 128 weights of each row.
#[inline(always)]
fn unpack_half<T: Tier>(tier: T, rows: &Rows<'_, BLOCK_BYTES>, half: usize, words: &mut [[u8; 64]; 32]) {
    let (low_four, high_two) = (tier.splat(0x0f0f_0f0f), tier.splat(0x3030_3030));
    for g in 0..2 {
        // Words 4g..4g + 4 of each part of 32 weights, whose high bits share a byte.
        let qh = tier.quads(rows, 128 + 32 * half + 16 * g);
        let first = tier.quads(rows, 64 * half + 16 * g);
        let second = tier.quads(rows, 64 * half + 32 + 16 * g);
        for t in 0..4 {
            let w = 4 * g + t;
            tier.store((first[t] & low_four) | ((qh[t] << 4) & high_two), &mut words[w]);
            tier.store((second[t] & low_four) | ((qh[t] << 2) & high_two), &mut words[8 + w]);
            tier.store(((first[t] >> 4) & low_four) | (qh[t] & high_two), &mut words[16 + w]);
            tier.store(((second[t] >> 4) & low_four) | ((qh[t] >> 2) & high_two), &mut words[24 + w]);
        }
    }
}
