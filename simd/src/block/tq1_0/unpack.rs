//! Unpacks TQ1_0 for batch products.

#![allow(clippy::needless_range_loop, reason = "loops over indices unroll into registers as they stand")]

use crate::block::tq1_0::BLOCK_BYTES;
use crate::gemm::k::{Class, KFormat, Panel, WHOLE};
use crate::gemm::{Rows, Tier};

/// TQ1_0 in batch products.
pub(crate) struct Unpack;

impl KFormat<BLOCK_BYTES> for Unpack {
    fn class<T: Tier>() -> Class {
        Class { sub_words: WHOLE, minima: 0, bias: 1, bits: 2 }
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, BLOCK_BYTES>, panel: &mut Panel) {
        let words = &mut panel.codes;
        for g in 0..3 {
            // The first two groups of 16 bytes alternate, the third has its words to itself.
            let (first, step) = if g < 2 { (4 * g, 8) } else { (40, 4) };
            let quads = tier.quads(rows, 16 * g);
            for t in 0..4 {
                let mut fractions = Fractions::new(tier, quads[t]);
                for n in 0..5 {
                    tier.store(fractions.next_trit(tier), &mut words[first + step * n + t]);
                }
            }
        }
        let tail = tier.quads(rows, BLOCK_BYTES - 16);
        let mut fractions = Fractions::new(tier, (tail[2] >> 16) | (tail[3] << 16));
        for n in 0..4 {
            tier.store(fractions.next_trit(tier), &mut words[60 + n]);
        }
        tier.store_f16(tail[3] >> 16, &mut panel.d);
    }
}

/// Fractions in the lower bytes of 16 bits, where tripling them has room: the even bytes of a quad, and
/// the odd ones.
struct Fractions<T: Tier>([T::Quad; 2]);

impl<T: Tier> Fractions<T> {
    #[inline(always)]
    fn new(tier: T, bytes: T::Quad) -> Self {
        let low = tier.splat(0x00ff_00ff);
        Self([bytes & low, (bytes >> 8) & low])
    }

    /// Triples the fractions and returns what they carry, a trit per byte.
    #[inline(always)]
    fn next_trit(&mut self, tier: T) -> T::Quad {
        let low = tier.splat(0x00ff_00ff);
        let [even, odd] = self.0;
        let (even, odd) = (even + even + even, odd + odd + odd);
        self.0 = [even & low, odd & low];
        ((even >> 8) & low) | (odd & tier.splat(0xff00_ff00))
    }
}
