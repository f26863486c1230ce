//! Rows that become the inputs of products in one pass.

use gguf_simd::ops::{Gate, Norm};
use gguf_simd::{InputRow, Isa, Kernels, Q8KWindow, Q8Window, WINDOW_LEN};

/// Numbers in -4..4 that look random.
fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 21) as f32 - 4.0
    };
    (0..n).map(|_| next()).collect()
}

/// Checks that `fused` leaves what `separate` writes, and its windows.
fn check(kernels: &Kernels, n: usize, fused: impl Fn(InputRow<'_>), separate: impl Fn(&mut [f32])) {
    let n_windows = n.div_ceil(WINDOW_LEN);
    let has_k = n.is_multiple_of(WINDOW_LEN);
    let mut expected = vec![0.0; n];
    separate(&mut expected);
    let (mut q8_0, mut q8_k) = (vec![Q8Window::ZERO; n_windows], vec![Q8KWindow::ZERO; n_windows]);
    kernels.quantize_q8_0(&expected, &mut q8_0);
    let mut floats = vec![0.0; n];
    let (mut found_0, mut found_k) = (q8_0.clone(), q8_k.clone());
    found_0.fill(Q8Window::ZERO);
    fused(InputRow {
        floats: &mut floats,
        q8_0: Some(&mut found_0),
        q8_k: if has_k { Some(&mut found_k) } else { None },
    });
    if has_k {
        kernels.quantize_q8_k(&expected, &mut q8_k);
    }
    assert_eq!(floats, expected, "{n} on {}", kernels.isa());
    for (found, expected) in found_0.iter().zip(&q8_0) {
        assert!(
            found.codes() == expected.codes() && found.sums() == expected.sums(),
            "{n} on {}",
            kernels.isa()
        );
        assert_eq!(found.scales(), expected.scales());
    }
    for (found, expected) in found_k.iter().zip(&q8_k) {
        assert!(
            found.codes() == expected.codes() && found.sums() == expected.sums(),
            "{n} on {}",
            kernels.isa()
        );
        assert_eq!(found.scale(), expected.scale());
    }
}

#[test]
fn one_pass_has_the_bits_of_the_separate_operations() {
    for kernels in Isa::available().filter_map(Kernels::get) {
        for n in [0, 32, 256, 288, 512, 896, 4096] {
            let (x, weight, bias) = (noise(n, 1), noise(n, 2), noise(n, 3));
            let (weight, bias) = (&weight[..], Some(&bias[..]));
            let ops = kernels.ops();
            check(
                kernels,
                n,
                |row| kernels.norm(Norm::Rms { weight, eps: 1e-5 }, &x, row),
                |out| ops.rms_norm(&x, weight, 1e-5, out),
            );
            check(
                kernels,
                n,
                |row| kernels.norm(Norm::Layer { weight, bias, eps: 1e-5 }, &x, row),
                |out| ops.layer_norm(&x, weight, bias, 1e-5, out),
            );
            for gate in [Gate::Silu, Gate::GeluTanh, Gate::GeluErf] {
                check(
                    kernels,
                    n,
                    |row| kernels.gated(gate, &x, weight, row),
                    |out| ops.gated(gate, &x, weight, out),
                );
            }
        }
    }
}
