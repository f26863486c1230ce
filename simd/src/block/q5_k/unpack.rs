//! Unpacks Q5_K for batch products.

use crate::block::q5_k::BLOCK_BYTES;
use crate::gemm::k::{Class, KFormat, Panel, unpack_head};
use crate::gemm::{Rows, Tier};

/// Q5_K in batch products.
pub(crate) struct Unpack;

impl KFormat<BLOCK_BYTES> for Unpack {
    fn class<T: Tier>() -> Class {
        Class { sub_words: 8, minima: 8, bias: 0, bits: 5 }
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, BLOCK_BYTES>, panel: &mut Panel) {
        unpack_head(tier, tier.quads(rows, 0), panel);
        let low_four = tier.splat(0x0f0f_0f0f);
        let fifth = tier.splat(0x1010_1010);
        for half in 0..2 {
            let qh = tier.quads(rows, 16 + 16 * half);
            for c in 0..4 {
                let words = &mut panel.codes.as_chunks_mut::<16>().0[c];
                let quads = tier.quads(rows, 48 + 32 * c + 16 * half);
                for t in 0..4 {
                    let first = to_bit_4::<T>(qh[t], 2 * c as u32) & fifth;
                    let second = to_bit_4::<T>(qh[t], 2 * c as u32 + 1) & fifth;
                    tier.store((quads[t] & low_four) | first, &mut words[4 * half + t]);
                    tier.store(((quads[t] >> 4) & low_four) | second, &mut words[8 + 4 * half + t]);
                }
            }
        }
    }
}

/// Moves bit `n` of each byte to bit 4.
#[inline(always)]
fn to_bit_4<T: Tier>(quad: T::Quad, n: u32) -> T::Quad {
    if n < 4 { quad << (4 - n) } else { quad >> (n - 4) }
}
