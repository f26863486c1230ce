//! The twelve bytes that hold the sixteen 6-bit scales of Q3_K.
//!
//! Bytes 0..8 hold the low four bits of scales 0..8 (low nibbles) and of scales 8..16 (high nibbles).
//! Byte `8 + i` holds the high two bits of scales `i`, `4 + i`, `8 + i` and `12 + i`, from its low bits
//! upwards.

const LOW_FOUR: u64 = 0x0f0f_0f0f_0f0f_0f0f;
const HIGH_TWO: u64 = 0x3030_3030_3030_3030;

/// Unpacks into the sixteen scales, each at most 63.
#[inline(always)]
pub(crate) fn unpack(packed: &[u8; 12]) -> [u8; 16] {
    let (low, high) = packed.split_first_chunk::<8>().expect("twelve bytes");
    let low = u64::from_le_bytes(*low);
    let high = u64::from(u32::from_le_bytes(*high.as_array().expect("four bytes")));
    // Bits 4 and 5 of each byte are those of scales 8..16; shifted up by four, of scales 0..8.
    let high = high | (high >> 2) << 32;
    let first = (low & LOW_FOUR) | ((high << 4) & HIGH_TWO);
    let second = ((low >> 4) & LOW_FOUR) | (high & HIGH_TWO);
    (u128::from(first) | u128::from(second) << 64).to_le_bytes()
}

/// Packs sixteen scales, each at most 63.
#[inline(always)]
pub(crate) fn pack(scales: &[u8; 16]) -> [u8; 12] {
    let mut packed = [0; 12];
    for i in 0..8 {
        packed[i] = scales[i] & 15 | (scales[8 + i] & 15) << 4;
    }
    for i in 0..4 {
        let high = |part: usize| (scales[4 * part + i] >> 4) << (2 * part);
        packed[8 + i] = high(0) | high(1) | high(2) | high(3);
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_survives_packing_at_every_place() {
        for value in 0..64 {
            for j in 0..16 {
                let mut scales = [63 - value; 16];
                scales[j] = value;
                assert_eq!(unpack(&pack(&scales)), scales);
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
            assert_eq!(pack(&unpack(&bytes)), bytes);
        }
    }
}
