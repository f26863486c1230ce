//! TQ1_0 for AVX-512; data flow and bounds: [`crate::block::k::avx512`], [`crate::block::arranged`].
//!
//! All 52 bytes of codes are one vector of fractions, which is tripled by two additions and meets
//! activations arranged alike: five times, once for each trit. A trit stays where it comes out, in the
//! top two bits of a byte (see the AVX2 kernel for how), which makes the sum 64 times too large.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, place, scalar};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::arranged::{Arranged, NONE, Places};
use crate::block::k::avx512;
use crate::columns::{ColumnsMut, Place};
use crate::isa::Avx512;
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

/// Rows times `NC` columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv<const NC: usize>(weights: &[u8], x: &[Q8KWindow], out: &mut ColumnsMut<'_>) {
    let arranged = Arranged::<NC, _>::new(x, 64, &PLACES);
    avx512::gemv::<NC, BLOCK_BYTES, { BLOCK_BYTES - 2 }>(weights, x, out, |block, ys, w| {
        let mut fractions = load_codes(block);
        let mut codes = [trits(fractions); 5];
        for codes in &mut codes[1..] {
            fractions = _mm512_add_epi8(fractions, _mm512_add_epi8(fractions, fractions));
            *codes = trits(fractions);
        }
        array::each(|c| {
            let (mut sum, vectors) = arranged.window(Place { c, w }, ys[c], 64, &PLACES);
            for (codes, vector) in codes.iter().zip(&vectors) {
                sum = _mm512_dpbusd_epi32(sum, *codes, *vector);
            }
            _mm512_srai_epi32::<6>(sum)
        })
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
