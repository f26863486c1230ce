//! IQ1_S for AVX-512; the way is that of `avx2`.

use core::arch::x86_64::*;

use super::{BYTES, avx2};
use crate::activation::Q8KWindow;
use crate::block::codebook::avx2::quarters;
use crate::block::codebook::{Entry, Indices};
use crate::block::k::avx512::dot;
use crate::isa::Avx512;
use crate::isa::avx512::load_512;

/// Lanes that add up to `isum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(super) fn sum(block: &[u8; BYTES], y: &Q8KWindow, isa: Avx512) -> __m512i {
    const PLACES: [[u8; 64]; 2] = [places(0), places(4)];
    let mut indices = Indices::new();
    avx2::indices(block, &mut indices);
    let dots = quarters!(c => {
        dot(u64::vector_512(isa, |g| indices.entry(8 * c + g)), y, c)
    });
    let scales = avx2::scales(block);
    let sum = _mm512_zextsi256_si512(avx2::sums(block, scales, y));
    let scales = _mm512_castsi128_si512(scales);
    let placed = |i: usize| _mm512_permutexvar_epi16(load_512(&PLACES[i]), scales);
    let sum = _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(dots[0], dots[1]), placed(0));
    _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(dots[2], dots[3]), placed(1))
}

/// Where the scales of the words of two packed vectors of sums are: each quarter has four sums of a sub-block, and four
/// of the next but one.
const fn places(first: u8) -> [u8; 64] {
    let mut places = [0; 64];
    let mut word = 0;
    while word < 32 {
        places[2 * word] = first + (word / 16 + 2 * (word / 4 % 2)) as u8;
        word += 1;
    }
    places
}
