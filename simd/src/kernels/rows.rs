//! What each tier has for each block type, from the rows of [`block_types`].

use crate::activation::{Q8KWindow, Q8Window};
use crate::block::{self, BlockType, block_types};
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::gemm::Tier;
use crate::gemm::{self, Batch};
use crate::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512, AvxVnni};
#[cfg(target_arch = "aarch64")]
use crate::isa::{Neon, NeonDotprod, NeonI8mm};
use crate::quantize;

/// Whole blocks to `block_len` times as many floats.
pub(crate) type Decode = unsafe fn(&[u8], &mut [f32]);

/// A row of whole blocks, one importance per element or none, to its blocks.
pub(crate) type Encode = unsafe fn(&[f32], Option<&[f32]>, &mut [u8]);

/// A matrix-vector product, by the activations it takes. Weights: as many rows of whole blocks,
/// at least one, as there are outputs, at least one; activations: one row, long enough.
#[derive(Clone, Copy)]
pub(crate) enum Gemv {
    F32(unsafe fn(&[u8], &[f32], &mut [f32])),
    Q8_0(unsafe fn(&[u8], &[Q8Window], &mut [f32])),
    Q8K(unsafe fn(&[u8], &[Q8KWindow], &mut [f32])),
}

/// The quantisers of activations.
#[derive(Clone, Copy)]
pub(super) struct Quantisers {
    pub(super) q8_0: unsafe fn(&[f32], &mut [Q8Window]),
    pub(super) q8_k: unsafe fn(&[f32], &mut [Q8KWindow]),
}

/// What a tier has for one block type.
#[derive(Clone, Copy)]
pub(super) struct Layer {
    pub(super) decode: Option<Decode>,
    pub(super) encode: Option<Encode>,
    pub(super) gemv: Option<Gemv>,
    pub(super) gemm: Option<Batch>,
}

impl Layer {
    /// A tier that has nothing.
    const EMPTY: Self = Self { decode: None, encode: None, gemv: None, gemm: None };
}

/// What a type has for some CPU.
pub(crate) struct Own {
    pub(crate) decode: Decode,
    pub(crate) encode: Encode,
    pub(crate) gemv: Gemv,
}

/// What a type of a kind has for some CPU: the functions in its folder, or those that all codebooks share.
macro_rules! kernels {
    (Float, $folder:ident::$cpu:ident) => {
        kernels!(with F32, $folder::$cpu)
    };
    (Block32, $folder:ident::$cpu:ident $(, $dot:ident)?) => {
        kernels!(with Q8_0, $folder::$cpu $(, $dot)?)
    };
    (K, $folder:ident::$cpu:ident $(, $dot:ident)?) => {
        kernels!(with Q8K, $folder::$cpu $(, $dot)?)
    };
    (Codebook, $folder:ident::$cpu:ident $(, $dot:ident)?) => {
        Own {
            decode: block::codebook::$cpu::decode::<_, block::$folder::Book>,
            encode: block::codebook::encode::$cpu::<_, block::$folder::Book>,
            gemv: Gemv::Q8K(block::codebook::$cpu::gemv::<_, block::$folder::Book $(, $dot)?>),
        }
    };
    (with $activation:ident, $folder:ident::$cpu:ident $(, $dot:ident)?) => {
        Own {
            decode: block::$folder::$cpu::decode,
            encode: block::$folder::$cpu::encode,
            gemv: Gemv::$activation(block::$folder::$cpu::gemv $(::<$dot>)?),
        }
    };
}

/// [`kernels`] for NEON, with the dot product of a tier; floats have none.
#[cfg(target_arch = "aarch64")]
macro_rules! neon_kernels {
    (Float, $folder:ident, $dot:ident) => {
        kernels!(Float, $folder::neon)
    };
    ($kind:ident, $folder:ident, $dot:ident) => {
        kernels!($kind, $folder::neon, $dot)
    };
}

/// Makes the functions below from the rows of [`block_types`].
macro_rules! rows {
    ($($ty:ident: $ggml_id:literal, $len:literal, $bytes:literal, $kind:ident, $folder:ident;)*) => {
        /// The definition of a type.
        pub(crate) fn scalar(ty: BlockType) -> Own {
            match ty { $(BlockType::$ty => kernels!($kind, $folder::scalar),)* }
        }

        #[cfg(target_arch = "x86_64")]
        fn avx2(ty: BlockType) -> Own {
            match ty { $(BlockType::$ty => kernels!($kind, $folder::avx2),)* }
        }

        #[cfg(target_arch = "x86_64")]
        fn avx512(ty: BlockType) -> Own {
            match ty { $(BlockType::$ty => kernels!($kind, $folder::avx512),)* }
        }

        #[cfg(target_arch = "aarch64")]
        fn neon(ty: BlockType) -> Own {
            match ty { $(BlockType::$ty => neon_kernels!($kind, $folder, Neon),)* }
        }

        #[cfg(target_arch = "aarch64")]
        fn neon_dotprod(ty: BlockType) -> Option<Gemv> {
            let own = match ty { $(BlockType::$ty => neon_kernels!($kind, $folder, NeonDotprod),)* };
            (!ty.is_float()).then_some(own.gemv)
        }
    };
}
block_types!(rows);

/// What a tier of this target has for a type.
pub(super) fn layer(tier: Isa, ty: BlockType) -> Layer {
    let whole = |Own { decode, encode, gemv }, gemm| Layer {
        decode: Some(decode),
        encode: Some(encode),
        gemv: Some(gemv),
        gemm,
    };
    match tier {
        Isa::Scalar => whole(scalar(ty), None),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => whole(avx2(ty), Some(gemm::batch::<Avx2>(ty))),
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => Layer { gemm: integers::<AvxVnni>(ty), ..Layer::EMPTY },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => whole(avx512(ty), Some(gemm::batch::<Avx512>(ty))),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => whole(neon(ty), Some(gemm::batch::<Neon>(ty))),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => {
            Layer { gemv: neon_dotprod(ty), gemm: integers::<NeonDotprod>(ty), ..Layer::EMPTY }
        }
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm => Layer { gemm: integers::<NeonI8mm>(ty), ..Layer::EMPTY },
        #[allow(unreachable_patterns, reason = "which arms exist depends on the target")]
        _ => Layer::EMPTY,
    }
}

/// The batch product of a tier that has nothing better for floats than the one below.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn integers<T: Tier>(ty: BlockType) -> Option<Batch> {
    (!ty.is_float()).then(|| gemm::batch::<T>(ty))
}

/// The quantisers for any CPU.
pub(super) const SCALAR_QUANTISERS: Quantisers = Quantisers { q8_0: quantize::q8_0, q8_k: quantize::q8_k };

/// The quantisers a tier has.
pub(super) fn quantisers(tier: Isa) -> Option<Quantisers> {
    match tier {
        Isa::Scalar => Some(SCALAR_QUANTISERS),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => Some(Quantisers { q8_0: quantize::avx2::q8_0, q8_k: quantize::avx2::q8_k }),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Some(Quantisers { q8_0: quantize::avx512::q8_0, q8_k: quantize::avx512::q8_k }),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => Some(Quantisers { q8_0: quantize::neon::q8_0, q8_k: quantize::neon::q8_k }),
        #[allow(unreachable_patterns, reason = "which arms exist depends on the target")]
        _ => None,
    }
}
