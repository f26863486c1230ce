//! Every tier against the scalar one.

use super::*;

/// Those of models, the smallest, and one that takes more than a window.
const HEADS: [usize; 12] = [1, 8, 16, 32, 64, 80, 96, 112, 128, 192, 256, 576];

/// Around the widths of tiles.
const QUERIES: [usize; 9] = [0, 1, 2, 3, 4, 7, 14, 15, 29];

#[test]
fn scores_are_equal_on_every_tier() {
    for (isa, table) in better() {
        for rows in HEADS.into_iter().flat_map(rows_of) {
            for n_keys in [0, 1, 2, 15, 16, 17, 40, 130] {
                for n_queries in QUERIES {
                    let seed = (n_keys * 64 + n_queries) as u64;
                    // One byte more than needed: the rows begin anywhere.
                    let keys = bytes(n_keys * rows.row_bytes() + 1, seed);
                    let keys = &keys[n_queries % 2..][..n_keys * rows.row_bytes()];
                    let queries = Queries::new(rows, &noise(n_queries * rows.head_dim(), seed + 1));
                    let expected = scores(scalar(), rows, keys, &queries, n_queries);
                    let found = scores(table, rows, keys, &queries, n_queries);
                    assert_eq!(
                        bits(&expected),
                        bits(&found),
                        "{n_queries} queries, {n_keys} of {rows:?}, {isa}"
                    );
                }
            }
        }
    }
}

#[test]
fn scores_of_extreme_codes_are_equal_on_every_tier() {
    for (isa, table) in better() {
        for rows in [64, 128, 256].into_iter().flat_map(rows_of) {
            for byte in [0, 0x7f, 0x80, 0xff] {
                let keys = vec![byte; 20 * rows.row_bytes()];
                for x in [1.0, -1.0, f32::MAX, f32::NAN, f32::INFINITY, 0.0] {
                    let queries = Queries::new(rows, &vec![x; 3 * rows.head_dim()]);
                    let expected = scores(scalar(), rows, &keys, &queries, 3);
                    let found = scores(table, rows, &keys, &queries, 3);
                    assert_eq!(bits(&expected), bits(&found), "{x} with {byte:#x}, {rows:?}, {isa}");
                }
            }
        }
    }
}

#[test]
fn weighted_sums_are_equal_on_every_tier() {
    for (isa, table) in better() {
        for rows in HEADS.into_iter().flat_map(rows_of) {
            for n in [0, 1, 2, 17, CHUNK, CHUNK + 1, 2 * CHUNK + 3] {
                for n_queries in QUERIES {
                    let seed = (n * 64 + n_queries) as u64;
                    let values = bytes(n * rows.row_bytes() + 1, seed);
                    let values = &values[n_queries % 2..][..n * rows.row_bytes()];
                    let weights = noise(n * n_queries, seed + 1);
                    let visible: Vec<usize> = (0..n_queries).map(|q| n.saturating_sub(q * q * 5)).collect();
                    let expected = sums(scalar(), rows, values, &weights, &visible);
                    let found = sums(table, rows, values, &weights, &visible);
                    assert_eq!(bits(&expected), bits(&found), "{n_queries} queries, {n} of {rows:?}, {isa}");
                }
            }
        }
    }
}

#[test]
fn sums_of_the_first_elements_are_those_of_whole_rows() {
    for (isa, table) in better() {
        for rows in [96, 576].into_iter().flat_map(rows_of) {
            let n = CHUNK + 9;
            let values = store(scalar(), rows, &noise(n * rows.head_dim(), 31));
            let weights = noise(3 * n, 32);
            let visible = [n, n - 1, 7];
            let whole = sums(scalar(), rows, &values, &weights, &visible);
            let n_first = rows.head_dim() - 32;
            let mut first = vec![-1.0; 3 * n_first];
            table.weighted_sums(rows, &values, &weights, &visible, ColumnsMut::new(&mut first, n_first, 3));
            for (whole, first) in whole.chunks(rows.head_dim()).zip(first.chunks(n_first)) {
                assert_eq!(bits(&whole[..n_first]), bits(first), "{rows:?}, {isa}");
            }
        }
    }
}

#[test]
fn stored_rows_are_equal_on_every_tier() {
    let specials =
        [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, -0.0, 1e-40, 6e-8, 1e7, -7e4, 0.0];
    for (isa, table) in better() {
        for rows in HEADS.into_iter().flat_map(rows_of) {
            for (n, scale) in [(0, 1.0), (1, 1.0), (3, 100.0), (2, 1e-6), (2, 1e-41), (2, 1e6), (2, 1e38)] {
                let mut x: Vec<f32> =
                    noise(n * rows.head_dim() + 1, n as u64).iter().map(|v| v * scale).collect();
                let len = n * rows.head_dim();
                assert_eq!(store(scalar(), rows, &x[1..]), store(table, rows, &x[1..]), "{rows:?}, {isa}");
                for (i, special) in specials.iter().enumerate() {
                    if len > 0 {
                        x[i * 29 % len] = *special;
                    }
                    let (expected, found) = (store(scalar(), rows, &x[..len]), store(table, rows, &x[..len]));
                    assert_eq!(expected, found, "{rows:?} with {special}, {isa}");
                }
            }
        }
    }
}
