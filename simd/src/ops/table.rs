//! The bodies compiled for each tier, and the tables that list them.

use super::lanes::Portable;
use super::{
    HeadInputs, Ops, RowDecayInputs, ScanInputs, Xielu, add, conv, convert, dots_f32, gelu, layer_norm,
    recurrence, relu, rms_norm, rope, row_decay, scan, sigmoid, silu, softcap, softmax, softplus, xielu,
};
use crate::columns::ColumnsMut;
#[cfg(target_arch = "aarch64")]
use crate::isa::Neon;
use crate::isa::Proof;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};

/// Hands every operation to a macro: its name, its arguments, and its body, in which `isa` is the tier's token.
macro_rules! with_operations {
    ($then:ident $arguments:tt) => {
        $then! {
            $arguments isa
            rms_scale(x: &[f32], eps: f32) -> f32 { rms_norm::scale(x, eps) }
            rms_apply(x: &[f32], scale: f32, weight: &[f32], out: &mut [f32]) {
                rms_norm::apply(x, scale, weight, out)
            }
            layer_mean_and_scale(x: &[f32], eps: f32) -> (f32, f32) { layer_norm::mean_and_scale(x, eps) }
            layer_apply(x: &[f32], of_row: (f32, f32), weight: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
                layer_norm::apply(x, of_row, weight, bias, out)
            }
            softmax(x: &mut [f32]) { softmax::softmax(x) }
            exponentials(x: &mut [f32]) -> (f32, f32) { softmax::exponentials(x) }
            silu(x: &[f32], out: &mut [f32]) { silu::silu(x, out) }
            gelu_tanh(x: &[f32], out: &mut [f32]) { gelu::gelu_tanh(x, out) }
            gelu_erf(x: &[f32], out: &mut [f32]) { gelu::gelu_erf(x, out) }
            swiglu(gate: &[f32], up: &[f32], out: &mut [f32]) { silu::swiglu(gate, up, out) }
            geglu_tanh(gate: &[f32], up: &[f32], out: &mut [f32]) { gelu::geglu_tanh(gate, up, out) }
            geglu_erf(gate: &[f32], up: &[f32], out: &mut [f32]) { gelu::geglu_erf(gate, up, out) }
            swiglu_clamped(gate: &[f32], up: &[f32], bounds: (f32, f32), out: &mut [f32]) {
                silu::swiglu_clamped(gate, up, bounds, out)
            }
            silu_clamped(x: &[f32], bounds: (f32, f32), out: &mut [f32]) { silu::silu_clamped(x, bounds, out) }
            swiglu_bounded(gate: &[f32], up: &[f32], bound: (f32, bool), out: &mut [f32]) {
                silu::swiglu_bounded(gate, up, bound, out)
            }
            silu_bounded(x: &[f32], bound: (f32, bool), out: &mut [f32]) { silu::silu_bounded(x, bound, out) }
            sigmoid(x: &[f32], out: &mut [f32]) { sigmoid::sigmoid(x, out) }
            sigmoid_gated(gate: &[f32], up: &[f32], out: &mut [f32]) { sigmoid::gated(gate, up, out) }
            relu(x: &[f32], out: &mut [f32]) { relu::relu(x, out) }
            relu_squared(x: &[f32], out: &mut [f32]) { relu::relu_squared(x, out) }
            relu_gated(gate: &[f32], up: &[f32], out: &mut [f32]) { relu::relu_gated(gate, up, out) }
            relu_squared_gated(gate: &[f32], up: &[f32], out: &mut [f32]) {
                relu::relu_squared_gated(gate, up, out)
            }
            xielu(x: &[f32], of: Xielu, out: &mut [f32]) { xielu::xielu(x, of, out) }
            xielu_gated(gate: &[f32], up: &[f32], of: Xielu, out: &mut [f32]) { xielu::gated(gate, up, of, out) }
            softcap(x: &mut [f32], cap: f32) { softcap::softcap(x, cap) }
            softplus(x: &mut [f32]) { softplus::softplus(x) }
            add(x: &mut [f32], y: &[f32]) { add::add(x, y) }
            add_scaled(x: &mut [f32], scale: f32, y: &[f32]) { add::add_scaled(x, scale, y) }
            rope_pairs(head: &mut [f32], cos: &[f32], sin: &[f32]) { rope::rope_pairs(head, cos, sin) }
            rope_halves(head: &mut [f32], cos: &[f32], sin: &[f32]) { rope::rope_halves(head, cos, sin) }
            f32_to_f16(x: &[f32], out: &mut [u16]) { convert::f32_to_f16(isa, x, out) }
            f16_to_f32(x: &[u16], out: &mut [f32]) { convert::f16_to_f32(isa, x, out) }
            f32_to_bf16(x: &[f32], out: &mut [u16]) { convert::f32_to_bf16(x, out) }
            bf16_to_f32(x: &[u16], out: &mut [f32]) { convert::bf16_to_f32(x, out) }
            conv(taps: &[&[f32]], weights: &[f32], bias: Option<&[f32]>, out: &mut [f32]) {
                conv::conv(taps, weights, bias, out)
            }
            delta_rule(state: &mut [f32], inputs: &HeadInputs<'_>, out: &mut ColumnsMut<'_>) {
                recurrence::walk::<true>(state, inputs, out)
            }
            plain_recurrence(state: &mut [f32], inputs: &HeadInputs<'_>, out: &mut ColumnsMut<'_>) {
                recurrence::walk::<false>(state, inputs, out)
            }
            row_decay_rule(state: &mut [f32], inputs: &RowDecayInputs<'_>, out: &mut ColumnsMut<'_>) {
                row_decay::walk(state, inputs, out)
            }
            selective_scan(state: &mut [f32], rates: &[f32], inputs: &ScanInputs<'_>, out: &mut ColumnsMut<'_>) {
                scan::scan(state, rates, inputs, out)
            }
            dots_f32(x: &[f32], rows: &[f32], out: &mut [f32]) { dots_f32::dots_f32(x, rows, out) }
        }
    };
}

/// The table's type, and its operations as safe methods.
macro_rules! declare {
    ([] $isa:ident $($name:ident($($argument:ident: $ty:ty),*) $(-> $result:ty)? $body:block)*) => {
        /// The operations, compiled for one tier. All there are stand below, and [`Ops::of`] hands them out.
        #[derive(Debug)]
        pub(super) struct Table {
            $($name: unsafe fn($($ty),*) $(-> $result)?,)*
        }

        impl Table {
            $(
                #[inline]
                pub(super) fn $name(&self, $($argument: $ty),*) $(-> $result)? {
                    // SAFETY: `Ops::of`, the only way to a table, takes the proof that this CPU has the
                    // features which its functions are compiled for.
                    unsafe { (self.$name)($($argument),*) }
                }
            )*
        }
    };
}

/// A [`Table`] whose functions are the bodies under an attribute, with a token that can be had there.
macro_rules! compile {
    ([$token:expr, $attribute:meta] $isa:ident
        $($name:ident($($argument:ident: $ty:ty),*) $(-> $result:ty)? $body:block)*) => {{
        $(
            #[$attribute]
            fn $name($($argument: $ty),*) $(-> $result)? {
                #[allow(unused_variables, reason = "most operations are the same for every tier")]
                let $isa = $token;
                $body
            }
        )*
        Table { $($name),* }
    }};
}

with_operations!(declare []);

pub(super) static SCALAR: Ops = Ops(with_operations!(compile [Portable, inline]));

#[cfg(target_arch = "x86_64")]
static AVX2: Ops = Ops(with_operations!(compile [Avx2::here(), target_feature(enable = "avx2,fma,f16c")]));

#[cfg(target_arch = "x86_64")]
static AVX512: Ops = Ops(with_operations!(
    compile [
        Avx512::here(),
        target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")
    ]
));

#[cfg(target_arch = "aarch64")]
static NEON: Ops = Ops(with_operations!(compile [Neon::here(), target_feature(enable = "neon")]));

impl Ops {
    /// The operations of the tier that was proved.
    pub(crate) fn of(proof: Proof) -> &'static Self {
        match proof {
            Proof::Scalar => &SCALAR,
            #[cfg(target_arch = "x86_64")]
            Proof::Avx2(_) | Proof::AvxVnni(_) => &AVX2,
            #[cfg(target_arch = "x86_64")]
            Proof::Avx512(_) => &AVX512,
            #[cfg(target_arch = "aarch64")]
            Proof::Neon(_) | Proof::NeonDotprod(_) | Proof::NeonI8mm(_) => &NEON,
        }
    }
}
