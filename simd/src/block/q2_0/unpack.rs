//! Unpacks Q2_0 for batch products.

use crate::block::q2_0::BYTES;
use crate::gemm::block32::{Class, Format32, Panel};
use crate::gemm::{Rows, Tier};

/// Q2_0 in batch products.
pub(crate) struct Unpack;

impl Format32<{ 4 * BYTES }> for Unpack {
    const CLASS: Class = Class { minima: false, sub_words: 8, bits: 4 };
    const BIAS: i32 = 1;

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, { 4 * BYTES }>, panel: &mut Panel) {
        let (low_byte, low_two) = (tier.splat(0xff), tier.splat(0x0303_0303));
        for block in 0..4 {
            let d = tier.quads(rows, BYTES * block)[0];
            tier.store_f16(d, &mut panel.d[2 * block]);
            tier.store_f16(d, &mut panel.d[2 * block + 1]);
            for (i, quad) in tier.quads(rows, BYTES * block + 2).into_iter().enumerate() {
                for (t, words) in panel.codes[16 * block + 4 * i..][..4].iter_mut().enumerate() {
                    // A byte of four moves up until each code has come to the bottom of a byte.
                    let byte = (quad >> (8 * t as u32)) & low_byte;
                    let two = byte | (byte << 6);
                    tier.store((two | (two << 12)) & low_two, words);
                }
            }
        }
    }
}
