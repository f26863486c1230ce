//! The function table of a CPU: scalar first, each better tier overwrites.
//!
//! A new block type adds one row to `scalar_row` and overwrites what it has in the better tiers; a
//! gap keeps the function of the tier below. The public functions of [`Kernels`] check every length
//! and only then call a function of the table.

use std::sync::OnceLock;

use crate::activation::{Activation, ActivationFormat, Q8KWindow, Q8Window, WINDOW_LEN};
use crate::block::{self, BlockType};
use crate::columns::ColumnsMut;
use crate::gemm::{self, Batch, Product, Tier};
use crate::isa::Isa;
#[cfg(target_arch = "aarch64")]
use crate::isa::NeonDotprod;
#[cfg(target_arch = "x86_64")]
use crate::isa::{Avx2, Avx512};
use crate::ops::Ops;
use crate::quantize;

/// Whole blocks to `block_len` times as many floats.
type Decode = unsafe fn(&[u8], &mut [f32]);
/// A row of whole blocks, one importance per element or none, to its blocks.
type Encode = unsafe fn(&[f32], Option<&[f32]>, &mut [u8]);

/// A matrix-vector product, by the activations it takes. Weights: as many rows of whole blocks,
/// at least one, as there are outputs, at least one; activations: one row, long enough.
#[derive(Clone, Copy)]
enum Gemv {
    F32(unsafe fn(&[u8], &[f32], &mut [f32])),
    Q8_0(unsafe fn(&[u8], &[Q8Window], &mut [f32])),
    Q8K(unsafe fn(&[u8], &[Q8KWindow], &mut [f32])),
}

/// What a tier has for one block type.
#[derive(Clone, Copy)]
struct TypeKernels {
    decode: Decode,
    encode: Encode,
    gemv: Gemv,
}

type TypeTable = [TypeKernels; BlockType::COUNT];

/// Everything this crate computes, in the version for one tier of CPU features.
pub struct Kernels {
    isa: Isa,
    types: TypeTable,
    /// Batch products, where a tier has better ones than a dot product per column.
    batches: [Option<Batch>; BlockType::COUNT],
    ops: &'static Ops,
    quantize_q8_0: unsafe fn(&[f32], &mut [Q8Window]),
    quantize_q8_k: unsafe fn(&[f32], &mut [Q8KWindow]),
}

impl core::fmt::Debug for Kernels {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_tuple("Kernels").field(&self.isa).finish()
    }
}

impl Kernels {
    /// The table of a tier; `None` if this CPU lacks the tier.
    pub fn get(isa: Isa) -> Option<&'static Self> {
        static TABLES: [OnceLock<Option<Kernels>>; Isa::COUNT] = [const { OnceLock::new() }; Isa::COUNT];
        TABLES[isa as usize].get_or_init(|| build(isa)).as_ref()
    }

    /// The table of the best tier this CPU has.
    pub fn best() -> &'static Self {
        Self::get(Isa::best()).expect("a detected tier has a table")
    }

    /// The tier of this table.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The operations on float rows of this tier.
    pub fn ops(&self) -> &'static Ops {
        self.ops
    }

    /// Decodes whole blocks into `block_len` floats each.
    ///
    /// # Panics
    /// If `blocks` is not whole blocks or `out` does not hold exactly their elements.
    pub fn decode(&self, ty: BlockType, blocks: &[u8], out: &mut [f32]) {
        assert_eq!(Some(blocks.len()), ty.row_bytes(out.len()), "{ty} blocks for {} floats", out.len());
        // SAFETY: `build` put only functions into the table whose CPU features it had detected.
        unsafe { (self.of(ty).decode)(blocks, out) }
    }

    /// Encodes one row, with the least error the type's search finds; `importance` weighs the
    /// squared error of each element. A weight that is not finite is encoded as some finite one.
    ///
    /// # Panics
    /// If `row` does not divide into blocks, `out` is not exactly their bytes, or `importance` is
    /// not as long as `row`.
    pub fn encode(&self, ty: BlockType, row: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        assert_eq!(Some(out.len()), ty.row_bytes(row.len()), "{ty} blocks of {} floats", row.len());
        assert!(importance.is_none_or(|w| w.len() == row.len()), "one importance per element");
        // SAFETY: as in `decode`.
        unsafe { (self.of(ty).encode)(row, importance, out) }
    }

    /// Quantises a row of activations to 8 bits with one scale per 32 values; pads the last window.
    /// A group of 32 that holds a NaN or an infinity gets the scale NaN and zero codes.
    ///
    /// # Panics
    /// If `x` is not a multiple of 32 values or `out` not `ceil(x.len() / 256)` windows.
    pub fn quantize_q8_0(&self, x: &[f32], out: &mut [Q8Window]) {
        assert!(x.len().is_multiple_of(32), "{} activations are not groups of 32", x.len());
        assert_eq!(out.len(), x.len().div_ceil(WINDOW_LEN), "windows for {} activations", x.len());
        // SAFETY: as in `decode`.
        unsafe { (self.quantize_q8_0)(x, out) }
    }

    /// Quantises a row of activations to 8 bits with one scale per 256 values. A group of 256 that
    /// holds a NaN or an infinity gets the scale NaN and zero codes.
    ///
    /// # Panics
    /// If `x` is not a multiple of 256 values or `out` not `x.len() / 256` windows.
    pub fn quantize_q8_k(&self, x: &[f32], out: &mut [Q8KWindow]) {
        assert!(x.len().is_multiple_of(WINDOW_LEN), "{} activations are not windows of 256", x.len());
        assert_eq!(out.len(), x.len() / WINDOW_LEN, "windows for {} activations", x.len());
        // SAFETY: as in `decode`.
        unsafe { (self.quantize_q8_k)(x, out) }
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

    /// Multiplies a matrix with the rows of a batch: column `c` of `out: [n_cols, n_out]` is
    /// `weights: [n_out, n_in]` times row `c` of `x`, which holds the rows one after the other.
    /// The bits are those of [`Kernels::gemv`].
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
        match self.batches[ty as usize] {
            Some(batch) if n_in > 0 && out.n_rows() > 0 && out.n_cols() >= batch.min_columns => {
                match (batch.product, x) {
                    // SAFETY: as in `decode`, for each of the three.
                    (Product::F32(gemm), Activation::F32(x)) => unsafe { gemm(weights, x, &mut out) },
                    // SAFETY: see above.
                    (Product::Q8_0(gemm), Activation::Q8_0(x)) => unsafe { gemm(weights, x, &mut out) },
                    // SAFETY: see above.
                    (Product::Q8K(gemm), Activation::Q8K(x)) => unsafe { gemm(weights, x, &mut out) },
                    (_, x) => wrong_activations(ty, x),
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
        match (self.of(ty).gemv, x) {
            // SAFETY: as in `decode`, for each of the three.
            (Gemv::F32(gemv), Activation::F32(x)) => unsafe { gemv(weights, x, out) },
            // SAFETY: see above.
            (Gemv::Q8_0(gemv), Activation::Q8_0(x)) => unsafe { gemv(weights, x, out) },
            // SAFETY: see above.
            (Gemv::Q8K(gemv), Activation::Q8K(x)) => unsafe { gemv(weights, x, out) },
            (_, x) => wrong_activations(ty, x),
        }
    }

    fn of(&self, ty: BlockType) -> &TypeKernels {
        &self.types[ty as usize]
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

/// The table of a tier, if this CPU has it.
fn build(isa: Isa) -> Option<Kernels> {
    let mut kernels = scalar();
    kernels.isa = isa;
    kernels.ops = Ops::for_isa(isa)?;
    match isa {
        Isa::Scalar => {}
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => add_avx2(&mut kernels, Avx2::detect()?),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => {
            let proof = Avx512::detect()?;
            add_avx2(&mut kernels, proof.avx2());
            add_avx512(&mut kernels, proof);
        }
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDotprod => add_neon(&mut kernels, NeonDotprod::detect()?),
        #[allow(unreachable_patterns, reason = "which arms exist depends on the target")]
        _ => return None,
    }
    Some(kernels)
}

fn scalar() -> Kernels {
    let mut rows = BlockType::all().map(scalar_row);
    let types = core::array::from_fn(|_| rows.next().expect("a row per type"));
    Kernels {
        isa: Isa::Scalar,
        types,
        batches: [None; BlockType::COUNT],
        ops: Ops::SCALAR,
        quantize_q8_0: quantize::q8_0,
        quantize_q8_k: quantize::q8_k,
    }
}

#[rustfmt::skip]
fn scalar_row(block_type: BlockType) -> TypeKernels {
    use block::{bf16, f16, f32, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0};
    match block_type {
        BlockType::F32  => row(f32::scalar::decode,  f32::scalar::encode,  Gemv::F32(f32::scalar::gemv)),
        BlockType::F16  => row(f16::scalar::decode,  f16::scalar::encode,  Gemv::F32(f16::scalar::gemv)),
        BlockType::BF16 => row(bf16::scalar::decode, bf16::scalar::encode, Gemv::F32(bf16::scalar::gemv)),
        BlockType::Q4_0 => row(q4_0::scalar::decode, q4_0::scalar::encode, Gemv::Q8_0(q4_0::scalar::gemv)),
        BlockType::Q4_1 => row(q4_1::scalar::decode, q4_1::scalar::encode, Gemv::Q8_0(q4_1::scalar::gemv)),
        BlockType::Q5_0 => row(q5_0::scalar::decode, q5_0::scalar::encode, Gemv::Q8_0(q5_0::scalar::gemv)),
        BlockType::Q5_1 => row(q5_1::scalar::decode, q5_1::scalar::encode, Gemv::Q8_0(q5_1::scalar::gemv)),
        BlockType::Q8_0 => row(q8_0::scalar::decode, q8_0::scalar::encode, Gemv::Q8_0(q8_0::scalar::gemv)),
        BlockType::Q4_K => row(q4_k::scalar::decode, q4_k::scalar::encode, Gemv::Q8K(q4_k::scalar::gemv)),
        BlockType::Q5_K => row(q5_k::scalar::decode, q5_k::scalar::encode, Gemv::Q8K(q5_k::scalar::gemv)),
        BlockType::Q6_K => row(q6_k::scalar::decode, q6_k::scalar::encode, Gemv::Q8K(q6_k::scalar::gemv)),
    }
}

fn row(decode: Decode, encode: Encode, gemv: Gemv) -> TypeKernels {
    TypeKernels { decode, encode, gemv }
}

/// Overwrites the batch products.
fn add_batches<T: Tier>(kernels: &mut Kernels, _proof: T) {
    for ty in BlockType::all() {
        kernels.batches[ty as usize] = Some(gemm::batch::<T>(ty));
    }
}

/// Overwrites what AVX2 does better.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
fn add_avx2(kernels: &mut Kernels, proof: Avx2) {
    use block::{bf16, f16, f32, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0};
    add_batches(kernels, proof);
    kernels.quantize_q8_0 = quantize::avx2::q8_0;
    kernels.quantize_q8_k = quantize::avx2::q8_k;
    let mut set = |ty: BlockType, row| kernels.types[ty as usize] = row;
    set(BlockType::F32, row(f32::avx2::decode, f32::avx2::encode, Gemv::F32(f32::avx2::gemv)));
    set(BlockType::F16, row(f16::avx2::decode, f16::avx2::encode, Gemv::F32(f16::avx2::gemv)));
    set(BlockType::BF16, row(bf16::avx2::decode, bf16::avx2::encode, Gemv::F32(bf16::avx2::gemv)));
    set(BlockType::Q4_0, row(q4_0::avx2::decode, q4_0::avx2::encode, Gemv::Q8_0(q4_0::avx2::gemv)));
    set(BlockType::Q4_1, row(q4_1::avx2::decode, q4_1::avx2::encode, Gemv::Q8_0(q4_1::avx2::gemv)));
    set(BlockType::Q5_0, row(q5_0::avx2::decode, q5_0::avx2::encode, Gemv::Q8_0(q5_0::avx2::gemv)));
    set(BlockType::Q5_1, row(q5_1::avx2::decode, q5_1::avx2::encode, Gemv::Q8_0(q5_1::avx2::gemv)));
    set(BlockType::Q8_0, row(q8_0::avx2::decode, q8_0::avx2::encode, Gemv::Q8_0(q8_0::avx2::gemv)));
    set(BlockType::Q4_K, row(q4_k::avx2::decode, q4_k::avx2::encode, Gemv::Q8K(q4_k::avx2::gemv)));
    set(BlockType::Q5_K, row(q5_k::avx2::decode, q5_k::avx2::encode, Gemv::Q8K(q5_k::avx2::gemv)));
    set(BlockType::Q6_K, row(q6_k::avx2::decode, q6_k::avx2::encode, Gemv::Q8K(q6_k::avx2::gemv)));
}

/// Overwrites what AVX-512 does better.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
fn add_avx512(kernels: &mut Kernels, proof: Avx512) {
    use block::{bf16, f16, f32, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0};
    add_batches(kernels, proof);
    let mut set = |ty: BlockType, row| kernels.types[ty as usize] = row;
    set(BlockType::F32, row(f32::avx512::decode, f32::avx512::encode, Gemv::F32(f32::avx512::gemv)));
    set(BlockType::F16, row(f16::avx512::decode, f16::avx512::encode, Gemv::F32(f16::avx512::gemv)));
    set(BlockType::BF16, row(bf16::avx512::decode, bf16::avx512::encode, Gemv::F32(bf16::avx512::gemv)));
    set(BlockType::Q4_0, row(q4_0::avx512::decode, q4_0::avx512::encode, Gemv::Q8_0(q4_0::avx512::gemv)));
    set(BlockType::Q4_1, row(q4_1::avx512::decode, q4_1::avx512::encode, Gemv::Q8_0(q4_1::avx512::gemv)));
    set(BlockType::Q5_0, row(q5_0::avx512::decode, q5_0::avx512::encode, Gemv::Q8_0(q5_0::avx512::gemv)));
    set(BlockType::Q5_1, row(q5_1::avx512::decode, q5_1::avx512::encode, Gemv::Q8_0(q5_1::avx512::gemv)));
    set(BlockType::Q8_0, row(q8_0::avx512::decode, q8_0::avx512::encode, Gemv::Q8_0(q8_0::avx512::gemv)));
    set(BlockType::Q4_K, row(q4_k::avx512::decode, q4_k::avx512::encode, Gemv::Q8K(q4_k::avx512::gemv)));
    set(BlockType::Q5_K, row(q5_k::avx512::decode, q5_k::avx512::encode, Gemv::Q8K(q5_k::avx512::gemv)));
    set(BlockType::Q6_K, row(q6_k::avx512::decode, q6_k::avx512::encode, Gemv::Q8K(q6_k::avx512::gemv)));
}

/// Overwrites what NEON does better.
#[cfg(target_arch = "aarch64")]
#[rustfmt::skip]
fn add_neon(kernels: &mut Kernels, proof: NeonDotprod) {
    use block::{bf16, f16, f32, q4_0, q4_1, q4_k, q5_0, q5_1, q5_k, q6_k, q8_0};
    add_batches(kernels, proof);
    kernels.quantize_q8_0 = quantize::neon::q8_0;
    kernels.quantize_q8_k = quantize::neon::q8_k;
    let mut set = |ty: BlockType, row| kernels.types[ty as usize] = row;
    set(BlockType::F32, row(f32::neon::decode, f32::neon::encode, Gemv::F32(f32::neon::gemv)));
    set(BlockType::F16, row(f16::neon::decode, f16::neon::encode, Gemv::F32(f16::neon::gemv)));
    set(BlockType::BF16, row(bf16::neon::decode, bf16::neon::encode, Gemv::F32(bf16::neon::gemv)));
    set(BlockType::Q4_0, row(q4_0::neon::decode, q4_0::neon::encode, Gemv::Q8_0(q4_0::neon::gemv)));
    set(BlockType::Q4_1, row(q4_1::neon::decode, q4_1::neon::encode, Gemv::Q8_0(q4_1::neon::gemv)));
    set(BlockType::Q5_0, row(q5_0::neon::decode, q5_0::neon::encode, Gemv::Q8_0(q5_0::neon::gemv)));
    set(BlockType::Q5_1, row(q5_1::neon::decode, q5_1::neon::encode, Gemv::Q8_0(q5_1::neon::gemv)));
    set(BlockType::Q8_0, row(q8_0::neon::decode, q8_0::neon::encode, Gemv::Q8_0(q8_0::neon::gemv)));
    set(BlockType::Q4_K, row(q4_k::neon::decode, q4_k::neon::encode, Gemv::Q8K(q4_k::neon::gemv)));
    set(BlockType::Q5_K, row(q5_k::neon::decode, q5_k::neon::encode, Gemv::Q8K(q5_k::neon::gemv)));
    set(BlockType::Q6_K, row(q6_k::neon::decode, q6_k::neon::encode, Gemv::Q8K(q6_k::neon::gemv)));
}
