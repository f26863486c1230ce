//! The search behind the encoders of the codebook types.
//!
//! A weight is coded as `x ~ t c` with a real scale `t` of its sub-block and a code `c` of its group's entry and
//! marks. With weights `w` the error of a group falls by
//!
//! ```text
//! t (a - t b)      a = 2 sum(w x c), b = sum(w c c)
//! ```
//!
//! below that of zeros. `a` and `b` of an entry do not depend on the scale, so all entries' are computed once, a
//! lane each, and every scale after that costs one multiply-add an entry: the best entry for a scale is found by
//! trying all of them, with the marks that are best for it.
//!
//! 1. each sub-block alone: some real scales, then the least-squares scale of the best one's codes, twice;
//! 2. the super-block: from several halves `d`, the odd scales about the real ones, with the gain they have;
//! 3. `d` by least squares from the codes of the best, as long as that gains.
//!
//! Signs are free, but where a type stores seven of eight, whose number of negative ones is even: then that weight
//! takes the other sign whose change costs least, `4 t min(w |x| c)`, which is known of each entry as well.

use super::sums::{Sums, Target};
use super::{Codebook, Marks, Parts, Rule};
use crate::array;
use crate::block::k::{SUPER_LEN, error_weights, normal_unit, round_to_half, usable, value_of};
use crate::wide::{LANES, Wide};

/// Values of `d` tried, as multiples of that which gives the greatest scale its code.
const STEPS: [f32; 4] = [1.0, 1.09, 0.92, 0.84];

/// How often `d` moves.
const REFITS: usize = 2;

/// The most sub-blocks, and groups of weights with an entry, of a super-block.
const SUBS: usize = 16;
const GROUPS: usize = 64;

/// Encodes a row of a type with `16 * CHUNKS` entries of `LEN` numbers, `N` of them in a sub-block.
#[inline(always)]
pub(crate) fn encode<
    V: Wide,
    C: Codebook<B>,
    const B: usize,
    const CHUNKS: usize,
    const N: usize,
    const LEN: usize,
>(
    isa: V::Proof,
    row: &[f32],
    importance: Option<&[f32]>,
    out: &mut [u8],
) {
    let mut sums = Sums::<V, CHUNKS, N, LEN>::empty(isa);
    let blocks = row.as_chunks::<SUPER_LEN>().0.iter().zip(out.as_chunks_mut::<B>().0);
    for (i, (row, block)) in blocks.enumerate() {
        let unit = normal_unit(row);
        let target = Target {
            x: array::build(|i| usable(row[i]) / unit),
            w: error_weights(importance.and_then(|all| all.as_chunks::<SUPER_LEN>().0.get(i))),
            unit,
        };
        let found = search::<V, C, B, CHUNKS, N, LEN>(&target, &mut sums);
        C::write(block, &parts::<C, B, LEN>(&target, &found));
    }
}

/// The codes of a super-block, and what they gain.
#[derive(Clone, Copy)]
struct Found {
    d: [u8; 2],
    gain: f32,
    /// Of each sub-block.
    scales: [u8; SUBS],
    /// Of each group.
    indices: [u16; GROUPS],
    /// Whether a group has its second face.
    faces: [bool; GROUPS],
    /// `sum(s w x c)` and `sum(s s w c c)`, from which the least-squares `d` follows.
    moments: (f32, f32),
}

impl Found {
    /// Nothing but zeros.
    const ZERO: Self = Self {
        d: [0; 2],
        gain: 0.0,
        scales: [1; SUBS],
        indices: [0; GROUPS],
        faces: [false; GROUPS],
        moments: (0.0, 0.0),
    };
}

#[inline(always)]
fn search<V: Wide, C: Codebook<B>, const B: usize, const CHUNKS: usize, const N: usize, const LEN: usize>(
    target: &Target,
    sums: &mut Sums<V, CHUNKS, N, LEN>,
) -> Found {
    let top = if C::MARKS == Marks::Negate { f32::from(C::TOP) } else { f32::from(C::MARKS.bias()) };
    let (mut fits, mut greatest) = ([0.0; SUBS], 0.0);
    for (j, fit) in fits[..SUPER_LEN / (N * LEN)].iter_mut().enumerate() {
        sums.load::<C, B>(target, j * N * LEN);
        *fit = sums.fit(C::RULE, top);
        greatest = if *fit > greatest { *fit } else { greatest };
    }
    if greatest == 0.0 {
        return Found::ZERO;
    }
    // From `d` to the scale of a code, and back.
    let (to_scale, to_d) = (C::UNIT / target.unit, target.unit / C::UNIT);
    let least = greatest / f32::from(C::TOP_SCALE);
    let halves = STEPS.map(|step| round_to_half(least * step * to_d).0);
    let mut best = round_scales::<V, C, B, CHUNKS, N, LEN, 4>(target, sums, (&fits, to_scale), halves);
    for _ in 0..REFITS {
        let (sum_xc, sum_cc) = best.moments;
        let d = if sum_cc > 0.0 && sum_xc > 0.0 { round_to_half(sum_xc / sum_cc * to_d).0 } else { best.d };
        if d == best.d {
            break;
        }
        let moved = round_scales::<V, C, B, CHUNKS, N, LEN, 1>(target, sums, (&fits, to_scale), [d]);
        if moved.gain <= best.gain {
            break;
        }
        best = moved;
    }
    // Where all is tiny, even the smallest step can be worse than none.
    if best.gain > 0.0 { best } else { Found::ZERO }
}

/// The best of `K` values of `d`, with the odd scales that gain most about those that fit.
#[inline(always)]
fn round_scales<
    V: Wide,
    C: Codebook<B>,
    const B: usize,
    const CHUNKS: usize,
    const N: usize,
    const LEN: usize,
    const K: usize,
>(
    target: &Target,
    sums: &mut Sums<V, CHUNKS, N, LEN>,
    (fits, to_scale): (&[f32; SUBS], f32),
    halves: [[u8; 2]; K],
) -> Found {
    let mut all = [Found::ZERO; K];
    for (found, d) in all.iter_mut().zip(halves) {
        found.d = d;
    }
    let top = i32::from(C::TOP_SCALE / 2);
    for (j, fit) in fits[..SUPER_LEN / (N * LEN)].iter().enumerate() {
        sums.load::<C, B>(target, j * N * LEN);
        for found in &mut all {
            let step = value_of(found.d) * to_scale;
            // A step of zero, where all is tiny, has any scale.
            let near = ((fit / step - 1.0) * 0.5).clamp(0.0, top as f32).round_ties_even() as i32;
            let (mut scale, mut most) = (2 * near + 1, sums.gain(C::RULE, step * (2 * near + 1) as f32));
            for half in [near - 1, near + 1] {
                if (0..=top).contains(&half) {
                    let gain = sums.gain(C::RULE, step * (2 * half + 1) as f32);
                    (scale, most) = if gain > most { (2 * half + 1, gain) } else { (scale, most) };
                }
            }
            let s = scale as f32;
            let pick = sums.pick(C::RULE, step * s);
            found.gain += most;
            found.scales[j] = scale as u8;
            found.indices[j * N..][..N].copy_from_slice(&pick.indices);
            found.faces[j * N..][..N].copy_from_slice(&pick.faces);
            found.moments.0 += s * pick.a * 0.5;
            found.moments.1 += s * s * pick.b;
        }
    }
    let mut best = 0;
    for k in 1..K {
        best = if all[k].gain > all[best].gain { k } else { best };
    }
    all[best]
}

/// What a block stores of the codes found.
#[inline(always)]
fn parts<C: Codebook<B>, const B: usize, const LEN: usize>(target: &Target, found: &Found) -> Parts {
    let per_16 = C::SUB_LEN / 16;
    let mut marks = [0; 4];
    for g in 0..SUPER_LEN / LEN {
        let at = LEN * g;
        let mut bits = 0_u64;
        if C::MARKS == Marks::Raise {
            bits = if found.faces[g] { (1 << LEN) - 1 } else { 0 };
        } else {
            for i in 0..LEN {
                bits |= u64::from(target.x[at + i] < 0.0) << i;
            }
            let one_sign_changes = match C::RULE {
                Rule::EvenOfEight => target.is_odd(at),
                _ => found.faces[g],
            };
            if one_sign_changes {
                bits ^= 1 << cheapest::<C, B, LEN>(target, at, found.indices[g]);
            }
        }
        marks[at / 64] |= bits << (at % 64);
    }
    Parts { d: found.d, scales: array::build(|k| found.scales[k / per_16]), indices: found.indices, marks }
}

/// The weight of a group whose sign costs least to change.
#[inline(always)]
fn cheapest<C: Codebook<B>, const B: usize, const LEN: usize>(
    target: &Target,
    at: usize,
    index: u16,
) -> usize {
    let (chunk, lane) = (usize::from(index) / LANES, usize::from(index) % LANES);
    let cost = |i: usize| target.w[at + i] * target.x[at + i].abs() * C::COLUMNS[LEN * chunk + i][lane];
    let mut least = 0;
    for i in 1..LEN {
        least = if cost(i) < cost(least) { i } else { least };
    }
    least
}
