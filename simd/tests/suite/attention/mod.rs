//! Every tier against the scalar one, bit for bit, and the scalar one against `f64`.

mod formulas;
mod same_bits;

use gguf_simd::attention::*;
use gguf_simd::*;

/// Numbers in -1..1 that look random.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    random(n, seed).map(|x| (x >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

/// Bytes that look random.
fn bytes(n: usize, seed: u64) -> Vec<u8> {
    random(n, seed).map(|x| (x >> 24) as u8).collect()
}

fn random(n: usize, seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    })
}

fn scalar() -> &'static Attention {
    Attention::for_isa(Isa::Scalar).expect("every CPU has the scalar tier")
}

/// The tables of the better tiers.
fn better() -> impl Iterator<Item = (Isa, &'static Attention)> {
    let tiers = Isa::available().filter(|isa| *isa != Isa::Scalar);
    tiers.map(|isa| (isa, Attention::for_isa(isa).expect("an available tier has a table")))
}

/// Rows of every type that a head of `head_dim` elements can have.
fn rows_of(head_dim: usize) -> impl Iterator<Item = CacheRows> {
    CacheType::ALL.into_iter().filter_map(move |ty| CacheRows::new(ty, head_dim).ok())
}

/// Bits with all NaNs made one.
fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

/// Queries that own their memory.
enum Queries {
    F32(Vec<f32>),
    Q8_0(Vec<Q8Window>),
}

impl Queries {
    /// Queries for `rows` from floats, `[n, head_dim]`.
    fn new(rows: CacheRows, x: &[f32]) -> Self {
        match rows.cache_type().query_format() {
            ActivationFormat::F32 => Self::F32(x.to_vec()),
            _ => Self::Q8_0(
                x.chunks_exact(rows.head_dim())
                    .flat_map(|x| {
                        let mut windows = vec![Q8Window::ZERO; x.len().div_ceil(WINDOW_LEN)];
                        crate::common::scalar().quantize_q8_0(x, &mut windows);
                        windows
                    })
                    .collect(),
            ),
        }
    }

    fn view(&self) -> Activation<'_> {
        match self {
            Self::F32(x) => Activation::F32(x),
            Self::Q8_0(x) => Activation::Q8_0(x),
        }
    }
}

/// The scores as `[n_queries, n_keys]`.
fn scores(table: &Attention, rows: CacheRows, keys: &[u8], queries: &Queries, n_queries: usize) -> Vec<f32> {
    let n_keys = rows.count(keys);
    let mut out = vec![-1.0; n_keys * n_queries];
    table.scores(rows, keys, queries.view(), ColumnsMut::new(&mut out, n_keys, n_queries));
    out
}

/// The sums as `[n_queries, head_dim]`.
fn sums(table: &Attention, rows: CacheRows, values: &[u8], weights: &[f32], visible: &[usize]) -> Vec<f32> {
    let mut out = vec![-1.0; rows.head_dim() * visible.len()];
    let view = ColumnsMut::new(&mut out, rows.head_dim(), visible.len());
    table.weighted_sums(rows, values, weights, visible, view);
    out
}

fn store(table: &Attention, rows: CacheRows, x: &[f32]) -> Vec<u8> {
    let mut out = vec![0xa5; x.len() / rows.head_dim() * rows.row_bytes()];
    table.store(rows, x, &mut out);
    out
}
