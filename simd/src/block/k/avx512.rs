//! The AVX-512 kernels of the K types: what they share.
//!
//! Data flow, sixteen super-blocks at a time:
//!
//! ```text
//! 4 x 64 codes --vpdpbusd with 4 x 64 activations--> 4 x 16 i32 --saturating packs--> 2 x 32 i16
//!    --vpdpwssd with their scales--> 16 i32 of one super-block
//! 16 such vectors --transposing adds--> isum of 16 super-blocks in 16 lanes --convert--+
//! 16 x 8 i32 of minima times activation sums --the same--> msum -----------------------+
//! 16 times d, dmin --convert, times dy-------------------------------------------------+--> 16 terms
//! ```
//!
//! and the terms are added to the sums of their rows, late, by [`RowSums`]; a group goes on across the
//! ends of rows. A lane of `vpdpbusd` holds four products of at most 63 * 127 = 32004 together, so the
//! packs never saturate; the bound of `isum` stands in each type's scalar code. What a type does per
//! super-block is in its own folder.

use core::arch::x86_64::*;

use crate::activation::Q8KWindow;
use crate::block::row_sums::RowSums;
use crate::isa::avx512::{load_codes, load_f32, store_f32};

/// Super-blocks worked on together, one per lane.
const GROUP: usize = 16;

/// `out[r] = w[r] . x` for types with minima, whose blocks of `B` bytes hold `d` and `dmin` at byte `AT`.
/// `sums` gives lanes that add up to `isum` and to `msum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv_with_minima<const B: usize, const AT: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    sums: impl Fn(&[u8; B], &Q8KWindow) -> (__m512i, __m256i),
) {
    let (mut now, mut before) = (&mut WithMinima::new(), &mut WithMinima::new());
    let mut lane = 0;
    let mut rows = RowSums::new(out, x.len());
    for row in weights.chunks_exact(B * x.len()) {
        for (block, y) in row.as_chunks::<B>().0.iter().zip(x) {
            (now.isums[lane], now.msums[lane]) = sums(block, y);
            now.halves[lane] = i32::from_le_bytes([block[AT], block[AT + 1], block[AT + 2], block[AT + 3]]);
            now.dys[lane] = y.scale;
            rows.add_late(lane);
            lane += 1;
            if lane == GROUP {
                core::mem::swap(&mut now, &mut before);
                rows.replace(now.terms());
                lane = 0;
            }
        }
    }
    rows.finish(lane, before.terms(), now.terms());
}

/// `out[r] = w[r] . x` for types without minima, whose blocks of `B` bytes hold `d` at byte `AT`.
/// `sum(block, y, w)` gives lanes that add up to `isum` of window `w`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv<const B: usize, const AT: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    sum: impl Fn(&[u8; B], &Q8KWindow, usize) -> __m512i,
) {
    gemv_in_units(weights, x, out, 1.0, |block| [block[AT], block[AT + 1]], sum);
}

/// [`gemv`] for types whose blocks give `d` by a function and have it in `unit`s.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv_in_units<const B: usize>(
    weights: &[u8],
    x: &[Q8KWindow],
    out: &mut [f32],
    unit: f32,
    d: impl Fn(&[u8; B]) -> [u8; 2],
    sum: impl Fn(&[u8; B], &Q8KWindow, usize) -> __m512i,
) {
    let (mut now, mut before) = (&mut WithoutMinima::new(), &mut WithoutMinima::new());
    let mut lane = 0;
    let mut rows = RowSums::new(out, x.len());
    for row in weights.chunks_exact(B * x.len()) {
        for (w, (block, y)) in row.as_chunks::<B>().0.iter().zip(x).enumerate() {
            now.isums[lane] = sum(block, y, w);
            now.halves[lane] = i32::from(u16::from_le_bytes(d(block)));
            now.dys[lane] = y.scale * unit;
            rows.add_late(lane);
            lane += 1;
            if lane == GROUP {
                core::mem::swap(&mut now, &mut before);
                rows.replace(now.terms());
                lane = 0;
            }
        }
    }
    rows.finish(lane, before.terms(), now.terms());
}

/// What a group of super-blocks with minima has stored.
struct WithMinima {
    /// Lanes that add up to `isum`.
    isums: [__m512i; GROUP],
    /// Lanes that add up to `msum`.
    msums: [__m256i; GROUP],
    /// `d` in the low half, `dmin` in the high one.
    halves: [i32; GROUP],
    dys: [f32; GROUP],
}

impl WithMinima {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    fn new() -> Self {
        Self {
            isums: [_mm512_setzero_si512(); GROUP],
            msums: [_mm256_setzero_si256(); GROUP],
            halves: [0; GROUP],
            dys: [0.0; GROUP],
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    fn terms(&self) -> [f32; GROUP] {
        let (dy, halves) = (load_f32(&self.dys), load_i32(&self.halves));
        let d = _mm512_mul_ps(low_halves(halves), dy);
        let dmin = _mm512_mul_ps(low_halves(_mm512_srli_epi32::<16>(halves)), dy);
        let isum = _mm512_cvtepi32_ps(sums_of_16(&self.isums));
        let msum = _mm512_cvtepi32_ps(sums_of_16_halves(&self.msums));
        let terms = _mm512_fnmadd_ps(msum, dmin, _mm512_mul_ps(isum, d));
        let mut lanes = [0.0; GROUP];
        store_f32(&mut lanes, terms);
        lanes
    }
}

/// What a group of super-blocks without minima has stored.
struct WithoutMinima {
    /// Lanes that add up to `isum`.
    isums: [__m512i; GROUP],
    /// `d`.
    halves: [i32; GROUP],
    dys: [f32; GROUP],
}

impl WithoutMinima {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    fn new() -> Self {
        Self { isums: [_mm512_setzero_si512(); GROUP], halves: [0; GROUP], dys: [0.0; GROUP] }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
    fn terms(&self) -> [f32; GROUP] {
        let d = _mm512_mul_ps(low_halves(load_i32(&self.halves)), load_f32(&self.dys));
        let isum = _mm512_cvtepi32_ps(sums_of_16(&self.isums));
        let terms = _mm512_fmadd_ps(isum, d, _mm512_setzero_ps());
        let mut lanes = [0.0; GROUP];
        store_f32(&mut lanes, terms);
        lanes
    }
}

/// The values of the halves in the low 16 bits of each lane.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,f16c")]
fn low_halves(lanes: __m512i) -> __m512 {
    _mm512_cvtph_ps(_mm512_cvtepi32_epi16(lanes))
}

/// Inside each quarter of 128 bits: lane `i` is the sum of the quarter's lanes of `v[i]`.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarter_sums(v: [__m512i; 4]) -> __m512i {
    let pairs = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (first, second) = (pairs(v[0], v[1]), pairs(v[2], v[3]));
    _mm512_add_epi32(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second))
}

/// Quarters `[a0 + a1, a2 + a3, b0 + b1, b2 + b3]`.
#[inline]
#[target_feature(enable = "avx512f")]
fn fold_quarters(a: __m512i, b: __m512i) -> __m512i {
    _mm512_add_epi32(_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(a, b))
}

/// Lane `i` is the sum of the sixteen lanes of `v[i]`.
#[inline]
#[target_feature(enable = "avx512f")]
fn sums_of_16(v: &[__m512i; GROUP]) -> __m512i {
    let quarters = |i: usize| quarter_sums([v[i], v[i + 1], v[i + 2], v[i + 3]]);
    fold_quarters(fold_quarters(quarters(0), quarters(4)), fold_quarters(quarters(8), quarters(12)))
}

/// Lane `i` is the sum of the eight lanes of `v[i]`.
#[inline]
#[target_feature(enable = "avx512f,avx512dq")]
fn sums_of_16_halves(v: &[__m256i; GROUP]) -> __m512i {
    // Vectors i and i + 4 side by side: quarters hold [low i, high i, low i + 4, high i + 4].
    let both = |i: usize| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(v[i]), v[i + 4]);
    let quarters = |i: usize| quarter_sums([both(i), both(i + 1), both(i + 2), both(i + 3)]);
    fold_quarters(quarters(0), quarters(8))
}

/// 32 bytes, in both halves.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn broadcast_256(bytes: &[u8; 32]) -> __m512i {
    _mm512_broadcast_i64x4(crate::isa::avx2::load_256(bytes))
}

/// The sums of four products of the 64 unsigned codes with activations `64 c ..`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) fn dot(codes: __m512i, y: &Q8KWindow, c: usize) -> __m512i {
    _mm512_dpbusd_epi32(_mm512_setzero_si512(), codes, load_codes(&y.codes.as_chunks().0[c]))
}

/// Lanes that add up to the scaled sum of a super-block of eight sub-blocks; `dots[c]` holds the
/// sums of sub-block `2 c` in its lower eight lanes and of `2 c + 1` in its upper.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) fn scaled_by_32(dots: [__m512i; 4], scales: [u8; 8]) -> __m512i {
    // Packing two dots puts, into each quarter, four sums of a sub-block and four of the next but
    // one; the scales go, as 16-bit numbers, to the same places.
    const FIRST: [i8; 64] = scale_places(0);
    const SECOND: [i8; 64] = scale_places(4);
    let scales = _mm512_set1_epi64(i64::from_le_bytes(scales));
    let first = _mm512_shuffle_epi8(scales, load_codes(&FIRST));
    let second = _mm512_shuffle_epi8(scales, load_codes(&SECOND));
    let sum = _mm512_dpwssd_epi32(_mm512_setzero_si512(), _mm512_packs_epi32(dots[0], dots[1]), first);
    _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(dots[2], dots[3]), second)
}

/// `sum`, and lanes that add up to the scaled sum of a super-block of sixteen sub-blocks, whose scales
/// are `i8`; `dots[c]` holds the sums of sub-blocks `4 c .. 4 c + 4`, four lanes each.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(crate) fn scaled_by_16(sum: __m512i, dots: [__m512i; 4], scales: __m128i) -> __m512i {
    let scales = _mm512_castsi256_si512(_mm256_cvtepi8_epi16(scales));
    // Packing two dots puts, into quarter `i`, four sums of sub-block `i` and four of `4 + i`; the scales
    // go to the same places, four 16-bit indices at a time.
    let placed = |first: i64| {
        let four = |i: i64| (first + i) * 0x0001_0001_0001_0001;
        let places =
            _mm512_setr_epi64(four(0), four(4), four(1), four(5), four(2), four(6), four(3), four(7));
        _mm512_permutexvar_epi16(places, scales)
    };
    let sum = _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(dots[0], dots[1]), placed(0));
    _mm512_dpwssd_epi32(sum, _mm512_packs_epi32(dots[2], dots[3]), placed(8))
}

/// Numbers of bits to shift the lower and the upper half of a vector by.
#[inline]
#[target_feature(enable = "avx512f")]
pub(crate) fn by_halves(lower: i64, upper: i64) -> __m512i {
    _mm512_setr_epi64(lower, lower, lower, lower, upper, upper, upper, upper)
}

/// Shuffle indices for [`scaled_by_32`]: byte indices of the scales, and -1 for a zero.
const fn scale_places(first: i8) -> [i8; 64] {
    let mut places = [-1; 64];
    let mut word = 0;
    while word < 32 {
        let upper_half = (word >= 16) as i8;
        let second_dot = (word % 8 >= 4) as i8;
        places[2 * word] = first + upper_half + 2 * second_dot;
        word += 1;
    }
    places
}

/// Sixteen integers.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_i32(values: &[i32; 16]) -> __m512i {
    // SAFETY: the reference is to 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}
