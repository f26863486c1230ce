//! Scores against keys of floats, in half or single precision.
//!
//! A tile of keys and queries keeps sixteen lanes for each pair: sixteen elements of each key are
//! widened once for all queries of the tile, and the lanes of all pairs are added together at the end.

use super::floats::Floats;
use crate::columns::ColumnsMut;
use crate::ops::lanes::{self, LANES, LaneOps, Lanes};

/// Keys that all queries meet before the next follow: they stay in the L1 cache.
const KEYS: usize = 64;

/// Multiplies the keys, rows of `row_bytes` bytes, with the queries; there is at least one of each.
#[inline(always)]
pub(super) fn scores<T: LaneOps, F: Floats<B>, const B: usize>(
    isa: T,
    keys: &[u8],
    row_bytes: usize,
    queries: &[f32],
    out: &mut ColumnsMut<'_>,
) {
    let head_dim = row_bytes / (B / LANES);
    let n_queries = out.n_cols();
    let queries = |first: usize, n: usize| &queries[first * head_dim..(first + n) * head_dim];
    for (i, keys) in keys.chunks(KEYS * row_bytes).enumerate() {
        let first_key = i * KEYS;
        let mut q = 0;
        while T::SIDE_BY_SIDE == 16 && q + 4 <= n_queries {
            tiles::<T, F, B, 4, 4>(
                isa,
                &Keys { bytes: keys, row_bytes, first: first_key },
                queries(q, 4),
                q,
                out,
            );
            q += 4;
        }
        while q + 2 <= n_queries {
            match T::SIDE_BY_SIDE {
                16 => tiles::<T, F, B, 8, 2>(
                    isa,
                    &Keys { bytes: keys, row_bytes, first: first_key },
                    queries(q, 2),
                    q,
                    out,
                ),
                _ => tiles::<T, F, B, 2, 2>(
                    isa,
                    &Keys { bytes: keys, row_bytes, first: first_key },
                    queries(q, 2),
                    q,
                    out,
                ),
            }
            q += 2;
        }
        if q < n_queries {
            match T::SIDE_BY_SIDE {
                16 => tiles::<T, F, B, 16, 1>(
                    isa,
                    &Keys { bytes: keys, row_bytes, first: first_key },
                    queries(q, 1),
                    q,
                    out,
                ),
                _ => tiles::<T, F, B, 4, 1>(
                    isa,
                    &Keys { bytes: keys, row_bytes, first: first_key },
                    queries(q, 1),
                    q,
                    out,
                ),
            }
        }
    }
}

/// Consecutive keys.
struct Keys<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
    /// The number of the first one.
    first: usize,
}

/// Multiplies all `keys` with `C` queries, `R` keys at a time. Where there are fewer, the last one
/// stands in for the others.
#[inline(always)]
fn tiles<T: LaneOps, F: Floats<B>, const B: usize, const R: usize, const C: usize>(
    isa: T,
    keys: &Keys<'_>,
    queries: &[f32],
    first_query: usize,
    out: &mut ColumnsMut<'_>,
) {
    let row_bytes = keys.row_bytes;
    let n_keys = keys.bytes.len() / row_bytes;
    let mut first = 0;
    while first < n_keys {
        let mut rows = [keys.bytes; R];
        for r in 0..R {
            rows[r] = &keys.bytes[(first + r).min(n_keys - 1) * row_bytes..][..row_bytes];
        }
        let sums = tile::<T, F, B, R, C>(isa, &rows, queries);
        let n = R.min(n_keys - first);
        for c in 0..C {
            let out = &mut out.column(first_query + c)[keys.first + first..][..n];
            if n == R {
                out.copy_from_slice(&sums[c]);
            } else {
                out.copy_from_slice(&sums[c][..n]);
            }
        }
        first += R;
    }
}

/// The products of `R` keys with `C` queries.
#[inline(always)]
fn tile<T: LaneOps, F: Floats<B>, const B: usize, const R: usize, const C: usize>(
    isa: T,
    rows: &[&[u8]; R],
    queries: &[f32],
) -> [[f32; R]; C] {
    let head_dim = queries.len() / C;
    let n_groups = head_dim / LANES;
    let mut acc = [[[0.0; LANES]; R]; C];
    for i in 0..n_groups {
        let mut x = [[0.0; LANES]; C];
        for c in 0..C {
            x[c] = queries[c * head_dim..].as_chunks().0[i];
        }
        for r in 0..R {
            let key = F::widen(isa, &rows[r].as_chunks().0[i]);
            for c in 0..C {
                acc[c][r] = lanes::fma(&x[c], &key, &acc[c][r]);
            }
        }
    }
    let rest = head_dim - n_groups * LANES;
    if rest > 0 {
        for r in 0..R {
            let mut bytes = [0; B];
            let end = &rows[r][B * n_groups..];
            bytes[..end.len()].copy_from_slice(end);
            let key = F::widen(isa, &bytes);
            for c in 0..C {
                let query = &queries[c * head_dim + LANES * n_groups..][..rest];
                acc[c][r] = lanes::fma(&lanes::padded(query, 0.0), &key, &acc[c][r]);
            }
        }
    }
    sums(isa, &acc)
}

/// The sums of all lanes, sixteen or four groups at a time.
#[inline(always)]
fn sums<T: LaneOps, const R: usize, const C: usize>(isa: T, acc: &[[Lanes; R]; C]) -> [[f32; R]; C] {
    let mut sums = [[0.0; R]; C];
    let flat = sums.as_flattened_mut();
    if let Some(acc) = acc.as_flattened().first_chunk::<16>() {
        flat.copy_from_slice(&isa.sums_of_16(acc));
    } else {
        let acc = acc.as_flattened().first_chunk().expect("a tile of four or sixteen pairs");
        flat.copy_from_slice(&isa.sums_of_4(acc));
    }
    sums
}
