//! TQ1_0 for AVX-512; data flow and bounds: [`crate::block::k::avx512`], [`crate::block::arranged`].
//!
//! All 52 bytes of codes are one vector of fractions, which is tripled by two additions and meets
//! activations arranged alike: five times, once for each trit. A trit stays where it comes out, in the
//! top two bits of a byte (see the AVX2 kernel for how), which makes the sum 64 times too large.

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
    let arranged = Arranged::new(&mut room, x, 64, &PLACES);
    avx512::gemv::<BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |block, y, w| {
        let beyond;
        let vectors = match arranged.get(w) {
            Some(vectors) => vectors,
            None => {
                beyond = arrange(y, 64, &PLACES);
                &beyond
            }
        };
        let (mut sum, mut fractions) = (vectors.0, load_codes(block));
        for n in 0..5 {
            if n > 0 {
                // (Opaque, because the compiler would multiply by nine and more instead, which takes longer.)
                fractions = opaque(_mm512_add_epi8(fractions, _mm512_add_epi8(fractions, fractions)));
            }
            sum = _mm512_dpbusd_epi32(sum, trits(fractions), vectors.1[n]);
        }
        _mm512_srai_epi32::<6>(sum)
    });
}

/// The bytes of a block that hold codes, and zeros.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_codes(block: &[u8; BLOCK_BYTES]) -> __m512i {
    // SAFETY: the 52 bytes that the mask selects are inside the block; others are not read.
    unsafe { _mm512_maskz_loadu_epi8((1 << 52) - 1, block.as_ptr().cast()) }
}

/// 64 times the trits of fractions.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn trits(fractions: __m512i) -> __m512i {
    let below = _mm512_subs_epu8(fractions, _mm512_set1_epi8(1));
    let average = _mm512_avg_epu8(below, _mm512_avg_epu8(below, _mm512_setzero_si512()));
    _mm512_and_si512(average, _mm512_set1_epi8(0xc0u8.cast_signed()))
}
