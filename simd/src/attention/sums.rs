//! Weighted sums of values of any format.
//!
//! The accumulators of some columns of the values, for some queries, stay in registers over the
//! rows of a chunk; every unit of a row is widened once for all those queries.

use core::ops::Range;

use super::CHUNK;
use super::vectors::Vectors;
use crate::columns::ColumnsMut;
use crate::ops::lanes::LANES;

/// A format of values: `B` bytes hold `G` groups of sixteen elements with one scale.
pub(super) trait Unit<const G: usize, const B: usize> {
    /// What the weights are multiplied with: the scale, or 1.
    fn scale<T: Vectors>(isa: T, unit: &[u8; B]) -> f32;

    /// The codes as floats.
    fn codes<T: Vectors>(isa: T, unit: &[u8; B]) -> [T::Vector; G];
}

/// Sums the first `n_summed` bytes of the first `visible[q]` rows of `values` for each query `q`, with weights
/// that follow one another query by query; `out` has a row per element. `W` units are summed together, `M` if for
/// several queries.
#[inline(always)]
pub(super) fn weighted_sums<T, F, const G: usize, const B: usize, const W: usize, const M: usize>(
    isa: T,
    values: &[u8],
    n_summed: usize,
    weights: &[f32],
    visible: &[usize],
    out: &mut ColumnsMut<'_>,
) where
    T: Vectors,
    F: Unit<G, B>,
{
    let n_queries = out.n_cols();
    for q in 0..n_queries {
        out.column(q).fill(0.0);
    }
    if values.is_empty() {
        return;
    }
    let n_rows = weights.len() / n_queries.max(1);
    let all = Values { bytes: values, row_bytes: values.len() / n_rows.max(1), n_summed };
    let mut start = 0;
    while start < n_rows {
        let chunk = start..n_rows.min(start + CHUNK);
        let mut q = 0;
        while q < n_queries {
            let queries = |i: usize| Query {
                weights: &weights[(q + i) * n_rows..][..n_rows],
                rows: start..visible[q + i].clamp(start, chunk.end),
            };
            let left = n_queries - q;
            if T::SIDE_BY_SIDE == 16 && left >= 4 {
                columns::<T, F, G, B, M, 4>(
                    isa,
                    &all,
                    &[queries(0), queries(1), queries(2), queries(3)],
                    q,
                    out,
                );
                q += 4;
            } else if left >= 2 {
                columns::<T, F, G, B, M, 2>(isa, &all, &[queries(0), queries(1)], q, out);
                q += 2;
            } else {
                columns::<T, F, G, B, W, 1>(isa, &all, &[queries(0)], q, out);
                q += 1;
            }
        }
        start = chunk.end;
    }
}

/// Rows of values.
struct Values<'a> {
    bytes: &'a [u8],
    row_bytes: usize,
    /// Bytes of a row that are summed.
    n_summed: usize,
}

/// A query in a chunk: its weights for all rows, and the rows it sees.
struct Query<'a> {
    weights: &'a [f32],
    rows: Range<usize>,
}

/// Adds the sums of a chunk to those of `C` queries from `first` on.
#[inline(always)]
fn columns<T, F, const G: usize, const B: usize, const U: usize, const C: usize>(
    isa: T,
    values: &Values<'_>,
    queries: &[Query<'_>; C],
    first: usize,
    out: &mut ColumnsMut<'_>,
) where
    T: Vectors,
    F: Unit<G, B>,
{
    let mut common = queries[0].rows.clone();
    for c in 1..C {
        common.end = common.end.min(queries[c].rows.end);
    }
    let n_units = values.n_summed / B;
    let mut unit = 0;
    while unit < n_units {
        let at = Place { byte: unit * B, first, element: unit * G * LANES };
        if unit + U <= n_units {
            some_units::<T, F, G, B, U, C>(isa, values, queries, &common, &at, out);
            unit += U;
        } else {
            some_units::<T, F, G, B, 1, C>(isa, values, queries, &common, &at, out);
            unit += 1;
        }
    }
    if n_units * B < values.n_summed {
        let at = Place { byte: n_units * B, first, element: n_units * G * LANES };
        end_of_rows::<T, F, G, B, C>(isa, values, queries, &at, out);
    }
}

/// Where units lie in a row, and their sums in the result.
struct Place {
    byte: usize,
    first: usize,
    element: usize,
}

/// Adds the sums of `U` units.
#[inline(always)]
fn some_units<T, F, const G: usize, const B: usize, const U: usize, const C: usize>(
    isa: T,
    values: &Values<'_>,
    queries: &[Query<'_>; C],
    common: &Range<usize>,
    at: &Place,
    out: &mut ColumnsMut<'_>,
) where
    T: Vectors,
    F: Unit<G, B>,
{
    let mut acc = [[[isa.splat(0.0); G]; U]; C];
    let mut weights = [queries[0].weights; C];
    for c in 0..C {
        weights[c] = &queries[c].weights[..common.end];
    }
    for row in common.clone() {
        let units = &values.bytes[row * values.row_bytes + at.byte..].as_chunks::<B>().0[..U];
        for u in 0..U {
            let (scale, codes) = (F::scale(isa, &units[u]), F::codes(isa, &units[u]));
            for c in 0..C {
                add_unit(isa, &mut acc[c][u], weights[c][row] * scale, &codes);
            }
        }
    }
    for c in 0..C {
        let mut acc = acc[c];
        // What this query sees and another of the tile does not.
        for row in common.end..queries[c].rows.end {
            let units = &values.bytes[row * values.row_bytes + at.byte..].as_chunks::<B>().0[..U];
            for u in 0..U {
                let factor = queries[c].weights[row] * F::scale(isa, &units[u]);
                add_unit(isa, &mut acc[u], factor, &F::codes(isa, &units[u]));
            }
        }
        add_to(isa, &acc, &mut out.column(at.first + c)[at.element..]);
    }
}

/// Adds the sums of the last elements, too few for a unit.
#[inline(always)]
fn end_of_rows<T, F, const G: usize, const B: usize, const C: usize>(
    isa: T,
    values: &Values<'_>,
    queries: &[Query<'_>; C],
    at: &Place,
    out: &mut ColumnsMut<'_>,
) where
    T: Vectors,
    F: Unit<G, B>,
{
    for c in 0..C {
        let mut acc = [[isa.splat(0.0); G]; 1];
        for row in queries[c].rows.clone() {
            let end = &values.bytes[row * values.row_bytes..][at.byte..values.n_summed];
            let mut unit = [0; B];
            unit[..end.len()].copy_from_slice(end);
            let factor = queries[c].weights[row] * F::scale(isa, &unit);
            add_unit(isa, &mut acc[0], factor, &F::codes(isa, &unit));
        }
        add_to(isa, &acc, &mut out.column(at.first + c)[at.element..]);
    }
}

/// Adds a unit's codes, times their factor, to its accumulators.
#[inline(always)]
fn add_unit<T: Vectors, const G: usize>(
    isa: T,
    acc: &mut [T::Vector; G],
    factor: f32,
    codes: &[T::Vector; G],
) {
    for g in 0..G {
        acc[g] = isa.fma(isa.splat(factor), codes[g], acc[g]);
    }
}

/// Adds the accumulators of `U` units to as many elements as there are.
#[inline(always)]
fn add_to<T: Vectors, const G: usize, const U: usize>(isa: T, acc: &[[T::Vector; G]; U], out: &mut [f32]) {
    for (acc, out) in acc.as_flattened().iter().zip(out.chunks_mut(LANES)) {
        let sums = isa.lanes(*acc);
        for i in 0..out.len() {
            out[i] += sums[i];
        }
    }
}
