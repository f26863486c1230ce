//! The six bytes that hold eight 6-bit scales: the high two bits of all in the first two bytes, the low
//! four bits in the others.

/// Unpacks into the eight scales, each at most 63. (32 is still to be subtracted.)
#[inline(always)]
pub(crate) fn unpack(packed: &[u8; 6]) -> [u8; 8] {
    let [h0, h1, l0, l1, l2, l3] = *packed;
    let high = u64::from(u16::from_le_bytes([h0, h1]));
    let low = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    // Halves, quarters and eighths move apart, until each has a byte to itself.
    let low = (low | low << 16) & 0x0000_ffff_0000_ffff;
    let low = (low | low << 8) & 0x00ff_00ff_00ff_00ff;
    let low = (low | low << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    let high = (high | high << 24) & 0x0000_00ff_0000_00ff;
    let high = (high | high << 12) & 0x000f_000f_000f_000f;
    let high = (high | high << 6) & 0x0303_0303_0303_0303;
    (low | high << 4).to_le_bytes()
}

/// Packs eight scales, each at most 63.
#[inline(always)]
pub(crate) fn pack(scales: &[u8; 8]) -> [u8; 6] {
    let (mut high, mut low) = (0u16, 0u32);
    for (j, &scale) in scales.iter().enumerate() {
        high |= u16::from(scale >> 4) << (2 * j);
        low |= u32::from(scale & 15) << (4 * j);
    }
    let ([h0, h1], [l0, l1, l2, l3]) = (high.to_le_bytes(), low.to_le_bytes());
    [h0, h1, l0, l1, l2, l3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scale_survives_packing_at_every_place() {
        for value in 0..64 {
            for j in 0..8 {
                let mut scales = [63 - value; 8];
                scales[j] = value;
                assert_eq!(unpack(&pack(&scales)), scales);
            }
        }
    }
}
