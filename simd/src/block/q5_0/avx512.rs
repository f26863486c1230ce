//! Q5_0 for AVX-512; data flow and bounds: [`crate::block::windows::avx512`]. Here the codes enter with their bias of 16.

use core::arch::x86_64::*;

use super::scalar;
use super::{BYTES, qh, qs};
use crate::activation::Q8Window;
use crate::block::windows::avx512;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, compiled for this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode(row, importance, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8Window], out: &mut [f32]) {
    avx512::gemv(weights, x, out, |blocks: &[[u8; BYTES]; 8], y| {
        let isum =
            avx512::block_sums(core::array::from_fn(|i| pair(&blocks[2 * i], &blocks[2 * i + 1])), 16, y);
        (isum, avx512::scaled(avx512::f16s::<BYTES, 0>(blocks), y))
    });
}

/// The codes of two blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
fn pair(first: &[u8; BYTES], second: &[u8; BYTES]) -> __m512i {
    let nibbles = avx512::nibbles(qs(first), qs(second));
    avx512::add_fifth_bits(nibbles, qh(first), qh(second))
}
