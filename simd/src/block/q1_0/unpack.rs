//! Unpacks Q1_0 for batch products.

use crate::block::q1_0::BYTES;
use crate::gemm::block32::{Class, Format32, Panel};
use crate::gemm::{Rows, Tier};

/// Q1_0 in batch products: codes of 0 and 2.
pub(crate) struct Unpack;

impl Format32<{ 2 * BYTES }> for Unpack {
    const CLASS: Class = Class { minima: false, sub_words: 8, bits: 4 };
    const BIAS: i32 = 1;

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, { 2 * BYTES }>, panel: &mut Panel) {
        for block in 0..2 {
            let d = tier.quads(rows, BYTES * block)[0];
            for (part, signs) in tier.quads(rows, BYTES * block + 2).into_iter().enumerate() {
                let j = 4 * block + part;
                tier.store_f16(d, &mut panel.d[j]);
                for (t, words) in panel.codes[8 * j..8 * j + 8].iter_mut().enumerate() {
                    // Bit 4 becomes bit 1.
                    tier.store(tier.spread_bits(signs >> (4 * t as u32)) >> 3, words);
                }
            }
        }
    }
}
