//! Unpacks IQ4_XS for batch products.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::iq4_xs::BLOCK_BYTES;
use crate::block::tables::{IQ4, bytes};
use crate::gemm::block32::unpack_nibbles;
use crate::gemm::k::{Class, KFormat, Panel, less_32};
use crate::gemm::{Rows, Tier};

/// IQ4_XS in batch products.
pub(crate) struct Unpack;

impl KFormat<BLOCK_BYTES> for Unpack {
    fn class<T: Tier>() -> Class {
        Class { sub_words: 8, minima: 0, bias: T::BYTE_BIAS, bits: 8 }
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, BLOCK_BYTES>, panel: &mut Panel) {
        const SIGNED: [u8; 16] = bytes(&IQ4, 0);
        let head = tier.quads(rows, 0);
        tier.store_f16(head[0], &mut panel.d);
        let scales =
            [four_scales(tier, head[0] >> 16, head[1]), four_scales(tier, head[0] >> 24, head[1] >> 16)];
        for half in 0..2 {
            tier.store_scales(scales[half], &mut panel.scales.as_chunks_mut().0[half]);
        }
        for j in 0..8 {
            let codes = unpack_nibbles(tier, rows, 8 + 16 * j);
            for half in 0..2 {
                for t in 0..4 {
                    let signed = tier.lookup(&SIGNED, codes[half][t]);
                    tier.store(tier.signed_codes(signed), &mut panel.codes[8 * j + 4 * half + t]);
                }
            }
        }
    }
}

/// Four scales, each less 32, as signed bytes: from the lowest byte of `high`, two bits each, and the two
/// lowest bytes of `low`, four bits each.
#[inline(always)]
fn four_scales<T: Tier>(tier: T, high: T::Quad, low: T::Quad) -> T::Quad {
    // Halves and quarters move apart, until each has a byte to itself.
    let low = low & tier.splat(0xffff);
    let low = (low | (low << 8)) & tier.splat(0x00ff_00ff);
    let low = (low | (low << 4)) & tier.splat(0x0f0f_0f0f);
    let high = high & tier.splat(0xff);
    let high = (high | (high << 12)) & tier.splat(0x000f_000f);
    let high = (high | (high << 6)) & tier.splat(0x0303_0303);
    less_32(tier, low | (high << 4))
}
