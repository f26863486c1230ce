//! The scalar tier against `f64`, and the promises of the module's head.

use super::*;

const HEADS: [usize; 5] = [64, 80, 128, 192, 256];

/// The rows' elements as `f64`.
fn decoded(rows: CacheRows, bytes: &[u8]) -> Vec<f64> {
    let mut out = vec![0.0; rows.count(bytes) * rows.head_dim()];
    let kernels = Kernels::get(Isa::Scalar).expect("every CPU has the scalar tier");
    kernels.decode(rows.cache_type().block_type(), bytes, &mut out);
    out.into_iter().map(f64::from).collect()
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum()
}

fn norm(x: &[f64]) -> f64 {
    libm::sqrt(dot(x, x))
}

fn doubles(x: &[f32]) -> Vec<f64> {
    x.iter().map(|v| f64::from(*v)).collect()
}

#[test]
fn scores_are_the_dot_products_of_the_block_type() {
    let kernels = Kernels::get(Isa::Scalar).expect("every CPU has the scalar tier");
    for rows in HEADS.into_iter().flat_map(rows_of) {
        let keys = bytes(37 * rows.row_bytes(), 1);
        let queries = Queries::new(rows, &noise(rows.head_dim(), 2));
        let mut expected = vec![0.0; 37];
        kernels.gemv(rows.cache_type().block_type(), &keys, rows.head_dim(), queries.view(), &mut expected);
        assert_eq!(bits(&scores(scalar(), rows, &keys, &queries, 1)), bits(&expected), "{rows:?}");
    }
}

#[test]
fn scores_come_near_those_of_the_floats() {
    for rows in HEADS.into_iter().flat_map(rows_of) {
        let (n, d) = (50, rows.head_dim());
        let (x, q) = (noise(n * d, 3), noise(3 * d, 4));
        let keys = store(scalar(), rows, &x);
        let found = scores(scalar(), rows, &keys, &Queries::new(rows, &q), 3);
        // Relative to the lengths of the vectors; the errors of the elements average out.
        let allowed = match rows.cache_type() {
            CacheType::F32 => 1e-6,
            CacheType::F16 => 1e-4,
            CacheType::Q8_0 => 4e-3,
            CacheType::Q4_0 => 5e-2,
        };
        for (i, found) in found.iter().enumerate() {
            let (q, x) = (doubles(&q[i / n * d..][..d]), doubles(&x[i % n * d..][..d]));
            let error = (f64::from(*found) - dot(&q, &x)).abs() / norm(&q) / norm(&x);
            assert!(error < allowed, "{error} of {rows:?}");
        }
    }
}

#[test]
fn weighted_sums_follow_their_formula() {
    for rows in HEADS.into_iter().flat_map(rows_of) {
        let (n, d) = (CHUNK + 50, rows.head_dim());
        let values = store(scalar(), rows, &noise(n * d, 5));
        let (weights, visible) = (noise(2 * n, 6), [n, n - 60]);
        let found = sums(scalar(), rows, &values, &weights, &visible);
        let values = decoded(rows, &values);
        for (i, found) in found.iter().enumerate() {
            let (q, element) = (i / d, i % d);
            let terms = (0..visible[q]).map(|r| f64::from(weights[q * n + r]) * values[r * d + element]);
            let exact: f64 = terms.sum();
            assert!((f64::from(*found) - exact).abs() < 2e-5, "{found} for {exact}, {rows:?}");
        }
    }
}

#[test]
fn rows_divided_at_chunks_have_the_same_sums() {
    for rows in [64, 128].into_iter().flat_map(rows_of) {
        let n = 2 * CHUNK + 77;
        let (values, weights) = (store(scalar(), rows, &noise(n * rows.head_dim(), 7)), noise(n, 8));
        let whole = sums(scalar(), rows, &values, &weights, &[n]);
        let mut parts = vec![0.0; rows.head_dim()];
        let chunks = values.chunks(CHUNK * rows.row_bytes()).zip(weights.chunks(CHUNK));
        for (values, weights) in chunks {
            let part = sums(scalar(), rows, values, weights, &[weights.len()]);
            parts.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        assert_eq!(parts, whole, "{rows:?}");
    }
}

#[test]
fn rows_out_of_sight_are_not_looked_at() {
    for rows in rows_of(64) {
        let values = store(scalar(), rows, &noise(10 * 64, 9));
        let mut hidden = values.clone();
        hidden[6 * rows.row_bytes()..].fill(0xff);
        let weights: Vec<f32> = (0..10).map(|r| if r < 6 { 0.5 } else { f32::NAN }).collect();
        let expected = sums(scalar(), rows, &values[..6 * rows.row_bytes()], &weights[..6], &[6]);
        assert_eq!(sums(scalar(), rows, &hidden, &weights, &[6]), expected, "{rows:?}");
    }
}

#[test]
fn stored_rows_come_within_their_bounds() {
    for scale in [1e-3, 1.0, 77.7, 1e4] {
        for rows in rows_of(64) {
            let x: Vec<f32> = noise(64 * 64, 10).iter().map(|v| v * scale).collect();
            let back = decoded(rows, &store(scalar(), rows, &x));
            for (x, back) in x.chunks_exact(32).zip(back.chunks_exact(32)) {
                let amax = f64::from(x.iter().fold(0.0f32, |a, v| a.max(v.abs())));
                for (x, back) in x.iter().zip(back) {
                    let error = (f64::from(*x) - back).abs() / amax;
                    let allowed = match rows.cache_type() {
                        CacheType::F32 => 0.0,
                        CacheType::F16 => 1.0 / 2048.0,
                        CacheType::Q8_0 => 1.0 / 254.0 + 1.0 / 2048.0,
                        CacheType::Q4_0 => 1.0 / 8.0 + 1.0 / 2048.0,
                    };
                    assert!(error <= allowed, "{x} became {back}, {rows:?}");
                }
            }
        }
    }
}

#[test]
fn a_block_that_is_not_finite_becomes_nan() {
    for ty in [CacheType::Q8_0, CacheType::Q4_0] {
        let rows = CacheRows::new(ty, 64).expect("whole blocks");
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = noise(64, 11);
            x[40] = special;
            let back = decoded(rows, &store(scalar(), rows, &x));
            assert!(back[..32].iter().all(|v| v.is_finite()));
            assert!(back[32..].iter().all(|v| v.is_nan()), "{ty} of {special}");
        }
    }
}
