//! Quantised activations for products.

use gguf_simd::{Activation, ActivationFormat, BlockType, Isa, Kernels, Q8KWindow, Q8Window};

/// Rows of activations that own their memory.
pub(crate) enum Activations {
    F32(Vec<f32>),
    Q8_0(Vec<Q8Window>),
    Q8K(Vec<Q8KWindow>),
}

impl Activations {
    /// Rows of `n_in` values in the format of `ty`, quantised by the scalar kernels.
    pub(crate) fn of(ty: BlockType, x: &[f32], n_in: usize) -> Self {
        let scalar = Kernels::get(Isa::Scalar).expect("every CPU runs the scalar kernels");
        let rows = x.chunks_exact(n_in.max(1));
        match ty.activation() {
            ActivationFormat::F32 => Self::F32(x.to_vec()),
            ActivationFormat::Q8_0 => Self::Q8_0(
                rows.flat_map(|row| {
                    let mut windows = vec![Q8Window::ZERO; row.len().div_ceil(256)];
                    scalar.quantize_q8_0(row, &mut windows);
                    windows
                })
                .collect(),
            ),
            ActivationFormat::Q8K => Self::Q8K(
                rows.flat_map(|row| {
                    let mut windows = vec![Q8KWindow::ZERO; row.len() / 256];
                    scalar.quantize_q8_k(row, &mut windows);
                    windows
                })
                .collect(),
            ),
        }
    }

    pub(crate) fn view(&self) -> Activation<'_> {
        match self {
            Self::F32(x) => Activation::F32(x),
            Self::Q8_0(x) => Activation::Q8_0(x),
            Self::Q8K(x) => Activation::Q8K(x),
        }
    }
}
