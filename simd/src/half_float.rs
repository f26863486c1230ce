//! Conversions between `f32` and the 16-bit float formats, without branches.
//!
//! They are plain integer and float arithmetic, so that a loop over them vectorises on every tier
//! and gives the same bits everywhere. The CPUs' own conversions agree to the bit: they round to
//! nearest even, and a NaN keeps its sign and as much of its payload as there is room for, and
//! becomes quiet. (Widening bfloat16 is no more than a shift and leaves a signalling NaN as it is.)

/// The value of an IEEE binary16 number.
#[inline(always)]
pub fn f16_to_f32(half: u16) -> f32 {
    let sign = (u32::from(half) & 0x8000) << 16;
    // Read as an f32, the shifted magnitude is the value divided by 2^112, subnormals included;
    // the multiplication is exact.
    let shifted = (u32::from(half) & 0x7fff) << 13;
    let finite = (f32::from_bits(shifted) * f32::from_bits((127 + 112) << 23)).to_bits();
    let is_finite = shifted < 0x1f << 23;
    let quiet = if shifted > 0x1f << 23 { 1 << 22 } else { 0 };
    let magnitude = if is_finite { finite } else { shifted | 0xff << 23 | quiet };
    f32::from_bits(sign | magnitude)
}

/// The nearest IEEE binary16 number, ties to even; above 65519.996 an infinity.
#[inline(always)]
pub fn f32_to_f16(value: f32) -> u16 {
    let sign = (value.to_bits() >> 16) & 0x8000;
    let magnitude = value.to_bits() & 0x7fff_ffff;
    // Adding 0.5 leaves, in its last bits, the value in units of 2^-24: the subnormal's mantissa.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let odd = (magnitude >> 13) & 1;
    let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
    let finite = if magnitude < 113 << 23 { subnormal } else { normal };
    let nan = 0x7e00 | ((magnitude >> 13) & 0x1ff);
    let special = if magnitude > 0xff << 23 { nan } else { 0x7c00 };
    let half = if magnitude < 143 << 23 { finite } else { special };
    (sign | half) as u16
}

/// The value of a bfloat16 number.
#[inline(always)]
pub fn bf16_to_f32(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// The nearest bfloat16 number, ties to even.
#[inline(always)]
pub fn f32_to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
    let quiet_nan = (bits >> 16) | 0x40;
    (if value.is_nan() { quiet_nan } else { rounded }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn every_16_bit_pattern_has_the_value_of_its_format() {
        for bits in 0..=u16::MAX {
            let (ours, theirs) = (f16_to_f32(bits), f16::from_bits(bits).to_f32());
            assert_eq!(ours.to_bits(), theirs.to_bits(), "f16 {bits:#06x}");
            let (ours, theirs) = (bf16_to_f32(bits), bf16::from_bits(bits).to_f32());
            assert_eq!(ours.to_bits(), u32::from(bits) << 16, "bf16 {bits:#06x}");
            assert!(ours == theirs || ours.is_nan() && theirs.is_nan(), "bf16 {bits:#06x}");
        }
    }

    #[test]
    fn narrowing_rounds_to_nearest_even() {
        // Every f16 value, the ties between neighbours, and one step to either side of a tie.
        for bits in 0..=u16::MAX {
            for low in [0, 0x0fff, 0x1000, 0x1001, 0x1fff, 0x7fff, 0x8000, 0x8001] {
                for base in [f16_to_f32(bits), bf16_to_f32(bits)] {
                    let value = f32::from_bits(base.to_bits() | low);
                    let (ours, theirs) = (f32_to_f16(value), f16::from_f32(value));
                    assert_eq!(ours, theirs.to_bits(), "f16 of {value:e}");
                    let (ours, theirs) = (f32_to_bf16(value), bf16::from_f32(value));
                    assert_eq!(ours, theirs.to_bits(), "bf16 of {value:e}");
                }
            }
        }
    }
}
