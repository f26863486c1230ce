//! IQ4_XS for AVX2; data flow and bounds: [`crate::block::k::avx2`].
//!
//! A shuffle looks the codes of a sub-block up in their table; they keep their signs, and lend them to the
//! activations: 2 * 127 * 127 fits 16 bits.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, Block, scalar, scales};
use crate::activation::Q8KWindow;
use crate::block::k::avx2;
use crate::block::tables::{IQ4, bytes};
use crate::isa::Avx2;
use crate::isa::avx2::{load_128, load_codes, lookup};
use crate::wide::avx2::Avx2Floats;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, with the vectors of this tier.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode_with::<Avx2Floats>(Avx2::here(), row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    avx2::gemv::<BLOCK_BYTES, 0>(weights, x, out, |block, y| {
        let block = Block(block);
        let ys = y.codes.as_chunks::<32>().0;
        let raised = i64::from_le_bytes(scales::unpack(block.scales()));
        let scales = _mm256_sub_epi8(_mm256_set1_epi64x(raised), _mm256_set1_epi8(32));
        let mut sum = _mm256_setzero_si256();
        for (j, y) in ys.iter().enumerate() {
            let (codes, y) = (codes(block, j), load_codes(y));
            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(y, codes));
            // The scale goes to the upper byte of every 16 bits, and down with its sign.
            let upper = _mm256_shuffle_epi8(scales, _mm256_set1_epi16(0x80 | (j as i16) << 8));
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_srai_epi16::<8>(upper)));
        }
        sum
    });
}

/// What the codes of sub-block `j` stand for.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(block: Block<'_>, j: usize) -> __m256i {
    const SIGNED: [u8; 16] = bytes(&IQ4, 0);
    let qs = load_128(&block.qs().as_chunks().0[j]);
    let both = _mm256_set_m128i(_mm_srli_epi16::<4>(qs), qs);
    lookup(&SIGNED, _mm256_and_si256(both, _mm256_set1_epi8(15)))
}
