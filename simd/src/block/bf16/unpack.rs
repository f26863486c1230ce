//! Widens BF16 for batch products.

use crate::gemm::Tier;
use crate::gemm::float::Float;

/// BF16 in batch products.
pub(crate) struct Unpack;

impl Float<2> for Unpack {
    #[inline(always)]
    fn widen<T: Tier>(tier: T, weights: &[[u8; 2]; 16]) -> T::Lanes {
        tier.bf16_lanes(weights)
    }
}
