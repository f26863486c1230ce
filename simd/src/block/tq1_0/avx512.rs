//! TQ1_0 for AVX-512; data flow and bounds: [`crate::block::k::avx512`], [`crate::block::arranged`].
//!
//! All 52 bytes of codes are one vector of fractions, which is tripled by two additions and meets
//! activations arranged alike: five times, once for each trit. A trit need not be taken out of its fraction `f`: with
//! `g` the fraction that follows, `3 f` modulo 256, it is `(3 f - g) / 256`. So the sum of trits times activations is
//! three times that of fractions, less that of those that follow, over 256; a lane of either is at most
//! 5 * 4 * 255 * 127 = 647700.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, place, scalar};
use crate::activation::Q8KWindow;
use crate::block::arranged::{Arranged, NONE, Places, arrange};
use crate::block::beforehand::Room;
use crate::block::k::avx512;
use crate::isa::Avx512;
use crate::isa::avx512::opaque;
use crate::wide::avx512::Avx512Floats;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn decode(blocks: &[u8], out: &mut [f32]) {
    scalar::decode(blocks, out);
}

/// The scalar encoder, with the vectors of this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn encode(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    scalar::encode_with::<Avx512Floats>(Avx512::here(), row, importance, out);
}

/// Vector `n` meets trit `n` of each byte.
const PLACES: Places<5> = {
    let mut places = [[NONE; 16]; 5];
    let mut i = 0;
    while i < 64 {
        let (byte, n) = place(4 * i);
        places[n][byte / 4] = i as u8;
        i += 1;
    }
    places
};

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    let mut room = Room::new();
    let arranged = Arranged::new(&mut room, x, 1, &PLACES);
    avx512::gemv::<BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |block, y, w| {
        let beyond;
        let vectors = match arranged.get(w) {
            Some(vectors) => vectors,
            None => {
                beyond = arrange(y, 1, &PLACES);
                &beyond
            }
        };
        let (mut sum, mut after) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        let mut fractions = load_codes(block);
        for y in &vectors.1 {
            sum = _mm512_dpbusd_epi32(sum, fractions, *y);
            // (Opaque, because the compiler would multiply by nine and more instead, which takes longer.)
            fractions = opaque(_mm512_add_epi8(fractions, _mm512_add_epi8(fractions, fractions)));
            after = _mm512_dpbusd_epi32(after, fractions, *y);
        }
        let trits = _mm512_sub_epi32(_mm512_add_epi32(sum, _mm512_add_epi32(sum, sum)), after);
        _mm512_add_epi32(_mm512_srai_epi32::<8>(trits), vectors.0)
    });
}

/// The bytes of a block that hold codes, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_codes(block: &[u8; BLOCK_BYTES]) -> __m512i {
    // SAFETY: the 52 bytes that the mask selects are inside the block; others are not read.
    unsafe { _mm512_maskz_loadu_epi8((1 << 52) - 1, block.as_ptr().cast()) }
}
