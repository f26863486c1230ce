//! Rows of any source type to blocks, with the error they cost.
//!
//! The arithmetic of each block type lives in `gguf_simd`; here a source row becomes floats, the
//! floats become blocks, and the blocks are decoded again to learn what was lost. Neighbours: the
//! conversion pipeline, which calls this for groups of rows.

mod error_stats;
mod importance;

pub use error_stats::ErrorStats;
pub use importance::{Entry, Format, ImportanceMatrix};

use gguf_simd::BlockType;
use gguf_simd::half_float::{bf16_to_f32, f16_to_f32};
use gguf_simd::kernels::Kernels;

use crate::checkpoint::SourceType;

/// Decodes little-endian source elements: `out[i]` is element `i` of `bytes`.
///
/// # Panics
/// If `bytes` does not hold exactly `out.len()` elements.
pub fn decode_source(source_type: SourceType, bytes: &[u8], out: &mut [f32]) {
    match source_type {
        SourceType::F32 => decode_each(bytes, out, f32::from_le_bytes),
        SourceType::F16 => decode_each(bytes, out, |b| f16_to_f32(u16::from_le_bytes(b))),
        SourceType::BF16 => decode_each(bytes, out, |b| bf16_to_f32(u16::from_le_bytes(b))),
        SourceType::F64 => decode_each(bytes, out, |b| f64::from_le_bytes(b) as f32),
    }
}

fn decode_each<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    let (elements, rest) = bytes.as_chunks::<N>();
    assert!(
        rest.is_empty() && elements.len() == out.len(),
        "source bytes must hold exactly the elements asked for"
    );
    for (value, element) in out.iter_mut().zip(elements) {
        *value = decode(*element);
    }
}

/// Elements encoded in one call, unless a single row has more: they stay in the first cache.
const ELEMENTS_AT_A_TIME: usize = 4096;

/// Encodes rows of `n_in` floats into `blocks` and measures what that lost. `importance` holds one
/// weight per column. `scratch` is resized to `n_in` and holds nothing of use afterwards.
///
/// # Panics
/// If `rows` is no multiple of `n_in`, `n_in` no multiple of the type's block length, or `blocks`
/// not exactly the size of the encoded rows.
pub fn encode_rows(
    kernels: &Kernels,
    ty: BlockType,
    rows: &[f32],
    n_in: usize,
    importance: Option<&[f32]>,
    blocks: &mut [u8],
    scratch: &mut Vec<f32>,
) -> ErrorStats {
    let row_bytes = ty.row_bytes(n_in).expect("rows divide into blocks");
    assert!(
        rows.len().is_multiple_of(n_in) && blocks.len() == rows.len() / n_in * row_bytes,
        "buffers must agree"
    );
    // Blocks know nothing of rows unless columns differ in importance, and short rows leave room in the vectors.
    let most = if importance.is_none() { (ELEMENTS_AT_A_TIME / n_in).max(1) } else { 1 };
    scratch.resize(n_in, 0.0);
    let mut stats = ErrorStats::default();
    for (rows, blocks) in rows.chunks(most * n_in).zip(blocks.chunks_mut(most * row_bytes)) {
        kernels.encode(ty, rows, importance, blocks);
        for (row, blocks) in rows.chunks_exact(n_in).zip(blocks.chunks_exact(row_bytes)) {
            kernels.decode(ty, blocks, scratch);
            stats.add_row(row, scratch);
        }
    }
    stats
}

/// The largest magnitude of some values, not finite if one of them is not.
pub fn largest_magnitude(values: &[f32]) -> f32 {
    // Without the sign the bits of floats order as integers, those of infinities and NaNs last, and
    // integers have a greatest one whatever the order, so that the loop vectorises.
    let bits = |value: f32| (value.to_bits() & 0x7fff_ffff).cast_signed();
    f32::from_bits(values.iter().fold(0, |greatest, &value| greatest.max(bits(value))).cast_unsigned())
}

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    #[test]
    fn the_largest_magnitude_is_that_of_the_worst_value() {
        assert_eq!(largest_magnitude(&[]), 0.0);
        assert_eq!(largest_magnitude(&[0.5, -3.0, 2.0]), 3.0);
        assert_eq!(largest_magnitude(&[f32::MAX, f32::NEG_INFINITY]), f32::INFINITY);
        assert!(largest_magnitude(&[1.0, -f32::NAN, f32::INFINITY]).is_nan());
    }

    #[test]
    fn every_source_type_decodes_its_own_encoding() {
        let values = [0.0f32, -1.5, 0.15625, 240.0];
        let mut out = [0.0; 4];
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        decode_source(SourceType::F32, &bytes, &mut out);
        assert_eq!(out, values);
        let bytes: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        decode_source(SourceType::F16, &bytes, &mut out);
        assert_eq!(out, values);
        let bytes: Vec<u8> = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        decode_source(SourceType::BF16, &bytes, &mut out);
        assert_eq!(out, values);
        let bytes: Vec<u8> = values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
        decode_source(SourceType::F64, &bytes, &mut out);
        assert_eq!(out, values);
    }

    #[test]
    fn error_of_an_exact_type_is_zero_and_of_a_coarse_one_is_not() {
        let rows: Vec<f32> = (0..512).map(|i| ((i * 37 % 101) as f32 - 50.0) / 64.0).collect();
        let kernels = Kernels::best();
        let mut scratch = Vec::new();
        let mut blocks = vec![0; 2 * 256 * 4];
        let exact = encode_rows(kernels, BlockType::F32, &rows, 256, None, &mut blocks, &mut scratch);
        assert_eq!(exact.relative_rmse(), 0.0);
        let mut blocks = vec![0; 2 * 144];
        let coarse = encode_rows(kernels, BlockType::Q4_K, &rows, 256, None, &mut blocks, &mut scratch);
        assert!((0.01..0.12).contains(&coarse.relative_rmse()), "{}", coarse.relative_rmse());
    }
}
