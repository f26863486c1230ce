//! Integer codes with a scale for every group of columns: GPTQ, AWQ, compressed-tensors, MLX, LLM.int8() and more.

use std::path::Path;

use super::numbers::Numbers;
use super::reshaped::Shaping;
use super::{Levels, Packed, STEP, Scratch, Step};
use crate::error::Result;

/// Rows looked at together when the scales of a matrix are.
const ROWS_AT_A_TIME: usize = 256;

/// A matrix `w = (q - z) s`, or `w = q s + b`.
#[derive(Debug)]
pub(super) struct Affine<'a> {
    pub(super) scheme: &'static str,
    /// `[.., n_out, n_in]`
    pub(super) shape: Vec<usize>,
    /// `[n_out, n_in]`
    pub(super) codes: Numbers<'a>,
    /// The least code and the greatest.
    pub(super) code_range: (i32, i32),
    /// `[n_out, n_groups]`
    pub(super) scales: Numbers<'a>,
    /// What the scales are multiplied with.
    pub(super) scale_factor: f32,
    pub(super) zeros: Zeros<'a>,
    pub(super) groups: Groups,
    pub(super) shaping: Shaping,
}

/// What the codes are counted from.
#[derive(Debug)]
pub(super) enum Zeros<'a> {
    /// The same `z` everywhere.
    Fixed(f32),
    /// `z` of each group, `[n_out, n_groups]`, plus a number and then cut to as many bits as codes have.
    Codes { numbers: Numbers<'a>, plus: f32, modulus: f32 },
    /// `z` of each group, any number.
    Floats(Numbers<'a>),
    /// `b` of each group, which is the value of the code `centre`.
    Biases { numbers: Numbers<'a>, centre: f32 },
}

/// Which group a column is of.
#[derive(Debug)]
pub(super) enum Groups {
    /// Columns that follow each other, as many as this, make a group.
    Of(usize),
    /// That of each column.
    Listed(Vec<usize>),
}

impl Affine<'_> {
    /// Reads the scales of rows `first..first + n` and, if the groups have any, zeros or biases.
    fn read_groups(&self, first: usize, n: usize, scratch: &mut Scratch) -> Result<()> {
        let Scratch { bytes, scales, zeros, .. } = scratch;
        scales.resize(n * self.scales.n_cols(), 0.0);
        self.scales.read(first, scales, bytes)?;
        if self.scale_factor != 1.0 {
            scales.iter_mut().for_each(|s| *s *= self.scale_factor);
        }
        zeros.clear();
        match &self.zeros {
            Zeros::Fixed(z) => zeros.resize(scales.len(), *z),
            Zeros::Codes { numbers, plus, modulus } => {
                zeros.resize(scales.len(), 0.0);
                numbers.read(first, zeros, bytes)?;
                zeros.iter_mut().for_each(|z| *z = (*z + plus) % modulus);
            }
            Zeros::Floats(numbers) => {
                zeros.resize(scales.len(), 0.0);
                numbers.read(first, zeros, bytes)?;
            }
            Zeros::Biases { numbers, centre } => {
                zeros.resize(scales.len(), 0.0);
                numbers.read(first, zeros, bytes)?;
                zeros.iter_mut().zip(scales.iter()).for_each(|(z, s)| *z -= centre * s);
            }
        }
        Ok(())
    }

    /// The value of a code of zero.
    fn least(&self, scale: f32, zero: f32) -> f32 {
        match self.zeros {
            Zeros::Biases { .. } => zero,
            _ => -zero * scale,
        }
    }

    fn n_in(&self) -> usize {
        self.codes.n_cols()
    }

    /// Columns of a group, if groups are columns that follow each other.
    fn group(&self) -> Option<usize> {
        match self.groups {
            Groups::Of(n) => Some(n),
            Groups::Listed(_) => None,
        }
    }
}

impl Packed for Affine<'_> {
    fn scheme(&self) -> &'static str {
        self.scheme
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn shaping(&self) -> Shaping {
        self.shaping
    }

    fn path(&self) -> &Path {
        self.codes.view().path()
    }

    fn n_bytes(&self) -> u64 {
        self.codes.view().n_bytes + self.scales.view().n_bytes
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let (n_in, n_groups) = (self.n_in(), self.scales.n_cols());
        self.codes.read(first, out, &mut scratch.bytes)?;
        self.read_groups(first, out.len() / n_in, scratch)?;
        let is_biased = matches!(self.zeros, Zeros::Biases { .. });
        let value = |q: f32, s: f32, z: f32| if is_biased { q * s + z } else { (q - z) * s };
        let rows = out.chunks_exact_mut(n_in);
        let groups = scratch.scales.chunks_exact(n_groups).zip(scratch.zeros.chunks_exact(n_groups));
        for (row, (scales, zeros)) in rows.zip(groups) {
            match &self.groups {
                Groups::Of(group) => {
                    for ((codes, &s), &z) in row.chunks_mut(*group).zip(scales).zip(zeros) {
                        codes.iter_mut().for_each(|q| *q = value(*q, s, z));
                    }
                    if n_in.is_multiple_of(STEP) && (group.is_multiple_of(STEP) || *group >= n_in) {
                        steps.extend((0..n_in).step_by(STEP).map(|column| {
                            let (scale, zero) = (scales[column / group], zeros[column / group]);
                            Step { scale, least: self.least(scale, zero) }
                        }));
                    }
                }
                Groups::Listed(group_of) => {
                    row.iter_mut().zip(group_of).for_each(|(q, &g)| *q = value(*q, scales[g], zeros[g]));
                }
            }
        }
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        let Some(group) = self.group() else { return Ok(None) };
        let n_rows = self.shape[..self.shape.len() - 1].iter().product();
        let mut scratch = Scratch::default();
        let mut levels = Levels::new(self.code_range, group);
        for first in (0..n_rows).step_by(ROWS_AT_A_TIME) {
            self.read_groups(first, ROWS_AT_A_TIME.min(n_rows - first), &mut scratch)?;
            for (&scale, &zero) in scratch.scales.iter().zip(&scratch.zeros) {
                let whole = if matches!(self.zeros, Zeros::Biases { .. }) { None } else { Some(zero) };
                levels.add(scale, self.least(scale, zero), whole);
            }
        }
        Ok(Some(levels))
    }
}
