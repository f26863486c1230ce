//! Unpacks Q4_0 for batch products.

use crate::block::q4_0::BYTES;
use crate::gemm::block32::{Class, Format32, Panel, store_codes, unpack_nibbles};
use crate::gemm::{Rows, Tier};

/// Q4_0 in batch products.
pub(crate) struct Unpack;

impl Format32<{ 8 * BYTES }> for Unpack {
    const CLASS: Class = Class { minima: false, sub_words: 8, bits: 4 };
    const BIAS: i32 = 8;

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, { 8 * BYTES }>, panel: &mut Panel) {
        for j in 0..panel.n_blocks.min(8) {
            let block = BYTES * j;
            tier.store_f16(tier.quads(rows, block)[0], &mut panel.d[j]);
            let codes = unpack_nibbles(tier, rows, block + 2);
            store_codes(tier, codes, panel, j);
        }
    }
}
