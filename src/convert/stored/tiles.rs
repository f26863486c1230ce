//! Numbers in the order in which kernels of graphics processors take them: tiles of rows and columns, turned inside out.
//!
//! [`Tiles::Marlin`]: the codes of 16 inputs and 64 outputs make 128 words in a row. Element `e`, counted over four
//! squares of 16 by 16 (inputs outside), is at the place where [`marlin_order`] has it. Source: IST-DASLab's `marlin`,
//! `Layer.pack`.
//!
//! [`Tiles::TensorCore`]: `[n_out / 8, n_in / (16 inner), 32, inner / 2]` words. Lane `t` has output `t / 4` of eight, and
//! its word the inputs `2 (t % 4) + {0, 1, 8, 9, 16, 17, 24, 25}` of 32: in its low half the even ones, in its high half the
//! odd ones. Source: PyTorch's `_convert_weight_to_int4pack`.

use std::sync::LazyLock;

use super::read_floats;
use crate::checkpoint::TensorView;
use crate::error::Result;

/// Words of a tile of Marlin's, and its outputs and inputs.
const MARLIN: (usize, usize, usize) = (128, 64, 16);

/// Where the inputs of a word of the tensor cores' are, by their four bits.
const OF_WORD: [usize; 8] = [0, 8, 16, 24, 1, 9, 17, 25];

/// An order of numbers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tiles {
    /// Codes of four bits of Marlin's.
    Marlin,
    /// Its scales, `[n_groups, n_out]`; of one group alone the outputs are in another order.
    MarlinScales { is_alone: bool },
    /// Codes of four bits in tiles of 8 outputs and `16 inner` inputs, so many of them side by side.
    TensorCore { inner: usize, n_tiles: usize },
    /// The first or second of pairs, `[n_groups, n_out, 2]`.
    Pairs { is_second: bool },
}

impl Tiles {
    /// Elements that a tensor must have for a matrix of so many rows and columns; `None` for a matrix that cannot be in
    /// this order.
    pub(super) fn n_elements(self, [n_rows, n_cols]: [usize; 2]) -> Option<usize> {
        let n = n_rows.checked_mul(n_cols)?;
        match self {
            Self::Marlin => {
                let (_, n_out, n_in) = MARLIN;
                (n_rows.is_multiple_of(n_out) && n_cols.is_multiple_of(n_in)).then_some(n / 8)
            }
            Self::MarlinScales { is_alone } => {
                n_rows.is_multiple_of(scale_order(is_alone).len()).then_some(n)
            }
            Self::TensorCore { inner, n_tiles } => {
                let stored = n_tiles.checked_mul(16 * inner)?;
                (n_rows.is_multiple_of(8) && stored == n_cols).then_some(n / 8)
            }
            Self::Pairs { .. } => n.checked_mul(2),
        }
    }

    /// Whether it is an order of codes in words of 32 bits, and not one of numbers.
    pub(super) fn is_of_words(self) -> bool {
        matches!(self, Self::Marlin | Self::TensorCore { .. })
    }

    /// Reads rows `first..` of the matrix in `view` into `out`, `[rows, n_cols]`.
    ///
    /// # Errors
    /// As [`TensorView::read_at`].
    pub(super) fn read(
        self,
        view: &TensorView<'_>,
        (n_rows, n_cols): (usize, usize),
        first: usize,
        out: &mut [f32],
        bytes: &mut Vec<u8>,
    ) -> Result<()> {
        let n = out.len() / n_cols;
        match self {
            Self::Marlin => read_marlin(view, (n_rows, n_cols), first, out, bytes),
            Self::MarlinScales { is_alone } => {
                let order = scale_order(is_alone);
                let len = order.len();
                let start = first / len * len;
                let mut row = vec![0.0; (first + n).next_multiple_of(len) - start];
                for group in 0..n_cols {
                    read_floats(view, group * n_rows + start, &mut row, bytes)?;
                    for i in 0..n {
                        let at = first + i - start;
                        out[i * n_cols + group] = row[at / len * len + order[at % len]];
                    }
                }
                Ok(())
            }
            Self::TensorCore { inner, n_tiles } => {
                let words = inner / 2;
                let tile_bytes = n_tiles * 32 * words * 4;
                bytes.resize(tile_bytes, 0);
                for (i, out) in out.chunks_exact_mut(n_cols).enumerate() {
                    let row = first + i;
                    if i == 0 || row.is_multiple_of(8) {
                        view.read_at((row / 8 * tile_bytes) as u64, bytes)?;
                    }
                    for tile in 0..n_tiles {
                        for (lane, word) in (0..4).flat_map(|lane| (0..words).map(move |word| (lane, word))) {
                            let at = (tile * 32 + row % 8 * 4 + lane) * words + word;
                            let packed = word_at(bytes, at);
                            let start = (tile * inner + 2 * word) * 16 + 2 * lane;
                            for (place, offset) in OF_WORD.into_iter().enumerate() {
                                out[start + offset] = (packed >> (4 * place) & 15) as f32;
                            }
                        }
                    }
                }
                Ok(())
            }
            Self::Pairs { is_second } => {
                let mut row = vec![0.0; 2 * n];
                for group in 0..n_cols {
                    read_floats(view, 2 * (group * n_rows + first), &mut row, bytes)?;
                    for i in 0..n {
                        out[i * n_cols + group] = row[2 * i + usize::from(is_second)];
                    }
                }
                Ok(())
            }
        }
    }
}

fn read_marlin(
    view: &TensorView<'_>,
    (n_rows, n_cols): (usize, usize),
    first: usize,
    out: &mut [f32],
    bytes: &mut Vec<u8>,
) -> Result<()> {
    let (n_words, n_out, n_in) = MARLIN;
    let n = out.len() / n_cols;
    bytes.resize(4 * n_words, 0);
    for block in first / n_out..(first + n).div_ceil(n_out) {
        let rows = first.max(block * n_out)..(first + n).min((block + 1) * n_out);
        for tile in 0..n_cols / n_in {
            view.read_at((4 * n_words * (tile * (n_rows / n_out) + block)) as u64, bytes)?;
            for row in rows.clone() {
                let out = &mut out[(row - first) * n_cols + tile * n_in..][..n_in];
                let column = row % n_out;
                for (k, out) in out.iter_mut().enumerate() {
                    let place = MARLIN_PLACES[column / 16 * 256 + k * 16 + column % 16];
                    *out = (word_at(bytes, place / 8) >> (4 * (place % 8)) & 15) as f32;
                }
            }
        }
    }
    Ok(())
}

fn word_at(bytes: &[u8], word: usize) -> u32 {
    u32::from_le_bytes([0, 1, 2, 3].map(|i| bytes[4 * word + i]))
}

/// Which element is at each place of a tile of Marlin's.
fn marlin_order() -> [usize; 1024] {
    const INTERLEAVED: [usize; 8] = [0, 2, 4, 6, 1, 3, 5, 7];
    let mut order = [0; 1024];
    for (place, order) in order.iter_mut().enumerate() {
        let (lane, square, in_lane) = (place / 32, place / 8 % 4, INTERLEAVED[place % 8]);
        let (half, i) = (in_lane / 4, in_lane % 4);
        let k = 2 * (lane % 4) + i % 2 + 8 * (i / 2);
        *order = 16 * k + lane / 4 + 8 * half + 256 * square;
    }
    order
}

/// Where each element of a tile of Marlin's is.
static MARLIN_PLACES: LazyLock<[usize; 1024]> = LazyLock::new(|| {
    let mut places = [0; 1024];
    marlin_order().into_iter().enumerate().for_each(|(place, element)| places[element] = place);
    places
});

/// Where Marlin has the scale of each output.
fn scale_order(is_alone: bool) -> &'static [usize] {
    static GROUPED: LazyLock<Vec<usize>> = LazyLock::new(|| (0..64).map(|i| i % 8 * 8 + i / 8).collect());
    static ALONE: LazyLock<Vec<usize>> = LazyLock::new(|| {
        let order: Vec<usize> = (0..32).map(|i| i / 8 * 2 + [0, 1, 8, 9, 16, 17, 24, 25][i % 8]).collect();
        (0..32).map(|i| order.iter().position(|&from| from == i).unwrap_or(0)).collect()
    });
    if is_alone { &ALONE } else { &GROUPED }
}
