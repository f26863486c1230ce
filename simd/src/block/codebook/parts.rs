//! What an encoder of a codebook type needs beside the search: which marks it may choose, what a super-block stores,
//! and the entries as vectors.

use crate::wide::LANES;

/// Which marks of a group of weights with an entry an encoder may choose.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Any.
    Free,
    /// An even number of them in each eight weights, which have an entry.
    EvenOfEight,
    /// An even number of them in each eight weights, which have two entries.
    EvenOfTwo,
    /// All of a sub-block, or none.
    Together,
    /// All of a group, or none.
    Each,
}

/// What a super-block stores.
pub(crate) struct Parts {
    /// As f16 bits.
    pub(crate) d: [u8; 2],
    /// The scale of each sixteen weights, an odd number.
    pub(crate) scales: [u8; 16],
    /// The index of each entry; the last are zeros where entries are of eight.
    pub(crate) indices: [u16; 64],
    /// As [`Codebook::marks`] has them.
    pub(crate) marks: [u64; 4],
}

impl Parts {
    /// Half of the scale of sixteen weights: what is stored.
    #[inline(always)]
    pub(crate) fn half(&self, k: usize) -> u8 {
        self.scales[k] / 2
    }

    /// The marks of weights `8 e ..`.
    #[inline(always)]
    pub(crate) fn eight(&self, e: usize) -> u8 {
        (self.marks[e / 8] >> (8 * (e % 8))) as u8
    }

    /// Seven marks of each eight of weights `32 j ..` in 28 bits, and half their scale above them.
    #[inline(always)]
    pub(crate) fn word(&self, j: usize) -> [u8; 4] {
        let mut word = u32::from(self.half(2 * j)) << 28;
        for e in 0..4 {
            word |= u32::from(self.eight(4 * j + e) & 0x7f) << (7 * e);
        }
        word.to_le_bytes()
    }
}

/// [`super::Codebook::COLUMNS`] of entries of eight, less `bias`.
pub(crate) const fn columns_of_8<const N: usize, const M: usize>(
    entries: &[u64; N],
    bias: u8,
) -> [[f32; LANES]; M] {
    let mut columns = [[0.0; LANES]; M];
    let mut e = 0;
    while e < 8 * N {
        let (entry, i) = (e / 8, e % 8);
        let number = (entries[entry] >> (8 * i)) as u8;
        columns[8 * (entry / LANES) + i][entry % LANES] = number as f32 - bias as f32;
        e += 1;
    }
    columns
}

/// [`super::Codebook::COLUMNS`] of entries of four.
pub(crate) const fn columns_of_4<const N: usize, const M: usize>(entries: &[u32; N]) -> [[f32; LANES]; M] {
    let mut columns = [[0.0; LANES]; M];
    let mut e = 0;
    while e < 4 * N {
        let (entry, i) = (e / 4, e % 4);
        columns[4 * (entry / LANES) + i][entry % LANES] = (entries[entry] >> (8 * i)) as u8 as f32;
        e += 1;
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::array;
    use crate::block::codebook::{Codebook, Entry, even_marks};
    use crate::block::{iq1_m, iq1_s, iq2_s, iq2_xs, iq2_xxs, iq3_s, iq3_xxs};

    /// Any parts that a type can store.
    fn parts<const B: usize, C: Codebook<B>>(next: &mut impl FnMut() -> u64) -> Parts {
        let n = 4 * C::Entry::IN_64;
        let per_16 = C::SUB_LEN / 16;
        let scales: [u8; 16] = array::build(|_| 0).map(|_: u8| (next() as u8 % (C::TOP_SCALE + 1)) | 1);
        let mut indices = [0; 64];
        for index in &mut indices[..n] {
            *index = (next() % C::TABLE.len() as u64) as u16;
        }
        let mut marks: [u64; 4] = [next(), next(), next(), next()];
        for word in &mut marks {
            // Of each eight, or of 32, the first decides.
            let eights = (*word & 0x0101_0101_0101_0101) * 0xff;
            *word = match C::RULE {
                Rule::Free => *word,
                Rule::EvenOfEight | Rule::EvenOfTwo => even_marks(*word & 0x7f7f_7f7f_7f7f_7f7f),
                Rule::Each => eights,
                Rule::Together => (*word & 0x0000_0001_0000_0001) * 0xffff_ffff,
            };
        }
        Parts {
            d: [next() as u8, next() as u8],
            scales: array::build(|k| scales[k / per_16]),
            indices,
            marks,
        }
    }

    fn check<const B: usize, C: Codebook<B>>() {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state >> 16
        };
        for _ in 0..50 {
            let parts = parts::<B, C>(&mut next);
            let mut block = [0xff; B];
            C::write(&mut block, &parts);
            assert_eq!(C::d(&block), parts.d);
            assert_eq!(C::scales(&block), parts.scales);
            assert_eq!(C::marks(&block), parts.marks);
            for g in 0..4 * C::Entry::IN_64 {
                assert_eq!(C::index(&block, g), usize::from(parts.indices[g]));
            }
        }
        let len = 64 / C::Entry::IN_64;
        for (e, entry) in C::TABLE.iter().enumerate() {
            for i in 0..len {
                let number = f32::from(entry.byte(i)) - f32::from(C::MARKS.bias());
                assert_eq!(C::COLUMNS[len * (e / LANES) + i][e % LANES], number);
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        check::<_, iq1_s::Book>();
        check::<_, iq1_m::Book>();
        check::<_, iq2_xxs::Book>();
        check::<_, iq2_xs::Book>();
        check::<_, iq2_s::Book>();
        check::<_, iq3_xxs::Book>();
        check::<_, iq3_s::Book>();
    }
}
