//! The 32-weight types: a window is eight blocks with a float scale each.

use core::marker::PhantomData;

use crate::activation::Q8Window;
use crate::gemm::{Codes, Column, Format, Lines, ROWS, Rows, Tier, Tile};

/// Sixteen rows of one window each. Vectors come first: each lies in a cache line of its own.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Panel {
    /// Codes: `[k / 4][row][k % 4]`; unsigned unless [`Class::bits`] is 8.
    pub(crate) codes: [[u8; 64]; 64],
    /// Scales: `[block][row]`.
    pub(crate) d: [[f32; ROWS]; 8],
    /// Minima: `[block][row]`. Where halves of blocks have scales, those of the second halves; then [`Panel::d`] has
    /// those of the first.
    pub(crate) m: [[f32; ROWS]; 8],
    /// How many blocks of the window matter; the others are zero, or as they were.
    pub(crate) n_blocks: usize,
    /// What a tile asks for on its way.
    pub(crate) ahead: Lines,
}

impl Panel {
    /// The scales of block `j`, or of half `j`, if that is what `WORDS` words are.
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    #[inline(always)]
    pub(crate) fn scale<const WORDS: usize>(&self, j: usize) -> &[f32; ROWS] {
        match (WORDS, j % 2) {
            (8, _) => &self.d[j],
            (_, 0) => &self.d[j / 2],
            (_, _) => &self.m[j / 2],
        }
    }
}

/// What distinguishes the tiles of 32-weight types.
#[derive(Clone, Copy)]
pub(crate) struct Class {
    /// Whether blocks have minima; otherwise codes have a bias.
    pub(crate) minima: bool,
    /// Words of four codes that share a scale: 8, or 4.
    pub(crate) sub_words: usize,
    /// Bits of a code. Codes of 8 bits are stored by [`Tier::signed_codes`].
    pub(crate) bits: u32,
}

/// A 32-weight type with `N` bytes in a window of eight blocks.
pub(crate) trait Format32<const N: usize> {
    /// Its tiles.
    const CLASS: Class;
    /// What is to be subtracted from each unsigned code.
    const BIAS: i32;

    /// Unpacks eight blocks of sixteen rows.
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, N>, panel: &mut Panel);
}

/// A 32-weight type as a [`Format`].
pub(crate) struct Block32<F>(PhantomData<F>);

impl<const N: usize, F: Format32<N>> Format<N> for Block32<F> {
    type Window = Q8Window;
    type Panel = Panel;
    const BLANK: Panel = Panel {
        codes: [[0; 64]; 64],
        d: [[0.0; ROWS]; 8],
        m: [[0.0; ROWS]; 8],
        n_blocks: 8,
        ahead: Lines::NONE,
    };

    #[inline(always)]
    fn limit(panel: &mut Panel, n_bytes: usize) {
        panel.n_blocks = (n_bytes * 8).div_ceil(N).min(8);
    }

    #[inline(always)]
    fn unpack<T: Tier>(tier: T, rows: &Rows<'_, N>, panel: &mut Panel) {
        panel.ahead = rows.ahead_of_tile();
        F::unpack(tier, rows, panel);
        tier.arrange(&mut panel.codes);
    }

    /// Sums become what the tiles need. With minima: the bits of the block's scaled sum, a float. With a
    /// bias: `-bias * sum` of each block, or of each half, to begin with.
    #[inline(always)]
    fn copy<T: Tier>(window: &Q8Window, column: &mut Column) {
        column.set_codes(&window.codes);
        column.scales = window.scales;
        let bias = if F::CLASS.bits == 8 { T::BYTE_BIAS } else { F::BIAS };
        if F::CLASS.sub_words == 4 {
            for (sum, codes) in column.sums.iter_mut().zip(window.codes.as_chunks::<16>().0) {
                *sum = -bias * codes.iter().map(|&code| i32::from(code)).sum::<i32>();
            }
            return;
        }
        for j in 0..8 {
            column.sums[j] = if F::CLASS.minima {
                (window.sums[j] as f32 * window.scales[j]).to_bits().cast_signed()
            } else {
                -bias * window.sums[j]
            };
        }
    }

    fn codes<T: Tier>() -> Codes {
        Codes { bits: F::CLASS.bits, sub_words: F::CLASS.sub_words }
    }

    #[inline(always)]
    fn tile<T: Tier>(n_columns: usize) -> Tile<Panel> {
        T::tile_32(F::CLASS, n_columns)
    }
}

/// Unpacks the nibbles of a block, 16 bytes `at` its row: first the low ones, then the high ones.
#[inline(always)]
pub(crate) fn unpack_nibbles<T: Tier, const N: usize>(
    tier: T,
    rows: &Rows<'_, N>,
    at: usize,
) -> [[T::Quad; 4]; 2] {
    let low_four = tier.splat(0x0f0f_0f0f);
    let [a, b, c, d] = tier.quads(rows, at);
    [
        [a & low_four, b & low_four, c & low_four, d & low_four],
        [(a >> 4) & low_four, (b >> 4) & low_four, (c >> 4) & low_four, (d >> 4) & low_four],
    ]
}

/// Sets the fifth bits of a block's nibbles from the four bytes of each row in `qh`: bit `i` belongs to
/// code `i`.
#[inline(always)]
pub(crate) fn add_fifth_bits<T: Tier>(tier: T, codes: &mut [[T::Quad; 4]; 2], qh: T::Quad) {
    for half in 0..2 {
        for t in 0..4 {
            let nibble = qh >> (16 * half + 4 * t) as u32;
            codes[half][t] = codes[half][t] | tier.spread_bits(nibble);
        }
    }
}

/// Stores the codes of block `j`.
#[inline(always)]
pub(crate) fn store_codes<T: Tier>(tier: T, codes: [[T::Quad; 4]; 2], panel: &mut Panel, j: usize) {
    for half in 0..2 {
        for t in 0..4 {
            tier.store(codes[half][t], &mut panel.codes[8 * j + 4 * half + t]);
        }
    }
}

#[cfg(test)]
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(super) mod tests {
    use super::*;
    use crate::gemm::Sums;
    #[cfg(target_arch = "x86_64")]
    use crate::isa::{Avx2, Avx512, AvxVnni};
    #[cfg(target_arch = "aarch64")]
    use crate::isa::{Neon, NeonDotprod, NeonI8mm};

    /// Every class of tiles that a 32-weight type has.
    const CLASSES: [Class; 6] = [
        Class { minima: false, sub_words: 8, bits: 4 },
        Class { minima: false, sub_words: 8, bits: 5 },
        Class { minima: false, sub_words: 8, bits: 8 },
        Class { minima: false, sub_words: 4, bits: 5 },
        Class { minima: true, sub_words: 8, bits: 4 },
        Class { minima: true, sub_words: 8, bits: 5 },
    ];

    /// Numbers that look random.
    fn noise(seed: &mut u32) -> u32 {
        *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *seed >> 8
    }

    fn float(seed: &mut u32) -> f32 {
        noise(seed) as f32 / (1 << 23) as f32 - 1.0
    }

    fn panel(class: Class, seed: &mut u32) -> Panel {
        let mut panel = Panel {
            codes: [[0; 64]; 64],
            d: [[0.0; ROWS]; 8],
            m: [[0.0; ROWS]; 8],
            n_blocks: 8,
            ahead: Lines::NONE,
        };
        for code in panel.codes.as_flattened_mut() {
            *code = noise(seed) as u8 >> (8 - class.bits);
        }
        panel.d.as_flattened_mut().fill_with(|| float(seed));
        panel.m.as_flattened_mut().fill_with(|| float(seed));
        panel
    }

    fn column(class: Class, seed: &mut u32) -> Column {
        let mut column = Column::BLANK;
        for word in &mut column.codes {
            *word = i32::from_ne_bytes(
                core::array::from_fn(|_| (noise(seed) % 255) as u8).map(|q| q.wrapping_sub(127)),
            );
        }
        for sum in &mut column.sums {
            *sum = if class.minima { float(seed).to_bits().cast_signed() } else { noise(seed) as i32 % 4065 };
        }
        column.scales.fill_with(|| float(seed));
        column
    }

    /// Compares the tiles of a tier, on panels with fewer than eight blocks and rubbish in the others, with
    /// what they add when those are zero.
    pub(in crate::gemm) fn check_short_panels<T: Tier>(_proof: T) {
        let mut seed = 1;
        for (class, n_columns) in CLASSES.into_iter().flat_map(|c| (1..=T::MAX_COLUMNS).map(move |n| (c, n)))
        {
            let tile = T::tile_32(class, n_columns);
            let columns: Vec<_> = (0..n_columns).map(|_| column(class, &mut seed)).collect();
            for n_blocks in 0..8 {
                let short = Panel { n_blocks, ..panel(class, &mut seed) };
                let mut zeroed = Panel { n_blocks: 8, ..short };
                zeroed.d[n_blocks..].fill([0.0; ROWS]);
                zeroed.m[n_blocks..].fill([0.0; ROWS]);
                let (mut found, mut expected) = (vec![[0.5; ROWS]; n_columns], vec![[0.5; ROWS]; n_columns]);
                // SAFETY: the caller has the tier's proof; the tile is the one for `n_columns`.
                unsafe { tile(&short, &columns, &mut found) };
                // SAFETY: as for `short`.
                unsafe { tile(&zeroed, &columns, &mut expected) };
                let bits =
                    |sums: &[Sums]| sums.as_flattened().iter().map(|s| s.to_bits()).collect::<Vec<_>>();
                let (minima, bits_of_code) = (class.minima, class.bits);
                assert!(found.as_flattened().iter().all(|sum| sum.is_finite()));
                assert!(
                    bits(&found) == bits(&expected),
                    "{n_blocks} blocks of {bits_of_code} bits, minima: {minima}, {n_columns} columns"
                );
            }
        }
    }

    #[test]
    fn tiles_look_at_no_more_blocks_than_a_panel_has() {
        #[cfg(target_arch = "x86_64")]
        {
            if let Some(tier) = Avx2::detect() {
                check_short_panels(tier);
            }
            if let Some(tier) = AvxVnni::detect() {
                check_short_panels(tier);
            }
            if let Some(tier) = Avx512::detect() {
                check_short_panels(tier);
            }
        }
        #[cfg(target_arch = "aarch64")]
        {
            Neon::detect().map(check_short_panels);
            NeonDotprod::detect().map(check_short_panels);
            NeonI8mm::detect().map(check_short_panels);
        }
    }
}
