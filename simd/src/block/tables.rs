//! The code tables of the types whose 4-bit codes stand for uneven steps.

/// What the codes of IQ4_NL and IQ4_XS stand for: steps that are fine near zero and coarse far from it.
pub(crate) const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// What the codes of MXFP4 stand for, doubled: the floats of one sign bit, two exponent bits and one
/// mantissa bit (E2M1 of the OCP Microscaling Formats specification 1.0).
pub(crate) const FP4: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// A table as floats.
pub(crate) const fn floats(table: &[i8; 16]) -> [f32; 16] {
    let mut floats = [0.0; 16];
    let mut i = 0;
    while i < 16 {
        floats[i] = table[i] as f32;
        i += 1;
    }
    floats
}

/// A table as bytes for a kernel's table lookups, with `bias` added to each value. Without a bias the
/// bytes are signed numbers; a bias that makes all values positive makes them unsigned ones.
pub(crate) const fn bytes(table: &[i8; 16], bias: i32) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut i = 0;
    while i < 16 {
        bytes[i] = (table[i] as i32 + bias) as u8;
        i += 1;
    }
    bytes
}

/// The magnitudes of a table's values.
#[cfg(target_arch = "x86_64")]
pub(crate) const fn magnitudes(table: &[i8; 16]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut i = 0;
    while i < 16 {
        bytes[i] = table[i].unsigned_abs();
        i += 1;
    }
    bytes
}
