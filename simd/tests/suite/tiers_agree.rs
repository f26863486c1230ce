//! Every tier of kernels gives the scalar definition's bits.

use crate::activations::Activations;
use crate::common::{Random, assert_same_bits, better_tiers, is_own, plausible_blocks, scalar};
use crate::effort::FULL;
use gguf_simd::kernels::{Operation, origin};
use gguf_simd::{BlockType, ColumnsMut, Kernels, Q8KWindow, Q8Window};

/// Blocks in a row: none, few, a window more or less, many.
const BLOCKS: &[usize] = if cfg!(miri) {
    &[0, 1, 3, 9]
} else if FULL {
    &[0, 1, 2, 3, 7, 8, 9, 16, 31, 64, 129, 136, 530]
} else {
    &[0, 1, 3, 7, 9, 16, 129]
};

/// Rows lengths in elements that exercise a type: block counts, but float "blocks" are elements.
fn row_lengths(ty: BlockType) -> impl Iterator<Item = usize> {
    BLOCKS.iter().copied().filter(move |&n| ty.block_len() < 256 || n < 40).map(move |n| n * ty.block_len())
}

/// The types for which a tier has a kernel of its own.
fn own_types(kernels: &Kernels, operation: Operation) -> impl Iterator<Item = BlockType> {
    BlockType::all().filter(move |&ty| is_own(kernels, ty, operation))
}

/// Weights of a product: what fills the bytes of its blocks.
#[derive(Clone, Copy, Debug)]
enum Fill {
    /// Every byte random: all scales, NaN and infinities among them.
    Random,
    /// Random codes under scales of ordinary size, so that rounding is what decides.
    Encoded,
    /// One byte throughout: codes at their ends, scales zero, ordinary, huge or NaN.
    Byte(u8),
}

/// The bytes of [`Fill::Byte`] to try.
const BYTES: [u8; 5] = [0x00, 0x3b, 0x7b, 0x80, 0xff];

fn weights(ty: BlockType, n: usize, fill: Fill, random: &mut Random) -> Vec<u8> {
    let n_bytes = ty.row_bytes(n).expect("whole blocks");
    match fill {
        Fill::Random => random.bytes(n_bytes),
        Fill::Byte(byte) => vec![byte; n_bytes],
        Fill::Encoded => plausible_blocks(ty, n, random),
    }
}

/// Activations with every kind of group: ordinary, zero, extreme codes, huge, tiny, not finite.
fn activations(n: usize, poisoned: bool, random: &mut Random) -> Vec<f32> {
    let mut x = random.floats(n);
    for group in x.chunks_mut(32) {
        match random.next() % 8 {
            0 => group.fill(0.0),
            1 => group.iter_mut().for_each(|v| *v = v.signum()),
            2 => group.iter_mut().for_each(|v| *v *= 1e30),
            3 => group.iter_mut().for_each(|v| *v *= 1e-36),
            4 if poisoned => group[group.len() / 2] = f32::NAN,
            5 if poisoned => group[0] = f32::NEG_INFINITY,
            _ => {}
        }
    }
    x
}

/// Where a tier has none, nothing of it would be tried here.
#[test]
fn every_tier_has_kernels_of_its_own() {
    for kernels in better_tiers().into_iter().chain([scalar()]) {
        let is_any = |operation| own_types(kernels, operation).next().is_some();
        assert!(Operation::ALL.into_iter().any(is_any), "{}", kernels.isa());
    }
    let best = Kernels::best();
    for ty in BlockType::all() {
        for operation in [Operation::Gemv, Operation::Gemm, Operation::Decode] {
            let is_tried = |kernels: &&Kernels| is_own(kernels, ty, operation);
            let tier = origin(best.isa(), ty, operation);
            assert!(better_tiers().iter().any(is_tried), "{} {ty}: {operation:?} is {tier:?}'s", best.isa());
        }
    }
}

#[test]
fn gemv_equals_scalar_bit_for_bit() {
    let mut random = Random::new(1);
    for kernels in better_tiers() {
        for ty in own_types(kernels, Operation::Gemv) {
            for n_in in row_lengths(ty) {
                for (n_out, fill) in [(1, Fill::Random), (5, Fill::Random), (3, Fill::Encoded)] {
                    let w = weights(ty, n_in * n_out, fill, &mut random);
                    let x = Activations::of(ty, &activations(n_in, n_out == 5, &mut random), n_in);
                    let (mut expected, mut found) = (vec![0.5; n_out], vec![0.25; n_out]);
                    scalar().gemv(ty, &w, n_in, x.view(), &mut expected);
                    kernels.gemv(ty, &w, n_in, x.view(), &mut found);
                    assert_same_bits(&expected, &found, || {
                        format!("{} {ty} {n_out} x {n_in} {fill:?}", kernels.isa())
                    });
                }
            }
        }
    }
}

#[test]
fn gemv_equals_scalar_on_extreme_codes_and_scales() {
    let mut random = Random::new(7);
    for kernels in better_tiers() {
        for ty in own_types(kernels, Operation::Gemv) {
            for (n_blocks, byte) in BYTES
                .into_iter()
                .flat_map(|byte| if FULL { [1, 7, 16, 33] } else { [1, 2, 7, 9] }.map(|n| (n, byte)))
            {
                let (n_in, n_out) = (n_blocks * ty.block_len(), 3);
                let w = weights(ty, n_in * n_out, Fill::Byte(byte), &mut random);
                // Every activation at an end of its range.
                let x: Vec<f32> = (0..n_in).map(|_| random.float().signum()).collect();
                let x = Activations::of(ty, &x, n_in);
                let (mut expected, mut found) = (vec![0.5; n_out], vec![0.25; n_out]);
                scalar().gemv(ty, &w, n_in, x.view(), &mut expected);
                kernels.gemv(ty, &w, n_in, x.view(), &mut found);
                assert_same_bits(&expected, &found, || {
                    format!("{} {ty} {n_out} x {n_in} of bytes {byte:#x}", kernels.isa())
                });
            }
        }
    }
}

#[test]
fn gemv_equals_scalar_on_misaligned_slices() {
    let mut random = Random::new(2);
    for kernels in better_tiers() {
        for ty in own_types(kernels, Operation::Gemv) {
            let (n_in, n_out) = (ty.block_len() * 24, 3);
            for shift in if FULL { 1..9 } else { 1..4 } {
                let mut w = vec![0; shift];
                w.extend(weights(ty, n_in * n_out, Fill::Encoded, &mut random));
                let x = Activations::of(ty, &activations(n_in, false, &mut random), n_in);
                let (mut expected, mut found) = (vec![0.0; n_out], vec![0.0; n_out]);
                scalar().gemv(ty, &w[shift..], n_in, x.view(), &mut expected);
                kernels.gemv(ty, &w[shift..], n_in, x.view(), &mut found);
                assert_same_bits(&expected, &found, || format!("{} {ty} shifted by {shift}", kernels.isa()));
            }
        }
    }
}

#[test]
fn gemm_equals_gemv_bit_for_bit() {
    let mut random = Random::new(3);
    for kernels in better_tiers().into_iter().chain([scalar()]) {
        for ty in own_types(kernels, Operation::Gemm) {
            // The last is more weights than GEMM takes at a time.
            let bytes = if FULL { 300 << 10 } else { 10 << 10 };
            let many = bytes / ty.row_bytes(24 * ty.block_len()).expect("whole blocks");
            for (n_in, n_out, n_cols) in [(0, 3, 2), (1, 1, 1), (3, 5, 3), (9, 7, 2), (24, many, 3)] {
                let n_in = n_in * ty.block_len();
                let w = weights(ty, n_in * n_out, Fill::Encoded, &mut random);
                let rows = activations(n_in * n_cols, false, &mut random);
                let x = Activations::of(ty, &rows, n_in);
                let mut found = vec![0.25; n_out * n_cols];
                kernels.gemm(ty, &w, n_in, x.view(), ColumnsMut::new(&mut found, n_out, n_cols));
                for c in 0..n_cols {
                    let x = Activations::of(ty, &rows[c * n_in..][..n_in], n_in);
                    let mut expected = vec![0.5; n_out];
                    kernels.gemv(ty, &w, n_in, x.view(), &mut expected);
                    let context = || format!("{} {ty} column {c} of {n_out} x {n_in}", kernels.isa());
                    assert_same_bits(&expected, &found[c * n_out..][..n_out], context);
                }
            }
        }
    }
}

#[test]
fn decode_equals_scalar_bit_for_bit() {
    let mut random = Random::new(4);
    for kernels in better_tiers() {
        for ty in own_types(kernels, Operation::Decode) {
            for n in row_lengths(ty) {
                let blocks = weights(ty, n, Fill::Random, &mut random);
                let (mut expected, mut found) = (vec![0.5; n], vec![0.25; n]);
                scalar().decode(ty, &blocks, &mut expected);
                kernels.decode(ty, &blocks, &mut found);
                assert_same_bits(&expected, &found, || format!("{} {ty} of {n}", kernels.isa()));
            }
        }
    }
}

#[test]
fn decode_and_encode_equal_scalar_on_misaligned_slices() {
    let mut random = Random::new(8);
    for kernels in better_tiers() {
        for ty in own_types(kernels, Operation::Encode) {
            let n = 3 * ty.block_len();
            let bytes = weights(ty, n + 3 * ty.block_len(), Fill::Random, &mut random);
            let n_bytes = ty.row_bytes(n).expect("whole blocks");
            for shift in 1..4 {
                let (blocks, row) = (&bytes[shift..][..n_bytes], random.floats(n + shift));
                let (mut expected, mut found) = (vec![0.5; n], vec![0.25; n + shift]);
                scalar().decode(ty, blocks, &mut expected);
                kernels.decode(ty, blocks, &mut found[shift..]);
                assert_same_bits(&expected, &found[shift..], || format!("{} {ty}", kernels.isa()));
                let (mut expected, mut found) = (vec![1; n_bytes], vec![2; n_bytes + shift]);
                scalar().encode(ty, &row[shift..], None, &mut expected);
                kernels.encode(ty, &row[shift..], None, &mut found[shift..]);
                assert_eq!(expected, found[shift..], "{} {ty} shifted by {shift}", kernels.isa());
            }
        }
    }
}

#[test]
fn encode_equals_scalar_byte_for_byte() {
    let mut random = Random::new(5);
    for kernels in better_tiers() {
        for ty in own_types(kernels, Operation::Encode) {
            let blocks: &[usize] = if FULL { &[0, 1, 2, 3, 7, 16, 17] } else { &[0, 1, 3, 7] };
            for n in blocks.iter().map(|n| n * ty.block_len()) {
                let row = activations(n, true, &mut random);
                let mut importance = random.floats(n);
                importance.iter_mut().step_by(5).for_each(|w| *w *= 1e20);
                for importance in [None, Some(&importance[..])] {
                    let n_bytes = ty.row_bytes(n).expect("whole blocks");
                    let (mut expected, mut found) = (vec![1; n_bytes], vec![2; n_bytes]);
                    scalar().encode(ty, &row, importance, &mut expected);
                    kernels.encode(ty, &row, importance, &mut found);
                    assert_eq!(expected, found, "{} {ty} of {n}", kernels.isa());
                }
            }
        }
    }
}

#[test]
fn activation_quantisers_equal_scalar() {
    let mut random = Random::new(6);
    for kernels in better_tiers() {
        for n in [0, 32, 224, 256, 288, 4096] {
            let x = activations(n, true, &mut random);
            let mut expected = vec![Q8Window::ZERO; n.div_ceil(256)];
            let mut found = expected.clone();
            // Whatever was in the windows before must not show.
            found.fill(Q8Window::new([99; 256], [f32::NAN; 8]));
            scalar().quantize_q8_0(&x, &mut expected);
            kernels.quantize_q8_0(&x, &mut found);
            for (e, f) in expected.iter().zip(&found) {
                assert_eq!((e.codes(), e.sums()), (f.codes(), f.sums()), "{} Q8_0 of {n}", kernels.isa());
                assert_same_bits(e.scales(), f.scales(), || format!("{} Q8_0 of {n}", kernels.isa()));
            }
            let x = &x[..n / 256 * 256];
            let mut expected = vec![Q8KWindow::ZERO; n / 256];
            let mut found = vec![Q8KWindow::new([99; 256], f32::NAN); n / 256];
            scalar().quantize_q8_k(x, &mut expected);
            kernels.quantize_q8_k(x, &mut found);
            for (e, f) in expected.iter().zip(&found) {
                assert_eq!((e.codes(), e.sums()), (f.codes(), f.sums()), "{} Q8_K of {n}", kernels.isa());
                assert_same_bits(&[e.scale()], &[f.scale()], || format!("{} Q8_K of {n}", kernels.isa()));
            }
        }
    }
}
