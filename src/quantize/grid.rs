//! Rows that lie on grids already, to blocks that hold their codes as they are.

use std::ops::RangeInclusive;

use gguf_simd::half_float::{f16_to_f32, f32_to_f16};
use gguf_simd::kernels::Kernels;
use gguf_simd::{BlockType, Grid, Values};

use super::ErrorStats;

/// Columns that share a grid: no block that can be packed here is shorter.
pub const STEP: usize = 32;

/// A grid: weights are `least` and whole numbers of `scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Step {
    /// From one weight to the next.
    pub scale: f32,
    /// The weight of a code of zero.
    pub least: f32,
}

/// How far from a whole number a code may be: floats that were rounded to BF16 are off by a sixteenth at level 16, and
/// a code is told from its neighbours by half.
const MOST_OFF: f32 = 1.0 / 8.0;

/// As [`super::encode_rows`], for rows whose columns lie on grids, `steps` of which there is one for every [`STEP`]
/// columns. A row that blocks of `ty` hold as it is keeps its codes.
///
/// # Panics
/// As there, and if there are not as many steps.
pub fn encode_rows_on_grids(
    kernels: &Kernels,
    ty: BlockType,
    rows: &[f32],
    n_in: usize,
    (steps, importance): (&[Step], Option<&[f32]>),
    blocks: &mut [u8],
    scratch: &mut Vec<f32>,
) -> ErrorStats {
    let row_bytes = ty.row_bytes(n_in).expect("rows divide into blocks");
    assert_eq!(steps.len() * STEP, rows.len(), "a step for each {STEP} columns");
    scratch.resize(n_in, 0.0);
    let mut stats = ErrorStats::default();
    let rows = rows.chunks_exact(n_in).zip(steps.chunks_exact(n_in / STEP));
    for ((row, steps), blocks) in rows.zip(blocks.chunks_exact_mut(row_bytes)) {
        encode_row(kernels, ty, row, (steps, importance), blocks);
        kernels.decode(ty, blocks, scratch);
        stats.add_row(row, scratch);
    }
    stats
}

/// Encodes one row: with its codes if `ty` holds them, or anew.
fn encode_row(
    kernels: &Kernels,
    ty: BlockType,
    row: &[f32],
    (steps, importance): (&[Step], Option<&[f32]>),
    blocks: &mut [u8],
) {
    let is_packed = !steps.is_empty() && pack(ty, row, steps, blocks).is_some();
    if !is_packed {
        kernels.encode(ty, row, importance, blocks);
    }
}

/// Packs a row with the codes that it has; `None` if blocks of `ty` do not hold them.
fn pack(ty: BlockType, row: &[f32], steps: &[Step], blocks: &mut [u8]) -> Option<()> {
    let block_len = ty.block_len();
    // Scales of parts of a block are not f16s.
    let grid = Grid::of(ty).filter(|grid| grid.group() == block_len)?;
    let (zero, range, has_offset) = match grid.values() {
        Values::Centred { least, greatest } => (least, least..=greatest, false),
        Values::Offset { greatest, .. } => (0, 0..=i16::from(greatest), true),
        Values::Table { .. } => return None,
    };
    // The grid leaves out -128, which a block can hold: code 255, which wraps around to one below zero.
    let range = if ty == BlockType::Q8_0 { -128..=127 } else { range };
    let mut codes = [0_u8; 64];
    let parts = row.chunks_exact(block_len).zip(steps.chunks_exact(block_len / STEP));
    for ((row, steps), block) in parts.zip(blocks.chunks_exact_mut(ty.block_bytes())) {
        let Step { scale, least: offset } = steps[0];
        if steps.iter().any(|step| *step != steps[0]) {
            return None;
        }
        let codes = &mut codes[..block_len];
        let d = if has_offset {
            codes_of(row, scale, offset, (zero, &range), codes)?;
            scale
        } else if codes_of(row, scale, 0.0, (zero, &range), codes).is_some() {
            scale
        } else {
            codes_of(row, -scale, 0.0, (zero, &range), codes)?;
            -scale
        };
        let half = f32_to_f16(d);
        // A scale that an F16 loses would take the weights with it.
        if (f16_to_f32(half) - d).abs() > d.abs() / 1024.0 {
            return None;
        }
        let mut put = |at: usize, half: u16| block[at..at + 2].copy_from_slice(&half.to_le_bytes());
        put(grid.halves()[0], half);
        if has_offset {
            let offset = f32_to_f16(offset);
            f16_to_f32(offset).is_finite().then_some(())?;
            put(grid.halves()[1], offset);
        }
        grid.write(ty, codes, block);
    }
    Some(())
}

/// The codes of weights on a grid, counted from that of level `zero`; `None` if one is not on it, or out of range.
fn codes_of(
    row: &[f32],
    scale: f32,
    offset: f32,
    (zero, range): (i16, &RangeInclusive<i16>),
    codes: &mut [u8],
) -> Option<()> {
    for (code, &w) in codes.iter_mut().zip(row) {
        let exact = if scale == 0.0 { 0.0 } else { (w - offset) / scale };
        let level = exact.round_ties_even();
        let is_on_grid = (exact - level).abs() <= MOST_OFF && (scale != 0.0 || w == offset);
        if !is_on_grid || !(f32::from(*range.start())..=f32::from(*range.end())).contains(&level) {
            return None;
        }
        *code = (level as i16 - zero) as u8;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes what packing `row` on a grid gives; the relative error.
    fn packed(ty: BlockType, row: &[f32], step: Step) -> (Vec<f32>, bool) {
        let steps = vec![step; row.len() / STEP];
        let mut blocks = vec![0; ty.row_bytes(row.len()).expect("whole blocks")];
        let is_packed = pack(ty, row, &steps, &mut blocks).is_some();
        let mut decoded = vec![0.0; row.len()];
        Kernels::best().decode(ty, &blocks, &mut decoded);
        (decoded, is_packed)
    }

    fn levels(least: i32, greatest: i32, n: usize) -> impl Iterator<Item = f32> {
        (0..n as i32).map(move |i| (least + i * 7 % (greatest - least + 1)) as f32)
    }

    #[test]
    fn every_type_keeps_every_code_that_it_can_hold_and_refuses_one_more() {
        let scale = 0.013671875;
        for (ty, least, greatest) in [
            (BlockType::Q2_0, -1, 2),
            (BlockType::Q4_0, -8, 7),
            (BlockType::Q5_0, -16, 15),
            (BlockType::Q8_0, -128, 127),
        ] {
            let step = Step { scale, least: 0.0 };
            let row: Vec<f32> = levels(least, greatest, 512).map(|level| level * scale).collect();
            assert_eq!(packed(ty, &row, step), (row.clone(), true), "{ty}");
            let turned: Vec<f32> = row.iter().map(|w| -w).collect();
            assert_eq!(packed(ty, &turned, step), (turned.clone(), true), "{ty} with a negative scale");
            let mut beyond = row;
            beyond[3] = (greatest + 1) as f32 * scale;
            beyond[5] = least as f32 * scale;
            assert!(!packed(ty, &beyond, step).1, "{ty}");
            beyond[3] = scale / 2.0;
            assert!(!packed(ty, &beyond, step).1, "{ty} between two levels");
        }
        for (ty, greatest) in [(BlockType::Q4_1, 15), (BlockType::Q5_1, 31)] {
            let step = Step { scale, least: -0.0625 };
            let row: Vec<f32> = levels(0, greatest, 512).map(|level| level * scale - 0.0625).collect();
            assert_eq!(packed(ty, &row, step), (row.clone(), true), "{ty}");
        }
    }

    #[test]
    fn zeros_and_scales_beyond_f16_are_told_apart() {
        let zeros = vec![0.0; 64];
        assert_eq!(packed(BlockType::Q4_0, &zeros, Step { scale: 0.0, least: 0.0 }), (zeros.clone(), true));
        assert!(!packed(BlockType::Q4_0, &[1e-9; 64], Step { scale: 1e-9, least: 0.0 }).1, "lost");
        assert!(!packed(BlockType::Q4_0, &[1e9; 64], Step { scale: 1e9, least: 0.0 }).1, "infinite");
    }
}
