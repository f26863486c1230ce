//! Unpacks TQ2_0 for batch products.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::tq2_0::BLOCK_BYTES;
use crate::gemm::k::{Class, KFormat, Panel, WHOLE};
use crate::gemm::{Rows, Tier};

/// TQ2_0 in batch products.
pub(crate) struct Unpack;

impl KFormat<BLOCK_BYTES> for Unpack {
    fn class<T: Tier>() -> Class {
        Class { sub_words: WHOLE, minima: 0, bias: 1, bits: 2 }
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, BLOCK_BYTES>, panel: &mut Panel) {
        tier.store_f16(tier.quads(rows, BLOCK_BYTES - 16)[3] >> 16, &mut panel.d);
        let low_two = tier.splat(0x0303_0303);
        for (half, words) in panel.codes.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for g in 0..2 {
                let quads = tier.quads(rows, 32 * half + 16 * g);
                for part in 0..4 {
                    for t in 0..4 {
                        tier.store(
                            (quads[t] >> (2 * part as u32)) & low_two,
                            &mut words[8 * part + 4 * g + t],
                        );
                    }
                }
            }
        }
    }
}
