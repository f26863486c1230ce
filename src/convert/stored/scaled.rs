//! Floats of few bits with scales: FP8 by blocks, rows or tensors, and FP4 with a scale for every 16 or 32.

use std::path::Path;

use gguf_simd::BlockType;

use super::{Levels, Packed, Scratch, Step, read_floats};
use crate::checkpoint::{SourceType, TensorView};
use crate::error::{Error, Result};
use crate::quantize::{E2M1, decode_source};

/// The byte of E4M3 that stands for NaN.
const NAN: u8 = 0x7f;

/// A stack of matrices of floats, each a product of its code and a scale.
#[derive(Debug)]
pub(in crate::convert) struct Scaled<'a> {
    scheme: &'static str,
    codes: TensorView<'a>,
    /// The type of a code, of which an element of `codes` may hold several, the first in its lowest bits.
    element: SourceType,
    /// `[.., n_out, n_in]`
    shape: Vec<usize>,
    scales: TensorView<'a>,
    /// Scales of one matrix along the outputs and the inputs, and how many outputs and inputs share one.
    n_scales: [usize; 2],
    shared: [usize; 2],
    /// Whether one row of scales serves every matrix of the stack.
    is_common: bool,
    /// What every scale is multiplied with.
    factor: f32,
}

impl<'a> Scaled<'a> {
    /// The matrices of `codes`, each of which is an `element` or holds several, with scales each of which serves
    /// `block` of outputs and inputs where there are as many as that makes, or a row, or a matrix, or all of them.
    /// `names` are those of the two tensors.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the scales are of another number.
    pub(super) fn new(
        scheme: &'static str,
        names: [&str; 2],
        (codes, element): (TensorView<'a>, SourceType),
        scales: TensorView<'a>,
        block: [usize; 2],
    ) -> Result<Self> {
        let mut shape = codes.shape.to_vec();
        let wrong = |what: String| Err(Error::malformed(codes.path(), what));
        let [ref outer @ .., n_out, ref mut n_in] = shape[..] else {
            return wrong(format!("tensor {} has one dimension, and matrices have two", names[0]));
        };
        *n_in *= codes.dtype.element_bits() / element.element_bits();
        let (n_matrices, n_in) = (outer.iter().product::<usize>(), *n_in);
        let n = scales.n_elements();
        let of_blocks = [n_out.div_ceil(block[0]), n_in.div_ceil(block[1])];
        // A shape of as many dimensions tells rows and blocks apart where both would be as many.
        let is_blocks = n == n_matrices * of_blocks[0] * of_blocks[1]
            && (scales.shape.len() < 2 || scales.shape[scales.shape.len() - 1] == of_blocks[1]);
        let (n_scales, shared) = if is_blocks {
            (of_blocks, block)
        } else if n == n_matrices * n_out {
            ([n_out, 1], [1, n_in])
        } else if n == n_matrices || n == 1 {
            ([1, 1], [n_out, n_in])
        } else {
            return wrong(format!(
                "tensor {} has shape {:?}, which is neither a scale for each {} by {} weights of {} {:?} nor for each row \
                 or the whole",
                names[1], scales.shape, block[0], block[1], names[0], codes.shape
            ));
        };
        let is_common = n_matrices > 1 && n == n_scales[0] * n_scales[1];
        Ok(Self { scheme, codes, element, shape, scales, n_scales, shared, is_common, factor: 1.0 })
    }

    /// The same with scales that are multiplied with `factor`.
    pub(super) fn times(self, factor: f32) -> Self {
        Self { factor, ..self }
    }

    fn n_out(&self) -> usize {
        self.shape[self.shape.len() - 2]
    }

    /// What all weights are multiplied with beside their scales.
    pub(in crate::convert) fn factor(&self) -> f32 {
        self.factor
    }

    /// Puts rows `first..` into `out` as GGUF's blocks of NVFP4, whose rows are `row_bytes` long: the same codes with the
    /// same scales, without the factor.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a scale that is NaN; as [`TensorView::read_at`].
    pub(in crate::convert) fn read_nvfp4(
        &self,
        first: usize,
        row_bytes: usize,
        out: &mut [u8],
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        /// Four scales and 64 codes.
        const BLOCK: usize = 4 + 64 / 2;
        const SIGN: u8 = 0x80;
        let (n_in, n_scales) = (self.shape[self.shape.len() - 1], self.n_scales[1]);
        let n_rows = out.len() / row_bytes;
        let n_codes = n_rows * n_in / 2;
        bytes.resize(n_codes + n_rows * n_scales, 0);
        let (codes, scales) = bytes.split_at_mut(n_codes);
        self.codes.read_at((first * n_in / 2) as u64, codes)?;
        self.scales.read_at((first * n_scales) as u64, scales)?;
        if let Some(at) = scales.iter().position(|scale| scale & !SIGN == NAN) {
            let (row, column) = (first + at / n_scales, at % n_scales);
            let what = format!(
                "scale [{row}, {column}] of weights in NVFP4 is not a number: convert or download the model again"
            );
            return Err(Error::malformed(self.scales.path(), what));
        }
        let sources = codes.as_chunks::<32>().0.iter().zip(scales.as_chunks::<4>().0);
        for (block, (codes, scales)) in out.as_chunks_mut::<BLOCK>().0.iter_mut().zip(sources) {
            let (block_scales, block_codes) = block.split_at_mut(4);
            let groups = block_codes.as_chunks_mut::<8>().0.iter_mut().zip(codes.as_chunks::<8>().0);
            for ((block_scale, scale), (out, codes)) in block_scales.iter_mut().zip(scales).zip(groups) {
                *block_scale = scale & !SIGN;
                // Blocks know no signs of scales: codes get them, whose highest bit is one.
                let sign = scale & SIGN | (scale & SIGN) >> 4;
                for (j, out) in out.iter_mut().enumerate() {
                    // Weights j and j + 8 share a byte there, 2 j and 2 j + 1 here.
                    let code = |i: usize| codes[i / 2] >> (i % 2 * 4) & 15;
                    *out = (code(j) | code(j + 8) << 4) ^ sign;
                }
            }
        }
        Ok(())
    }
}

impl Packed for Scaled<'_> {
    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn path(&self) -> &Path {
        self.codes.path()
    }

    fn n_bytes(&self) -> u64 {
        self.codes.n_bytes + self.scales.n_bytes
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        _steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let n_in = self.shape[self.shape.len() - 1];
        let Scratch { bytes, scales, .. } = scratch;
        bytes.resize(self.element.bytes_of(out.len()), 0);
        self.codes.read_at(self.element.bytes_of(first * n_in) as u64, bytes)?;
        if self.element == SourceType::F4 {
            let pairs = out.as_chunks_mut::<2>().0;
            for (pair, byte) in pairs.iter_mut().zip(bytes.iter()) {
                *pair = [E2M1[usize::from(byte & 15)], E2M1[usize::from(byte >> 4)]];
            }
        } else {
            decode_source(self.element, bytes, out);
        }
        let n = self.n_scales[1];
        scales.resize(n, 0.0);
        let mut at = None;
        for (i, row) in out.chunks_exact_mut(n_in).enumerate() {
            let (matrix, row_in) = ((first + i) / self.n_out(), (first + i) % self.n_out());
            let matrix = if self.is_common { 0 } else { matrix };
            let row_of_scales = matrix * self.n_scales[0] + row_in / self.shared[0];
            if at != Some(row_of_scales) {
                read_floats(&self.scales, row_of_scales * n, scales, bytes)?;
                scales.iter_mut().for_each(|s| *s *= self.factor);
                at = Some(row_of_scales);
            }
            for (codes, scale) in row.chunks_mut(self.shared[1]).zip(scales.iter()) {
                codes.iter_mut().for_each(|x| *x *= scale);
            }
        }
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        Ok(None)
    }

    fn block_type(&self) -> Option<BlockType> {
        (self.scheme == "MXFP4").then_some(BlockType::MXFP4)
    }

    fn as_nvfp4(&self) -> Option<&Scaled<'_>> {
        let is_e4m3 = self.scales.dtype == SourceType::F8_E4M3;
        (self.element == SourceType::F4 && self.shared == [1, 16] && is_e4m3 && !self.is_common)
            .then_some(self)
    }
}
