//! Activations arranged for AVX-512 kernels that use super-blocks as they lie, 64 bytes at a time.
//!
//! Such a kernel needs the activations in the order in which its vectors happen to hold the codes. That is
//! the same for every row: the arrangement is made once per call.

use core::arch::x86_64::*;

use crate::activation::Q8KWindow;
use crate::block::k::avx2::load_sums;

/// Windows arranged beforehand; those beyond are arranged anew for each row.
const ARRANGED: usize = 64;

/// Windows of a row as vectors: what the sum of products begins with, and `N` vectors of activations.
pub(crate) struct Arranged<const N: usize>([(__m512i, [__m512i; N]); ARRANGED]);

/// How a type arranges a window: at each byte, the activation that belongs there, or none.
pub(crate) type Places<const N: usize> = [[Option<u8>; 64]; N];

impl<const N: usize> Arranged<N> {
    /// Arranges the windows of a row. Sums begin with minus `bias` times that of all activations.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    pub(crate) fn new(x: &[Q8KWindow], bias: i16, places: &Places<N>) -> Self {
        let zero = _mm512_setzero_si512();
        let mut arranged = [(zero, [zero; N]); ARRANGED];
        for (arranged, y) in arranged.iter_mut().zip(x) {
            *arranged = arrange(y, bias, places);
        }
        Self(arranged)
    }

    /// Window `w` of the row, which is `y`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
    pub(crate) fn window(
        &self,
        w: usize,
        y: &Q8KWindow,
        bias: i16,
        places: &Places<N>,
    ) -> (__m512i, [__m512i; N]) {
        self.0.get(w).copied().unwrap_or_else(|| arrange(y, bias, places))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2")]
fn arrange<const N: usize>(y: &Q8KWindow, bias: i16, places: &Places<N>) -> (__m512i, [__m512i; N]) {
    let mut vectors = [_mm512_setzero_si512(); N];
    for (vector, places) in vectors.iter_mut().zip(places) {
        let mut codes = [0; 64];
        for (code, place) in codes.iter_mut().zip(places) {
            *code = place.map_or(0, |place| y.codes[usize::from(place)]);
        }
        *vector = crate::isa::avx512::load_codes(&codes);
    }
    let first = _mm256_madd_epi16(load_sums(y), _mm256_set1_epi16(-bias));
    (_mm512_zextsi256_si512(first), vectors)
}
