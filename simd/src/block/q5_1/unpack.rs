//! Unpacks Q5_1 for batch products.

use crate::block::q5_1::BYTES;
use crate::gemm::block32::{Class, Format32, Panel, add_fifth_bits, store_codes, unpack_nibbles};
use crate::gemm::{Rows, Tier};

/// Q5_1 in batch products.
pub(crate) struct Unpack;

impl Format32<{ 8 * BYTES }> for Unpack {
    const CLASS: Class = Class { minima: true, sub_words: 8, bits: 5 };
    const BIAS: i32 = 0;

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, { 8 * BYTES }>, panel: &mut Panel) {
        for j in 0..8 {
            let block = BYTES * j;
            let head = tier.quads(rows, block);
            tier.store_f16(head[0], &mut panel.d[j]);
            tier.store_f16(head[0] >> 16, &mut panel.m[j]);
            let mut codes = unpack_nibbles(tier, rows, block + 8);
            add_fifth_bits(tier, &mut codes, head[1]);
            store_codes(tier, codes, panel, j);
        }
    }
}
