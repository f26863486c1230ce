//! Unpacks NVFP4 for batch products.

use crate::block::nvfp4::BYTES;
use crate::block::tables::{FP4, bytes};
use crate::gemm::block32::{Class, Format32, Panel};
use crate::gemm::{Rows, Tier};

/// NVFP4 in batch products: doubled values of -12..=12 make codes of five bits.
pub(crate) struct Unpack;

impl Format32<{ 4 * BYTES }> for Unpack {
    const CLASS: Class = Class { minima: false, sub_words: 4, bits: 5 };
    const BIAS: i32 = 12;

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, { 4 * BYTES }>, panel: &mut Panel) {
        const UNSIGNED: [u8; 16] = bytes(&FP4, 12);
        let low_four = tier.splat(0x0f0f_0f0f);
        for block in 0..4 {
            let scales = tier.quads(rows, BYTES * block)[0];
            for part in 0..2 {
                let j = 2 * block + part;
                tier.store_e4m3(scales >> (16 * part as u32), &mut panel.d[j]);
                tier.store_e4m3(scales >> (16 * part as u32 + 8), &mut panel.m[j]);
                let [a, b, c, d] = tier.quads(rows, BYTES * block + 4 + 16 * part);
                let quads = [a, b, a >> 4, b >> 4, c, d, c >> 4, d >> 4];
                for (quad, words) in quads.into_iter().zip(&mut panel.codes[8 * j..]) {
                    tier.store(tier.lookup(&UNSIGNED, quad & low_four), words);
                }
            }
        }
    }
}
