//! How fast weights in the cache are multiplied with a batch: `gemm/<type>/<isa>/<columns>`.
//!
//! Throughput is in elements, one for each multiply-add. The weights, 64 rows of 4096, stay in the
//! caches. The answer is compared with the scalar dot products before anything is timed.

#![allow(missing_docs, reason = "criterion_group makes a function without documentation")]

mod weights;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gguf_simd::{Activation, ActivationFormat, BlockType, ColumnsMut, Isa, Kernels, Q8KWindow, Q8Window};

const N_IN: usize = 4096;
const N_OUT: usize = 64;
const COLUMNS: [usize; 3] = [8, 32, 128];

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

fn gemm(criterion: &mut Criterion) {
    let n_columns = COLUMNS[2];
    let x = floats(N_IN * n_columns);
    let mut q8_0 = vec![Q8Window::ZERO; x.len() / 256];
    let mut q8_k = vec![Q8KWindow::ZERO; x.len() / 256];
    Kernels::best().quantize_q8_0(&x, &mut q8_0);
    Kernels::best().quantize_q8_k(&x, &mut q8_k);
    let rows = floats(N_IN * N_OUT);
    let scalar = Kernels::get(Isa::Scalar).expect("every CPU runs the scalar kernels");
    let mut group = criterion.benchmark_group("gemm");
    for ty in BlockType::all() {
        let weights = weights::weights(ty, &rows);
        let all = match ty.activation() {
            ActivationFormat::F32 => Activation::F32(&x),
            ActivationFormat::Q8_0 => Activation::Q8_0(&q8_0),
            ActivationFormat::Q8K => Activation::Q8K(&q8_k),
        };
        let row = all.len() / n_columns;
        let mut expected = vec![0.0; N_OUT * n_columns];
        for (c, expected) in expected.chunks_exact_mut(N_OUT).enumerate() {
            scalar.gemv(ty, &weights, N_IN, all.slice(c * row, row), expected);
        }
        // The scalar tier has no batch products.
        for kernels in Isa::available().filter(|&isa| isa != Isa::Scalar).filter_map(Kernels::get) {
            for n in COLUMNS {
                let x = all.slice(0, n * row);
                let mut out = vec![0.0; N_OUT * n];
                let run = |out: &mut [f32]| {
                    kernels.gemm(ty, black_box(&weights), N_IN, x, ColumnsMut::new(out, N_OUT, n));
                };
                run(&mut out);
                assert_eq!(out, expected[..N_OUT * n], "{} {ty}", kernels.isa());
                group.throughput(Throughput::Elements((N_IN * N_OUT * n) as u64));
                let id = BenchmarkId::new(format!("{ty}/{}", kernels.isa()).to_lowercase(), n);
                group.bench_function(id, |b| b.iter(|| run(black_box(&mut out))));
            }
        }
    }
    group.finish();
}

criterion_group!(benches, gemm);
criterion_main!(benches);
