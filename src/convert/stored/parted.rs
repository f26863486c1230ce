//! Codes that share a byte or word with others of rows far away: HQQ, quanto and BitNet.
//!
//! The weights, row after row, make a matrix of `width` columns, whose rows are cut into as many parts as a word has
//! places: word `i` of a column has the codes of row `i` of each part. A run of columns of this matrix shares a scale,
//! or a column does.

use std::path::Path;

use super::{Levels, Packed, STEP, Scratch, Shaping, Step, read_floats};
use crate::checkpoint::TensorView;
use crate::error::Result;

/// Scales looked at together when those of a matrix are.
const SCALES_AT_A_TIME: usize = 1 << 16;

/// A matrix `w = (q - z) s`.
#[derive(Debug)]
pub(super) struct Parted<'a> {
    pub(super) scheme: &'static str,
    /// `[n_out, n_in]`
    pub(super) shape: [usize; 2],
    pub(super) codes: Codes<'a>,
    pub(super) sharing: Sharing,
    pub(super) scales: TensorView<'a>,
    /// Whether weights are divided by their scales.
    pub(super) is_inverse: bool,
    pub(super) zeros: Zeros<'a>,
    pub(super) shaping: Shaping,
}

/// Where codes are.
#[derive(Debug)]
pub(super) struct Codes<'a> {
    pub(super) view: TensorView<'a>,
    pub(super) bits: usize,
    /// The greatest code there is.
    pub(super) greatest: i32,
    /// Bytes of a word, and the codes in it.
    pub(super) word_bytes: usize,
    pub(super) n_parts: usize,
    /// Whether the first part has the highest bits, and not the lowest.
    pub(super) is_first_highest: bool,
    /// Rows of a part.
    pub(super) part_rows: usize,
    /// Columns of the matrix.
    pub(super) width: usize,
}

/// Which weights share a scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sharing {
    /// So many that follow one another.
    Run(usize),
    /// A column of so many columns.
    Column(usize),
}

/// What codes are counted from.
#[derive(Debug)]
pub(super) enum Zeros<'a> {
    Fixed(f32),
    /// `z` for every scale.
    Floats(TensorView<'a>),
    /// What is taken from `q s`, for every scale.
    Shifts(TensorView<'a>),
}

impl Codes<'_> {
    /// Reads the codes of weights `first..`.
    fn read(&self, first: usize, out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
        let (mask, mut done) = ((1_u32 << self.bits) - 1, 0);
        while done < out.len() {
            let (row, column) = ((first + done) / self.width, (first + done) % self.width);
            let n = (self.width - column).min(out.len() - done);
            let (part, row) = (row / self.part_rows, row % self.part_rows);
            let place = if self.is_first_highest { self.n_parts - 1 - part } else { part };
            bytes.resize(n * self.word_bytes, 0);
            self.view.read_at(((row * self.width + column) * self.word_bytes) as u64, bytes)?;
            let out = &mut out[done..done + n];
            for (out, word) in out.iter_mut().zip(bytes.chunks_exact(self.word_bytes)) {
                let word = word.iter().rev().fold(0_u32, |word, &byte| word << 8 | u32::from(byte));
                *out = (word >> (place * self.bits) & mask) as f32;
            }
            done += n;
        }
        Ok(())
    }
}

impl Parted<'_> {
    fn group_of(&self, weight: usize) -> usize {
        match self.sharing {
            Sharing::Run(n) => weight / n,
            Sharing::Column(n) => weight % n,
        }
    }

    /// Reads scales `first..first + n`, and what codes are counted from.
    fn read_groups(&self, first: usize, n: usize, scratch: &mut Scratch) -> Result<()> {
        let Scratch { bytes, scales, zeros, .. } = scratch;
        let mut read = |view: &TensorView<'_>, out: &mut Vec<f32>| -> Result<()> {
            out.resize(n, 0.0);
            read_floats(view, first, out, bytes)
        };
        read(&self.scales, scales)?;
        if self.is_inverse {
            scales.iter_mut().for_each(|s| *s = 1.0 / *s);
        }
        zeros.clear();
        match &self.zeros {
            Zeros::Fixed(z) => zeros.resize(n, *z),
            Zeros::Floats(view) | Zeros::Shifts(view) => read(view, zeros)?,
        }
        Ok(())
    }

    /// The value of a code of zero.
    fn least(&self, scale: f32, zero: f32) -> f32 {
        if matches!(self.zeros, Zeros::Shifts(_)) { -zero } else { -zero * scale }
    }

    /// The columns of a row that share a scale, if a scale is of one row.
    fn group(&self) -> Option<usize> {
        match self.sharing {
            Sharing::Run(n) if n.is_multiple_of(self.shape[1]) => Some(self.shape[1]),
            Sharing::Run(n) if self.shape[1].is_multiple_of(n) => Some(n),
            _ => None,
        }
    }
}

impl Packed for Parted<'_> {
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
        self.codes.view.path()
    }

    fn n_bytes(&self) -> u64 {
        self.codes.view.n_bytes + self.scales.n_bytes
    }

    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        let first = first * self.shape[1];
        self.codes.read(first, out, &mut scratch.bytes)?;
        let last = first + out.len() - 1;
        let (mut start, mut end) = (self.group_of(first), self.group_of(last) + 1);
        // Columns may begin anew in between.
        if let Sharing::Column(n) = self.sharing
            && (end <= start || out.len() > n)
        {
            (start, end) = (0, n);
        }
        self.read_groups(start, end - start, scratch)?;
        let (scales, zeros) = (&scratch.scales, &scratch.zeros);
        let is_shifted = matches!(self.zeros, Zeros::Shifts(_));
        for (i, q) in out.iter_mut().enumerate() {
            let group = self.group_of(first + i) - start;
            let (s, z) = (scales[group], zeros[group]);
            *q = if is_shifted { *q * s - z } else { (*q - z) * s };
        }
        if self.group().is_some_and(|n| n.is_multiple_of(STEP)) {
            steps.extend((first..first + out.len()).step_by(STEP).map(|weight| {
                let group = self.group_of(weight) - start;
                Step { scale: scales[group], least: self.least(scales[group], zeros[group]) }
            }));
        }
        Ok(())
    }

    fn levels(&self) -> Result<Option<Levels>> {
        let Some(group) = self.group() else { return Ok(None) };
        let n_groups = self.group_of(self.shape.iter().product::<usize>() - 1) + 1;
        let mut scratch = Scratch::default();
        let mut levels = Levels::new((0, self.codes.greatest), group);
        for first in (0..n_groups).step_by(SCALES_AT_A_TIME) {
            self.read_groups(first, SCALES_AT_A_TIME.min(n_groups - first), &mut scratch)?;
            for (&scale, &zero) in scratch.scales.iter().zip(&scratch.zeros) {
                let whole = (!matches!(self.zeros, Zeros::Shifts(_))).then_some(zero);
                levels.add(scale, self.least(scale, zero), whole);
            }
        }
        Ok(Some(levels))
    }
}
