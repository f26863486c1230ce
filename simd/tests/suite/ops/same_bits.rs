//! Every tier against the scalar one.

use super::*;

/// Runs `op` on every better tier and on the scalar one, for all lengths, kinds of input and
/// alignments, and compares what it returns.
fn assert_tiers_agree(name: &str, op: impl Fn(&Ops, &[f32], &[f32]) -> Vec<f32>) {
    for isa in Isa::available() {
        let ops = Ops::for_isa(isa).expect("an available tier has its operations");
        for n in lengths() {
            // One more than needed: the slices begin anywhere in a vector.
            let m = n + 1;
            let kinds = [(noise(m, 1), noise(m, 2)), (harsh(m, 3), noise(m, 4)), (harsh(m, 5), harsh(m, 6))];
            for (x, y) in kinds {
                for (x, y) in [(&x[..n], &y[1..]), (&x[1..], &y[..n])] {
                    let (expected, found) = (op(scalar(), x, y), op(ops, x, y));
                    assert_eq!(bits(&expected), bits(&found), "{name} of {n} elements on {}", isa.name());
                }
            }
        }
    }
}

/// An operation with as many results as there are elements.
fn into<T: Clone + Default>(n: usize, op: impl FnOnce(&mut [T])) -> Vec<T> {
    let mut out = vec![T::default(); n];
    op(&mut out);
    out
}

#[test]
fn norms_are_equal_on_every_tier() {
    assert_tiers_agree("rms_norm", |ops, x, y| into(x.len(), |out| ops.rms_norm(x, y, 1e-5, out)));
    assert_tiers_agree("layer_norm", |ops, x, y| {
        let with_bias = into(x.len(), |out| ops.layer_norm(x, y, Some(x), 1e-5, out));
        let without = into(x.len(), |out| ops.layer_norm(x, y, None, 1e-5, out));
        [with_bias, without].concat()
    });
    assert_tiers_agree("softmax", |ops, x, _| {
        let mut out = x.to_vec();
        ops.softmax(&mut out);
        out
    });
    assert_tiers_agree("exponentials", |ops, x, _| {
        let mut out = x.to_vec();
        let (max, sum) = ops.exponentials(&mut out);
        out.extend([max, sum]);
        out
    });
}

#[test]
fn activations_are_equal_on_every_tier() {
    let clamped = Gate::ClampedSilu { alpha: 1.702, limit: 7.0 };
    let plain = [Gate::Silu, Gate::GeluTanh, Gate::GeluErf, Gate::Sigmoid, Gate::Relu, Gate::ReluSquared];
    let xielu = Gate::Xielu(Xielu { positive: 0.75, negative: 0.8, beta: 0.5, eps: -1e-6 });
    let bounded = [true, false].map(|is_before| Gate::BoundedSilu { limit: 0.7, is_before });
    for gate in plain.into_iter().chain([clamped, xielu]).chain(bounded) {
        let name = format!("{gate:?}");
        assert_tiers_agree(&name, |ops, x, _| into(x.len(), |out| ops.activate(gate, x, out)));
        assert_tiers_agree(&name, |ops, x, y| into(x.len(), |out| ops.gated(gate, x, y, out)));
    }
    assert_tiers_agree("softplus", |ops, x, _| {
        let mut out = x.to_vec();
        ops.softplus(&mut out);
        out
    });
    assert_tiers_agree("softcap", |ops, x, _| {
        let mut out = x.to_vec();
        ops.softcap(&mut out, 50.0);
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
fn products_are_equal_on_every_tier() {
    assert_tiers_agree("dots_f32", |ops, x, y| {
        let rows = [x, y, x].concat();
        into(3, |out| {
            if !y.is_empty() {
                ops.dots_f32(y, &rows, out);
            }
        })
    });
}

/// Calls `check` with each tier's operations.
fn for_each_tier(check: impl Fn(&Ops, Isa)) {
    for isa in Isa::available() {
        check(Ops::for_isa(isa).expect("an available tier has its operations"), isa);
    }
}

#[test]
fn widening_is_equal_for_every_pattern_of_16_bits() {
    let halves: Vec<u16> = (0..=u16::MAX).collect();
    for_each_tier(|ops, isa| {
        let wide = into(halves.len(), |out| ops.f16_to_f32(&halves, out));
        let wide_bf16 = into(halves.len(), |out| ops.bf16_to_f32(&halves, out));
        for (i, bits) in halves.iter().enumerate() {
            let expected = half_float::f16_to_f32(*bits).to_bits();
            assert_eq!(wide[i].to_bits(), expected, "f16 {bits:#06x} on {}", isa.name());
            let expected = half_float::bf16_to_f32(*bits).to_bits();
            assert_eq!(wide_bf16[i].to_bits(), expected, "bf16 {bits:#06x} on {}", isa.name());
        }
    });
}

#[test]
fn narrowing_is_equal_for_values_ties_and_nans() {
    // Every upper half, with lower halves that decide ties either way.
    let lows = [0, 1, 0x0fff, 0x1000, 0x1001, 0x1fff, 0x3000, 0x7fff, 0x8000, 0x8001, 0xffff];
    let x: Vec<f32> =
        (0..=0xffffu32).flat_map(|high| lows.map(|low| f32::from_bits(high << 16 | low))).collect();
    for_each_tier(|ops, isa| {
        let f16 = into(x.len(), |out| ops.f32_to_f16(&x, out));
        let bf16 = into(x.len(), |out| ops.f32_to_bf16(&x, out));
        for (i, value) in x.iter().enumerate() {
            let bits = value.to_bits();
            assert_eq!(f16[i], half_float::f32_to_f16(*value), "f16 of {bits:#010x} on {}", isa.name());
            assert_eq!(bf16[i], half_float::f32_to_bf16(*value), "bf16 of {bits:#010x} on {}", isa.name());
        }
    });
}

#[test]
fn conversions_are_equal_for_every_length_and_alignment() {
    for_each_tier(|ops, isa| {
        for n in lengths() {
            let x = harsh(n + 1, 7);
            for x in [&x[1..], &x[..n]] {
                let narrow = into(n, |out| ops.f32_to_f16(x, out));
                assert_eq!(narrow, into(n, |out| scalar().f32_to_f16(x, out)), "{n} on {}", isa.name());
                let wide = |ops: &Ops| {
                    into(n, |out| ops.f16_to_f32(&narrow, out))
                        .iter()
                        .map(|v| v.to_bits())
                        .collect::<Vec<_>>()
                };
                assert_eq!(wide(ops), wide(scalar()), "{n} on {}", isa.name());
                let narrow = into(n, |out| ops.f32_to_bf16(x, out));
                assert_eq!(narrow, into(n, |out| scalar().f32_to_bf16(x, out)), "{n} on {}", isa.name());
                let wide = |ops: &Ops| {
                    into(n, |out| ops.bf16_to_f32(&narrow, out))
                        .iter()
                        .map(|v| v.to_bits())
                        .collect::<Vec<_>>()
                };
                assert_eq!(wide(ops), wide(scalar()), "{n} on {}", isa.name());
            }
        }
    });
}
