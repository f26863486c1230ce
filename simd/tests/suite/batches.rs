//! Batch products have the bits of one dot product per row and column, whatever the tier, the shape
//! and the bytes.

use crate::activations::Activations;
use crate::common::{Random, assert_same_bits, better_tiers, is_own, plausible_blocks, scalar};
use crate::effort::FULL;
use gguf_simd::kernels::Operation;
use gguf_simd::{BlockType, ColumnsMut, Kernels};

/// Rows and columns of the largest product tried: more than two panels, more than two tiles.
const MOST: usize = 40;

/// A matrix, a batch, and what the scalar dot products make of them.
struct Case {
    ty: BlockType,
    n_in: usize,
    weights: Vec<u8>,
    x: Vec<f32>,
    /// `[column][row]`.
    expected: Vec<Vec<f32>>,
}

impl Case {
    fn new(ty: BlockType, n_in: usize, weights: Vec<u8>, x: Vec<f32>) -> Self {
        let expected = x
            .chunks_exact(n_in)
            .map(|x| {
                let mut out = vec![0.5; MOST];
                scalar().gemv(ty, &weights, n_in, Activations::of(ty, x, n_in).view(), &mut out);
                out
            })
            .collect();
        Self { ty, n_in, weights, x, expected }
    }

    /// Multiplies the last `n_rows` rows with the last `n_cols` columns.
    fn check(&self, kernels: &Kernels, n_rows: usize, n_cols: usize) {
        let (row_bytes, skipped) = (self.weights.len() / MOST, MOST - n_cols);
        let weights = &self.weights[(MOST - n_rows) * row_bytes..];
        let x = Activations::of(self.ty, &self.x[skipped * self.n_in..], self.n_in);
        let mut found = vec![0.25; n_rows * n_cols];
        kernels.gemm(self.ty, weights, self.n_in, x.view(), ColumnsMut::new(&mut found, n_rows, n_cols));
        for (c, found) in found.chunks_exact(n_rows).enumerate() {
            assert_same_bits(&self.expected[skipped + c][MOST - n_rows..], found, || {
                let (isa, ty, n_in) = (kernels.isa(), self.ty, self.n_in);
                format!("{isa} {ty}: column {c} of {n_cols}, {n_rows} rows of {n_in}")
            });
        }
    }
}

/// Every number of rows and every number of columns, each with some of the other; or some of them.
fn shapes() -> impl Iterator<Item = (usize, usize)> {
    let step = if FULL { 1 } else { 13 };
    (1..=MOST).step_by(step).flat_map(|n| [(n, 1 + 7 * n % MOST), (1 + 11 * n % MOST, n)])
}

/// The tiers with batch kernels of their own for `ty`.
fn tiers(ty: BlockType) -> impl Iterator<Item = &'static Kernels> {
    better_tiers().into_iter().filter(move |kernels| is_own(kernels, ty, Operation::Gemm))
}

/// Lengths of rows, in blocks; floats come in odd numbers of elements.
fn lengths(ty: BlockType) -> impl Iterator<Item = usize> {
    let blocks = if ty.is_float() { [1, 2, 3, 7, 16, 33, 250] } else { [1, 2, 3, 7, 8, 9, 16] };
    blocks.into_iter().filter(|n| FULL || [1, 3, 9, 33].contains(n)).map(move |n| n * ty.block_len())
}

fn check_all(seed: u64, weights: impl Fn(BlockType, usize, &mut Random) -> Vec<u8>, x_scale: f32) {
    let mut random = Random::new(seed);
    for ty in BlockType::all() {
        for n_in in lengths(ty) {
            let mut x = random.floats(MOST * n_in);
            x.iter_mut().step_by(3).for_each(|x| *x *= x_scale);
            let case = Case::new(ty, n_in, weights(ty, n_in, &mut random), x);
            for kernels in tiers(ty) {
                for (n_rows, n_cols) in shapes() {
                    case.check(kernels, n_rows, n_cols);
                }
            }
        }
    }
}

fn bytes(ty: BlockType, n_in: usize) -> usize {
    MOST * ty.row_bytes(n_in).expect("whole blocks")
}

#[test]
fn batches_equal_dot_products_on_encoded_weights() {
    check_all(1, |ty, n_in, random| plausible_blocks(ty, MOST * n_in, random), 1.0);
}

/// Any bytes are valid blocks: scales that are huge, tiny, infinite or NaN among them.
#[test]
fn batches_equal_dot_products_on_random_bytes() {
    check_all(2, |ty, n_in, random| random.bytes(bytes(ty, n_in)), 1e4);
}

#[test]
fn batches_equal_dot_products_on_extreme_codes() {
    // Largest codes and scales, with a finite d; activations at their extremes.
    let mut random = Random::new(3);
    for ty in BlockType::all() {
        for n_in in lengths(ty) {
            for byte in if FULL { [0x00, 0x3b, 0x7b, 0x80, 0xff].as_slice() } else { &[0x3b, 0x80, 0xff] } {
                let x: Vec<f32> = (0..MOST * n_in).map(|_| random.float().signum()).collect();
                let case = Case::new(ty, n_in, vec![*byte; bytes(ty, n_in)], x);
                for kernels in tiers(ty) {
                    case.check(kernels, 17, 19);
                }
            }
        }
    }
}

/// Every number of columns that takes the weights once, and one more; rows that fill panels, do not, and end inside
/// a window.
#[test]
fn few_columns_equal_dot_products() {
    let mut random = Random::new(5);
    for ty in BlockType::all() {
        for n_in in lengths(ty) {
            let x = random.floats(MOST * n_in);
            let case = Case::new(ty, n_in, random.bytes(bytes(ty, n_in)), x);
            for kernels in tiers(ty) {
                for n_cols in 1..=9 {
                    for n_rows in if FULL { [1, 15, 16, 33].as_slice() } else { &[33] } {
                        case.check(kernels, *n_rows, n_cols);
                    }
                }
            }
        }
    }
}

/// More windows than few columns have laid out at a time.
#[test]
fn few_columns_equal_dot_products_on_long_rows() {
    check_large((256 * 67, 17, 8));
}

/// More rows than one chunk of panels, more windows than one chunk holds.
#[test]
fn batches_equal_dot_products_across_chunks() {
    check_large(if FULL { (256 * 11, 293, 5) } else { (256 * 5, 131, 5) });
}

/// More columns than the sums of which are kept at a time.
#[test]
fn batches_equal_dot_products_across_blocks_of_columns() {
    check_large(if FULL { (256 * 5, 18, 515) } else { (256, 17, 259) });
}

/// Encoded weights of the shape `(n_in, n_rows)` with `n_cols` columns.
fn check_large((n_in, n_rows, n_cols): (usize, usize, usize)) {
    let mut random = Random::new(4);
    for ty in BlockType::all() {
        let weights = plausible_blocks(ty, n_rows * n_in, &mut random);
        let x = random.floats(n_cols * n_in);
        let x = Activations::of(ty, &x, n_in);
        for kernels in tiers(ty) {
            let mut found = vec![0.25; n_rows * n_cols];
            kernels.gemm(ty, &weights, n_in, x.view(), ColumnsMut::new(&mut found, n_rows, n_cols));
            for (c, found) in found.chunks_exact(n_rows).enumerate() {
                let mut expected = vec![0.5; n_rows];
                let row = x.view().len() / n_cols;
                kernels.gemv(ty, &weights, n_in, x.view().slice(c * row, row), &mut expected);
                assert_same_bits(&expected, found, || format!("{} {ty} column {c}", kernels.isa()));
            }
        }
    }
}
