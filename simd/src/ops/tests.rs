//! Every tier against the scalar one, bit for bit, and the scalar one against `f64`.

use super::*;

/// Lengths around the lane count, and some of real models.
const LENGTHS: [usize; 12] = [1, 2, 15, 16, 17, 31, 64, 80, 100, 128, 256, 1001];

/// Numbers in -4..4 that look random.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 21) as f32 - 4.0
    };
    (0..n).map(|_| next()).collect()
}

/// Noise with infinities, NaN, zeros of both signs, subnormals and extremes strewn in.
fn harsh(n: usize, seed: u64) -> Vec<f32> {
    let specials =
        [f32::INFINITY, -0.0, f32::NAN, f32::MIN, 1e-40, f32::NEG_INFINITY, f32::MAX, -1e-45, 0.0, 6e4, 7e4];
    let mut x = noise(n, seed);
    for (i, v) in x.iter_mut().enumerate().filter(|(i, _)| i % 3 == 1) {
        *v = specials[(i / 3) % specials.len()];
    }
    x
}

fn halves(x: &[f32]) -> Vec<u16> {
    x.iter().map(|v| half::f16::from_f32_const(*v).to_bits()).collect()
}

fn scalar() -> &'static Ops {
    Ops::for_isa(Isa::Scalar).expect("every CPU has the scalar tier")
}

/// Bits with all NaNs made one.
fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

/// Runs `op` on every better tier and on the scalar one, for all lengths and kinds of input, and
/// compares what it returns.
fn assert_tiers_agree(name: &str, op: impl Fn(&Ops, &[f32], &[f32]) -> Vec<f32>) {
    for isa in Isa::available() {
        let ops = Ops::for_isa(isa).expect("an available tier has its operations");
        for n in LENGTHS {
            for (x, y) in [(noise(n, 1), noise(n, 2)), (harsh(n, 3), noise(n, 4)), (harsh(n, 5), harsh(n, 6))]
            {
                let (expected, found) = (op(scalar(), &x, &y), op(ops, &x, &y));
                assert_eq!(bits(&expected), bits(&found), "{name} of {n} elements on {}", isa.name());
            }
        }
    }
}

#[test]
fn norms_and_activations_are_equal_on_every_tier() {
    assert_tiers_agree("rms_norm", |ops, x, y| {
        let mut out = vec![0.0; x.len()];
        ops.rms_norm(x, y, 1e-5, &mut out);
        out
    });
    assert_tiers_agree("softmax", |ops, x, _| {
        let mut out = x.to_vec();
        ops.softmax(&mut out);
        out
    });
    assert_tiers_agree("swiglu", |ops, x, y| {
        let mut out = vec![0.0; x.len()];
        ops.swiglu(x, y, &mut out);
        out
    });
}

#[test]
fn sums_and_rotations_are_equal_on_every_tier() {
    assert_tiers_agree("add", |ops, x, y| {
        let mut out = x.to_vec();
        ops.add(&mut out, y);
        out
    });
    assert_tiers_agree("add_scaled", |ops, x, y| {
        let mut out = x.to_vec();
        ops.add_scaled(&mut out, 0.37, y);
        out
    });
    assert_tiers_agree("rope", |ops, x, y| {
        let mut out = [x, x].concat();
        ops.rope_pairs(&mut out, x, y);
        ops.rope_halves(&mut out, x, y);
        out
    });
}

#[test]
fn half_precision_rows_are_equal_on_every_tier() {
    assert_tiers_agree("f32_to_f16", |ops, x, _| {
        let mut out = vec![0; x.len()];
        ops.f32_to_f16(x, &mut out);
        out.iter().map(|bits| f32::from(*bits)).collect()
    });
    assert_tiers_agree("dots_f16", |ops, x, y| {
        let rows = halves(&[x, y, x].concat());
        let mut out = vec![0.0; 3];
        ops.dots_f16(y, &rows, &mut out);
        out
    });
    assert_tiers_agree("weighted_sum_f16", |ops, x, y| {
        let rows = halves(&[x, y, x].concat());
        let mut out = vec![0.0; x.len()];
        ops.weighted_sum_f16(&[0.3, -1.7, 0.9], &rows, &mut out);
        out
    });
}

fn assert_close(found: f32, exact: f64, relative: f64, scale: f64) {
    let error = (f64::from(found) - exact).abs();
    assert!(error <= relative * scale, "{found} for {exact}: off by {error:e}");
}

#[test]
fn rms_norm_follows_its_formula() {
    for n in LENGTHS {
        let (x, w) = (noise(n, 7), noise(n, 8));
        let mut out = vec![0.0; n];
        scalar().rms_norm(&x, &w, 1e-5, &mut out);
        let mean = x.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / n as f64;
        let scale = 1.0 / libm::sqrt(mean + f64::from(1e-5f32));
        for i in 0..n {
            let exact = f64::from(x[i]) * scale * f64::from(w[i]);
            assert_close(out[i], exact, 1e-6, exact.abs());
        }
    }
}

#[test]
fn softmax_follows_its_formula_and_sums_to_one() {
    for n in LENGTHS {
        let x = noise(n, 9);
        let mut out = x.clone();
        scalar().softmax(&mut out);
        let total: f64 = x.iter().map(|v| libm::exp(f64::from(*v))).sum();
        for i in 0..n {
            let exact = libm::exp(f64::from(x[i])) / total;
            assert_close(out[i], exact, 1e-6, exact);
        }
        assert_close(out.iter().sum(), 1.0, 1e-5, 1.0);
    }
}

#[test]
fn softmax_of_infinities_and_nan() {
    let softmax = |mut x: Vec<f32>| {
        scalar().softmax(&mut x);
        x
    };
    assert_eq!(softmax(vec![f32::NEG_INFINITY, 2.0]), [0.0, 1.0]);
    assert_eq!(softmax(vec![1e30, -1e30]), [1.0, 0.0]);
    assert!(softmax(vec![f32::NEG_INFINITY; 3]).iter().all(|v| v.is_nan()));
    assert!(softmax(vec![f32::INFINITY, 0.0]).iter().all(|v| v.is_nan()));
    assert!(softmax(vec![0.0, f32::NAN]).iter().all(|v| v.is_nan()));
    assert!(softmax(vec![]).is_empty());
}

#[test]
fn swiglu_follows_its_formula() {
    let gate: Vec<f32> = (-1000..=1000).map(|i| i as f32 / 10.0).collect();
    let up = noise(gate.len(), 10);
    let mut out = vec![0.0; gate.len()];
    scalar().swiglu(&gate, &up, &mut out);
    for i in 0..gate.len() {
        let g = f64::from(gate[i]);
        let exact = g / (1.0 + libm::exp(-g)) * f64::from(up[i]);
        // Where e^-gate overflows, the result is -0 instead of a tiny number.
        assert_close(out[i], exact, 1e-6, exact.abs().max(1e-30));
    }
}

#[test]
fn rotation_turns_by_the_angle_in_both_orders() {
    let (cos, sin) = ([0.6f32, 0.0], [0.8f32, 1.0]);
    let mut pairs = [1.0, 2.0, 3.0, 4.0];
    scalar().rope_pairs(&mut pairs, &cos, &sin);
    assert_eq!(pairs, [0.6 - 2.0 * 0.8, 0.8 + 2.0 * 0.6, -4.0, 3.0]);
    let mut halves = [1.0, 3.0, 2.0, 4.0];
    scalar().rope_halves(&mut halves, &cos, &sin);
    assert_eq!(halves, [0.6 - 2.0 * 0.8, -4.0, 0.8 + 2.0 * 0.6, 3.0]);
}

#[test]
fn half_precision_products_follow_their_formulas() {
    for n in LENGTHS {
        let (x, weights) = (noise(n, 11), noise(5, 12));
        let rows = halves(&noise(5 * n, 13));
        let value = |r: usize, i: usize| half::f16::from_bits(rows[r * n + i]).to_f64_const();
        let mut dots = [0.0; 5];
        scalar().dots_f16(&x, &rows, &mut dots);
        for (r, dot) in dots.iter().enumerate() {
            assert_close(*dot, (0..n).map(|i| f64::from(x[i]) * value(r, i)).sum(), 1e-6, 16.0 * n as f64);
        }
        let mut sums = vec![0.0; n];
        scalar().weighted_sum_f16(&weights, &rows, &mut sums);
        for (i, sum) in sums.iter().enumerate() {
            assert_close(*sum, (0..5).map(|r| f64::from(weights[r]) * value(r, i)).sum(), 1e-6, 80.0);
        }
    }
}

#[test]
fn every_half_survives_the_way_through_the_cache() {
    for isa in Isa::available() {
        let ops = Ops::for_isa(isa).expect("an available tier has its operations");
        for bits in 0..=u16::MAX {
            let value = half::f16::from_bits(bits);
            if value.is_nan() {
                continue;
            }
            let (mut wide, mut narrow) = ([0.0], [0]);
            ops.weighted_sum_f16(&[1.0], &[bits], &mut wide);
            ops.f32_to_f16(&wide, &mut narrow);
            // Adding to +0 drops the sign of a zero and nothing else.
            assert_eq!(half::f16::from_bits(narrow[0]), value, "{bits:#06x} on {}", isa.name());
        }
    }
}
