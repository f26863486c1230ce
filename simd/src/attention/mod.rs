//! Attention's inner products with cached keys and values, the same bits on every tier.
//!
//! Keys and values of one head are cached as consecutive rows of `head_dim` elements, each in single or half
//! precision or in blocks of Q8_0 or Q4_0. There are three things to do with them:
//!
//! - *store* (`floats`, `q8_0`, `q4_0`): floats to rows, by rounding to nearest and without a search;
//! - *scores* (`scores_floats`, `scores_q8`): some queries against consecutive keys, `out[q][k]`;
//! - *weighted sums* (`sums`): consecutive values, each times its weight, for some queries.
//!
//! The queries of heads that share keys go together, and so may those of several tokens: each row of
//! the cache is then read, and widened or unpacked, once for all of them.
//!
//! # The order of the floats
//! A score is the dot product of [`crate::block`] with the key's block type, whose activations are the
//! query: floats in 16 lanes for single and half precision, or 8-bit codes with a scale per 32 elements and exact
//! integer sums inside a block. It depends on one query and one key alone, so keys can be divided
//! anywhere.
//!
//! A weighted sum is taken in *chunks* of [`CHUNK`] rows, counted from the first: in a chunk each
//! element is a chain `s = fma(factor, code, s)` in the order of the rows, starting from +0, with the
//! factor `weight` for those two (whose code is the value) and `weight * d`, rounded, for a block
//! of scale `d`; the chunk sums are added in order, starting from +0. So rows can be divided between
//! threads at multiples of [`CHUNK`].

#![allow(clippy::needless_range_loop, reason = "index loops are what compiles well here: see `ops::lanes`")]

mod cache;
mod floats;
mod q4_0;
mod q8_0;
mod scores_floats;
mod scores_q8;
mod sums;
mod tiers;
mod vectors;

use crate::activation::{Activation, ActivationFormat, Q8Window, WINDOW_LEN};
use crate::columns::ColumnsMut;
use crate::isa::Isa;

pub use cache::{CacheRows, CacheType, UnevenHead};

/// Rows whose weighted sum is one chain of additions.
pub const CHUNK: usize = 256;

/// The operations on cached rows, compiled for one tier.
#[derive(Debug)]
pub struct Attention {
    f32: Format<f32>,
    f16: Format<f32>,
    q8_0: Format<Q8Window>,
    q4_0: Format<Q8Window>,
}

/// Rows of keys, the bytes of one, queries, results: one column for each query, one row for each key.
type Scores<Query> = unsafe fn(&[u8], usize, &[Query], &mut ColumnsMut<'_>);

/// Rows of values, the bytes of one that are summed, as many weights for each query, rows each query sees,
/// results.
type WeightedSums = unsafe fn(&[u8], usize, &[f32], &[usize], &mut ColumnsMut<'_>);

/// The operations on one format, whose keys are multiplied with queries made of `Query`.
#[derive(Debug)]
struct Format<Query> {
    store: unsafe fn(&[f32], &mut [u8]),
    scores: Scores<Query>,
    weighted_sums: WeightedSums,
}

impl<Query> Format<Query> {
    /// Whole rows, and as many bytes as they take.
    #[inline]
    fn store(&self, x: &[f32], out: &mut [u8]) {
        // SAFETY: formats stand in the tables of `tiers`, and `Attention::of`, the only way to one, takes the
        // proof that this CPU has the features which its functions are compiled for.
        unsafe { (self.store)(x, out) }
    }

    /// See [`Scores`].
    #[inline]
    fn scores(&self, keys: &[u8], row_bytes: usize, queries: &[Query], out: &mut ColumnsMut<'_>) {
        // SAFETY: the CPU has the features, as `store` says.
        unsafe { (self.scores)(keys, row_bytes, queries, out) }
    }
}

impl Attention {
    /// The operations for any CPU.
    pub const SCALAR: &'static Self = &tiers::SCALAR;

    /// The operations for `isa`; `None` if this CPU lacks it.
    pub fn for_isa(isa: Isa) -> Option<&'static Self> {
        isa.detect().map(Self::of)
    }

    /// Stores floats, `x: [n, head_dim]`, as `n` rows. A block that holds a NaN or an infinity becomes
    /// NaN throughout; floats keep both where they are.
    ///
    /// # Panics
    /// If `x` or `out` is not whole rows, or they are not equally many.
    pub fn store(&self, rows: CacheRows, x: &[f32], out: &mut [u8]) {
        assert!(x.len().is_multiple_of(rows.head_dim()), "{} floats for {rows:?}", x.len());
        assert_eq!(rows.count(out), x.len() / rows.head_dim(), "{rows:?} for {} floats", x.len());
        match rows.cache_type() {
            CacheType::F32 => self.f32.store(x, out),
            CacheType::F16 => self.f16.store(x, out),
            CacheType::Q8_0 => self.q8_0.store(x, out),
            CacheType::Q4_0 => self.q4_0.store(x, out),
        }
    }

    /// Multiplies every query with every key: row `k` of column `q` of `out: [n_queries, n_keys]` is
    /// key `k` times query `q`. The queries follow one another in the format
    /// [`CacheType::query_format`]: `head_dim` floats or `ceil(head_dim / 256)` windows each.
    ///
    /// # Panics
    /// If `keys` is not `out.n_rows()` rows, or `queries` not `out.n_cols()` queries in that format.
    pub fn scores(&self, rows: CacheRows, keys: &[u8], queries: Activation<'_>, mut out: ColumnsMut<'_>) {
        assert_eq!(rows.count(keys), out.n_rows(), "keys, {rows:?}");
        let format = rows.cache_type().query_format();
        assert_eq!(queries.format(), format, "queries for {rows:?}");
        let query_len = match format {
            ActivationFormat::F32 => rows.head_dim(),
            ActivationFormat::Q8_0 | ActivationFormat::Q8K => rows.head_dim().div_ceil(WINDOW_LEN),
        };
        assert_eq!(Some(queries.len()), query_len.checked_mul(out.n_cols()), "queries, {rows:?}");
        if out.n_rows() == 0 || out.n_cols() == 0 {
            return;
        }
        let row_bytes = rows.row_bytes();
        match (rows.cache_type(), queries) {
            (CacheType::F32, Activation::F32(x)) => self.f32.scores(keys, row_bytes, x, &mut out),
            (CacheType::F16, Activation::F32(x)) => self.f16.scores(keys, row_bytes, x, &mut out),
            (CacheType::Q8_0, Activation::Q8_0(x)) => self.q8_0.scores(keys, row_bytes, x, &mut out),
            (CacheType::Q4_0, Activation::Q8_0(x)) => self.q4_0.scores(keys, row_bytes, x, &mut out),
            (_, queries) => unreachable!("{:?} queries for {rows:?} have been refused", queries.format()),
        }
    }

    /// Sums values by their weights: column `q` of `out: [n_queries, n]` is the sum of the first `n` elements
    /// of the first `visible[q]` rows of `values`, each times its weight in `weights: [n_queries, n_values]`.
    /// The rows beyond, and their weights, are not looked at.
    ///
    /// # Panics
    /// If `values` is not whole rows, the numbers of queries or weights do not fit, a query sees more
    /// rows than there are, or `out` has more rows than `head_dim` or so many that blocks are cut.
    pub fn weighted_sums(
        &self,
        rows: CacheRows,
        values: &[u8],
        weights: &[f32],
        visible: &[usize],
        mut out: ColumnsMut<'_>,
    ) {
        let n = rows.count(values);
        let n_summed = rows.cache_type().block_type().row_bytes(out.n_rows());
        let Some(n_summed) = n_summed.filter(|&n_bytes| n_bytes <= rows.row_bytes()) else {
            panic!("{} elements of {rows:?}", out.n_rows());
        };
        assert_eq!(visible.len(), out.n_cols(), "queries");
        assert_eq!(Some(weights.len()), n.checked_mul(out.n_cols()), "one weight per query and value");
        assert!(visible.iter().all(|&seen| seen <= n), "queries see {visible:?} of {n} values");
        let weighted_sums = match rows.cache_type() {
            CacheType::F32 => self.f32.weighted_sums,
            CacheType::F16 => self.f16.weighted_sums,
            CacheType::Q8_0 => self.q8_0.weighted_sums,
            CacheType::Q4_0 => self.q4_0.weighted_sums,
        };
        // SAFETY: a function of the table: the CPU has its features, as `Format::store` says.
        unsafe { weighted_sums(values, n_summed, weights, visible, &mut out) }
    }
}
