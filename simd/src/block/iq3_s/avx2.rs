//! What IQ3_S has vectors for on x86-64; the kernels are in [`crate::block::codebook`].

use core::arch::x86_64::*;

use super::{BYTES, Book};
use crate::block::codebook::avx2::{factors, places, sixteen_indices};
use crate::block::codebook::{Indices, bytes_at, long_at};

/// See [`crate::block::codebook::Codebook::indices`].
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn indices(block: &[u8; BYTES], out: &mut Indices<BYTES, Book>) {
    const PLACES: [[i8; 32]; 4] = [places(0, 8, 1), places(2, 8, 1), places(4, 8, 1), places(6, 8, 1)];
    const FACTORS: [u16; 16] = factors(8, 1);
    let high = _mm_cvtsi64_si128(long_at(block, 66, 0).cast_signed());
    for (q, places) in PLACES.iter().enumerate() {
        let low = bytes_at(block, 2 + 16 * q);
        out.store(q, sixteen_indices(low, high, places, &FACTORS, 0x100));
    }
    out.in_memory();
}
