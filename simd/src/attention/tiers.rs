//! The bodies compiled for each tier, and the tables that list them.

use super::sums::Unit;
use super::vectors::Vectors;
use super::{Attention, Format, floats, q4_0, q8_0, scores_floats, scores_q8, sums};
use crate::activation::Q8Window;
use crate::block;
use crate::columns::ColumnsMut;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use crate::gemm::block32::Block32;
use crate::isa::Proof;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
#[cfg(target_arch = "aarch64")]
use crate::isa::{Neon, NeonDotprod, NeonI8mm};
use crate::ops::lanes::Portable;

impl Attention {
    /// The operations of the tier that was proved.
    pub(crate) fn of(proof: Proof) -> &'static Self {
        match proof {
            Proof::Scalar => &SCALAR,
            #[cfg(target_arch = "x86_64")]
            Proof::Avx2(_) | Proof::AvxVnni(_) => &AVX2,
            #[cfg(target_arch = "x86_64")]
            Proof::Avx512(_) => &AVX512,
            #[cfg(target_arch = "aarch64")]
            Proof::Neon(_) => &NEON,
            #[cfg(target_arch = "aarch64")]
            Proof::NeonDotprod(_) => &NEON_DOTPROD,
            #[cfg(target_arch = "aarch64")]
            Proof::NeonI8mm(_) => &NEON_I8MM,
        }
    }
}

/// Weighted sums of floats, with as many units together as the tier has registers for.
#[inline(always)]
fn sums_of_floats<T: Vectors, F: Unit<1, B>, const B: usize>(
    isa: T,
    values: &[u8],
    n_summed: usize,
    weights: &[f32],
    visible: &[usize],
    out: &mut ColumnsMut<'_>,
) {
    if T::SIDE_BY_SIDE == 16 {
        sums::weighted_sums::<T, F, 1, B, 8, 4>(isa, values, n_summed, weights, visible, out);
    } else {
        sums::weighted_sums::<T, F, 1, B, 4, 2>(isa, values, n_summed, weights, visible, out);
    }
}

/// Weighted sums of blocks of 32, likewise.
#[inline(always)]
fn sums_of_blocks<T: Vectors, F: Unit<2, B>, const B: usize>(
    isa: T,
    values: &[u8],
    n_summed: usize,
    weights: &[f32],
    visible: &[usize],
    out: &mut ColumnsMut<'_>,
) {
    if T::SIDE_BY_SIDE == 16 {
        sums::weighted_sums::<T, F, 2, B, 4, 2>(isa, values, n_summed, weights, visible, out);
    } else {
        sums::weighted_sums::<T, F, 2, B, 2, 1>(isa, values, n_summed, weights, visible, out);
    }
}

/// The [`Format`] of a precision, with the bodies under `#[$features]`.
macro_rules! compile_floats {
    ($Floats:ident, $lanes:expr $(, #[$features:meta])?) => {{
        $(#[$features])?
        fn store(x: &[f32], out: &mut [u8]) {
            floats::store::<_, floats::$Floats, _>($lanes, x, out);
        }
        $(#[$features])?
        fn scores(keys: &[u8], row_bytes: usize, queries: &[f32], out: &mut ColumnsMut<'_>) {
            scores_floats::scores::<_, floats::$Floats, _>($lanes, keys, row_bytes, queries, out);
        }
        $(#[$features])?
        fn weighted_sums(
            values: &[u8],
            n_summed: usize,
            weights: &[f32],
            visible: &[usize],
            out: &mut ColumnsMut<'_>,
        ) {
            sums_of_floats::<_, floats::$Floats, _>($lanes, values, n_summed, weights, visible, out);
        }
        Format { store, scores, weighted_sums }
    }};
}

/// The [`Format`] of a block type in the folder `$format`, with the bodies under `#[$features]`.
macro_rules! compile_blocks {
    ($format:ident::$Format:ident, $scores:expr, $lanes:expr $(, #[$features:meta])?) => {{
        $(#[$features])?
        fn store(x: &[f32], out: &mut [u8]) {
            $format::store(x, out);
        }
        $(#[$features])?
        fn scores(keys: &[u8], row_bytes: usize, queries: &[Q8Window], out: &mut ColumnsMut<'_>) {
            $scores(keys, row_bytes, queries, out);
        }
        $(#[$features])?
        fn weighted_sums(
            values: &[u8],
            n_summed: usize,
            weights: &[f32],
            visible: &[usize],
            out: &mut ColumnsMut<'_>,
        ) {
            sums_of_blocks::<_, $format::$Format, _>($lanes, values, n_summed, weights, visible, out);
        }
        Format { store, scores, weighted_sums }
    }};
}

/// An [`Attention`] of a tier with batch products: its token, the token of its lanes (both as they can be had
/// in its functions), and the features of those.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! compile_for {
    ($tier:expr, $lanes:expr, #[$features:meta]) => {
        Attention {
            f32: compile_floats!(F32, $lanes, #[$features]),
            f16: compile_floats!(F16, $lanes, #[$features]),
            q8_0: compile_blocks!(q8_0::Q8_0, compile_for!(@scores $tier, q8_0::unpack::Unpack), $lanes, #[$features]),
            q4_0: compile_blocks!(q4_0::Q4_0, compile_for!(@scores $tier, q4_0::unpack::Unpack), $lanes, #[$features]),
        }
    };
    (@scores $tier:expr, $($format:ident)::+) => {
        |keys: &[u8], row_bytes, queries: &[Q8Window], out: &mut ColumnsMut<'_>| {
            scores_q8::scores::<_, Block32<block::$($format)::+>, _>($tier, keys, row_bytes, queries, out);
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
    f32: compile_floats!(F32, Portable),
    f16: compile_floats!(F16, Portable),
    q8_0: compile_blocks!(q8_0::Q8_0, scalar_scores!(q8_0), Portable),
    q4_0: compile_blocks!(q4_0::Q4_0, scalar_scores!(q4_0), Portable),
};

#[cfg(target_arch = "x86_64")]
static AVX2: Attention =
    compile_for!(Avx2::here(), Avx2::here(), #[target_feature(enable = "avx2,fma,f16c")]);

#[cfg(target_arch = "x86_64")]
static AVX512: Attention = compile_for!(
    Avx512::here(),
    Avx512::here(),
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
);

#[cfg(target_arch = "aarch64")]
static NEON: Attention = compile_for!(Neon::here(), Neon::here(), #[target_feature(enable = "neon")]);

#[cfg(target_arch = "aarch64")]
static NEON_DOTPROD: Attention = compile_for!(NeonDotprod::detect().expect("this tier's kernels run on CPUs that have it"), Neon::here(), #[target_feature(enable = "neon")]);

#[cfg(target_arch = "aarch64")]
static NEON_I8MM: Attention = compile_for!(NeonI8mm::detect().expect("this tier's kernels run on CPUs that have it"), Neon::here(), #[target_feature(enable = "neon")]);
