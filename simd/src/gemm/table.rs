//! Which type takes which tiles: one row per block type, for every tier.

use crate::activation::{Q8KWindow, Q8Window};
use crate::block::{
    BlockType, bf16, f16, f32, iq4_nl, iq4_xs, mxfp4, q2_k, q3_k, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k,
    q8_0, tq1_0, tq2_0,
};
use crate::gemm::block32::Block32;
use crate::gemm::k::K;
use crate::gemm::{Gemm, Tier};

/// A batch product, by the activations it takes.
#[derive(Clone, Copy)]
pub(crate) enum Product {
    F32(Gemm<core::primitive::f32>),
    Q8_0(Gemm<Q8Window>),
    Q8K(Gemm<Q8KWindow>),
}

/// A batch product and when to use it.
#[derive(Clone, Copy)]
pub(crate) struct Batch {
    /// From this many columns it is faster than a dot product per column.
    pub(crate) min_columns: usize,
    /// The product.
    pub(crate) product: Product,
}

/// The batch product of a type on a tier.
pub(crate) fn batch<T: Tier>(ty: BlockType) -> Batch {
    let product = match ty {
        BlockType::F32 => Product::F32(T::float_gemm::<_, f32::unpack::F32>()),
        BlockType::F16 => Product::F32(T::float_gemm::<_, f16::unpack::F16>()),
        BlockType::BF16 => Product::F32(T::float_gemm::<_, bf16::unpack::BF16>()),
        BlockType::Q4_0 => Product::Q8_0(T::gemm::<_, Block32<q4_0::unpack::Q4_0>>()),
        BlockType::Q4_1 => Product::Q8_0(T::gemm::<_, Block32<q4_1::unpack::Q4_1>>()),
        BlockType::Q5_0 => Product::Q8_0(T::gemm::<_, Block32<q5_0::unpack::Q5_0>>()),
        BlockType::Q5_1 => Product::Q8_0(T::gemm::<_, Block32<q5_1::unpack::Q5_1>>()),
        BlockType::Q8_0 => Product::Q8_0(T::gemm::<_, Block32<q8_0::unpack::Q8_0>>()),
        BlockType::Q2_K => Product::Q8K(T::gemm::<_, K<q2_k::unpack::Q2K>>()),
        BlockType::Q3_K => Product::Q8K(T::gemm::<_, K<q3_k::unpack::Q3K>>()),
        BlockType::Q4_K => Product::Q8K(T::gemm::<_, K<q4_k::unpack::Q4K>>()),
        BlockType::Q5_K => Product::Q8K(T::gemm::<_, K<q5_k::unpack::Q5K>>()),
        BlockType::Q6_K => Product::Q8K(T::gemm::<_, K<q6_k::unpack::Q6K>>()),
        BlockType::IQ4_NL => Product::Q8_0(T::gemm::<_, Block32<iq4_nl::unpack::Iq4Nl>>()),
        BlockType::MXFP4 => Product::Q8_0(T::gemm::<_, Block32<mxfp4::unpack::Mxfp4>>()),
        BlockType::TQ1_0 => Product::Q8K(T::gemm::<_, K<tq1_0::unpack::Tq1>>()),
        BlockType::TQ2_0 => Product::Q8K(T::gemm::<_, K<tq2_0::unpack::Tq2>>()),
        BlockType::IQ4_XS => Product::Q8K(T::gemm::<_, K<iq4_xs::unpack::Iq4Xs>>()),
    };
    Batch { min_columns: T::MIN_COLUMNS, product }
}
