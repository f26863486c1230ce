//! The bodies compiled for each tier, and the tables that list them.

use super::lanes::Portable;
use super::{Ops, add, convert, dots_f32, gelu, layer_norm, rms_norm, rope, silu, softmax};
use crate::isa::Isa;

/// The table compiled for `isa`, if this target has the tier at all.
pub(super) fn table(isa: Isa) -> Option<&'static Ops> {
    match isa {
        Isa::Scalar => Some(&SCALAR),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 | Isa::AvxVnni => Some(&AVX2),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => Some(&AVX512),
        #[cfg(target_arch = "aarch64")]
        Isa::Neon | Isa::NeonDotprod | Isa::NeonI8mm => Some(&NEON),
        #[allow(unreachable_patterns, reason = "which arms exist depends on the target")]
        _ => None,
    }
}

/// An [`Ops`] whose functions are the bodies under `#[$features]`, with the conversions of `$tier`.
macro_rules! compile_for {
    ($tier:ty $(, #[$features:meta])?) => {{
        $(#[$features])?
        fn rms_scale(x: &[f32], eps: f32) -> f32 {
            rms_norm::scale(x, eps)
        }
        $(#[$features])?
        fn rms_apply(x: &[f32], scale: f32, weight: &[f32], out: &mut [f32]) {
            rms_norm::apply(x, scale, weight, out);
        }
        $(#[$features])?
        fn layer_mean_and_scale(x: &[f32], eps: f32) -> (f32, f32) {
            layer_norm::mean_and_scale(x, eps)
        }
        $(#[$features])?
        fn layer_apply(x: &[f32], of_row: (f32, f32), weight: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
            layer_norm::apply(x, of_row, weight, bias, out);
        }
        $(#[$features])?
        fn softmax(x: &mut [f32]) {
            softmax::softmax(x);
        }
        $(#[$features])?
        fn exponentials(x: &mut [f32]) -> (f32, f32) {
            softmax::exponentials(x)
        }
        $(#[$features])?
        fn silu(x: &[f32], out: &mut [f32]) {
            silu::silu(x, out);
        }
        $(#[$features])?
        fn gelu_tanh(x: &[f32], out: &mut [f32]) {
            gelu::gelu_tanh(x, out);
        }
        $(#[$features])?
        fn gelu_erf(x: &[f32], out: &mut [f32]) {
            gelu::gelu_erf(x, out);
        }
        $(#[$features])?
        fn swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) {
            silu::swiglu(gate, up, out);
        }
        $(#[$features])?
        fn geglu_tanh(gate: &[f32], up: &[f32], out: &mut [f32]) {
            gelu::geglu_tanh(gate, up, out);
        }
        $(#[$features])?
        fn geglu_erf(gate: &[f32], up: &[f32], out: &mut [f32]) {
            gelu::geglu_erf(gate, up, out);
        }
        $(#[$features])?
        fn add(x: &mut [f32], y: &[f32]) {
            add::add(x, y);
        }
        $(#[$features])?
        fn add_scaled(x: &mut [f32], scale: f32, y: &[f32]) {
            add::add_scaled(x, scale, y);
        }
        $(#[$features])?
        fn rope_pairs(head: &mut [f32], cos: &[f32], sin: &[f32]) {
            rope::rope_pairs(head, cos, sin);
        }
        $(#[$features])?
        fn rope_halves(head: &mut [f32], cos: &[f32], sin: &[f32]) {
            rope::rope_halves(head, cos, sin);
        }
        $(#[$features])?
        fn f32_to_f16(x: &[f32], out: &mut [u16]) {
            convert::f32_to_f16::<$tier>(x, out);
        }
        $(#[$features])?
        fn f16_to_f32(x: &[u16], out: &mut [f32]) {
            convert::f16_to_f32::<$tier>(x, out);
        }
        $(#[$features])?
        fn f32_to_bf16(x: &[f32], out: &mut [u16]) {
            convert::f32_to_bf16(x, out);
        }
        $(#[$features])?
        fn bf16_to_f32(x: &[u16], out: &mut [f32]) {
            convert::bf16_to_f32(x, out);
        }
        $(#[$features])?
        fn dots_f32(x: &[f32], rows: &[f32], out: &mut [f32]) {
            dots_f32::dots_f32(x, rows, out);
        }
        Ops {
            rms_scale,
            rms_apply,
            layer_mean_and_scale,
            layer_apply,
            softmax,
            exponentials,
            silu,
            gelu_tanh,
            gelu_erf,
            swiglu,
            geglu_tanh,
            geglu_erf,
            add,
            add_scaled,
            rope_pairs,
            rope_halves,
            f32_to_f16,
            f16_to_f32,
            f32_to_bf16,
            bf16_to_f32,
            dots_f32,
        }
    }};
}

pub(super) static SCALAR: Ops = compile_for!(Portable);

#[cfg(target_arch = "x86_64")]
static AVX2: Ops = compile_for!(super::lanes::F16c, #[target_feature(enable = "avx2,fma,f16c")]);

#[cfg(target_arch = "x86_64")]
static AVX512: Ops = compile_for!(
    super::lanes::Avx512f,
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")]
);

#[cfg(target_arch = "aarch64")]
static NEON: Ops = compile_for!(super::lanes::Neon, #[target_feature(enable = "neon")]);
