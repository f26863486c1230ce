//! Tensors of weights, however a checkpoint stores them.
//!
//! Quantised checkpoints keep a matrix as codes with scales and more beside it, each format under other names and in
//! another order. Here each such group of tensors becomes one tensor of weights under the name that a plain
//! checkpoint would have it by ([`Tensors`]), whose rows are decoded as they are asked for, by the rule of the program
//! that made it. Whatever else a conversion does knows nothing of formats, nor of adapters.
//!
//! - `formats`: which tensors of which names are what;
//! - [`levels`]: the block type that holds the codes of a tensor as they are.
//!
//! One file for each way of storing a matrix:
//!
//! - [`numbers`]: packed matrices of small numbers, which the others read;
//! - [`affine`]: integer codes with scales (GPTQ, AWQ, compressed-tensors, MLX, LLM.int8());
//! - `scaled`: floats of few bits with scales (FP8, FP4);
//! - `looked_up`: codes of one table (bitsandbytes' NF4 and FP4);
//! - `tabled`: codes of a table for each output (SqueezeLLM);
//! - `parted`: codes that share a byte or word with others of rows far away (HQQ, quanto, BitNet);
//! - `additive`: sums of vectors from codebooks (AQLM);
//! - `mixed`: codes of several widths (EXL2);
//! - `tiles`: the orders in which kernels take codes (Marlin and kin);
//! - `reshaped`: tensors that do not say the dimensions of their matrix;
//! - `ranks`: matrices of which several files hold a part each.
//!
//! Adapters, which change tensors as they are read:
//!
//! - `adapted`: tensors that an adapter changes, of whichever kind;
//! - `merged`: low-rank changes merged into a matrix;
//! - `merged_experts`: the same for matrices of experts;
//! - `patched`: tensors of which an adapter has some rows anew.

mod adapted;
mod additive;
mod affine;
mod formats;
mod levels;
mod looked_up;
mod merged;
mod merged_experts;
mod mixed;
mod numbers;
mod parted;
mod patched;
mod ranks;
mod reshaped;
mod scaled;
mod tabled;
mod tiles;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use gguf_simd::BlockType;

use crate::checkpoint::{Checkpoint, ExpertsLowRank, LowRank, NewRows, SourceType, TensorView};
use crate::error::{Error, Result};
use crate::model::arch::Dialect;
use crate::quantize::{STEP, Step, decode_source};
use adapted::Adapted;
pub(super) use levels::Levels;
use merged::Merged;
pub(super) use merged_experts::ExpertRows;
use merged_experts::MergedExperts;
use patched::Patched;
use reshaped::{Reshaped, Shaping};
pub(super) use scaled::Scaled;

/// A tensor of weights that is not stored as floats.
pub(super) trait Packed: Debug + Send + Sync {
    /// The name of the format, for people.
    fn scheme(&self) -> &'static str;

    /// Its dimensions, outermost first: at least two.
    fn shape(&self) -> &[usize];

    /// A file that it is in.
    fn path(&self) -> &Path;

    /// Bytes that it takes in the checkpoint.
    fn n_bytes(&self) -> u64;

    /// What is known of its dimensions.
    fn shaping(&self) -> Shaping {
        Shaping::Exact
    }

    /// Decodes rows `first..` into `out`, `[rows, n_in]`. Where every [`STEP`] columns lie on a grid, adds the grids
    /// of these rows to `steps`.
    ///
    /// # Errors
    /// As [`TensorView::read_at`].
    fn read_rows(
        &self,
        first: usize,
        out: &mut [f32],
        steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()>;

    /// What the grids of all rows have in common; `None` where rows lie on none.
    ///
    /// # Errors
    /// As [`Packed::read_rows`].
    fn levels(&self) -> Result<Option<Levels>>;

    /// The block type that is the same format, of codes that lie on no grid.
    fn block_type(&self) -> Option<BlockType> {
        None
    }

    /// The same as NVFP4, if it is: codes of four bits with a scale of E4M3 for every 16, and one of all.
    fn as_nvfp4(&self) -> Option<&Scaled<'_>> {
        None
    }

    /// The block type of the same elements, if they are plain floats.
    fn float_type(&self) -> Option<BlockType> {
        None
    }

    /// Whether its weights were quantised.
    fn is_quantised(&self) -> bool {
        true
    }
}

/// What reading keeps from one time to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    bytes: Vec<u8>,
    scales: Vec<f32>,
    zeros: Vec<f32>,
    rows: Vec<f32>,
}

/// A tensor of weights.
#[derive(Clone, Debug)]
pub(super) enum Stored<'a> {
    /// Elements one after the other.
    Plain(TensorView<'a>),
    /// Anything else.
    Packed(Arc<dyn Packed + 'a>),
}

/// All tensors of a checkpoint, by the names that they would have if they were plain.
#[derive(Debug)]
pub(super) struct Tensors<'a> {
    by_name: BTreeMap<String, Stored<'a>>,
    /// Those that cannot be read, with the reason.
    refused: BTreeMap<String, Error>,
}

impl<'a> Tensors<'a> {
    /// The tensors of `checkpoint`.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the parts of a packed tensor are missing or do not fit together.
    pub(super) fn of(checkpoint: &'a Checkpoint) -> Result<Self> {
        let (packed, parts) = formats::find(checkpoint)?;
        let (mut by_name, mut refused) = (packed, BTreeMap::new());
        for name in checkpoint.tensor_names().filter(|name| !parts.contains(*name)) {
            match checkpoint.tensor(name) {
                Ok(Some(view)) => {
                    let joined = ranks::tensor(checkpoint, name)?;
                    by_name.insert(name.to_owned(), joined.unwrap_or(Stored::Plain(view)));
                }
                Ok(None) => {}
                Err(error) => drop(refused.insert(name.to_owned(), error)),
            }
        }
        Ok(Self { by_name, refused })
    }

    /// All names, sorted.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let mut names: Vec<&str> =
            self.by_name.keys().chain(self.refused.keys()).map(String::as_str).collect();
        names.sort_unstable();
        names.into_iter()
    }

    /// The tensor of this name.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if its elements are of a type that cannot be read.
    pub(super) fn get(&self, name: &str) -> Result<Option<&Stored<'a>>> {
        match self.refused.get(name) {
            Some(Error::Unsupported { path, what }) => Err(Error::unsupported(path, what.clone())),
            Some(error) => Err(Error::usage(error.to_string())),
            None => Ok(self.by_name.get(name)),
        }
    }

    /// Which program's names and shapes they have.
    pub(super) fn dialect(&self) -> Dialect {
        let is_mlx =
            |stored: &Stored<'_>| matches!(stored, Stored::Packed(packed) if packed.scheme() == "MLX");
        let tensors = self.by_name.iter();
        Dialect::of(tensors.map(|(name, stored)| (name.as_str(), stored.shape(), is_mlx(stored))))
    }

    /// Puts a tensor in the place of the one of this name.
    pub(super) fn put(&mut self, name: &str, tensor: Stored<'a>) {
        self.refused.remove(name);
        self.by_name.insert(name.to_owned(), tensor);
    }

    /// Whether any is quantised.
    pub(super) fn has_quantised(&self) -> bool {
        self.by_name.values().any(Stored::is_quantised)
    }

    /// The first of those that `is_asked` for that is neither packed in a known way nor plain floats.
    pub(super) fn first_unknown(&self, is_asked: impl Fn(&str) -> bool) -> Option<&str> {
        let is_unknown = |name: &str| match self.by_name.get(name) {
            Some(Stored::Plain(view)) => !view.dtype.is_plain_float(),
            Some(Stored::Packed(_)) => false,
            None => true,
        };
        self.names().find(|name| is_asked(name) && is_unknown(name))
    }
}

impl<'a> Stored<'a> {
    /// Its dimensions, outermost first.
    pub(super) fn shape(&self) -> &[usize] {
        match self {
            Self::Plain(view) => view.shape,
            Self::Packed(packed) => packed.shape(),
        }
    }

    /// Whether it is plain and of a file that [`ReadFile::is_glimpsed`](crate::read_file::ReadFile::is_glimpsed).
    pub(super) fn is_glimpsed(&self) -> bool {
        matches!(self, Self::Plain(view) if view.is_glimpsed())
    }

    /// A file that it is in.
    pub(super) fn path(&self) -> &Path {
        match self {
            Self::Plain(view) => view.path(),
            Self::Packed(packed) => packed.path(),
        }
    }

    /// Whether its weights were quantised.
    pub(super) fn is_quantised(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Packed(packed) => packed.is_quantised(),
        }
    }

    /// The sum of it, called `name`, and what an adapter adds.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the two are of other shapes.
    pub(super) fn with(self, name: &str, added: &LowRank<'a>) -> Result<Self> {
        let change = Merged::new(name, &self, added)?;
        Ok(Self::Packed(Arc::new(Adapted::new(self, change))))
    }

    /// The sum of it, called `name`, and what an adapter adds to the experts whose `rows` it has.
    ///
    /// # Errors
    /// [`Error::Malformed`] if the two are of other shapes.
    pub(super) fn with_experts(
        self,
        name: &str,
        added: &ExpertsLowRank<'a>,
        rows: ExpertRows,
    ) -> Result<Self> {
        let change = MergedExperts::new(name, &self, added, rows)?;
        Ok(Self::Packed(Arc::new(Adapted::new(self, change))))
    }

    /// The same, called `name`, with the rows that an adapter has anew.
    ///
    /// # Errors
    /// [`Error::Malformed`] if it has no such rows.
    pub(super) fn with_rows(self, name: &str, rows: &NewRows<'a>) -> Result<Self> {
        let change = Patched::new(name, &self, rows)?;
        Ok(Self::Packed(Arc::new(Adapted::new(self, change))))
    }

    /// The same with the dimensions that config.json makes it, if its own may be those.
    pub(super) fn in_shape(self, shape: &[usize]) -> Self {
        match &self {
            Self::Packed(packed) if packed.shape() != shape => match Reshaped::new(packed, shape) {
                Some(reshaped) => Self::Packed(Arc::new(reshaped)),
                None => self,
            },
            _ => self,
        }
    }

    /// What its elements are called.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Plain(view) => view.dtype.name(),
            Self::Packed(packed) => packed.scheme(),
        }
    }

    /// The block type of the same elements, if they are plain floats.
    pub(super) fn float_type(&self) -> Option<BlockType> {
        match self {
            Self::Plain(view) => float_type_of(view.dtype),
            Self::Packed(packed) => packed.float_type(),
        }
    }

    /// The same as NVFP4, if it is.
    pub(super) fn as_nvfp4(&self) -> Option<&Scaled<'_>> {
        match self {
            Self::Plain(_) => None,
            Self::Packed(packed) => packed.as_nvfp4(),
        }
    }

    /// Bytes that `n` elements take.
    pub(super) fn bytes_of(&self, n: usize) -> u64 {
        match self {
            Self::Plain(view) => view.dtype.bytes_of(n) as u64,
            Self::Packed(packed) => {
                let n_elements: usize = packed.shape().iter().product();
                (u128::from(packed.n_bytes()) * n as u128 / n_elements.max(1) as u128) as u64
            }
        }
    }

    /// Decodes elements `first..` into `out`. If these are whole rows that lie on grids, `steps` gets those.
    ///
    /// # Errors
    /// As [`TensorView::read_at`].
    pub(super) fn read(
        &self,
        first: usize,
        out: &mut [f32],
        steps: &mut Vec<Step>,
        scratch: &mut Scratch,
    ) -> Result<()> {
        steps.clear();
        match self {
            Self::Plain(view) => read_floats(view, first, out, &mut scratch.bytes),
            Self::Packed(packed) => {
                let n_in = packed.shape()[packed.shape().len() - 1];
                if first.is_multiple_of(n_in) && out.len().is_multiple_of(n_in) {
                    return packed.read_rows(first / n_in, out, steps, scratch);
                }
                let rows = first / n_in..(first + out.len()).div_ceil(n_in);
                let mut whole = std::mem::take(&mut scratch.rows);
                whole.resize(rows.len() * n_in, 0.0);
                let read = packed.read_rows(rows.start, &mut whole, steps, scratch);
                out.copy_from_slice(&whole[first - rows.start * n_in..][..out.len()]);
                scratch.rows = whole;
                steps.clear();
                read
            }
        }
    }
}

/// The block type of plain floats.
fn float_type_of(dtype: SourceType) -> Option<BlockType> {
    match dtype {
        SourceType::F64 | SourceType::F32 => Some(BlockType::F32),
        SourceType::F16 => Some(BlockType::F16),
        SourceType::BF16 => Some(BlockType::BF16),
        _ => None,
    }
}

/// Reads elements `first..` of a tensor of numbers that are not packed, as floats.
///
/// # Errors
/// As [`TensorView::read_at`]; [`Error::Unsupported`] for numbers that share a byte, which only whole rows are read of.
fn read_floats(view: &TensorView<'_>, first: usize, out: &mut [f32], bytes: &mut Vec<u8>) -> Result<()> {
    if view.dtype.element_bits() < 8 {
        let what = format!(
            "a tensor beside the codes of its weights has elements of {}, which cannot be read there; make the checkpoint \
             anew, or convert the original model",
            view.dtype
        );
        return Err(Error::unsupported(view.path(), what));
    }
    bytes.resize(view.dtype.bytes_of(out.len()), 0);
    view.read_at(view.dtype.bytes_of(first) as u64, bytes)?;
    decode_source(view.dtype, bytes, out);
    Ok(())
}

#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod tests;
