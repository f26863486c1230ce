//! How fast rows of weights in the cache are multiplied with one vector: `dot/<type>/<isa>/4096`.
//!
//! Throughput is in bytes of weights. The weights, 64 rows of 4096, stay in the caches, so a kernel
//! that is faster here than memory can deliver is limited by memory in use. The answer is compared
//! with the scalar kernels' before anything is timed.

#![allow(missing_docs, reason = "criterion_group makes a function without documentation")]

mod weights;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gguf_simd::{Activation, ActivationFormat, BlockType, Isa, Kernels, Q8KWindow, Q8Window};

const N_IN: usize = 4096;
const N_OUT: usize = 64;

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

fn dot(criterion: &mut Criterion) {
    let x = floats(N_IN);
    let mut q8_0 = [Q8Window::ZERO; N_IN / 256];
    let mut q8_k = [Q8KWindow::ZERO; N_IN / 256];
    Kernels::best().quantize_q8_0(&x, &mut q8_0);
    Kernels::best().quantize_q8_k(&x, &mut q8_k);
    let rows = floats(N_IN * N_OUT);
    let scalar = Kernels::get(Isa::Scalar).expect("every CPU runs the scalar kernels");
    let mut group = criterion.benchmark_group("dot");
    for ty in BlockType::all() {
        let weights = weights::weights(ty, &rows);
        let activation = match ty.activation() {
            ActivationFormat::F32 => Activation::F32(&x),
            ActivationFormat::Q8_0 => Activation::Q8_0(&q8_0),
            ActivationFormat::Q8K => Activation::Q8K(&q8_k),
        };
        let mut expected = vec![0.0; N_OUT];
        scalar.gemv(ty, &weights, N_IN, activation, &mut expected);
        group.throughput(Throughput::Bytes(weights.len() as u64));
        for kernels in Isa::available().filter_map(Kernels::get) {
            let mut out = vec![0.0; N_OUT];
            kernels.gemv(ty, &weights, N_IN, activation, &mut out);
            assert_eq!(out, expected, "{} {ty}", kernels.isa());
            let id = BenchmarkId::new(format!("{ty}/{}", kernels.isa()).to_lowercase(), N_IN);
            group.bench_function(id, |bencher| {
                bencher.iter(|| kernels.gemv(ty, black_box(&weights), N_IN, activation, black_box(&mut out)));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, dot);
criterion_main!(benches);
