//! The sampler's random numbers: xoshiro256++ (Blackman and Vigna, 2019), seeded by SplitMix64.
//!
//! Our own, so that a seed gives the same text on every platform and with every release.

/// A stream of pseudo-random numbers; not for secrets.
#[derive(Clone, Debug)]
pub struct Random {
    state: [u64; 4],
}

impl Random {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        let mut z = seed;
        Self { state: std::array::from_fn(|_| split_mix(&mut z)) }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let s = &mut self.state;
        let out = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        out
    }

    /// The next number in `0.0..1.0`, a multiple of 2^-53.
    pub fn next_unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}

/// One step of SplitMix64: spreads similar seeds far apart and never yields four zeros in a row.
fn split_mix(z: &mut u64) -> u64 {
    *z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut x = *z;
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generator_matches_the_published_sequence() {
        let mut random = Random { state: [1, 2, 3, 4] };
        let expected = [
            41_943_041,
            58_720_359,
            3_588_806_011_781_223,
            3_591_011_842_654_386,
            9_228_616_714_210_784_205,
            9_973_669_472_204_895_162,
            14_011_001_112_246_962_877,
            12_406_186_145_184_390_807,
            15_849_039_046_786_891_736,
            10_450_023_813_501_588_000,
        ];
        assert_eq!(expected.map(|_| random.next_u64()), expected);
    }

    #[test]
    fn seeding_matches_the_published_sequence() {
        let mut z = 1_234_567;
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(expected.map(|_| split_mix(&mut z)), expected);
    }

    #[test]
    fn unit_numbers_stay_below_one_and_average_one_half() {
        let mut random = Random::new(7);
        let n = 100_000;
        let sum: f64 =
            (0..n).map(|_| random.next_unit()).inspect(|u| assert!((0.0..1.0).contains(u), "{u}")).sum();
        assert!((sum / f64::from(n) - 0.5).abs() < 0.003, "mean {}", sum / f64::from(n));
    }
}
