//! Activations arranged for AVX-512 kernels that use super-blocks as they lie, 64 bytes at a time.
//!
//! Such a kernel needs the activations in the order in which its vectors happen to hold the codes. That is
//! the same for every row: the arrangement is made once per call.

use core::arch::x86_64::*;

use crate::activation::Q8KWindow;
use crate::block::beforehand::Room;
use crate::block::k::avx2::load_sums;
use crate::isa::avx2::load_128;
use crate::isa::avx512::load_codes;

/// How a type arranges a window: for every four bytes of a vector, which four activations belong there, by
/// their place in the window over four, or [`NONE`].
pub(crate) type Places<const N: usize> = [[u8; 16]; N];

/// Four zeros, as a place.
pub(crate) const NONE: u8 = 0x80;

/// A window arranged: what the sum of products begins with, and `N` vectors of activations.
pub(crate) type Vectors<const N: usize> = (__m512i, [__m512i; N]);

/// The windows of a row arranged.
pub(crate) struct Arranged<'a, const N: usize>(&'a [Vectors<N>]);

impl<'a, const N: usize> Arranged<'a, N> {
    /// Arranges the windows of a row; see [`arrange`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    pub(crate) fn new(
        room: &'a mut Room<Vectors<N>>,
        x: &[Q8KWindow],
        bias: i16,
        places: &Places<N>,
    ) -> Self {
        Self(room.fill(x, |y| arrange(y, bias, places)))
    }

    /// Window `w` of the row, unless it is beyond those arranged.
    #[inline(always)]
    pub(crate) fn get(&self, w: usize) -> Option<&Vectors<N>> {
        self.0.get(w)
    }
}

/// Arranges a window. The sum begins with minus `bias` times that of all activations.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
pub(crate) fn arrange<const N: usize>(y: &Q8KWindow, bias: i16, places: &Places<N>) -> Vectors<N> {
    let codes = y.codes.as_chunks::<64>().0;
    let (a, b) = (load_codes(&codes[0]), load_codes(&codes[1]));
    let (c, d) = (load_codes(&codes[2]), load_codes(&codes[3]));
    let mut vectors = [_mm512_setzero_si512(); N];
    for (vector, places) in vectors.iter_mut().zip(places) {
        let places = _mm512_cvtepu8_epi32(load_128(places));
        let is_upper = _mm512_test_epi32_mask(places, _mm512_set1_epi32(32));
        let is_some = _mm512_testn_epi32_mask(places, _mm512_set1_epi32(i32::from(NONE)));
        let lower = _mm512_permutex2var_epi32(a, places, b);
        let upper = _mm512_permutex2var_epi32(c, places, d);
        *vector = _mm512_maskz_mov_epi32(is_some, _mm512_mask_blend_epi32(is_upper, lower, upper));
    }
    let first = _mm256_madd_epi16(load_sums(y), _mm256_set1_epi16(-bias));
    (_mm512_zextsi256_si512(first), vectors)
}
