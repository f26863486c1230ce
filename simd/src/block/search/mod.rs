//! How the 32-weight types find their scales when they encode.
//!
//! Plain rounding takes the scale from the largest weight. Another scale often has a smaller
//! (importance-weighted) squared error: it clips one weight a little and puts the others nearer to the
//! grid. Several ranges of values are tried, each with the least-squares fit to its codes; of the best fit
//! the f16s on both sides are compared by the error that remains.
//!
//! A weight that is not finite is encoded as zero, an importance that is not finite and positive counts
//! as zero, and a block without any importance counts as evenly important.
//!
//! A lane is a block: sixteen are searched side by side, with the searches of the K types' sub-blocks,
//! [`crate::block::k::symmetric`] and [`crate::block::k::affine`].

mod fixed_point;

use crate::array;
use crate::block::k::affine;
use crate::block::k::symmetric;
use crate::wide::columns::{Even, Uneven, Weights};
use crate::wide::pairs::rounded_products;
use crate::wide::{LANES, Pairs, Wide};

/// Weights in a block.
const LEN: usize = 32;

/// The largest finite f16.
const LARGEST_HALF: f32 = 65504.0;

/// How a type with a scale stores a block. (A trait, because a closure would not be inlined into a kernel.)
pub(crate) trait Scaled<const BYTES: usize> {
    /// The codes, as reals, tried for the weight of largest magnitude.
    const EXTREME_CODES: &[f32];

    /// Those tried without importance, doubled, in [`fixed_point`]; none rounds below the grid, and the first
    /// one is that of plain rounding. Where there are none, the search is the same as with importance.
    const QUICK_CODES: &[i16];

    /// Fills sixteen blocks with their scales and codes, which are less `LOW`: those of weights `i` and `i + 16`
    /// of block `l` stand in lane `l` of `codes[i]`. Always inlined.
    fn write<P: Pairs>(blocks: &mut [[u8; BYTES]; LANES], d: &[u16; LANES], codes: &[P; LANES]);
}

/// Encodes a row of blocks on the grid `d * (LOW..=HIGH)`.
#[inline(always)]
pub(crate) fn scaled<V: Wide, T: Scaled<BYTES>, const LOW: i8, const HIGH: i8, const BYTES: usize>(
    isa: V::Proof,
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    const { assert!(fixed_point::are_above(T::QUICK_CODES, LOW)) };
    let groups = row.chunks(LANES * LEN).zip(out.chunks_mut(LANES * BYTES));
    let Some(importance) = importance else {
        for (row, out) in groups {
            if T::QUICK_CODES.is_empty() {
                search_in_floats::<V, Even, T, LOW, HIGH, BYTES>(isa, row, &[], out);
            } else {
                let group = fixed_point::Group::<V>::load(isa, row);
                let d = group.scales::<HIGH>(T::QUICK_CODES);
                write::<V, T, LOW, HIGH, BYTES>(group.columns.as_flattened(), &d, out);
            }
        }
        return;
    };
    for ((row, out), importance) in groups.zip(importance.chunks(LANES * LEN)) {
        search_in_floats::<V, Uneven<V, LEN>, T, LOW, HIGH, BYTES>(isa, row, importance, out);
    }
}

/// Encodes up to sixteen blocks with all ranges, and with the better one of the f16s about the best scale.
#[inline(always)]
fn search_in_floats<
    V: Wide,
    W: Weights<V>,
    T: Scaled<BYTES>,
    const LOW: i8,
    const HIGH: i8,
    const BYTES: usize,
>(
    isa: V::Proof,
    row: &[f32],
    importance: &[f32],
    out: &mut [u8],
) {
    let group = symmetric::Group::<V, W, LEN, LOW, HIGH>::load(isa, row, importance, 1);
    let [near, far] = halves_about(group.fit(T::EXTREME_CODES).scale());
    let (near_error, far_error) = (group.error(V::from_f16(isa, &near)), group.error(V::from_f16(isa, &far)));
    let (d, _) = lesser((near, near_error.store()), (far, far_error.store()));
    write::<V, T, LOW, HIGH, BYTES>(group.columns(), &d, out);
}

/// Writes up to sixteen blocks with these scales and the codes nearest to their weights; weight `i` of block `l`
/// is lane `l` of column `i`.
#[inline(always)]
fn write<V: Wide, T: Scaled<BYTES>, const LOW: i8, const HIGH: i8, const BYTES: usize>(
    columns: &[V],
    d: &[u16; LANES],
    out: &mut [u8],
) {
    let isa = columns[0].proof();
    let inverse = V::from_f16(isa, d).recip_or_zero();
    let (zero, top) =
        (V::Pairs::splat(isa, [0; 2]), V::Pairs::splat(isa, [i16::from(HIGH) - i16::from(LOW); 2]));
    let mut codes = [zero; LANES];
    for (i, codes) in codes.iter_mut().enumerate() {
        *codes = rounded_products(columns[i], columns[i + LANES], inverse, -LOW).max(zero).min(top);
    }
    let blocks = out.as_chunks_mut::<BYTES>().0;
    if let Some(blocks) = blocks.first_chunk_mut() {
        T::write(blocks, d, &codes);
    } else {
        let mut whole = [[0; BYTES]; LANES];
        T::write(&mut whole, d, &codes);
        blocks.copy_from_slice(&whole[..blocks.len()]);
    }
}

/// How a type with a scale and an offset stores a block. (A trait, as [`Scaled`] is.)
pub(crate) trait Offset<const BYTES: usize> {
    /// Fills a block. Always inlined.
    fn write(block: &mut [u8; BYTES], d: u16, m: u16, codes: &[u8; LEN]);
}

/// Encodes a row of blocks on the grid `d * (0..=TOP) + m`.
#[inline(always)]
pub(crate) fn offset<V: Wide, T: Offset<BYTES>, const TOP: u8, const BYTES: usize>(
    isa: V::Proof,
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    let groups = row.chunks(LANES * LEN).zip(out.chunks_mut(LANES * BYTES));
    let Some(importance) = importance else {
        for (row, out) in groups {
            offset_group::<V, Even, T, TOP, BYTES>(isa, row, &[], out);
        }
        return;
    };
    for ((row, out), importance) in groups.zip(importance.chunks(LANES * LEN)) {
        offset_group::<V, Uneven<V, LEN>, T, TOP, BYTES>(isa, row, importance, out);
    }
}

/// Encodes up to sixteen blocks.
#[inline(always)]
fn offset_group<V: Wide, W: Weights<V>, T: Offset<BYTES>, const TOP: u8, const BYTES: usize>(
    isa: V::Proof,
    row: &[f32],
    importance: &[f32],
    out: &mut [u8],
) {
    let group = affine::Group::<V, W, LEN, TOP, true>::load(isa, row, importance, 1);
    let (fit, moments) = group.fit();
    let [m_near, m_far] = halves_about(group.low - fit.base);
    let mut best = Best { d: [0; LANES], m: [0; LANES], errors: [f32::INFINITY; LANES] };
    for m in [m_near, m_far] {
        // The least-squares scale for this offset.
        let base = group.low - V::from_f16(isa, &m);
        let scale = base.mul_add(moments.q, moments.xq) * moments.qq.recip_or_zero();
        for d in halves_about(scale.max(V::splat(isa, 0.0))) {
            best.offer(&group, d, m);
        }
    }
    // The whole range, from the half at or below the smallest weight: exact for two values.
    let [near, far] = halves_about(group.low);
    let (near, far) = (V::from_f16(isa, &near), V::from_f16(isa, &far));
    let below = group.low.less_then_else(near, far, near);
    let step = (group.low + group.range - below) * V::splat(isa, 1.0 / f32::from(TOP));
    best.offer(&group, halves_about(step)[0], below.to_f16());
    let (d, m) = (V::from_f16(isa, &best.d), V::from_f16(isa, &best.m));
    let codes = group.codes(V::splat(isa, 0.0) - m, d.recip_or_zero());
    let codes = codes.as_flattened().as_chunks::<LEN>().0;
    for (l, (block, codes)) in out.as_chunks_mut::<BYTES>().0.iter_mut().zip(codes).enumerate() {
        T::write(block, best.d[l], best.m[l], codes);
    }
}

/// The best scale and offset of each block so far.
struct Best {
    d: [u16; LANES],
    m: [u16; LANES],
    errors: [f32; LANES],
}

impl Best {
    /// Takes a scale and an offset over in the blocks where their error is less.
    #[inline(always)]
    fn offer<V: Wide, W: Weights<V>, const TOP: u8>(
        &mut self,
        group: &affine::Group<V, W, LEN, TOP, true>,
        d: [u16; LANES],
        m: [u16; LANES],
    ) {
        let isa = group.low.proof();
        let (scale, base) = (V::from_f16(isa, &d), group.low - V::from_f16(isa, &m));
        let errors = group.error(scale, scale.recip_or_zero(), base).store();
        self.d = lesser((self.d, self.errors), (d, errors)).0;
        (self.m, self.errors) = lesser((self.m, self.errors), (m, errors));
    }
}

/// The values of lesser error, of the first where they are equal, and their errors.
#[inline(always)]
fn lesser(
    (a, a_errors): ([u16; LANES], [f32; LANES]),
    (b, b_errors): ([u16; LANES], [f32; LANES]),
) -> ([u16; LANES], [f32; LANES]) {
    let is_less: [bool; LANES] = array::build(|l| b_errors[l] < a_errors[l]);
    (
        array::build(|l| if is_less[l] { b[l] } else { a[l] }),
        array::build(|l| if is_less[l] { b_errors[l] } else { a_errors[l] }),
    )
}

/// The f16s on both sides of each lane, the nearer one first; at most the largest finite one in magnitude.
/// For a lane that is an f16 one of them is.
#[inline(always)]
fn halves_about<V: Wide>(lanes: V) -> [[u16; LANES]; 2] {
    let isa = lanes.proof();
    let near = lanes.clamp(V::splat(isa, -LARGEST_HALF), V::splat(isa, LARGEST_HALF)).to_f16();
    let (values, rounded) = (lanes.abs().store(), V::from_f16(isa, &near).abs().store());
    let far = array::build(|l| {
        let (sign, magnitude) = (near[l] & 0x8000, near[l] & 0x7fff);
        let up = (magnitude + 1).min(0x7bff);
        sign | if rounded[l] < values[l] { up } else { magnitude.saturating_sub(1) }
    });
    [near, far]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::half_float::f16_to_f32;
    use crate::wide::Portable;

    #[test]
    fn halves_about_a_value_enclose_it() {
        for bits in (0..0x7bff).chain(0x8000..0xfbffu16) {
            let (value, next) = (f16_to_f32(bits), f16_to_f32(bits + 1));
            for (share, expected) in
                [(0.0, None), (0.25, Some([bits, bits + 1])), (0.75, Some([bits + 1, bits]))]
            {
                let between = Portable::splat((), value + (next - value) * share);
                let [near, far] = halves_about(between).map(|halves| halves[3]);
                match expected {
                    Some(expected) => assert_eq!([near, far], expected, "{bits:#06x}"),
                    None => assert_eq!(near, bits),
                }
            }
        }
        assert_eq!(halves_about(Portable::splat((), -1e9)), [[0xfbff; LANES]; 2]);
    }

    #[test]
    fn lesser_keeps_the_first_of_equals() {
        let (a, b) = (([1; LANES], [0.5; LANES]), ([2; LANES], [0.5; LANES]));
        assert_eq!(lesser(a, b).0, [1; LANES]);
        assert_eq!(lesser(a, ([2; LANES], [0.25; LANES])), ([2; LANES], [0.25; LANES]));
    }
}
