//! How fast rows of floats are worked on: `ops/<operation>/<isa>/4096`.
//!
//! Throughput is in elements; the rows stay in the L1 cache. The answer is compared with the scalar
//! operation's before anything is timed.

#![allow(missing_docs, reason = "criterion_group makes a function without documentation")]

use std::array::from_fn;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gguf_simd::ops::{Gate, HeadInputs, Norm, Ops, Xielu};
use gguf_simd::{ColumnsMut, InputRow, Isa, Kernels, Q8KWindow, Q8Window};

const N: usize = 4096;

/// `n` numbers in -1..1.
fn floats(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// An operation on two rows, into a third.
type Operation = fn(&Ops, &[f32], &[f32], &mut [f32]);

/// An operation that converts rows of 16 bits as well.
type Conversion = fn(&Ops, &[f32], &mut [u16], &mut [f32]);

const OPERATIONS: [(&str, Operation); 22] = [
    ("rms_norm", |ops, x, y, out| ops.rms_norm(x, y, 1e-5, out)),
    ("layer_norm", |ops, x, y, out| ops.layer_norm(x, y, Some(y), 1e-5, out)),
    ("softmax", |ops, x, _, out| {
        out.copy_from_slice(x);
        ops.softmax(out);
    }),
    ("silu", |ops, x, _, out| ops.activate(Gate::Silu, x, out)),
    ("gelu_tanh", |ops, x, _, out| ops.activate(Gate::GeluTanh, x, out)),
    ("gelu_erf", |ops, x, _, out| ops.activate(Gate::GeluErf, x, out)),
    ("swiglu", |ops, x, y, out| ops.gated(Gate::Silu, x, y, out)),
    ("geglu_tanh", |ops, x, y, out| ops.gated(Gate::GeluTanh, x, y, out)),
    ("relu_squared", |ops, x, _, out| ops.activate(Gate::ReluSquared, x, out)),
    ("reglu", |ops, x, y, out| ops.gated(Gate::Relu, x, y, out)),
    ("softcap", |ops, x, _, out| {
        out.copy_from_slice(x);
        ops.softcap(out, 50.0);
    }),
    ("softplus", |ops, x, _, out| {
        out.copy_from_slice(x);
        ops.softplus(out);
    }),
    ("swiglu_clamped", |ops, x, y, out| {
        ops.gated(Gate::ClampedSilu { alpha: 1.7, limit: 0.5 }, x, y, out);
    }),
    ("swiglu_bounded", |ops, x, y, out| {
        ops.gated(Gate::BoundedSilu { limit: 0.25, is_before: false }, x, y, out);
    }),
    ("xielu", |ops, x, _, out| {
        let of = Xielu { positive: 0.8, negative: 0.8, beta: 0.5, eps: -1e-6 };
        ops.activate(Gate::Xielu(of), x, out);
    }),
    // A layer's channels at one position, with the last four.
    ("conv", |ops, x, y, out| {
        let taps: [&[f32]; 4] = from_fn(|i| &x[i * (N / 4)..][..N / 4]);
        ops.conv(&taps, y, None, &mut out[..N / 4]);
    }),
    // A head with keys of 64 and values of 32 elements at 16 positions.
    ("delta_rule", |ops, x, y, out| walk(ops, x, y, out, Ops::delta_rule)),
    ("plain_recurrence", |ops, x, y, out| walk(ops, x, y, out, Ops::plain_recurrence)),
    ("add", |ops, x, y, out| {
        out.copy_from_slice(x);
        ops.add(out, y);
    }),
    ("rope_pairs", |ops, x, y, out| {
        out.copy_from_slice(x);
        ops.rope_pairs(out, &y[..N / 2], &y[N / 2..]);
    }),
    ("rope_halves", |ops, x, y, out| {
        out.copy_from_slice(x);
        ops.rope_halves(out, &y[..N / 2], &y[N / 2..]);
    }),
    ("dots_f32", |ops, x, y, out| ops.dots_f32(&x[..128], y, &mut out[..N / 128])),
];

/// Lets a head with keys of 64 and values of 32 elements walk 16 positions.
fn walk(
    ops: &Ops,
    x: &[f32],
    gates: &[f32],
    out: &mut [f32],
    rule: fn(&Ops, &mut [f32], HeadInputs<'_>, ColumnsMut<'_>),
) {
    let (state, out) = out.split_at_mut(64 * 32);
    state.fill(0.1);
    let inputs = HeadInputs {
        rows: x,
        n_row: 192,
        n_key: 64,
        key: 0,
        query: 64,
        value: 128,
        gates,
        n_gate: 2,
        decay: 0,
        strength: 1,
    };
    rule(ops, state, inputs, ColumnsMut::new(&mut out[..16 * 32], 32, 16));
}

const CONVERSIONS: [(&str, Conversion); 2] = [
    ("f16", |ops, x, narrow, out| {
        ops.f32_to_f16(x, narrow);
        ops.f16_to_f32(narrow, out);
    }),
    ("bf16", |ops, x, narrow, out| {
        ops.f32_to_bf16(x, narrow);
        ops.bf16_to_f32(narrow, out);
    }),
];

fn bench(criterion: &mut Criterion) {
    let (x, y) = (floats(N), floats(2 * N).split_off(N));
    let mut group = criterion.benchmark_group("ops");
    group.throughput(Throughput::Elements(N as u64));
    for kernels in Isa::available().filter_map(Kernels::get) {
        let (isa, ops) = (kernels.isa(), kernels.ops());
        for (name, operation) in OPERATIONS {
            let (mut out, mut expected) = (vec![0.0; N], vec![0.0; N]);
            operation(Ops::SCALAR, &x, &y, &mut expected);
            operation(ops, &x, &y, &mut out);
            assert_eq!(out, expected, "{name} on {isa}");
            group.bench_function(BenchmarkId::new(format!("{name}/{isa}"), N), |b| {
                b.iter(|| operation(ops, black_box(&x), black_box(&y), black_box(&mut out)));
            });
        }
        for (name, conversion) in CONVERSIONS {
            let (mut narrow, mut out, mut expected) = (vec![0; N], vec![0.0; N], vec![0.0; N]);
            conversion(Ops::SCALAR, &x, &mut narrow, &mut expected);
            conversion(ops, &x, &mut narrow, &mut out);
            assert_eq!(out, expected, "{name} on {isa}");
            group.bench_function(BenchmarkId::new(format!("to_{name}_and_back/{isa}"), N), |b| {
                b.iter(|| conversion(ops, black_box(&x), black_box(&mut narrow), black_box(&mut out)));
            });
        }
        let (mut out, mut q8_0, mut q8_k) =
            (vec![0.0; N], [Q8Window::ZERO; N / 256], [Q8KWindow::ZERO; N / 256]);
        group.bench_function(BenchmarkId::new(format!("quantize_q8_0/{isa}"), N), |b| {
            b.iter(|| kernels.quantize_q8_0(black_box(&x), black_box(&mut q8_0)));
        });
        group.bench_function(BenchmarkId::new(format!("quantize_q8_k/{isa}"), N), |b| {
            b.iter(|| kernels.quantize_q8_k(black_box(&x), black_box(&mut q8_k)));
        });
        group.bench_function(BenchmarkId::new(format!("rms_norm_q8_k_apart/{isa}"), N), |b| {
            b.iter(|| {
                ops.rms_norm(black_box(&x), &y, 1e-5, black_box(&mut out));
                kernels.quantize_q8_k(&out, black_box(&mut q8_k));
            });
        });
        group.bench_function(BenchmarkId::new(format!("rms_norm_q8_k/{isa}"), N), |b| {
            b.iter(|| {
                let out = InputRow { floats: black_box(&mut out), q8_0: None, q8_k: Some(&mut q8_k) };
                kernels.norm(Norm::Rms { weight: &y, eps: 1e-5 }, black_box(&x), out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
