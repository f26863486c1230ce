//! Unpacks Q4_1 for batch products.

use crate::block::q4_1::BYTES;
use crate::gemm::block32::{Class, Format32, Panel, store_codes, unpack_nibbles};
use crate::gemm::{Rows, Tier};

/// Q4_1 in batch products.
pub(crate) struct Unpack;

impl Format32<{ 8 * BYTES }> for Unpack {
    const CLASS: Class = Class { minima: true, sub_words: 8, bits: 4 };
    const BIAS: i32 = 0;

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, { 8 * BYTES }>, panel: &mut Panel) {
        for j in 0..8 {
            let block = BYTES * j;
            let head = tier.quads(rows, block)[0];
            tier.store_f16(head, &mut panel.d[j]);
            tier.store_f16(head >> 16, &mut panel.m[j]);
            let codes = unpack_nibbles(tier, rows, block + 4);
            store_codes(tier, codes, panel, j);
        }
    }
}
