//! TQ2_0 for AVX2; data flow: [`crate::block::k::avx2`].
//!
//! Each two bits of 32 bytes are the codes of 32 weights. Their products are added in 16 bits, which all of a
//! super-block fit, also with codes of 3: 16 * 3 * 127 = 6096. The sums of the activations are taken away for the codes
//! being one too large: one is for as many activations as a lane has products.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, qs, scalar};
use crate::activation::Q8KWindow;
use crate::block::k::avx2;
use crate::isa::Avx2;
use crate::isa::avx2::load_256;
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
    avx2::gemv::<BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |block, y| {
        let mut sum = _mm256_setzero_si256();
        for k in 0..8 {
            sum = _mm256_add_epi16(sum, avx2::dot(codes(block, k), y, k));
        }
        _mm256_madd_epi16(_mm256_sub_epi16(sum, avx2::load_sums(y)), _mm256_set1_epi16(1))
    });
}

/// The codes of weights `32 k ..`.
#[inline]
#[target_feature(enable = "avx2")]
fn codes(block: &[u8; BLOCK_BYTES], k: usize) -> __m256i {
    let qs = load_256(&qs(block).as_chunks().0[k / 4]);
    _mm256_and_si256(avx2::shifted_down(qs, 2 * (k % 4)), _mm256_set1_epi8(3))
}
