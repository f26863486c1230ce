//! Where each row of a GGUF tensor is in the checkpoint.
//!
//! Whatever a conversion does to a tensor (reordering the rows of a head, stacking experts, taking q, k and v
//! out of one matrix, turning a matrix), an element of an output row lies at a place that this file computes.
//! Rows that lie together are read together, as far as they are asked for together.

mod grids;
mod held;
mod mxfp4;
pub(super) mod nvfp4;
mod place;
mod scaled;

use std::path::Path;

use sha2::{Digest, Sha256};

use gguf_simd::BlockType;

use crate::checkpoint::SourceType;
use crate::convert::blocks::Blocks;
use crate::convert::stored::{Scratch, Stored};
use crate::error::Result;
use crate::gguf::GgmlType;
use crate::model::arch::{RowMap, ValueMap};
use crate::quantize::{STEP, Step, decode_source};
pub(super) use mxfp4::Packed;
use mxfp4::read_mxfp4;
use place::{Place, of_tiles};
pub(super) use scaled::Factors;

/// The rows of one output tensor, in the order they are written.
#[derive(Debug)]
pub(super) struct SourceRows<'a> {
    origin: Origin<'a>,
    values: ValueMap,
    n_rows: usize,
    n_in: usize,
    /// Whether the floats lie on grids of few levels.
    is_on_grids: bool,
    /// Whether the rows are NVFP4, of which codes and scales are kept.
    is_nvfp4: bool,
    /// What the values are multiplied with at last.
    factors: Factors,
}

#[derive(Debug)]
enum Origin<'a> {
    /// One after the other.
    Checkpoint(Vec<Part<'a>>),
    Computed(Vec<f32>),
    /// Rows `first + i step` of codes of four bits, and of the exponents of every 32.
    Mxfp4 {
        codes: Packed<'a>,
        exponents: Packed<'a>,
        first: usize,
        step: usize,
    },
    /// Blocks of a GGUF file.
    Blocks(Blocks<'a>),
}

/// Rows of a checkpoint tensor.
#[derive(Debug)]
pub(super) struct Part<'a> {
    /// Its name in the checkpoint.
    pub(super) name: String,
    /// Its elements.
    pub(super) stored: Stored<'a>,
    /// Output rows.
    pub(super) n_rows: usize,
    /// Where each of them lies.
    pub(super) rows: RowMap,
}

/// What reading keeps from one group of rows to the next.
#[derive(Debug, Default)]
pub(super) struct Reading {
    bytes: Vec<u8>,
    blocks: Vec<u8>,
    block: Vec<f32>,
    /// The rows of a group, with their numbers in it, in the order of the file.
    order: Vec<(Place, usize)>,
    scratch: Scratch,
    run_steps: Vec<Step>,
    steps: Vec<Step>,
}

impl Reading {
    /// The grids that the rows read last lie on, one for every [`STEP`] columns; none if not all of them do.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }
}

impl<'a> SourceRows<'a> {
    /// The rows of these parts, of `n_in` elements. That the parts hold them is for the caller to have checked.
    ///
    /// # Panics
    /// Later, if they do not.
    pub(super) fn from_checkpoint(parts: Vec<Part<'a>>, values: ValueMap, n_in: usize) -> Self {
        let n_rows = parts.iter().map(|part| part.n_rows).sum();
        Self { values, ..Self::of(Origin::Checkpoint(parts), (n_rows, n_in)) }
    }

    /// One row of computed values.
    pub(super) fn computed(values: Vec<f32>) -> Self {
        let n_in = values.len();
        Self::of(Origin::Computed(values), (1, n_in))
    }

    /// Rows of `n_in` elements in MXFP4, of which every `step`th from `first` on is taken.
    pub(super) fn mxfp4(
        [codes, exponents]: [Packed<'a>; 2],
        (first, step): (usize, usize),
        n_rows_in: (usize, usize),
    ) -> Self {
        Self::of(Origin::Mxfp4 { codes, exponents, first, step }, n_rows_in)
    }

    /// Rows that are blocks already.
    pub(super) fn blocks(blocks: Blocks<'a>, n_rows_in: (usize, usize)) -> Self {
        Self::of(Origin::Blocks(blocks), n_rows_in)
    }

    fn of(origin: Origin<'a>, (n_rows, n_in): (usize, usize)) -> Self {
        let (values, factors) = (ValueMap::Same, Factors::default());
        Self { origin, values, n_rows, n_in, is_on_grids: false, is_nvfp4: false, factors }
    }

    /// The block type that holds the rows as the checkpoint has them.
    pub(super) fn packed_type(&self) -> Option<BlockType> {
        (matches!(self.origin, Origin::Mxfp4 { .. }) && !self.is_multiplied()).then_some(BlockType::MXFP4)
    }

    /// The rows, if they are blocks of type `ty` already: they are copied then, since to encode them again could
    /// change them.
    pub(super) fn blocks_of(&self, ty: impl Into<GgmlType>) -> Option<&Blocks<'a>> {
        match &self.origin {
            Origin::Blocks(blocks) if blocks.ty == ty.into() && !self.is_multiplied() => Some(blocks),
            _ => None,
        }
    }

    /// Whether they are weights, and not something that is only to be copied.
    pub(super) fn are_weights(&self) -> bool {
        !matches!(&self.origin, Origin::Blocks(blocks) if !blocks.are_weights())
    }

    /// The name of the element type of the source; F32 for computed values.
    pub(super) fn source_name(&self) -> &'static str {
        match &self.origin {
            Origin::Mxfp4 { .. } => "MXFP4",
            Origin::Blocks(blocks) => blocks.ty.known_name().expect("other types are refused"),
            Origin::Checkpoint(parts) => parts[0].stored.type_name(),
            Origin::Computed(_) => SourceType::F32.name(),
        }
    }

    /// The name in the checkpoint of the tensor that the rows are of, or of the first.
    pub(super) fn name(&self) -> &str {
        match &self.origin {
            Origin::Checkpoint(parts) => &parts[0].name,
            Origin::Computed(_) => "computed values",
            Origin::Mxfp4 { codes, .. } => &codes.name,
            Origin::Blocks(blocks) => blocks.name,
        }
    }

    /// Whether both are rows of one checkpoint tensor.
    pub(super) fn is_of_the_same_tensor(&self, other: &Self) -> bool {
        matches!((&self.origin, &other.origin), (Origin::Checkpoint(a), Origin::Checkpoint(b)) if a[0].name == b[0].name)
    }

    /// Whether a server has them, and reading all is not worth the time.
    pub(super) fn is_glimpsed(&self) -> bool {
        matches!(&self.origin, Origin::Checkpoint(parts) if parts[0].stored.is_glimpsed())
    }

    /// Rows in all.
    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Elements of a row.
    pub(super) fn n_in(&self) -> usize {
        self.n_in
    }

    /// Elements of all rows.
    pub(super) fn n_elements(&self) -> u64 {
        self.n_rows as u64 * self.n_in as u64
    }

    /// Bytes that reading `n_rows` rows takes from the checkpoint.
    pub(super) fn source_bytes(&self, n_rows: usize) -> u64 {
        match &self.origin {
            Origin::Checkpoint(parts) => parts[0].stored.bytes_of(n_rows * self.n_in),
            Origin::Computed(_) => 0,
            Origin::Mxfp4 { .. } => (n_rows * self.n_in / 32 * 17) as u64,
            Origin::Blocks(blocks) => blocks.n_bytes(n_rows * self.n_in) as u64,
        }
    }

    /// Adds to `hasher` what the values depend on beside the weights: which tensors they come from, in
    /// which order, or the values themselves if they are computed.
    pub(super) fn update_digest(&self, hasher: &mut Sha256) {
        const MOST_ROWS: usize = 64;
        hasher.update([self.n_rows as u64, self.n_in as u64].map(u64::to_le_bytes).as_flattened());
        hasher.update(format!("{:?};", self.values));
        self.factors.update_digest(hasher);
        if self.is_nvfp4 {
            hasher.update("NVFP4;");
        }
        match &self.origin {
            Origin::Computed(values) => values.iter().for_each(|value| hasher.update(value.to_le_bytes())),
            Origin::Blocks(blocks) => hasher.update(format!("{:?} {};", blocks.name, blocks.ty)),
            Origin::Mxfp4 { codes, exponents, first, step } => {
                for Packed { name, tensor } in [codes, exponents] {
                    let file = tensor.path().file_name();
                    hasher.update(format!("{name:?} {file:?} {:?} {first} {step};", tensor.shape));
                }
            }
            Origin::Checkpoint(parts) => {
                for Part { name, stored, n_rows, .. } in parts {
                    let (file, ty, shape) = (stored.path().file_name(), stored.type_name(), stored.shape());
                    hasher.update(format!("{name:?} {file:?} {ty} {shape:?} {n_rows};"));
                }
                for row in (0..self.n_rows).step_by(self.n_rows.div_ceil(MOST_ROWS)) {
                    let Place { part, first, stride, .. } = self.locate(parts, row);
                    hasher.update([part, first, stride].map(|n| (n as u64).to_le_bytes()).as_flattened());
                }
            }
        }
    }

    /// Where an element of output row `row` comes from: the file, and "tensor x, element [3, 7]" in it.
    pub(super) fn origin_of(&self, row: usize, column: usize) -> (&Path, String) {
        let parts = match &self.origin {
            Origin::Checkpoint(parts) => parts,
            Origin::Computed(_) => return (Path::new("config.json"), format!("computed value {column}")),
            Origin::Blocks(blocks) => {
                return (blocks.file.path(), format!("tensor {}, row {row}, element {column}", blocks.name));
            }
            Origin::Mxfp4 { codes: Packed { name, tensor }, first, step, .. } => {
                return (
                    tensor.path(),
                    format!("tensor {name}, row {}, element {column}", first + row * step),
                );
            }
        };
        let place = self.locate(parts, row);
        let Part { name, stored, rows, .. } = &parts[place.part];
        let column = match *rows {
            RowMap::TiledColumns { head_dim, n_group, group } => of_tiles(column, head_dim, n_group, group),
            _ => column,
        };
        let at = place.first + column * place.stride;
        let element = match *stored.shape() {
            [.., n] if stored.shape().len() > 1 => format!("[{}, {}]", at / n, at % n),
            _ => format!("[{at}]"),
        };
        (stored.path(), format!("tensor {name}, element {element}"))
    }

    /// Decodes output rows `first..` into `out`, `[rows, n_in]`.
    ///
    /// # Errors
    /// As [`Stored::read`].
    pub(super) fn read(&self, first: usize, out: &mut [f32], reading: &mut Reading) -> Result<()> {
        self.read_stored(first, out, reading)?;
        if self.is_multiplied() {
            reading.steps.clear();
            self.apply_factors(first, out);
        }
        Ok(())
    }

    /// As [`SourceRows::read`], without factors.
    fn read_stored(&self, first: usize, out: &mut [f32], reading: &mut Reading) -> Result<()> {
        reading.steps.clear();
        if self.is_nvfp4 {
            return self.decode_nvfp4(first, out, reading);
        }
        let parts = match &self.origin {
            Origin::Checkpoint(parts) => parts,
            Origin::Computed(values) => {
                out.copy_from_slice(values);
                return Ok(());
            }
            Origin::Blocks(blocks) => return blocks.decode(first * self.n_in, out, &mut reading.bytes),
            Origin::Mxfp4 { codes, exponents, first: offset, step } => {
                let rows = (first..).map(|row| offset + row * step);
                for (row, out) in rows.zip(out.chunks_exact_mut(self.n_in)) {
                    read_mxfp4(codes, exponents, row, &mut reading.bytes, out)?;
                }
                return Ok(());
            }
        };
        self.read_parts(parts, first, out, reading)?;
        self.values.apply((first, self.n_in), out);
        if self.is_on_grids {
            self.find_grids(out, &mut reading.steps);
        }
        Ok(())
    }

    /// Reads rows of checkpoint tensors, those together that lie together.
    fn read_parts(
        &self,
        parts: &[Part<'_>],
        first: usize,
        out: &mut [f32],
        reading: &mut Reading,
    ) -> Result<()> {
        let n_in = self.n_in;
        let Reading { bytes, block, order, scratch, run_steps, steps, .. } = reading;
        order.clear();
        order.extend((0..out.len() / n_in).map(|i| (self.locate(parts, first + i), i)));
        order.sort_unstable();
        let follows = |&(a, _): &(Place, usize), &(b, _): &(Place, usize)| {
            let is_next = b.stride == 1 && b.first == a.first + n_in;
            a.part == b.part && a.stride == b.stride && (is_next || b.stride > 1 && a.block == b.block)
        };
        let n_steps = n_in / STEP;
        let mut n_on_grids = 0;
        for run in order.chunk_by(follows) {
            let Place { part, first, stride, .. } = run[0].0;
            let Part { stored, rows, .. } = &parts[part];
            let last = run[run.len() - 1].0.first + (n_in - 1) * stride;
            if let (Stored::Plain(view), 1, true) = (stored, stride, keeps_columns(*rows)) {
                bytes.resize(view.dtype.bytes_of(last + 1 - first), 0);
                view.read_at(view.dtype.bytes_of(first) as u64, bytes)?;
                for (row, &(_, i)) in bytes.chunks_exact(view.dtype.bytes_of(n_in)).zip(run) {
                    decode_source(view.dtype, row, &mut out[i * n_in..][..n_in]);
                }
                continue;
            }
            block.resize(last + 1 - first, 0.0);
            stored.read(first, block, run_steps, scratch)?;
            if stride > 1 {
                for (place, i) in run {
                    let column = block[place.first - first..].iter().step_by(stride);
                    out[i * n_in..][..n_in].iter_mut().zip(column).for_each(|(out, x)| *out = *x);
                }
                continue;
            }
            for (row, &(_, i)) in block.chunks_exact(n_in).zip(run) {
                let out = &mut out[i * n_in..][..n_in];
                match *rows {
                    RowMap::TiledColumns { head_dim, n_group, group } => {
                        let from = |j: usize| row[of_tiles(j, head_dim, n_group, group)];
                        out.iter_mut().enumerate().for_each(|(j, out)| *out = from(j));
                    }
                    _ => out.copy_from_slice(row),
                }
            }
            if keeps_columns(*rows) && n_steps > 0 && run_steps.len() == run.len() * n_steps {
                steps.resize(order.len() * n_steps, Step { scale: 0.0, least: 0.0 });
                for (row, &(_, i)) in run_steps.chunks_exact(n_steps).zip(run) {
                    steps[i * n_steps..][..n_steps].copy_from_slice(row);
                }
                n_on_grids += run.len();
            }
        }
        if n_on_grids < order.len() || self.values != ValueMap::Same {
            steps.clear();
        }
        Ok(())
    }
}

/// Whether rows keep their columns where they are.
fn keeps_columns(rows: RowMap) -> bool {
    !matches!(rows, RowMap::TiledColumns { .. } | RowMap::Spread { .. } | RowMap::Columns { .. })
}
