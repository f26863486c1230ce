//! The instructions of the x86-64 tiles, on registers only.

use core::arch::asm;
use core::arch::x86_64::*;
use core::hint::black_box;

use super::ROUNDS;

/// `vpdpbusd` alone.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(super) fn dots_512() {
    let (w, y) = (_mm512_set1_epi32(black_box(1)), _mm512_set1_epi32(black_box(2)));
    let mut acc = [_mm512_setzero_si512(); 14];
    for _ in 0..ROUNDS {
        for acc in &mut acc {
            *acc = _mm512_dpbusd_epi32(*acc, w, y);
        }
    }
    for acc in acc {
        black_box(_mm512_reduce_add_epi32(acc));
    }
}

/// Fused multiply-adds alone.
#[target_feature(enable = "avx512f")]
pub(super) fn floats_512() {
    let (w, x) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(0.25)));
    let mut acc = [_mm512_setzero_ps(); 14];
    for _ in 0..ROUNDS {
        for acc in &mut acc {
            *acc = _mm512_fmadd_ps(w, x, *acc);
        }
    }
    for acc in acc {
        black_box(_mm512_reduce_add_ps(acc));
    }
}

/// Fused multiply-adds alone.
#[target_feature(enable = "avx2,fma")]
pub(super) fn floats_256() {
    let (w, x) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(0.25)));
    let mut acc = [_mm256_setzero_ps(); 10];
    for _ in 0..ROUNDS {
        for acc in &mut acc {
            *acc = _mm256_fmadd_ps(w, x, *acc);
        }
    }
    for acc in acc {
        black_box(_mm256_cvtss_f32(acc));
    }
}

/// `vpdpbusd` of 256 bits alone, in the form of AVX-VNNI.
#[target_feature(enable = "avx2,avxvnni")]
pub(super) fn dots_vnni_256() {
    let (w, y) = (_mm256_set1_epi32(black_box(1)), _mm256_set1_epi32(black_box(2)));
    let mut acc = [_mm256_setzero_si256(); 12];
    for _ in 0..ROUNDS {
        for acc in &mut acc {
            // SAFETY: the instruction reads and writes registers only, and is one of this function's
            // features.
            unsafe {
                asm!("{{vex}} vpdpbusd {acc}, {w}, {y}", acc = inout(ymm_reg) *acc, w = in(ymm_reg) w,
                    y = in(ymm_reg) y, options(pure, nomem, nostack, preserves_flags));
            }
        }
    }
    for acc in acc {
        black_box(_mm256_cvtsi256_si32(acc));
    }
}

/// `P` times a product in bytes and a sum in 16 bits, then one product and sum that widen them.
#[target_feature(enable = "avx2")]
pub(super) fn dots_256<const P: usize>() {
    let (w, mut y) = (_mm256_set1_epi32(black_box(1)), _mm256_set1_epi32(black_box(2)));
    let mut acc = [_mm256_setzero_si256(); 4];
    for _ in 0..ROUNDS {
        let mut narrow = [_mm256_setzero_si256(); 4];
        for _ in 0..P {
            for narrow in &mut narrow {
                y = opaque(y);
                *narrow = opaque(_mm256_add_epi16(*narrow, _mm256_maddubs_epi16(w, y)));
            }
        }
        for (acc, narrow) in acc.iter_mut().zip(narrow) {
            *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(narrow, w));
        }
    }
    for acc in acc {
        black_box(_mm256_cvtsi256_si32(acc));
    }
}

/// A sign, a product in bytes, a product that widens, and a sum.
#[target_feature(enable = "avx2")]
pub(super) fn signed_dots_256() {
    let (w, mut y) = (_mm256_set1_epi32(black_box(1)), _mm256_set1_epi32(black_box(2)));
    let mut acc = [_mm256_setzero_si256(); 8];
    for _ in 0..ROUNDS {
        for acc in &mut acc {
            y = opaque(y);
            let narrow = _mm256_maddubs_epi16(w, _mm256_sign_epi8(y, w));
            *acc = opaque(_mm256_add_epi32(*acc, _mm256_madd_epi16(narrow, w)));
        }
    }
    for acc in acc {
        black_box(_mm256_cvtsi256_si32(acc));
    }
}

/// A vector of which the compiler knows nothing, so that it computes again what it could keep.
#[inline]
#[target_feature(enable = "avx2")]
fn opaque(mut v: __m256i) -> __m256i {
    // SAFETY: there is no instruction in it.
    unsafe { asm!("/* {0} */", inout(ymm_reg) v, options(pure, nomem, nostack, preserves_flags)) };
    v
}
