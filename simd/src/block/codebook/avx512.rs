//! The codebook types for AVX-512; data flow and bounds: [`crate::block::k::avx512`].
//!
//! Entries enter unsigned. Marks are masks as they are: they negate activations, which never are -128, or
//! raise entries. Four products are at most 4 * 62 * 127 = 31496 in magnitude together, so the packs never
//! saturate.

use core::arch::x86_64::*;

use super::{Codebook, Entry, Indices, Marks, entry_of, scalar};
use crate::activation::Q8KWindow;
use crate::block::codebook::avx2::{nine_times, quarters};
use crate::block::k::{avx2, avx512};
use crate::isa::Avx512;
use crate::isa::avx2::load_128;
use crate::isa::avx512::load_codes;

/// The scalar decoder, compiled for this tier.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn decode<const B: usize, C: Codebook<B>>(blocks: &[u8], out: &mut [f32]) {
    scalar::decode::<B, C>(blocks, out);
}

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv<const B: usize, C: Codebook<B>>(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    if C::AS_AVX2 {
        return super::avx2::gemv::<B, C>(weights, x, out);
    }
    let (isa, zero) = (Avx512::here(), _mm512_setzero_si512());
    let narrow = isa.avx2();
    avx512::gemv_in_units(weights, x, out, C::UNIT, C::d, |block: &[u8; B], y, _| {
        if let Some(sum) = C::sum_avx512(block, y, isa) {
            return sum;
        }
        let mut indices = Indices::<B, C>::new();
        let has_indices = C::indices(block, narrow, &mut indices);
        let marks = C::marks_avx2(block, narrow);
        let scales = load_128(&C::scales(block));
        let dots = quarters!(c => {
            let entry = |g: usize| entry_of(block, (has_indices, &indices), C::Entry::IN_64 * c + g);
            let entries = C::Entry::vector_512(isa, entry);
            let y = load_codes(&y.codes.as_chunks().0[c]);
            match C::MARKS {
                Marks::Negate => _mm512_dpbusd_epi32(zero, entries, _mm512_mask_sub_epi8(y, marks[c], zero, y)),
                Marks::Raise => _mm512_dpbusd_epi32(zero, raised(entries, marks[c]), y),
            }
        });
        let sum = match C::MARKS {
            Marks::Negate => zero,
            Marks::Raise => {
                let sums = _mm256_madd_epi16(_mm256_cvtepu8_epi16(scales), avx2::load_sums(y));
                _mm512_sub_epi32(zero, _mm512_zextsi256_si512(nine_times(sums)))
            }
        };
        avx512::scaled_by_16(sum, dots, scales)
    });
}

/// Entries, of which those marked are two more.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn raised(entries: __m512i, marks: u64) -> __m512i {
    _mm512_mask_add_epi8(entries, marks, entries, _mm512_set1_epi8(2))
}

/// Stores the codes of a super-block plus `bias`, which wraps.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn store_codes<const B: usize, C: Codebook<B>>(block: &[u8; B], bias: u8, out: &mut [u8; 256]) {
    let isa = Avx512::here();
    let mut indices = Indices::<B, C>::new();
    let has_indices = C::indices(block, isa.avx2(), &mut indices);
    let marks = C::marks_avx2(block, isa.avx2());
    let bias = _mm512_set1_epi8(bias.wrapping_sub(C::MARKS.bias()).cast_signed());
    for (c, out) in out.as_chunks_mut::<64>().0.iter_mut().enumerate() {
        let entry = |g: usize| entry_of(block, (has_indices, &indices), C::Entry::IN_64 * c + g);
        let entries = C::Entry::vector_512(isa, entry);
        let codes = match C::MARKS {
            Marks::Negate => _mm512_mask_sub_epi8(entries, marks[c], _mm512_setzero_si512(), entries),
            Marks::Raise => raised(entries, marks[c]),
        };
        // SAFETY: 64 bytes are stored into 64.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), _mm512_add_epi8(codes, bias)) };
    }
}
