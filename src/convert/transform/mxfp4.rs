//! Rows of MXFP4 in two tensors of bytes.

use crate::checkpoint::TensorView;
use crate::error::Result;

/// A checkpoint tensor of bytes.
#[derive(Debug)]
pub(in crate::convert) struct Packed<'a> {
    /// Its name in the checkpoint.
    pub(in crate::convert) name: String,
    /// Its bytes.
    pub(in crate::convert) tensor: TensorView<'a>,
}

/// Decodes row `row` of codes and exponents (OCP Microscaling Formats 1.0, section 5): the codes are 16 numbers of
/// a sign, two bits of exponent and one of mantissa; the first of two is the low half of its byte.
pub(super) fn read_mxfp4(
    codes: &Packed<'_>,
    exponents: &Packed<'_>,
    row: usize,
    bytes: &mut Vec<u8>,
    out: &mut [f32],
) -> Result<()> {
    const NUMBERS: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    let (n_codes, n_exponents) = (out.len() / 2, out.len() / 32);
    bytes.resize(n_codes + n_exponents, 0);
    let (of_codes, of_exponents) = bytes.split_at_mut(n_codes);
    codes.tensor.read_at((row * n_codes) as u64, of_codes)?;
    exponents.tensor.read_at((row * n_exponents) as u64, of_exponents)?;
    let blocks = out.chunks_exact_mut(32).zip(of_codes.chunks_exact(16)).zip(of_exponents.iter());
    for ((out, codes), &exponent) in blocks {
        let scale = libm::exp2(f64::from(exponent) - 127.0) as f32;
        let number = |code: u8| {
            let x = NUMBERS[usize::from(code & 7)] * scale;
            if code & 8 == 0 { x } else { -x }
        };
        for (pair, &byte) in out.chunks_exact_mut(2).zip(codes) {
            (pair[0], pair[1]) = (number(byte & 15), number(byte >> 4));
        }
    }
    Ok(())
}
