//! Multiplies once: `product ISA TYPE ROWS COLUMNS` (one column is a matrix-vector product). For
//! `tools/count_instructions.py`, which counts what the processor executes meanwhile.

use std::process::ExitCode;

use gguf_simd::{Activation, ActivationFormat, BlockType, ColumnsMut, Isa, Kernels, Q8KWindow, Q8Window};

/// Elements in a row: sixteen windows.
const N_IN: usize = 4096;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [isa, ty, rows, columns] = &arguments[..] else {
        eprintln!("usage: product ISA TYPE ROWS COLUMNS");
        return ExitCode::from(2);
    };
    let kernels = Isa::from_name(isa).and_then(Kernels::get);
    let (Some(kernels), Some(ty)) = (kernels, BlockType::from_name(ty)) else {
        eprintln!("this CPU has no {isa}, or there is no type {ty}");
        return ExitCode::FAILURE;
    };
    let (Ok(n_rows), Ok(n_cols)) = (rows.parse::<usize>(), columns.parse::<usize>()) else {
        eprintln!("{rows} and {columns} are not two numbers");
        return ExitCode::from(2);
    };
    let weights = vec![0; n_rows * ty.row_bytes(N_IN).expect("whole blocks")];
    let windows = n_cols * N_IN / 256;
    let (floats, q8_0, q8_k) =
        (vec![0.0; n_cols * N_IN], vec![Q8Window::ZERO; windows], vec![Q8KWindow::ZERO; windows]);
    let x = match ty.activation() {
        ActivationFormat::F32 => Activation::F32(&floats),
        ActivationFormat::Q8_0 => Activation::Q8_0(&q8_0),
        ActivationFormat::Q8K => Activation::Q8K(&q8_k),
    };
    let mut out = vec![0.0; n_rows * n_cols];
    if n_cols == 1 {
        kernels.gemv(ty, &weights, N_IN, x, &mut out);
    } else {
        kernels.gemm(ty, &weights, N_IN, x, ColumnsMut::new(&mut out, n_rows, n_cols));
    }
    std::hint::black_box(out);
    ExitCode::SUCCESS
}
