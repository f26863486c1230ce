//! Unpacks Q4_K for batch products.

use crate::block::q4_k::BLOCK_BYTES;
use crate::gemm::k::{Class, KFormat, Panel, unpack_head};
use crate::gemm::{Rows, Tier};

/// Q4_K in batch products.
pub(crate) struct Unpack;

impl KFormat<BLOCK_BYTES> for Unpack {
    fn class<T: Tier>() -> Class {
        Class { sub_words: 8, minima: 8, bias: 0, bits: 4 }
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, BLOCK_BYTES>, panel: &mut Panel) {
        unpack_head(tier, tier.quads(rows, 0), panel);
        let low_four = tier.splat(0x0f0f_0f0f);
        for c in 0..4 {
            let words = &mut panel.codes.as_chunks_mut::<16>().0[c];
            for half in 0..2 {
                let quads = tier.quads(rows, 16 + 32 * c + 16 * half);
                for t in 0..4 {
                    tier.store(quads[t] & low_four, &mut words[4 * half + t]);
                    tier.store((quads[t] >> 4) & low_four, &mut words[8 + 4 * half + t]);
                }
            }
        }
    }
}
