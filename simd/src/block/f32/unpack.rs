//! Widens F32 for batch products.

use crate::gemm::Tier;
use crate::gemm::float::Float;

/// F32 in batch products.
pub(crate) struct Unpack;

impl Float<4> for Unpack {
    #[inline(always)]
    fn widen<T: Tier>(tier: T, weights: &[[u8; 4]; 16]) -> T::Lanes {
        tier.f32_le_lanes(weights)
    }
}
