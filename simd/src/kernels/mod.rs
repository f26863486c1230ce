//! The function table of a CPU: scalar first, each better tier overwrites.
//!
//! What each tier has for each type stands in `kernels/rows.rs`, from which `kernels/table.rs` assembles the
//! table of a tier; a gap keeps the function of the tier below, and every entry knows which tier it came from.
//! [`Kernels`] is a table with the proof that this CPU can execute it. Its public functions check every length
//! and only then call a function of the table.

mod inputs;
pub(crate) mod rows;
mod table;

use std::sync::OnceLock;

use crate::activation::{Activation, ActivationFormat, Q8KWindow, Q8Window, WINDOW_LEN};
use crate::attention::Attention;
use crate::block::BlockType;
use crate::columns::ColumnsMut;
use crate::gemm::Product;
use crate::isa::{Isa, Proof};
use crate::ops::Ops;
pub use inputs::InputRow;
use rows::Gemv;
use table::{Entry, Table};

/// What can be done with blocks, as the columns of `gguf-run inspect --kernels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Blocks to floats.
    Decode,
    /// Floats to blocks.
    Encode,
    /// A matrix times a vector.
    Gemv,
    /// A matrix times a batch.
    Gemm,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 4] = [Self::Decode, Self::Encode, Self::Gemv, Self::Gemm];

    /// The name, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Encode => "encode",
            Self::Gemv => "gemv",
            Self::Gemm => "gemm",
        }
    }
}

/// The tier whose kernel does `operation` on `ty` in the table of `isa`, whether this CPU has `isa` or
/// not; `None` if the tier belongs to another architecture than this program, or if no tier encodes the
/// type. Where a tier has no kernel of its own, this is one below it.
pub fn origin(isa: Isa, ty: BlockType, operation: Operation) -> Option<Isa> {
    if isa.is_of_target() { Some(Table::of(isa).origin(ty, operation)) } else { None }
}

/// As [`origin`], for the quantisers of activations.
pub fn origin_of_quantisers(isa: Isa) -> Option<Isa> {
    isa.is_of_target().then(|| Table::of(isa).quantisers.tier)
}

/// Everything this crate computes, in the version for one tier of CPU features.
pub struct Kernels {
    /// The functions of the tier that `of` was given the proof of: this CPU has their features.
    table: Table,
    ops: &'static Ops,
    attention: &'static Attention,
}

impl core::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Kernels").field(&self.isa()).finish()
    }
}

impl Kernels {
    /// The table of a tier; `None` if this CPU lacks the tier.
    pub fn get(isa: Isa) -> Option<&'static Self> {
        static TABLES: [OnceLock<Option<Kernels>>; Isa::COUNT] = [const { OnceLock::new() }; Isa::COUNT];
        TABLES[isa as usize].get_or_init(|| isa.detect().map(Self::of)).as_ref()
    }

    /// The table of the tier that was proved.
    fn of(proof: Proof) -> Self {
        Self { table: Table::of(proof.isa()), ops: Ops::of(proof), attention: Attention::of(proof) }
    }

    /// The table of the best tier this CPU has.
    pub fn best() -> &'static Self {
        Self::get(Isa::best()).expect("a detected tier has a table")
    }

    /// The tier of this table.
    pub fn isa(&self) -> Isa {
        self.table.isa
    }

    /// The operations on float rows of this tier.
    pub fn ops(&self) -> &'static Ops {
        self.ops
    }

    /// The operations on cached keys and values of this tier.
    pub fn attention(&self) -> &'static Attention {
        self.attention
    }

    /// Decodes whole blocks into `block_len` floats each.
    ///
    /// # Panics
    /// If `blocks` is not whole blocks or `out` does not hold exactly their elements.
    pub fn decode(&self, ty: BlockType, blocks: &[u8], out: &mut [f32]) {
        assert_eq!(Some(blocks.len()), ty.row_bytes(out.len()), "{ty} blocks for {} floats", out.len());
        // SAFETY: `of` took the proof that this CPU has the features of the table's functions; the lengths are
        // those that the type's functions ask for.
        unsafe { (self.table.kernels(ty).decode.function)(blocks, out) }
    }

    /// Encodes one row, or several that follow each other, with the least error the type's search finds;
    /// `importance` weighs the squared error of each element. Blocks are searched several at a time: short
    /// rows are faster together. A weight that is not finite is encoded as some finite one.
    ///
    /// # Panics
    /// If `row` does not divide into blocks, `out` is not exactly their bytes, or `importance` is not as long as `row`.
    pub fn encode(&self, ty: BlockType, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        assert_eq!(Some(out.len()), ty.row_bytes(row.len()), "{ty} blocks of {} floats", row.len());
        assert!(importance.is_none_or(|w| w.len() == row.len()), "one importance per element");
        // SAFETY: `of` took the proof that this CPU has the features of the table's functions.
        unsafe { (self.table.kernels(ty).encode.function)(row, importance, out) }
    }

    /// Quantises a row of activations to 8 bits with one scale per 32 values; pads the last window.
    /// A group of 32 that holds a NaN or an infinity gets the scale NaN and zero codes.
    ///
    /// # Panics
    /// If `x` is not a multiple of 32 values or `out` not `ceil(x.len() / 256)` windows.
    pub fn quantize_q8_0(&self, x: &[f32], out: &mut [Q8Window]) {
        assert!(x.len().is_multiple_of(32), "{} activations are not groups of 32", x.len());
        assert_eq!(out.len(), x.len().div_ceil(WINDOW_LEN), "windows for {} activations", x.len());
        // SAFETY: `of` took the proof that this CPU has the features of the table's functions.
        unsafe { (self.table.quantisers.function.q8_0)(x, out) }
    }

    /// Quantises a row of activations to 8 bits with one scale per 256 values. A group of 256 that
    /// holds a NaN or an infinity gets the scale NaN and zero codes.
    ///
    /// # Panics
    /// If `x` is not a multiple of 256 values or `out` not `x.len() / 256` windows.
    pub fn quantize_q8_k(&self, x: &[f32], out: &mut [Q8KWindow]) {
        assert!(x.len().is_multiple_of(WINDOW_LEN), "{} activations are not windows of 256", x.len());
        assert_eq!(out.len(), x.len() / WINDOW_LEN, "windows for {} activations", x.len());
        // SAFETY: `of` took the proof that this CPU has the features of the table's functions.
        unsafe { (self.table.quantisers.function.q8_k)(x, out) }
    }

    /// Multiplies a matrix with a vector: `out[r]` is row `r` of `weights: [n_out, n_in]` times `x`.
    ///
    /// # Panics
    /// If `n_in` does not divide into blocks, `weights` is not exactly `out.len()` rows, or `x` is
    /// not one row of `n_in` activations in the format of `ty`.
    pub fn gemv(&self, ty: BlockType, weights: &[u8], n_in: usize, x: Activation<'_>, out: &mut [f32]) {
        check_product(ty, weights, n_in, out.len());
        assert_eq!(x.len(), row_len(ty, n_in), "activations for rows of {n_in}");
        self.run_gemv(ty, weights, n_in, x, out);
    }

    /// As [`Kernels::gemm`], with a matrix of floats: column `c` of `out: [n_cols, n_out]` is
    /// `weights: [n_out, n_in]` times row `c` of `x: [n_cols, n_in]`.
    ///
    /// # Panics
    /// As there.
    pub fn gemm_f32(&self, weights: &[f32], n_in: usize, x: &[f32], out: ColumnsMut<'_>) {
        // Matrices in files are little-endian.
        const { assert!(cfg!(target_endian = "little"), "floats in memory are not as in files") };
        // SAFETY: these are the bytes of initialised floats, borrowed as long as they are; bytes have no alignment.
        let bytes = unsafe { core::slice::from_raw_parts(weights.as_ptr().cast(), size_of_val(weights)) };
        self.gemm(BlockType::F32, bytes, n_in, Activation::F32(x), out);
    }

    /// Multiplies a matrix with the rows of a batch: column `c` of `out: [n_cols, n_out]` is
    /// `weights: [n_out, n_in]` times row `c` of `x`, which holds the rows one after the other.
    /// The bits are those of [`Kernels::gemv`].
    ///
    /// Up to eight columns cost little more than one: the weights are read once, in order, and unpacked once.
    ///
    /// Unpacked panels and unfinished sums lie on the stack of the calling thread: up to 320 KB (a constant
    /// assertion holds it there), of which a small product touches little.
    ///
    /// # Panics
    /// As [`Kernels::gemv`], with `out.n_rows()` rows of weights and `out.n_cols()` rows of `x`.
    pub fn gemm(
        &self,
        ty: BlockType,
        weights: &[u8],
        n_in: usize,
        x: Activation<'_>,
        mut out: ColumnsMut<'_>,
    ) {
        check_product(ty, weights, n_in, out.n_rows());
        let x_row = row_len(ty, n_in);
        assert_eq!(
            Some(x.len()),
            x_row.checked_mul(out.n_cols()),
            "activations for {} rows of {n_in}",
            out.n_cols()
        );
        match self.table.kernels(ty).gemm {
            Some(Entry { function: batch, .. })
                if n_in > 0 && out.n_rows() > 0 && out.n_cols() >= batch.min_columns =>
            {
                // SAFETY: `of` took the proof that this CPU has the features of the table's functions; the
                // lengths have been checked.
                unsafe {
                    match (batch.product, x) {
                        (Product::F32(gemm), Activation::F32(x)) => gemm(weights, x, &mut out),
                        (Product::Q8_0(gemm), Activation::Q8_0(x)) => gemm(weights, x, &mut out),
                        (Product::Q8K(gemm), Activation::Q8K(x)) => gemm(weights, x, &mut out),
                        (_, x) => wrong_activations(ty, x),
                    }
                }
            }
            _ => self.gemv_per_column(ty, weights, n_in, x, &mut out),
        }
    }

    /// The batch product by dot products, of arguments whose lengths have been checked.
    fn gemv_per_column(
        &self,
        ty: BlockType,
        weights: &[u8],
        n_in: usize,
        x: Activation<'_>,
        out: &mut ColumnsMut<'_>,
    ) {
        let x_row = row_len(ty, n_in);
        let row_bytes = weights.len() / out.n_rows().max(1);
        // A chunk of rows stays in the L2 cache while every column passes over it.
        let chunk_rows = (PANEL_BYTES / row_bytes.max(1)).max(1);
        for first in (0..out.n_rows()).step_by(chunk_rows) {
            let end = out.n_rows().min(first + chunk_rows);
            let chunk = &weights[first * row_bytes..end * row_bytes];
            for c in 0..out.n_cols() {
                let x = x.slice(c * x_row, x_row);
                self.run_gemv(ty, chunk, n_in, x, &mut out.column(c)[first..end]);
            }
        }
    }

    /// The product, of arguments whose lengths have been checked.
    fn run_gemv(&self, ty: BlockType, weights: &[u8], n_in: usize, x: Activation<'_>, out: &mut [f32]) {
        if n_in == 0 || out.is_empty() {
            return out.fill(0.0);
        }
        // SAFETY: `of` took the proof that this CPU has the features of the table's functions; the lengths
        // have been checked.
        unsafe {
            match (self.table.kernels(ty).gemv.function, x) {
                (Gemv::F32(gemv), Activation::F32(x)) => gemv(weights, x, out),
                (Gemv::Q8_0(gemv), Activation::Q8_0(x)) => gemv(weights, x, out),
                (Gemv::Q8K(gemv), Activation::Q8K(x)) => gemv(weights, x, out),
                (_, x) => wrong_activations(ty, x),
            }
        }
    }

    /// The tier whose kernel does `operation` on `ty`: this table's own or, where that has none, one
    /// below. A batch product without a kernel is one dot product per
    /// column.
    pub fn origin(&self, ty: BlockType, operation: Operation) -> Isa {
        self.table.origin(ty, operation)
    }
}

fn wrong_activations(ty: BlockType, x: Activation<'_>) -> ! {
    panic!("{ty} takes {:?} activations, not {:?}", ty.activation(), x.format())
}

/// Bytes of weights that are multiplied with every column before the next follow.
const PANEL_BYTES: usize = 128 << 10;

fn check_product(ty: BlockType, weights: &[u8], n_in: usize, n_out: usize) {
    let bytes = ty.row_bytes(n_in).and_then(|row_bytes| row_bytes.checked_mul(n_out));
    assert_eq!(Some(weights.len()), bytes, "{ty} weights for {n_out} rows of {n_in}");
}

/// Floats or windows in a row of `n_in` activations.
fn row_len(ty: BlockType, n_in: usize) -> usize {
    match ty.activation() {
        ActivationFormat::F32 => n_in,
        ActivationFormat::Q8_0 | ActivationFormat::Q8K => n_in.div_ceil(WINDOW_LEN),
    }
}
