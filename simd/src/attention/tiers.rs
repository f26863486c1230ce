//! The bodies compiled for each tier, and the tables that list them.

use super::{Attention, Format, f16, q4_0, q8_0, scores_f16, scores_q8, sums};
use crate::activation::Q8Window;
use crate::block;
use crate::columns::ColumnsMut;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::gemm::block32::Block32;
use crate::isa::{self, Isa};
use crate::ops::lanes;

/// The table compiled for `isa`, if this target has the tier at all.
pub(super) fn table(isa: Isa) -> Option<&'static Attention> {
    match isa {
        Isa::Scalar => Some(&SCALAR),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => Some(&AVX2),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Some(&AVX512),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => Some(&NEON),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => Some(&NEON_DOTPROD),
        #[cfg(target_arch = "aarch64")]
        Isa::NeonI8mm => Some(&NEON_I8MM),
        #[allow(unreachable_patterns, reason = "which arms exist depends on the target")]
        _ => None,
    }
}

/// The [`Format`] of half precision, with the bodies under `#[$features]`.
macro_rules! compile_f16 {
    ($lanes:ty $(, #[$features:meta])?) => {{
        $(#[$features])?
        fn store(x: &[f32], out: &mut [u8]) {
            f16::store::<$lanes>(x, out);
        }
        $(#[$features])?
        fn scores(keys: &[u8], row_bytes: usize, queries: &[f32], out: &mut ColumnsMut<'_>) {
            scores_f16::scores::<$lanes>(keys, row_bytes, queries, out);
        }
        $(#[$features])?
        fn weighted_sums(values: &[u8], weights: &[f32], visible: &[usize], out: &mut ColumnsMut<'_>) {
            if <$lanes as lanes::Tier>::SIDE_BY_SIDE == 16 {
                sums::weighted_sums::<$lanes, f16::F16, 1, _, 8, 4>(values, weights, visible, out);
            } else {
                sums::weighted_sums::<$lanes, f16::F16, 1, _, 4, 2>(values, weights, visible, out);
            }
        }
        Format { store, scores, weighted_sums }
    }};
}

/// The [`Format`] of a block type in the folder `$format`, with the bodies under `#[$features]`.
macro_rules! compile_blocks {
    ($format:ident::$Format:ident, $scores:expr, $lanes:ty $(, #[$features:meta])?) => {{
        $(#[$features])?
        fn store(x: &[f32], out: &mut [u8]) {
            $format::store(x, out);
        }
        $(#[$features])?
        fn scores(keys: &[u8], row_bytes: usize, queries: &[Q8Window], out: &mut ColumnsMut<'_>) {
            $scores(keys, row_bytes, queries, out);
        }
        $(#[$features])?
        fn weighted_sums(values: &[u8], weights: &[f32], visible: &[usize], out: &mut ColumnsMut<'_>) {
            if <$lanes as lanes::Tier>::SIDE_BY_SIDE == 16 {
                sums::weighted_sums::<$lanes, $format::$Format, 2, _, 4, 2>(values, weights, visible, out);
            } else {
                sums::weighted_sums::<$lanes, $format::$Format, 2, _, 2, 1>(values, weights, visible, out);
            }
        }
        Format { store, scores, weighted_sums }
    }};
}

/// An [`Attention`] of a tier with batch products: the proof of its features, their names and its lanes.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! compile_for {
    ($proof:ty, $lanes:ty, #[$features:meta]) => {
        Attention {
            f16: compile_f16!($lanes, #[$features]),
            q8_0: compile_blocks!(q8_0::Q8_0, compile_for!(@scores $proof, q8_0::unpack::Q8_0), $lanes, #[$features]),
            q4_0: compile_blocks!(q4_0::Q4_0, compile_for!(@scores $proof, q4_0::unpack::Q4_0), $lanes, #[$features]),
        }
    };
    (@scores $proof:ty, $($format:ident)::+) => {
        |keys: &[u8], row_bytes, queries: &[Q8Window], out: &mut ColumnsMut<'_>| {
            let tier = <$proof>::detect().expect("this tier's kernels run on CPUs that have it");
            scores_q8::scores::<_, Block32<block::$($format)::+>, $proof>(tier, keys, row_bytes, queries, out);
        }
    };
}

/// The scores by the definition of a block type's dot product.
macro_rules! scalar_scores {
    ($format:ident) => {
        |keys: &[u8], _, queries: &[Q8Window], out: &mut ColumnsMut<'_>| {
            let n_windows = queries.len() / out.n_cols();
            for q in 0..out.n_cols() {
                block::$format::scalar::gemv(keys, &queries[q * n_windows..][..n_windows], out.column(q));
            }
        }
    };
}

pub(super) static SCALAR: Attention = Attention {
    f16: compile_f16!(lanes::Portable),
    q8_0: compile_blocks!(q8_0::Q8_0, scalar_scores!(q8_0), lanes::Portable),
    q4_0: compile_blocks!(q4_0::Q4_0, scalar_scores!(q4_0), lanes::Portable),
};

#[cfg(target_arch = "x86_64")]
static AVX2: Attention = compile_for!(isa::Avx2, lanes::F16c, #[target_feature(enable = "avx2,fma,f16c")]);

#[cfg(target_arch = "x86_64")]
static AVX512: Attention = compile_for!(
    isa::Avx512,
    lanes::Avx512f,
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
);

#[cfg(target_arch = "aarch64")]
static NEON: Attention = compile_for!(isa::Neon, lanes::Neon, #[target_feature(enable = "neon")]);

#[cfg(target_arch = "aarch64")]
static NEON_DOTPROD: Attention =
    compile_for!(isa::NeonDotprod, lanes::Neon, #[target_feature(enable = "neon")]);

#[cfg(target_arch = "aarch64")]
static NEON_I8MM: Attention = compile_for!(isa::NeonI8mm, lanes::Neon, #[target_feature(enable = "neon")]);
