//! Weights to multiply with.

use gguf_simd::{BlockType, Kernels};

/// Blocks of the numbers.
pub(crate) fn weights(ty: BlockType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; ty.row_bytes(values.len()).expect("whole blocks")];
    Kernels::best().encode(ty, values, None, &mut bytes);
    bytes
}
