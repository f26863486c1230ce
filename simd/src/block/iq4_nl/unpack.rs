//! Unpacks IQ4_NL for batch products.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::iq4_nl::BYTES;
use crate::block::tables::{IQ4, bytes};
use crate::gemm::block32::{Class, Format32, Panel, store_codes, unpack_nibbles};
use crate::gemm::{Rows, Tier};

/// IQ4_NL in batch products.
pub(crate) struct Unpack;

impl Format32<{ 8 * BYTES }> for Unpack {
    const CLASS: Class = Class { minima: false, sub_words: 8, bits: 8 };
    /// What [`Tier::signed_codes`] adds is the tier's own matter.
    const BIAS: i32 = 0;

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, { 8 * BYTES }>, panel: &mut Panel) {
        const SIGNED: [u8; 16] = bytes(&IQ4, 0);
        for j in 0..8 {
            let block = BYTES * j;
            tier.store_f16(tier.quads(rows, block)[0], &mut panel.d[j]);
            let mut codes = unpack_nibbles(tier, rows, block + 2);
            for half in 0..2 {
                for t in 0..4 {
                    codes[half][t] = tier.signed_codes(tier.lookup(&SIGNED, codes[half][t]));
                }
            }
            store_codes(tier, codes, panel, j);
        }
    }
}
