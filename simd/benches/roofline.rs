//! How near the kernels come to what the CPU can do: `cargo bench -p gguf-simd --bench roofline`,
//! optionally followed by `-- TYPE[,TYPE...] [TIER]`.
//!
//! For each tier the peaks come first, measured in the same run: multiply-adds of the instruction mix
//! that the tier's tiles are made of, and bytes a second that one core reads. Then, for each type,
//! batch products of 512 rows of 4096 at several numbers of columns as parts of the peak, dot products
//! from the cache and from memory in GB/s (and the latter as a part of the read bandwidth), the time of a
//! few columns with weights from memory over that of one, and encoding in million weights a second. Everything is one thread's CPU time, medians of repetitions;
//! answers are compared with the scalar kernels' before they are timed.

mod cpu_time;
mod weights;

use std::hint::black_box;

use cpu_time::cpu_seconds;
use gguf_simd::ceiling::multiply_adds;
use gguf_simd::{Activation, ActivationFormat, BlockType, ColumnsMut, Isa, Kernels, Q8KWindow, Q8Window};

const N_IN: usize = 4096;
const N_OUT: usize = 512;
const COLUMNS: [usize; 8] = [1, 2, 4, 8, 16, 32, 128, 512];
/// Columns whose cost over that of one is measured, with weights from memory.
const FEW: [usize; 3] = [2, 4, 8];
/// Bytes that no cache holds.
const MEMORY_BYTES: usize = 256 << 20;
/// Repetitions of which the median counts.
const REPETITIONS: usize = 7;

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let types: Vec<BlockType> = match arguments.next() {
        Some(names) => names.split(',').map(|name| BlockType::from_name(name).expect("a type")).collect(),
        None => BlockType::all().collect(),
    };
    let tiers: Vec<Isa> = match arguments.next() {
        Some(name) => vec![Isa::from_name(&name).expect("a tier")],
        None => Isa::available().filter(|&isa| isa != Isa::Scalar).collect(),
    };
    let bytes = vec![1u8; MEMORY_BYTES];
    for kernels in tiers.into_iter().filter_map(Kernels::get) {
        println!("\n{}", kernels.isa());
        print!("{:6}{:>9}", "", "peak");
        COLUMNS.iter().for_each(|n| print!("{n:>6}"));
        print!("{:>9}{:>9}{:>6}", "cache", "memory", "part");
        FEW.iter().for_each(|n| print!("{n:>6}"));
        println!("{:>9}", "encode");
        println!(
            "{:6}{:>9}{:>48}{:>9}{:>9}{:>6}{:>18}{:>9}",
            "", "GMAC/s", "columns", "GB/s", "GB/s", "", "columns over one", "M/s"
        );
        for &ty in &types {
            row(kernels, ty, &bytes);
        }
    }
}

/// Measures and prints one type on one tier.
fn row(kernels: &Kernels, ty: BlockType, bytes: &[u8]) {
    let values = floats(N_IN * N_OUT);
    let mut weights = weights::weights(ty, &values);
    let peak = peak(kernels.isa(), ty);
    print!("{:6}{:9.1}", ty.name(), peak * 1e-9);
    for n_cols in COLUMNS {
        let x = Columns::new(kernels, ty, &floats(N_IN * n_cols));
        let mut out = vec![0.0; n_cols * N_OUT];
        let mut run = || {
            let out = ColumnsMut::new(black_box(&mut out), N_OUT, n_cols);
            kernels.gemm(ty, black_box(&weights), N_IN, x.view(), out);
        };
        run();
        let seconds = median_seconds(run);
        check(ty, &weights, &x, &out);
        print!("{:6.2}", (n_cols * N_OUT * N_IN) as f64 / seconds / peak);
    }
    let x = Columns::new(kernels, ty, &floats(N_IN));
    let mut out = vec![0.0; N_OUT];
    let cached = &weights[..weights.len() / 16];
    let n_cached = N_OUT / 16;
    let cache = median_seconds(|| {
        for _ in 0..16 {
            kernels.gemv(ty, black_box(cached), N_IN, x.view(), black_box(&mut out[..n_cached]));
        }
    });
    let row_bytes = weights.len() / N_OUT;
    let n_rows = MEMORY_BYTES / row_bytes;
    let mut matrix = Vec::with_capacity(n_rows * row_bytes);
    while matrix.len() < n_rows * row_bytes {
        let n = weights.len().min(n_rows * row_bytes - matrix.len());
        matrix.extend_from_slice(&weights[..n]);
    }
    let mut long = vec![0.0; n_rows];
    let memory =
        median_seconds(|| kernels.gemv(ty, black_box(&matrix), N_IN, x.view(), black_box(&mut long)));
    let costs = FEW.map(|n_cols| {
        let x = Columns::new(kernels, ty, &floats(N_IN * n_cols));
        let mut out = vec![0.0; n_cols * n_rows];
        let seconds = median_seconds(|| {
            let out = ColumnsMut::new(black_box(&mut out), n_rows, n_cols);
            kernels.gemm(ty, black_box(&matrix), N_IN, x.view(), out);
        });
        seconds / memory
    });
    let read = median_seconds(|| {
        black_box(sum(black_box(bytes)));
    });
    let encode = median_seconds(|| {
        let blocks = black_box(&mut weights[..16 * row_bytes]);
        kernels.encode(ty, black_box(&values[..16 * N_IN]), None, blocks);
    });
    let encoded = (16 * N_IN) as f64 / encode * 1e-6;
    let bandwidth = MEMORY_BYTES as f64 / read;
    println!(
        "{:9.1}{:9.1}{:6.2}{:6.2}{:6.2}{:6.2}{:9.1}",
        (16 * n_cached * row_bytes) as f64 / cache * 1e-9,
        matrix.len() as f64 / memory * 1e-9,
        matrix.len() as f64 / memory / bandwidth,
        costs[0],
        costs[1],
        costs[2],
        encoded
    );
}

/// The multiply-adds a second of the instruction mix of a type; NaN where it is not known.
fn peak(isa: Isa, ty: BlockType) -> f64 {
    let mut n = None;
    let seconds = median_seconds(|| n = multiply_adds(isa, ty));
    n.map_or(f64::NAN, |n| n as f64 / seconds)
}

/// Compares a product with the scalar dot products of some of its columns.
fn check(ty: BlockType, weights: &[u8], x: &Columns, out: &[f32]) {
    let scalar = Kernels::get(Isa::Scalar).expect("every CPU runs the scalar kernels");
    let n_cols = out.len() / N_OUT;
    let row = x.view().len() / n_cols;
    for c in [0, n_cols / 2, n_cols - 1] {
        let n_rows = 33;
        let mut expected = vec![0.0; n_rows];
        let weights = &weights[..weights.len() / N_OUT * n_rows];
        scalar.gemv(ty, weights, N_IN, x.view().slice(c * row, row), &mut expected);
        assert_eq!(expected, out[c * N_OUT..][..n_rows], "{ty}, column {c} of {n_cols}");
    }
}

/// Columns of activations that own their memory.
enum Columns {
    F32(Vec<f32>),
    Q8_0(Vec<Q8Window>),
    Q8K(Vec<Q8KWindow>),
}

impl Columns {
    fn new(kernels: &Kernels, ty: BlockType, x: &[f32]) -> Self {
        let n_windows = x.len() / 256;
        match ty.activation() {
            ActivationFormat::F32 => Self::F32(x.to_vec()),
            ActivationFormat::Q8_0 => {
                let mut windows = vec![Q8Window::ZERO; n_windows];
                kernels.quantize_q8_0(x, &mut windows);
                Self::Q8_0(windows)
            }
            ActivationFormat::Q8K => {
                let mut windows = vec![Q8KWindow::ZERO; n_windows];
                kernels.quantize_q8_k(x, &mut windows);
                Self::Q8K(windows)
            }
        }
    }

    fn view(&self) -> Activation<'_> {
        match self {
            Self::F32(x) => Activation::F32(x),
            Self::Q8_0(x) => Activation::Q8_0(x),
            Self::Q8K(x) => Activation::Q8K(x),
        }
    }
}

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

/// Reads everything.
fn sum(bytes: &[u8]) -> u64 {
    let mut sums = [0u64; 32];
    for chunk in bytes.as_chunks::<256>().0 {
        for (sum, bytes) in sums.iter_mut().zip(chunk.as_chunks::<8>().0) {
            *sum = sum.wrapping_add(u64::from_ne_bytes(*bytes));
        }
    }
    sums.iter().fold(0, |a, b| a.wrapping_add(*b))
}

/// CPU seconds of one call: the median of some repetitions of at least five milliseconds.
fn median_seconds(mut run: impl FnMut()) -> f64 {
    let start = cpu_seconds();
    run();
    let calls = (0.005 / (cpu_seconds() - start).max(1e-9)).ceil().clamp(1.0, 1e6) as usize;
    let mut seconds: Vec<f64> = (0..REPETITIONS)
        .map(|_| {
            let start = cpu_seconds();
            (0..calls).for_each(|_| run());
            (cpu_seconds() - start) / calls as f64
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    seconds[REPETITIONS / 2]
}
