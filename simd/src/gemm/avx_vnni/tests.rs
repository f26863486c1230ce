//! The tiles in the form of AVX-512 VL, which some CPUs without AVX-VNNI have.

use super::*;
use crate::gemm::{Product, batch};
use crate::isa::Avx512;
use crate::kernels::rows::{self, Gemv};
use crate::{ActivationFormat, BlockType, ColumnsMut, Q8KWindow, Q8Window, quantize};

instruction!(evex_dpbusd, "{{evex}} vpdpbusd {acc}, {a}, {b}");
instruction!(evex_dpwssd, "{{evex}} vpdpwssd {acc}, {a}, {b}");

/// Proof that the CPU has the instructions in the form of AVX-512 VL.
#[derive(Clone, Copy)]
struct Evex(());

impl Vnni for Evex {
    fn find() -> Option<Self> {
        Avx512::detect().map(|_| Self(()))
    }

    #[inline(always)]
    fn dpbusd(self, acc: __m256i, codes: __m256i, y: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2 and this form.
        unsafe { evex_dpbusd(acc, codes, y) }
    }

    #[inline(always)]
    fn dpwssd(self, acc: __m256i, a: __m256i, b: __m256i) -> __m256i {
        // SAFETY: `self` proves AVX2 and this form.
        unsafe { evex_dpwssd(acc, a, b) }
    }
}

/// Random words (xorshift).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Rows of quantised activations.
enum Columns {
    Q8_0(Vec<Q8Window>),
    Q8K(Vec<Q8KWindow>),
}

impl Columns {
    fn of(ty: BlockType, x: &[f32], n_in: usize) -> Self {
        let rows = x.chunks(n_in);
        if ty.activation() == ActivationFormat::Q8K {
            let mut windows = vec![Q8KWindow::ZERO; x.len() / 256];
            for (row, windows) in rows.zip(windows.chunks_mut(n_in / 256)) {
                quantize::q8_k(row, windows);
            }
            Self::Q8K(windows)
        } else {
            let mut windows = vec![Q8Window::ZERO; x.len() / n_in * n_in.div_ceil(256)];
            for (row, windows) in rows.zip(windows.chunks_mut(n_in.div_ceil(256))) {
                quantize::q8_0(row, windows);
            }
            Self::Q8_0(windows)
        }
    }

    /// The scalar products of `weights` with column `c` of `n_cols`.
    fn gemv(&self, ty: BlockType, weights: &[u8], (c, n_cols): (usize, usize), out: &mut [f32]) {
        match (rows::scalar(ty).gemv, self) {
            (Gemv::Q8_0(gemv), Self::Q8_0(x)) => {
                let x = x.chunks(x.len() / n_cols).nth(c).expect("a column");
                // SAFETY: the scalar functions need no feature; the arguments are whole rows.
                unsafe { gemv(weights, x, out) }
            }
            (Gemv::Q8K(gemv), Self::Q8K(x)) => {
                let x = x.chunks(x.len() / n_cols).nth(c).expect("a column");
                // SAFETY: as above.
                unsafe { gemv(weights, x, out) }
            }
            _ => panic!("{ty} takes other activations"),
        }
    }
}

/// Multiplies by the tiles and by scalar dot products, and compares.
fn check(ty: BlockType, weights: &[u8], x: &[f32], n_in: usize, n_rows: usize) {
    let (x, n_cols) = (Columns::of(ty, x, n_in), x.len() / n_in);
    let mut found = vec![0.25; n_rows * n_cols];
    let mut out = ColumnsMut::new(&mut found, n_rows, n_cols);
    match (batch::<Evex>(ty).product, &x) {
        // SAFETY: the test has an `Evex`; the arguments are whole rows and columns.
        (Product::Q8_0(gemm), Columns::Q8_0(x)) => unsafe { gemm(weights, x, &mut out) },
        // SAFETY: the test has an `Evex`; the arguments are whole rows and columns.
        (Product::Q8K(gemm), Columns::Q8K(x)) => unsafe { gemm(weights, x, &mut out) },
        _ => panic!("{ty} takes other activations"),
    }
    for (c, found) in found.chunks(n_rows).enumerate() {
        let mut expected = vec![0.5; n_rows];
        x.gemv(ty, weights, (c, n_cols), &mut expected);
        for (r, (e, f)) in expected.iter().zip(found).enumerate() {
            let same = e.to_bits() == f.to_bits() || e.is_nan() && f.is_nan();
            assert!(same, "{ty}, {n_rows} x {n_in}: row {r} of column {c} of {n_cols} is {f:e}, not {e:e}");
        }
    }
}

#[test]
fn tiles_in_their_evex_form_look_at_no_more_blocks_than_a_panel_has() {
    match Evex::find() {
        Some(evex) => block32::tests::check_short_panels(evex),
        None => println!("skipped: this CPU has no AVX-512 VL and VNNI"),
    }
}

#[test]
fn tiles_in_their_evex_form_equal_scalar_bit_for_bit() {
    if Evex::find().is_none() {
        println!("skipped: this CPU has no AVX-512 VL and VNNI");
        return;
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for ty in BlockType::all().filter(|ty| !ty.is_float()) {
        for (n_blocks, n_rows) in [(1, 1), (2, 16), (3, 17), (7, 5), (16, 40)] {
            let n_in = n_blocks * ty.block_len();
            let n_bytes = n_rows * ty.row_bytes(n_in).expect("whole blocks");
            for n_cols in 1..=14 {
                let x: Vec<f32> = (0..n_cols * n_in).map(|_| random.float()).collect();
                let bytes: Vec<u8> = (0..n_bytes).map(|_| (random.next() >> 24) as u8).collect();
                check(ty, &bytes, &x, n_in, n_rows);
                // The searches of the codebook types take long, and any bytes are their blocks.
                if !ty.name().starts_with("IQ") || ty == BlockType::IQ4_NL || ty == BlockType::IQ4_XS {
                    let mut encoded = vec![0; n_bytes];
                    let weights: Vec<f32> = (0..n_rows * n_in).map(|_| random.float()).collect();
                    for (row, blocks) in weights.chunks(n_in).zip(encoded.chunks_mut(n_bytes / n_rows)) {
                        // SAFETY: the scalar functions need no feature; the arguments are whole rows.
                        unsafe { (rows::scalar(ty).encode)(row, None, blocks) };
                    }
                    check(ty, &encoded, &x, n_in, n_rows);
                }
            }
            // Codes at their ends, scales of several sizes, activations at 127 and -127.
            for byte in [0x00, 0x3b, 0x7b, 0x80, 0xff] {
                let x: Vec<f32> = (0..7 * n_in).map(|_| random.float().signum()).collect();
                check(ty, &vec![byte; n_bytes], &x, n_in, n_rows);
            }
        }
    }
}
