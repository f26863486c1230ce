//! The scalar tier against `f64`.

use super::*;

fn assert_close(found: f32, exact: f64, relative: f64, scale: f64) {
    let error = (f64::from(found) - exact).abs();
    assert!(error <= relative * scale, "{found} for {exact}: off by {error:e}");
}

#[test]
fn rms_norm_follows_its_formula() {
    for n in lengths() {
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
fn layer_norm_follows_its_formula() {
    for n in lengths().skip(1) {
        // Far from zero, where one pass over the squares would cancel.
        let x: Vec<f32> = noise(n, 14).iter().map(|v| v + 1000.0).collect();
        let (w, b) = (noise(n, 15), noise(n, 16));
        let (mut out, mut without) = (vec![0.0; n], vec![0.0; n]);
        scalar().layer_norm(&x, &w, Some(&b), 1e-5, &mut out);
        scalar().layer_norm(&x, &w, None, 1e-5, &mut without);
        let mean = x.iter().map(|v| f64::from(*v)).sum::<f64>() / n as f64;
        let variance =
            x.iter().map(|v| (f64::from(*v) - mean) * (f64::from(*v) - mean)).sum::<f64>() / n as f64;
        let scale = 1.0 / libm::sqrt(variance + f64::from(1e-5f32));
        // The mean's error, n / 16 ULP of 1000 at most, times the scale.
        let of_mean = (2.0 + n as f64 / 16.0) * 6.2e-5 * scale;
        for i in 0..n {
            let exact = (f64::from(x[i]) - mean) * scale * f64::from(w[i]);
            let allowed =
                of_mean * f64::from(w[i].abs()) * 2.0 + 1e-6 * (exact.abs() + f64::from(b[i].abs()));
            assert!(
                (f64::from(without[i]) - exact).abs() <= allowed,
                "{} for {exact}, {n} elements",
                without[i]
            );
            let exact = exact + f64::from(b[i]);
            assert!((f64::from(out[i]) - exact).abs() <= allowed, "{} for {exact}, {n} elements", out[i]);
        }
    }
}

#[test]
fn layer_norm_of_equal_elements_is_the_bias() {
    let mut out = [0.0; 20];
    scalar().layer_norm(&[3.5; 20], &[2.0; 20], Some(&[0.25; 20]), 1e-5, &mut out);
    assert_eq!(out, [0.25; 20]);
}

#[test]
fn softmax_follows_its_formula_and_sums_to_one() {
    for n in lengths().skip(1) {
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
fn exponentials_are_softmax_before_its_division() {
    assert_eq!(scalar().exponentials(&mut []), (f32::NEG_INFINITY, 0.0));
    for n in lengths().skip(1) {
        let x = noise(n, 19);
        let (mut divided, mut out) = (x.clone(), x.clone());
        scalar().softmax(&mut divided);
        let (max, sum) = scalar().exponentials(&mut out);
        assert_eq!(max, x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        out.iter_mut().for_each(|e| *e *= 1.0 / sum);
        assert_eq!(bits(&out), bits(&divided));
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

/// Those that multiply the other row as it is.
const ACTIVATIONS: [Gate; 7] = [
    Gate::Silu,
    Gate::GeluTanh,
    Gate::GeluErf,
    Gate::Sigmoid,
    Gate::Relu,
    Gate::ReluSquared,
    Gate::Xielu(XIELU),
];

const XIELU: Xielu = Xielu { positive: 0.75, negative: 0.8, beta: 0.5, eps: -1e-6 };

#[test]
fn swiglu_follows_its_formula() {
    let gate: Vec<f32> = (-1000..=1000).map(|i| i as f32 / 10.0).collect();
    let up = noise(gate.len(), 10);
    let mut out = vec![0.0; gate.len()];
    scalar().gated(Gate::Silu, &gate, &up, &mut out);
    for i in 0..gate.len() {
        let g = f64::from(gate[i]);
        let exact = g / (1.0 + libm::exp(-g)) * f64::from(up[i]);
        // Where e^-gate overflows, the result is -0 instead of a tiny number.
        assert_close(out[i], exact, 1e-6, exact.abs().max(1e-30));
    }
}

#[test]
fn gated_activations_are_the_activation_times_the_other_row() {
    let (gate, up) = (harsh(100, 17), harsh(100, 18));
    for activation in ACTIVATIONS {
        let (mut activated, mut out) = ([0.0; 100], [0.0; 100]);
        scalar().activate(activation, &gate, &mut activated);
        scalar().gated(activation, &gate, &up, &mut out);
        let expected: Vec<f32> = activated.iter().zip(&up).map(|(a, u)| a * u).collect();
        assert_eq!(bits(&out), bits(&expected), "{activation:?}");
    }
}

#[test]
fn activations_follow_their_formulas() {
    let x: Vec<f32> = (-1000..=1000).map(|i| i as f32 / 64.0).collect();
    let up = noise(x.len(), 10);
    type Formula = fn(f64, f64) -> f64;
    let formulas: [(Gate, Formula); 6] = [
        (Gate::Sigmoid, |x, up| up / (1.0 + libm::exp(-x))),
        (Gate::Relu, |x, up| x.max(0.0) * up),
        (Gate::ReluSquared, |x, up| x.max(0.0) * x.max(0.0) * up),
        (Gate::ClampedSilu { alpha: 1.702, limit: 0.75 }, |x, up| {
            let x = x.min(0.75);
            x / (1.0 + libm::exp(-f64::from(1.702f32) * x)) * (1.0 + up.clamp(-0.75, 0.75))
        }),
        (Gate::BoundedSilu { limit: 0.75, is_before: true }, |x, up| {
            let x = x.min(0.75);
            x / (1.0 + libm::exp(-x)) * up.clamp(-0.75, 0.75)
        }),
        (Gate::BoundedSilu { limit: 0.75, is_before: false }, |x, up| {
            (x / (1.0 + libm::exp(-x))).min(0.75) * up.clamp(-0.75, 0.75)
        }),
    ];
    for (activation, formula) in formulas {
        let mut out = vec![0.0; x.len()];
        scalar().gated(activation, &x, &up, &mut out);
        for i in 0..x.len() {
            let exact = formula(x[i].into(), up[i].into());
            // An exponential turns the rounding of its argument, up to 27, into a relative error.
            assert_close(out[i], exact, 4e-6, exact.abs().max(1e-30));
        }
    }
}

#[test]
fn xielu_follows_its_formula() {
    let x: Vec<f32> = (-1000..=1000).map(|i| i as f32 / 64.0).collect();
    let mut out = vec![0.0; x.len()];
    scalar().activate(Gate::Xielu(XIELU), &x, &mut out);
    for (out, x) in out.into_iter().zip(x.into_iter().map(f64::from)) {
        let below = (libm::expm1(x.min(-1e-6)) - x) * f64::from(0.8f32) + 0.5 * x;
        let exact = if x > 0.0 { 0.75 * x * x + 0.5 * x } else { below };
        // Below zero the terms cancel.
        assert_close(out, exact, 4e-7, exact.abs().max(x.abs()));
    }
}

#[test]
fn softplus_follows_its_formula() {
    let mut x: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 40.0).collect();
    x.extend([1e-20, -3e-7, f32::INFINITY, f32::NEG_INFINITY]);
    let mut found = x.clone();
    scalar().softplus(&mut found);
    for (x, found) in x.into_iter().zip(found) {
        let exact = libm::log1p(libm::exp(x.into()));
        match x == f32::INFINITY {
            true => assert_eq!(found, f32::INFINITY),
            false => assert_close(found, exact, 4e-7, exact.max(f32::MIN_POSITIVE.into())),
        }
    }
    let mut nan = [f32::NAN];
    scalar().softplus(&mut nan);
    assert!(nan[0].is_nan());
}

#[test]
fn soft_caps_follow_their_formula() {
    let mut x: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 32.0).collect();
    x.extend([1e-20, -3e-7, f32::INFINITY, f32::NEG_INFINITY]);
    let mut capped = x.clone();
    scalar().softcap(&mut capped, 30.0);
    for (x, capped) in x.into_iter().zip(capped) {
        let exact = 30.0 * libm::tanh(f64::from(x) / 30.0);
        assert_close(capped, exact, 4e-7, exact.abs());
    }
    let mut nan = [f32::NAN];
    scalar().softcap(&mut nan, 30.0);
    assert!(nan[0].is_nan());
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
fn products_follow_their_formula() {
    for n in lengths().skip(1) {
        let (x, rows) = (noise(n, 11), noise(5 * n, 13));
        let mut dots = [0.0; 5];
        scalar().dots_f32(&x, &rows, &mut dots);
        for (r, dot) in dots.iter().enumerate() {
            let exact = (0..n).map(|i| f64::from(x[i]) * f64::from(rows[r * n + i])).sum();
            assert_close(*dot, exact, 1e-6, 16.0 * n as f64);
        }
    }
}
