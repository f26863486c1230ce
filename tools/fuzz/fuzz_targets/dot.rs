//! Any bytes are weights of every type, and any numbers activations: each tier multiplies them to the
//! same bits, alone and in a batch.

#![no_main]

use gguf_simd::{
    Activation, ActivationFormat, BlockType, ColumnsMut, Isa, Kernels, Q8KWindow, Q8Window, WINDOW_LEN,
};
use libfuzzer_sys::fuzz_target;

/// Columns of the batch: enough for the tiles of every tier.
const COLUMNS: usize = 3;

fuzz_target!(|bytes: &[u8]| {
    // The first two bytes choose the type and the number of rows; activations are made of what follows
    // and, where that ends, of zeros.
    let Some((&[choice, rows], rest)) = bytes.split_first_chunk() else { return };
    let types: Vec<_> = BlockType::all().collect();
    let ty = types[usize::from(choice) % types.len()];
    let n_out = 1 + usize::from(rows) % 20;
    let n_in = rest.len() / n_out / ty.block_bytes() * ty.block_len();
    let weights = &rest[..n_out * ty.row_bytes(n_in).expect("whole blocks")];
    let mut words = rest.as_chunks().0.iter().copied().map(f32::from_le_bytes);
    let x: Vec<f32> = (0..COLUMNS * n_in).map(|_| words.next().unwrap_or(0.0)).collect();
    with_activations(ty, &x, n_in, |x| check(ty, weights, n_in, n_out, x));
});

/// Hands `run` the rows of `x` in the format of `ty`.
fn with_activations(ty: BlockType, x: &[f32], n_in: usize, run: impl Fn(Activation<'_>)) {
    let kernels = Kernels::get(Isa::Scalar).expect("every CPU has it");
    let n_windows = n_in.div_ceil(WINDOW_LEN);
    let rows = x.chunks(n_in.max(1));
    match ty.activation() {
        ActivationFormat::F32 => run(Activation::F32(x)),
        ActivationFormat::Q8_0 => {
            let mut windows = vec![Q8Window::ZERO; COLUMNS * n_windows];
            for (row, windows) in rows.zip(windows.chunks_mut(n_windows.max(1))) {
                kernels.quantize_q8_0(row, windows);
            }
            run(Activation::Q8_0(&windows));
        }
        ActivationFormat::Q8K => {
            let mut windows = vec![Q8KWindow::ZERO; COLUMNS * n_windows];
            for (row, windows) in rows.zip(windows.chunks_mut(n_windows.max(1))) {
                kernels.quantize_q8_k(row, windows);
            }
            run(Activation::Q8K(&windows));
        }
    }
}

/// Compares every tier with the scalar one.
fn check(ty: BlockType, weights: &[u8], n_in: usize, n_out: usize, x: Activation<'_>) {
    let x_row = x.len() / COLUMNS;
    let columns = |kernels: &Kernels| {
        let mut out = vec![0.5; COLUMNS * n_out];
        for (c, out) in out.chunks_mut(n_out).enumerate() {
            kernels.gemv(ty, weights, n_in, x.slice(c * x_row, x_row), out);
        }
        out
    };
    let expected = columns(Kernels::get(Isa::Scalar).expect("every CPU has it"));
    for kernels in Isa::available().filter_map(Kernels::get) {
        let mut batch = vec![0.25; COLUMNS * n_out];
        kernels.gemm(ty, weights, n_in, x, ColumnsMut::new(&mut batch, n_out, COLUMNS));
        for (what, found) in [("gemv", columns(kernels)), ("gemm", batch)] {
            let same = |(e, f): (&f32, &f32)| e.to_bits() == f.to_bits() || e.is_nan() && f.is_nan();
            let same = expected.iter().zip(&found).all(same);
            assert!(same, "{what} of {ty}, {n_out} x {n_in}, on {}", kernels.isa());
        }
    }
}
