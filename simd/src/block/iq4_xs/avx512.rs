//! IQ4_XS for AVX-512; data flow and bounds: [`crate::block::k::avx512`], but products are scaled in 32 bits.
//!
//! 64 bytes hold four sub-blocks, one in each quarter of a vector; the low nibbles are its first sixteen
//! codes, the high ones its last, and activations are arranged alike ([`crate::block::arranged`]). A
//! shuffle looks the codes up in their table, which holds them 127 too large, as unsigned:
//! `127 * scale * sum(y)` is subtracted per sub-block.

use core::arch::x86_64::*;

use super::{BLOCK_BYTES, Block, scalar, scales};
use crate::activation::Q8KWindow;
use crate::array;
use crate::block::arranged::{Arranged, Places, arrange};
use crate::block::beforehand::Room;
use crate::block::k::{avx2, avx512};
use crate::block::tables::{IQ4, bytes};
use crate::isa::Avx512;
use crate::isa::avx512::{load_512, lookup};
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

/// Vectors 0 and 1 meet the low and the high nibbles of the first 64 bytes, 2 and 3 those of the others.
const PLACES: Places<4> = {
    let mut places = [[0; 16]; 4];
    let mut i = 0;
    while i < 64 {
        places[2 * (i / 32) + i / 4 % 2][4 * (i / 8 % 4) + i % 4] = i as u8;
        i += 1;
    }
    places
};

/// `out[r] = w[r] . x`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn gemv(weights: &[u8], x: &[Q8KWindow], out: &mut [f32]) {
    const UNSIGNED: [u8; 16] = bytes(&IQ4, 127);
    let mut room = Room::new();
    let arranged = Arranged::new(&mut room, x, 0, &PLACES);
    avx512::gemv::<BLOCK_BYTES, 0>(weights, x, out, |block, y, w| {
        let block = Block(block);
        let beyond;
        let vectors = match arranged.get(w) {
            Some(vectors) => vectors,
            None => {
                beyond = arrange(y, 0, &PLACES);
                &beyond
            }
        };
        let (zero, ys) = vectors;
        let low_four = _mm512_set1_epi8(15);
        let dots = array::two(|half| {
            let qs = load_512(&block.qs().as_chunks().0[half]);
            let low = lookup(&UNSIGNED, _mm512_and_si512(qs, low_four));
            let high = lookup(&UNSIGNED, _mm512_and_si512(_mm512_srli_epi16::<4>(qs), low_four));
            _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(*zero, low, ys[2 * half]), high, ys[2 * half + 1])
        });
        let raised = i64::from_le_bytes(scales::unpack(block.scales()));
        let scales = _mm_sub_epi8(_mm_cvtsi64_si128(raised), _mm_set1_epi8(32));
        let first = _mm512_mullo_epi32(dots[0], placed(scales, 0));
        let second = _mm512_mullo_epi32(dots[1], placed(scales, 4));
        _mm512_sub_epi32(_mm512_add_epi32(first, second), _mm512_zextsi256_si512(bias(scales, y)))
    });
}

/// Scales `first .. first + 4`, each in the four lanes of a quarter.
#[inline]
#[target_feature(enable = "avx512f")]
fn placed(scales: __m128i, first: i32) -> __m512i {
    let four = |j: i32| (first + j) * 0x0101_0101;
    _mm512_cvtepi8_epi32(_mm_shuffle_epi8(scales, _mm_setr_epi32(four(0), four(1), four(2), four(3))))
}

/// 127 times scale times activation sum, a lane per sub-block.
#[inline]
#[target_feature(enable = "avx512f,avx512vl,avx2")]
fn bias(scales: __m128i, y: &Q8KWindow) -> __m256i {
    let twice = _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(scales, scales));
    let sums = _mm256_madd_epi16(twice, avx2::load_sums(y));
    _mm256_sub_epi32(_mm256_slli_epi32::<7>(sums), sums)
}
