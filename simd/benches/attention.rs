//! How fast cached keys and values are multiplied: `attention/scores_<type>/<isa>/<head>x<keys>`, the
//! same for `weighted_sums`, each for one query, for the four of a group and for sixteen (`.../q4`),
//! and `attention/store_<type>`.
//!
//! Throughput is in bytes of the cache, each counted once however many queries meet it. 1024 rows stay
//! in the caches. The answer is compared with the scalar kernels' before anything is timed.

#![allow(missing_docs, reason = "criterion_group makes a function without documentation")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gguf_simd::attention::{Attention, CacheRows, CacheType};
use gguf_simd::{Activation, ActivationFormat, ColumnsMut, Isa, Kernels, Q8Window};

const HEAD: usize = 128;
const KEYS: usize = 1024;

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

fn bench(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("attention");
    let x = floats(HEAD * KEYS);
    for ty in CacheType::ALL {
        let rows = CacheRows::new(ty, HEAD).expect("whole blocks");
        let mut cached = vec![0; KEYS * rows.row_bytes()];
        Attention::SCALAR.store(rows, &x, &mut cached);
        let name = |operation: &str, isa: Isa| format!("{operation}_{ty}/{isa}").to_lowercase();
        group.throughput(Throughput::Bytes(cached.len() as u64));
        for kernels in Isa::available().filter_map(Kernels::get) {
            let attention = kernels.attention();
            let mut stored = vec![0; cached.len()];
            attention.store(rows, &x, &mut stored);
            assert_eq!(stored, cached, "{} {ty}", kernels.isa());
            group.bench_function(
                BenchmarkId::new(name("store", kernels.isa()), format!("{HEAD}x{KEYS}")),
                |b| {
                    b.iter(|| attention.store(rows, black_box(&x), black_box(&mut stored)));
                },
            );
            for n in [1, 4, 16] {
                let id = |operation| {
                    BenchmarkId::new(name(operation, kernels.isa()), format!("{HEAD}x{KEYS}/q{n}"))
                };
                let mut scores = Scores::new(rows, n);
                let expected = scores.run(Attention::SCALAR, &cached).to_vec();
                assert_eq!(scores.run(attention, &cached), expected, "{} {ty}", kernels.isa());
                group.bench_function(id("scores"), |b| {
                    b.iter(|| scores.run(attention, black_box(&cached)).len());
                });
                let mut sums = Sums::new(rows, n);
                let expected = sums.run(Attention::SCALAR, &cached).to_vec();
                assert_eq!(sums.run(attention, &cached), expected, "{} {ty}", kernels.isa());
                group.bench_function(id("weighted_sums"), |b| {
                    b.iter(|| sums.run(attention, black_box(&cached)).len());
                });
            }
        }
    }
    group.finish();
}

/// Some queries and room for their scores.
struct Scores {
    rows: CacheRows,
    n_queries: usize,
    x: Vec<f32>,
    windows: Vec<Q8Window>,
    out: Vec<f32>,
}

impl Scores {
    fn new(rows: CacheRows, n_queries: usize) -> Self {
        let x = floats(n_queries * HEAD);
        let mut windows = vec![Q8Window::ZERO; n_queries];
        for (x, window) in x.chunks_exact(HEAD).zip(windows.chunks_exact_mut(1)) {
            Kernels::best().quantize_q8_0(x, window);
        }
        Self { rows, n_queries, x, windows, out: vec![0.0; n_queries * KEYS] }
    }

    fn run(&mut self, attention: &Attention, keys: &[u8]) -> &[f32] {
        let queries = match self.rows.cache_type().query_format() {
            ActivationFormat::F32 => Activation::F32(&self.x),
            _ => Activation::Q8_0(&self.windows),
        };
        attention.scores(self.rows, keys, queries, ColumnsMut::new(&mut self.out, KEYS, self.n_queries));
        &self.out
    }
}

/// Some queries' weights and room for their sums.
struct Sums {
    rows: CacheRows,
    weights: Vec<f32>,
    visible: Vec<usize>,
    out: Vec<f32>,
}

impl Sums {
    fn new(rows: CacheRows, n_queries: usize) -> Self {
        let (weights, out) = (floats(n_queries * KEYS), vec![0.0; n_queries * HEAD]);
        Self { rows, weights, visible: vec![KEYS; n_queries], out }
    }

    fn run(&mut self, attention: &Attention, values: &[u8]) -> &[f32] {
        let out = ColumnsMut::new(&mut self.out, HEAD, self.visible.len());
        attention.weighted_sums(self.rows, values, &self.weights, &self.visible, out);
        &self.out
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
