//! The encoders of the codebook types for each tier: one search, with the tier's vectors.

use super::Codebook;
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::wide::Portable;
#[cfg(target_arch = "x86_64")]
use crate::wide::avx2::Avx2Floats;
#[cfg(target_arch = "x86_64")]
use crate::wide::avx512::Avx512Floats;
#[cfg(target_arch = "aarch64")]
use crate::wide::neon::NeonFloats;

/// Encodes a row.
pub(crate) fn scalar<const B: usize, C: Codebook<B>>(
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    C::encode::<Portable>((), row, importance, out);
}

/// Encodes a row.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) fn avx2<const B: usize, C: Codebook<B>>(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    C::encode::<Avx2Floats>(Avx2::here(), row, importance, out);
}

/// Encodes a row.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
pub(crate) fn avx512<const B: usize, C: Codebook<B>>(
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    C::encode::<Avx512Floats>(Avx512::here(), row, importance, out);
}

/// Encodes a row.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
pub(crate) fn neon<const B: usize, C: Codebook<B>>(row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    C::encode::<NeonFloats>(Neon::here(), row, importance, out);
}
