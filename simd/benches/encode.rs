//! How fast rows of floats become blocks: `encode/<type>/<isa>/4096`, and the same with importance.
//!
//! Throughput is in elements. The rows, 16 of 4096 nearly normal numbers, stay in the caches. Before anything
//! is timed, the blocks are compared with those of the scalar kernels.

#![allow(missing_docs, reason = "criterion_group makes a function without documentation")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gguf_simd::{BlockType, Isa, Kernels};

const N_IN: usize = 4096;
const N_ROWS: usize = 16;

/// `n` nearly normal numbers.
fn normals(n: usize) -> Vec<f32> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (0..12).map(|_| next()).sum()).collect()
}

/// The blocks of all rows.
fn encode(kernels: &Kernels, ty: BlockType, rows: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
    let row_bytes = out.len() / N_ROWS;
    for (row, out) in rows.chunks(N_IN).zip(out.chunks_mut(row_bytes)) {
        kernels.encode(ty, row, importance, out);
    }
}

fn encoders(criterion: &mut Criterion) {
    let rows = normals(N_IN * N_ROWS);
    let importance: Vec<f32> = normals(N_IN).iter().map(|x| x * x).collect();
    let scalar = Kernels::get(Isa::Scalar).expect("every CPU runs the scalar kernels");
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::Elements(rows.len() as u64));
    for ty in BlockType::all() {
        for (suffix, importance) in [("", None), ("/importance", Some(&importance[..]))] {
            let mut expected = vec![0; ty.row_bytes(rows.len()).expect("whole blocks")];
            encode(scalar, ty, &rows, importance, &mut expected);
            for kernels in Isa::available().filter_map(Kernels::get) {
                let mut out = vec![1; expected.len()];
                encode(kernels, ty, &rows, importance, &mut out);
                assert_eq!(out, expected, "{} {ty}", kernels.isa());
                let id = format!("{ty}/{}{suffix}", kernels.isa()).to_lowercase();
                group.bench_function(BenchmarkId::new(id, N_IN), |bencher| {
                    bencher.iter(|| encode(kernels, ty, black_box(&rows), importance, black_box(&mut out)));
                });
            }
        }
    }
    group.finish();
}

criterion_group!(benches, encoders);
criterion_main!(benches);
