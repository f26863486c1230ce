//! Which type takes which tiles, for every tier, from the rows of [`block_types`].

use crate::activation::{Q8KWindow, Q8Window};
use crate::block::{self, BlockType, block_types};
use crate::gemm::block32::Block32;
use crate::gemm::k::K;
use crate::gemm::{Codes, Format, Gemm, Tier};

/// A batch product, by the activations it takes.
#[derive(Clone, Copy)]
pub(crate) enum Product {
    F32(Gemm<f32>),
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

/// The batch product of a type of a kind, and its codes.
macro_rules! product {
    (Float, $folder:ident) => {
        (Product::F32(T::float_gemm::<_, block::$folder::unpack::Unpack>()), None)
    };
    (Block32, $folder:ident) => {
        product!(Q8_0 of Block32<block::$folder::unpack::Unpack>)
    };
    (K, $folder:ident) => {
        product!(Q8K of K<block::$folder::unpack::Unpack>)
    };
    (Codebook, $folder:ident) => {
        product!(Q8K of K<block::$folder::Book>)
    };
    ($activation:ident of $format:ty) => {
        (Product::$activation(T::gemm::<_, $format>()), Some(<$format>::codes::<T>()))
    };
}

/// Makes the function below from the rows of [`block_types`].
macro_rules! rows {
    ($($ty:ident: $ggml_id:literal, $len:literal, $bytes:literal, $kind:ident, $folder:ident;)*) => {
        /// The batch product of a type on a tier, and the codes that it multiplies, if they are not floats.
        fn product<T: Tier>(ty: BlockType) -> (Product, Option<Codes>) {
            match ty { $(BlockType::$ty => product!($kind, $folder),)* }
        }
    };
}
block_types!(rows);

/// The batch product of a type on a tier.
pub(crate) fn batch<T: Tier>(ty: BlockType) -> Batch {
    Batch { min_columns: T::MIN_COLUMNS, product: product::<T>(ty).0 }
}

/// What the tiles of a tier multiply for a type; nothing, if these are floats.
pub(crate) fn codes<T: Tier>(ty: BlockType) -> Option<Codes> {
    product::<T>(ty).1
}
