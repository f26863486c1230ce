//! Unpacks MXFP4 for batch products.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::mxfp4::BYTES;
use crate::block::tables::{FP4, bytes};
use crate::gemm::block32::{Class, Format32, Panel, store_codes, unpack_nibbles};
use crate::gemm::{Rows, Tier};

/// MXFP4 in batch products: doubled values of -12..=12 make codes of five bits.
pub(crate) struct Unpack;

impl Format32<{ 8 * BYTES }> for Unpack {
    const CLASS: Class = Class { minima: false, sub_words: 8, bits: 5 };
    const BIAS: i32 = 12;

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, { 8 * BYTES }>, panel: &mut Panel) {
        const UNSIGNED: [u8; 16] = bytes(&FP4, 12);
        for j in 0..8 {
            let block = BYTES * j;
            tier.store_half_powers(tier.quads(rows, block)[0], &mut panel.d[j]);
            let mut codes = unpack_nibbles(tier, rows, block + 1);
            for half in 0..2 {
                for t in 0..4 {
                    codes[half][t] = tier.lookup(&UNSIGNED, codes[half][t]);
                }
            }
            store_codes(tier, codes, panel, j);
        }
    }
}
