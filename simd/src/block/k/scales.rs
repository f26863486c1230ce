//! The twelve bytes that hold eight 6-bit scales and eight 6-bit minima (Q4_K and Q5_K).
//!
//! Bytes 0..4 hold scales 0..4 in their low six bits, bytes 4..8 minima 0..4. Bytes 8..12 hold the low
//! four bits of scales 4..8 (low nibble) and of minima 4..8 (high nibble); the high two bits of those
//! stand in the top of bytes 0..4 (scales) and 4..8 (minima).

const LOW_SIX: u32 = 0x3f3f_3f3f;
const LOW_FOUR: u32 = 0x0f0f_0f0f;
const HIGH_TWO: u32 = 0x3030_3030;

/// Unpacks into the eight scales and the eight minima, each at most 63.
#[inline(always)]
pub(crate) fn unpack(packed: &[u8; 12]) -> ([u8; 8], [u8; 8]) {
    let word = |i: usize| u32::from_le_bytes([packed[i], packed[i + 1], packed[i + 2], packed[i + 3]]);
    let (a, b, c) = (word(0), word(4), word(8));
    let upper_scales = (c & LOW_FOUR) | ((a >> 2) & HIGH_TWO);
    let upper_minima = ((c >> 4) & LOW_FOUR) | ((b >> 2) & HIGH_TWO);
    let join = |low: u32, high: u32| (u64::from(low) | (u64::from(high) << 32)).to_le_bytes();
    (join(a & LOW_SIX, upper_scales), join(b & LOW_SIX, upper_minima))
}

/// Packs eight scales and eight minima, each at most 63.
///
/// # Panics
/// If there are fewer.
#[inline(always)]
pub(crate) fn pack(scales: &[u8], minima: &[u8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for j in 0..4 {
        let (scale, minimum) = (scales[j + 4], minima[j + 4]);
        packed[j] = scales[j] | (scale >> 4) << 6;
        packed[j + 4] = minima[j] | (minimum >> 4) << 6;
        packed[j + 8] = (scale & 15) | (minimum & 15) << 4;
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_and_minimum_survives_packing_at_every_place() {
        for value in 0..64 {
            for j in 0..8 {
                let mut scales = [63 - value; 8];
                let mut minima = [value ^ 42; 8];
                scales[j] = value;
                minima[7 - j] = 63 ^ value;
                assert_eq!(unpack(&pack(&scales, &minima)), (scales, minima));
            }
        }
    }

    #[test]
    fn packing_restores_any_twelve_bytes() {
        let mut state = 1u32;
        for _ in 0..1000 {
            let bytes: [u8; 12] = core::array::from_fn(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            });
            let (scales, minima) = unpack(&bytes);
            assert_eq!(pack(&scales, &minima), bytes);
        }
    }
}
