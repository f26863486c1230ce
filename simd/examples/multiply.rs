//! Multiplies a matrix from standard input with a batch, again and again, and says how long one time takes.
//!
//! `multiply TYPE N_IN N_OUT N_COLS ROUNDS TIMES [ISA] < operands > product`: the operands are the blocks of a
//! `[N_OUT, N_IN]` matrix, then little-endian f32 `[N_COLS, N_IN]`; the product is f32 `[N_COLS, N_OUT]`. Timed, on
//! standard error in seconds of CPU time and of the fastest round of so many times, is the multiplication of one thread, the quantisation of the
//! batch included. `tools/peer/products.py` compares it with llama.cpp's.

#[path = "../benches/cpu_time/mod.rs"]
mod cpu_time;

use std::error::Error;
use std::io::{Read, Write};

use cpu_time::cpu_seconds;
use gguf_simd::{Activation, ActivationFormat, BlockType, ColumnsMut, Isa, Kernels, Q8KWindow, Q8Window};

const USAGE: &str = "usage: multiply TYPE N_IN N_OUT N_COLS ROUNDS TIMES [ISA]";

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (counts, isa) = match &arguments[..] {
        [_, counts @ .., isa] if counts.len() == 5 => (counts, Some(isa)),
        [_, counts @ ..] if counts.len() == 5 => (counts, None),
        _ => return Err(USAGE.into()),
    };
    let ty = BlockType::from_name(&arguments[0]).ok_or(USAGE)?;
    let counts = counts.iter().map(|count| count.parse()).collect::<Result<Vec<usize>, _>>()?;
    let &[n_in, n_out, n_cols, rounds, times] = &counts[..] else { return Err(USAGE.into()) };
    let kernels = match isa {
        Some(isa) => Isa::from_name(isa).and_then(Kernels::get).ok_or("this CPU lacks the tier")?,
        None => Kernels::best(),
    };
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes)?;
    let row_bytes = ty.row_bytes(n_in).ok_or("rows do not divide into blocks")?;
    let (weights, x) = bytes.split_at_checked(n_out * row_bytes).ok_or("the input is too short")?;
    let x: Vec<f32> = x.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let mut product = Product::new(ty, n_in, n_out, n_cols);
    let mut fastest = f64::INFINITY;
    for _ in 0..rounds {
        let start = cpu_seconds();
        (0..times).for_each(|_| product.compute(kernels, weights, &x));
        fastest = fastest.min((cpu_seconds() - start) / times as f64);
    }
    eprintln!("{fastest}");
    let out: Vec<u8> = product.out.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::io::stdout().lock().write_all(&out)?;
    Ok(())
}

/// A product and what it needs besides its operands.
struct Product {
    ty: BlockType,
    n_in: usize,
    n_out: usize,
    n_cols: usize,
    q8_0: Vec<Q8Window>,
    q8_k: Vec<Q8KWindow>,
    out: Vec<f32>,
}

impl Product {
    fn new(ty: BlockType, n_in: usize, n_out: usize, n_cols: usize) -> Self {
        let n_windows = n_cols * n_in.div_ceil(256);
        let (q8_0, q8_k) = (vec![Q8Window::ZERO; n_windows], vec![Q8KWindow::ZERO; n_windows]);
        Self { ty, n_in, n_out, n_cols, q8_0, q8_k, out: vec![0.0; n_cols * n_out] }
    }

    fn compute(&mut self, kernels: &Kernels, weights: &[u8], x: &[f32]) {
        let rows = x.chunks_exact(self.n_in);
        let n_windows = self.n_in.div_ceil(256);
        let x = match self.ty.activation() {
            ActivationFormat::F32 => Activation::F32(x),
            ActivationFormat::Q8_0 => {
                rows.zip(self.q8_0.chunks_mut(n_windows)).for_each(|(row, w)| kernels.quantize_q8_0(row, w));
                Activation::Q8_0(&self.q8_0)
            }
            ActivationFormat::Q8K => {
                rows.zip(self.q8_k.chunks_mut(n_windows)).for_each(|(row, w)| kernels.quantize_q8_k(row, w));
                Activation::Q8K(&self.q8_k)
            }
        };
        let out = ColumnsMut::new(&mut self.out, self.n_out, self.n_cols);
        kernels.gemm(self.ty, weights, self.n_in, x, out);
    }
}
