//! Unpacks Q8_0 for batch products.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::q8_0::BYTES;
use crate::gemm::block32::{Class, Format32, Panel};
use crate::gemm::{Rows, Tier};

/// Q8_0 in batch products.
pub(crate) struct Unpack;

impl Format32<{ 8 * BYTES }> for Unpack {
    const CLASS: Class = Class { minima: false, sub_words: 8, bits: 8 };
    /// What [`Tier::signed_codes`] adds is the tier's own matter.
    const BIAS: i32 = 0;

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, { 8 * BYTES }>, panel: &mut Panel) {
        for j in 0..panel.n_blocks.min(8) {
            let block = BYTES * j;
            tier.store_f16(tier.quads(rows, block)[0], &mut panel.d[j]);
            let codes = [tier.quads(rows, block + 2), tier.quads(rows, block + 18)];
            for half in 0..2 {
                for t in 0..4 {
                    tier.store(tier.signed_codes(codes[half][t]), &mut panel.codes[8 * j + 4 * half + t]);
                }
            }
        }
    }
}
