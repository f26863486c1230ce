//! Sixteen lanes of integers side by side, for searches in fixed point.
//!
//! A lane of 32 bits is one integer or a pair of 16-bit numbers, of which a vector holds twice as many as of
//! floats. Sums of integers are exact, so that every tier adds in the order that suits it.

use super::{LANES, Wide};

/// Sixteen integers, or pairs of numbers, in a tier's vectors.
pub(crate) trait Pairs: Copy {
    /// See [`Wide::Proof`].
    type Proof: Copy;

    /// The proof that it was made from.
    fn proof(self) -> Self::Proof;

    /// A pair in every lane.
    fn splat(isa: Self::Proof, pair: [i16; 2]) -> Self;

    /// A pair in every lane.
    #[inline(always)]
    fn all(self, pair: [i16; 2]) -> Self {
        Self::splat(self.proof(), pair)
    }

    /// The lanes in memory.
    fn store(self) -> [u32; LANES];

    /// The bits set in both.
    fn and(self, other: Self) -> Self;

    /// The sums of the numbers, modulo 2^16.
    fn plus(self, other: Self) -> Self;

    /// The products of the numbers over 2^15, rounded to the nearest integers, ties upwards. Not both
    /// factors may be -2^15.
    fn times(self, other: Self) -> Self;

    /// The larger numbers.
    fn max(self, other: Self) -> Self;

    /// The smaller numbers.
    fn min(self, other: Self) -> Self;

    /// The sums of the integers, modulo 2^32.
    fn add(self, other: Self) -> Self;

    /// Adds to each integer the products of the numbers of two pairs.
    fn add_products(self, a: Self, b: Self) -> Self;

    /// Pairs of the low 16 bits of both.
    fn low_halves(self, other: Self) -> Self;

    /// The bytes of lane `l` of the first of four, then those of the others, for every `l`.
    fn bytes_of_four(four: &[Self; 4]) -> [[u8; 16]; LANES];
}

/// The products of both with `factor`, rounded to the nearest integers, ties to even, and `plus`, which is even;
/// for sums of 16 bits.
#[inline(always)]
pub(crate) fn rounded_products<V: Wide>(first: V, second: V, factor: V, plus: i8) -> V::Pairs {
    // Added to it, a number becomes the nearest integer, which stands in the low bits.
    let magic = first.all(12_582_912.0 + f32::from(plus));
    first.mul_add(factor, magic).bits().low_halves(second.mul_add(factor, magic).bits())
}

/// The numbers of block `l`, in lane `l`, as nibbles: byte `i` has first number `i` in its low four bits, and
/// above it second number `i`, both from 0 to 15.
#[inline(always)]
pub(crate) fn nibbles<P: Pairs>(numbers: &[P; LANES]) -> [[u8; 16]; LANES] {
    bytes(numbers, [1, 16])
}

/// The numbers of block `l`, in lane `l`, as bytes: the first ones, then the second ones, from 0 to 255.
#[inline(always)]
pub(crate) fn halves<P: Pairs>(numbers: &[P; LANES]) -> [[[u8; 16]; LANES]; 2] {
    [bytes(numbers, [1, 0]), bytes(numbers, [0, 1])]
}

/// The sums of the numbers of pairs times `places`, which must be bytes.
#[inline(always)]
fn bytes<P: Pairs>(numbers: &[P; LANES], places: [i16; 2]) -> [[u8; 16]; LANES] {
    let (zero, low, high) =
        (numbers[0].all([0; 2]), numbers[0].all(places), numbers[0].all([256 * places[0], 256 * places[1]]));
    let mut fours = [zero; 4];
    for (four, numbers) in fours.iter_mut().zip(numbers.as_chunks::<4>().0) {
        let first = zero.add_products(numbers[0], low).add_products(numbers[1], high);
        let second = zero.add_products(numbers[2], low).add_products(numbers[3], high);
        *four = first.low_halves(second);
    }
    P::bytes_of_four(&fours)
}

/// Of the numbers of block `l`, in lane `l` and below 32, the fifth bits: bit `i` is that of first number `i`, bit
/// `i + 16` that of second number `i`.
#[inline(always)]
pub(crate) fn fifth_bits<P: Pairs>(numbers: &[P; LANES]) -> [u32; LANES] {
    let mut bits = numbers[0].all([0; 2]);
    for &number in numbers.iter().rev() {
        // 1 from 16 on.
        let bit = number.plus(number.all([-8; 2])).times(number.all([1 << 11; 2]));
        bits = bits.plus(bits).plus(bit);
    }
    bits.store()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wide::Portable;

    #[test]
    fn products_are_rounded_to_nearest_even() {
        let lanes = |f: fn(usize) -> f32| Portable::load((), &core::array::from_fn(f));
        let (first, second) = (lanes(|l| l as f32 * 0.5 - 3.0), lanes(|l| 16384.0 - l as f32 * 1000.25));
        let pairs = rounded_products(first, second, Portable::splat((), 1.0), 0).store();
        for (l, pair) in pairs.into_iter().enumerate() {
            let expected = [first, second].map(|lanes| lanes.store()[l].round_ties_even() as i16);
            assert_eq!([pair as i16, (pair >> 16) as i16], expected);
        }
    }

    #[test]
    fn bytes_and_bits_stand_where_blocks_have_them() {
        let number = |i: usize, l: usize, second: usize| ((7 * i + 5 * l + 11 * second) % 32) as i16;
        let numbers: [_; LANES] = core::array::from_fn(|i| {
            let value = |second: usize| {
                Portable::load((), &core::array::from_fn(|l| f32::from(number(i, l, second))))
            };
            rounded_products(value(0), value(1), Portable::splat((), 1.0), 0)
        });
        let low = numbers.map(|numbers| numbers.and(numbers.all([15; 2])));
        let (bits, nibbles, [first, second]) = (fifth_bits(&numbers), nibbles(&low), halves(&numbers));
        for l in 0..LANES {
            for i in 0..LANES {
                let [a, b] = [number(i, l, 0), number(i, l, 1)];
                assert_eq!([first[l][i], second[l][i]].map(i16::from), [a, b]);
                assert_eq!(i16::from(nibbles[l][i]), a % 16 + b % 16 * 16);
                assert_eq!(
                    [bits[l] >> i & 1, bits[l] >> (i + 16) & 1],
                    [a / 16, b / 16].map(|bit| bit as u32)
                );
            }
        }
    }
}
