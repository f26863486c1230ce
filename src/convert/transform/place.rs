//! Where each row of a tensor lies in the parts that make it.

use super::{Part, SourceRows};
use crate::model::arch::RowMap;

/// Where the elements of a row lie in a part: at `first`, and on at every `stride`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) part: usize,
    /// The block of rows, for a row that is a column of it.
    pub(super) block: usize,
    pub(super) first: usize,
    pub(super) stride: usize,
}

impl SourceRows<'_> {
    /// Where output row `row` lies.
    pub(super) fn locate(&self, parts: &[Part<'_>], row: usize) -> Place {
        let (mut part, mut row) = (0, row);
        // Most tensors have one part, and experts are equal.
        let n_rows = parts[0].n_rows;
        if parts.iter().all(|other| other.n_rows == n_rows) {
            (part, row) = (row / n_rows, row % n_rows);
        } else {
            while row >= parts[part].n_rows {
                row -= parts[part].n_rows;
                part += 1;
            }
        }
        let at = |row: usize| Place { part, block: 0, first: row * self.n_in, stride: 1 };
        match parts[part].rows {
            RowMap::Same | RowMap::TiledColumns { .. } => at(row),
            RowMap::Pairs { head_dim } => at(of_pairs(row, head_dim)),
            RowMap::Strided { first, run, stride, pairs } => {
                let row = pairs.map_or(row, |head_dim| of_pairs(row, head_dim));
                at(first + row / run * stride + row % run)
            }
            RowMap::Tiled { first, head_dim, n_group, group } => {
                at(first + of_tiles(row, head_dim, n_group, group))
            }
            RowMap::Spread { first, step } => {
                Place { part, block: row, first: row * self.n_in * step + first, stride: step }
            }
            RowMap::Columns { n_out, n_cols, first, step, skipped } => {
                let (block, column) = (row / n_out, first + row % n_out * step);
                let start = block * (self.n_in + skipped) * n_cols;
                Place { part, block, first: start + column, stride: n_cols }
            }
        }
    }
}

/// Where row or element `i` lies of heads of `head_dim` that are in the order of `n_group` groups of `group` heads, and
/// are to be in that in which the first heads of all groups come first.
pub(super) fn of_tiles(i: usize, head_dim: usize, n_group: usize, group: usize) -> usize {
    let (head, at) = (i / head_dim, i % head_dim);
    (head % n_group * group + head / n_group) * head_dim + at
}

/// The row of halves that row `row` of pairs is, in heads of `head_dim` rows.
fn of_pairs(row: usize, head_dim: usize) -> usize {
    let (head, in_head) = (row / head_dim, row % head_dim);
    let (pair, half) = (in_head / 2, in_head % 2);
    head * head_dim + half * (head_dim / 2) + pair
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotary_rows_interleave_the_halves_of_each_head() {
        let rows: Vec<usize> = (0..12).map(|row| of_pairs(row, 6)).collect();
        assert_eq!(rows, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
