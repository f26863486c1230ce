//! Scores against keys of a block type, in integers.
//!
//! Sixteen keys at a time are unpacked into a panel of [`crate::gemm`], a lane for each key, and
//! multiplied with every query: the panels, tiles and queries are those of batch products, but a panel
//! holds no more blocks than a head has.
//!
//! ```text
//! 16 keys --unpack (per type)--> panel: codes [k / 4][key][k % 4], scales [block][key]
//! queries --copy--> columns: codes [k / 4][k % 4], sums, scales
//! panel x up to `T::MAX_COLUMNS` columns --tile (per tier)--> scores
//! ```

use crate::activation::Q8Window;
use crate::columns::ColumnsMut;
use crate::gemm::block32::Panel;
use crate::gemm::{Column, Format, Lines, ROWS, Sums, Tier, unpack};

/// Panels that are unpacked before every query meets them; with fewer queries one is enough.
const PANELS: usize = 8;

/// Queries laid out together: the widest tile of any tier.
const GROUP: usize = 14;

/// Multiplies the keys, rows of `row_bytes` bytes, with the queries; there is at least one of each. `N`
/// bytes are a whole window of blocks.
#[inline(always)]
pub(super) fn scores<const N: usize, F, T>(
    tier: T,
    keys: &[u8],
    row_bytes: usize,
    queries: &[Q8Window],
    out: &mut ColumnsMut<'_>,
) where
    F: Format<N, Window = Q8Window, Panel = Panel>,
    T: Tier,
{
    if out.n_cols() <= T::MAX_COLUMNS {
        run::<N, F, T, 1>(tier, keys, row_bytes, queries, out);
    } else {
        run::<N, F, T, PANELS>(tier, keys, row_bytes, queries, out);
    }
}

/// See [`scores`]; unpacks `P` panels at a time.
#[inline(always)]
fn run<const N: usize, F, T, const P: usize>(
    tier: T,
    keys: &[u8],
    row_bytes: usize,
    queries: &[Q8Window],
    out: &mut ColumnsMut<'_>,
) where
    F: Format<N, Window = Q8Window, Panel = Panel>,
    T: Tier,
{
    let n_queries = out.n_cols();
    let n_windows = queries.len() / n_queries;
    let n_keys = keys.len() / row_bytes;
    let mut panels = [F::BLANK; P];
    let mut columns = [Column::BLANK; GROUP];
    for first_key in (0..n_keys).step_by(P * ROWS) {
        let n_panels = (n_keys - first_key).div_ceil(ROWS).min(P);
        for w in 0..n_windows {
            for p in 0..n_panels {
                let first = first_key + p * ROWS;
                unpack::<N, F, T>(
                    tier,
                    &keys[first * row_bytes..],
                    n_keys - first,
                    row_bytes,
                    w,
                    Lines::NONE,
                    &mut panels[p],
                );
            }
            let mut first = 0;
            while first < n_queries {
                let width = T::MAX_COLUMNS.min(n_queries - first);
                // With one group and one window, the columns of the first keys serve all others.
                if first_key == 0 || n_queries > width || n_windows > 1 {
                    for c in 0..width {
                        F::copy::<T>(&queries[(first + c) * n_windows + w], &mut columns[c]);
                    }
                }
                for p in 0..n_panels {
                    let keys = first_key + p * ROWS..n_keys.min(first_key + (p + 1) * ROWS);
                    let tile = F::tile::<T>(width);
                    let mut sums = [[0.0; ROWS]; GROUP];
                    if w > 0 {
                        for c in 0..width {
                            sums[c][..keys.len()].copy_from_slice(&out.column(first + c)[keys.clone()]);
                        }
                    }
                    // SAFETY: `tier` is the proof of the tile's CPU features; the tile is the one for
                    // `width` columns and gets as many.
                    unsafe { tile(&panels[p], &columns[..width], &mut sums[..width]) };
                    for c in 0..width {
                        store(&sums[c], &mut out.column(first + c)[keys.clone()]);
                    }
                }
                first += width;
            }
        }
    }
}

/// Stores the scores of at most sixteen keys, without a call for whole panels.
#[inline(always)]
fn store(sums: &Sums, out: &mut [f32]) {
    match out.first_chunk_mut::<ROWS>() {
        Some(out) => *out = *sums,
        None => out.copy_from_slice(&sums[..out.len()]),
    }
}
