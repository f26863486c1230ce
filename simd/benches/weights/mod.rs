//! Weights to multiply with.

use gguf_simd::{BlockType, Kernels};

/// Blocks of the numbers, or of any codes under scales below 2 for a type without an encoder.
pub(crate) fn weights(ty: BlockType, values: &[f32]) -> Vec<u8> {
    let mut bytes = vec![0; ty.row_bytes(values.len()).expect("whole blocks")];
    if ty.is_encoded() {
        Kernels::best().encode(ty, values, None, &mut bytes);
        return bytes;
    }
    for (byte, value) in bytes.iter_mut().zip(values) {
        *byte = (value.to_bits() >> 4) as u8;
    }
    for block in bytes.chunks_exact_mut(ty.block_bytes()) {
        // The upper byte of `d`, which stands first or, for IQ1_M, last.
        block[1] &= 0x3f;
        block[ty.block_bytes() - 1] &= 0x3f;
    }
    bytes
}
