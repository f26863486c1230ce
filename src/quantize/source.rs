//! Elements of weight files as floats.

use std::sync::LazyLock;

use gguf_simd::half_float::{bf16_to_f32, f16_to_f32};

use crate::checkpoint::SourceType;

/// The magnitudes of E2M1, the four-bit floats of OCP Microscaling Formats 1.0 (section 5.3.3), and their negatives.
pub const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// Decodes little-endian source elements: `out[i]` is element `i` of `bytes`.
///
/// # Panics
/// If `bytes` does not hold exactly `out.len()` elements.
pub fn decode_source(source_type: SourceType, bytes: &[u8], out: &mut [f32]) {
    use SourceType as T;
    match source_type {
        T::F32 => decode_each(bytes, out, f32::from_le_bytes),
        T::F16 => decode_each(bytes, out, |b| f16_to_f32(u16::from_le_bytes(b))),
        T::BF16 => decode_each(bytes, out, |b| bf16_to_f32(u16::from_le_bytes(b))),
        T::F64 => decode_each(bytes, out, |b| f64::from_le_bytes(b) as f32),
        T::I64 => decode_each(bytes, out, |b| i64::from_le_bytes(b) as f32),
        T::U64 => decode_each(bytes, out, |b| u64::from_le_bytes(b) as f32),
        T::I32 => decode_each(bytes, out, |b| i32::from_le_bytes(b) as f32),
        T::U32 => decode_each(bytes, out, |b| u32::from_le_bytes(b) as f32),
        T::I16 => decode_each(bytes, out, |b| i16::from_le_bytes(b).into()),
        T::U16 => decode_each(bytes, out, |b| u16::from_le_bytes(b).into()),
        T::I8 => decode_each(bytes, out, |b| i8::from_le_bytes(b).into()),
        T::U8 => decode_each(bytes, out, |[b]| b.into()),
        T::Bool => decode_each(bytes, out, |[b]| f32::from(b != 0)),
        T::F8_E4M3 => decode_by(&FLOATS_8[0], bytes, out),
        T::F8_E5M2 => decode_by(&FLOATS_8[1], bytes, out),
        T::F8_E4M3FNUZ => decode_by(&FLOATS_8[2], bytes, out),
        T::F8_E5M2FNUZ => decode_by(&FLOATS_8[3], bytes, out),
        T::F8_E8M0 => decode_by(&FLOATS_8[4], bytes, out),
        T::F4 => {
            let (pairs, rest) = out.as_chunks_mut::<2>();
            assert!(rest.is_empty() && pairs.len() == bytes.len(), "{LENGTHS}");
            for (pair, byte) in pairs.iter_mut().zip(bytes) {
                *pair = [E2M1[usize::from(byte & 15)], E2M1[usize::from(byte >> 4)]];
            }
        }
    }
}

const LENGTHS: &str = "source bytes must hold exactly the elements asked for";

pub(super) fn decode_each<const N: usize>(bytes: &[u8], out: &mut [f32], decode: impl Fn([u8; N]) -> f32) {
    let (elements, rest) = bytes.as_chunks::<N>();
    assert!(rest.is_empty() && elements.len() == out.len(), "{LENGTHS}");
    for (value, element) in out.iter_mut().zip(elements) {
        *value = decode(*element);
    }
}

fn decode_by(table: &[f32; 256], bytes: &[u8], out: &mut [f32]) {
    decode_each(bytes, out, |[b]| table[usize::from(b)]);
}

/// The floats of eight bits: E4M3 and E5M2 (OCP 8-bit Floating Point 1.0), the two without infinities and negative
/// zero (Noune and others, arXiv 2206.02915), and E8M0 (OCP Microscaling Formats 1.0, section 5.4.1).
static FLOATS_8: LazyLock<[[f32; 256]; 5]> = LazyLock::new(|| {
    let of = |byte: usize, n_mantissa: i32, bias: i32, is_nan: &dyn Fn(u8) -> bool| {
        let bits = byte as u8;
        if is_nan(bits) {
            return f32::NAN;
        }
        let magnitude = i32::from(bits & 0x7f);
        let (exponent, mantissa) = (magnitude >> n_mantissa, magnitude & ((1 << n_mantissa) - 1));
        let (whole, exponent) = if exponent == 0 { (0, 1) } else { (1 << n_mantissa, exponent) };
        let value = f64::from(whole + mantissa) * libm::exp2(f64::from(exponent - bias - n_mantissa));
        (if bits < 0x80 { value } else { -value }) as f32
    };
    let e4m3 = |byte| of(byte, 3, 7, &|bits| bits & 0x7f == 0x7f);
    let e5m2 = |byte| match byte & 0x7f {
        0x7c if byte < 0x80 => f32::INFINITY,
        0x7c => f32::NEG_INFINITY,
        _ => of(byte, 2, 15, &|bits| bits & 0x7f > 0x7c),
    };
    let e4m3_fnuz = |byte| of(byte, 3, 8, &|bits| bits == 0x80);
    let e5m2_fnuz = |byte| of(byte, 2, 16, &|bits| bits == 0x80);
    let e8m0 = |byte| if byte == 255 { f32::NAN } else { libm::exp2(byte as f64 - 127.0) as f32 };
    [
        std::array::from_fn(e4m3),
        std::array::from_fn(e5m2),
        std::array::from_fn(e4m3_fnuz),
        std::array::from_fn(e5m2_fnuz),
        std::array::from_fn(e8m0),
    ]
});

#[cfg(test)]
mod tests {
    use half::{bf16, f16};

    use super::*;

    fn decoded(ty: SourceType, bytes: &[u8]) -> Vec<f32> {
        let mut out = vec![0.0; bytes.len() * 8 / ty.element_bits()];
        decode_source(ty, bytes, &mut out);
        out
    }

    #[test]
    fn every_wide_float_decodes_its_own_encoding() {
        let values = [0.0f32, -1.5, 0.15625, 240.0];
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(decoded(SourceType::F32, &bytes), values);
        let bytes: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        assert_eq!(decoded(SourceType::F16, &bytes), values);
        let bytes: Vec<u8> = values.iter().flat_map(|v| bf16::from_f32(*v).to_le_bytes()).collect();
        assert_eq!(decoded(SourceType::BF16, &bytes), values);
        let bytes: Vec<u8> = values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect();
        assert_eq!(decoded(SourceType::F64, &bytes), values);
    }

    #[test]
    fn integers_and_truth_values_are_numbers() {
        assert_eq!(decoded(SourceType::I8, &[0x80, 0x7f, 0xff]), [-128.0, 127.0, -1.0]);
        assert_eq!(decoded(SourceType::U8, &[0x80, 0x7f, 0xff]), [128.0, 127.0, 255.0]);
        assert_eq!(decoded(SourceType::Bool, &[0, 1, 2]), [0.0, 1.0, 1.0]);
        assert_eq!(decoded(SourceType::I16, &[0xfe, 0xff]), [-2.0]);
        assert_eq!(decoded(SourceType::U16, &[0xfe, 0xff]), [65534.0]);
        assert_eq!(decoded(SourceType::I32, &[0xfe, 0xff, 0xff, 0xff]), [-2.0]);
        assert_eq!(decoded(SourceType::U32, &[0, 0, 0, 0x80]), [2_147_483_648.0]);
        assert_eq!(decoded(SourceType::I64, &[0xff; 8]), [-1.0]);
        assert_eq!(decoded(SourceType::U64, &[0, 0, 0, 0, 1, 0, 0, 0]), [4_294_967_296.0]);
    }

    /// Values by torch 2.15 (`torch.tensor(bytes, dtype=torch.uint8).view(dtype).float()`).
    #[test]
    fn floats_of_eight_and_four_bits_are_those_of_torch() {
        let e4m3 = decoded(SourceType::F8_E4M3, &[0x01, 0x07, 0x08, 0x38, 0x7e, 0xfe, 0x80, 0x55]);
        assert_eq!(e4m3, [0.001953125, 0.013671875, 0.015625, 1.0, 448.0, -448.0, 0.0, 13.0]);
        let e5m2 = decoded(SourceType::F8_E5M2, &[0x01, 0x03, 0x04, 0x3c, 0x7b, 0xfb, 0x7c, 0xfc, 0x55]);
        let expected = [
            1.0 / 65536.0,
            3.0 / 65536.0,
            1.0 / 16384.0,
            1.0,
            57344.0,
            -57344.0,
            f32::INFINITY,
            f32::NEG_INFINITY,
            80.0,
        ];
        assert_eq!(e5m2, expected);
        assert_eq!(
            decoded(SourceType::F8_E4M3FNUZ, &[0x01, 0x40, 0x7f, 0xff]),
            [0.0009765625, 1.0, 240.0, -240.0]
        );
        assert_eq!(decoded(SourceType::F8_E5M2FNUZ, &[0x01, 0x40, 0x7f]), [1.0 / 131_072.0, 1.0, 57344.0]);
        assert_eq!(decoded(SourceType::F8_E8M0, &[127, 128, 120]), [1.0, 2.0, 0.0078125]);
        for (ty, byte) in [
            (SourceType::F8_E4M3, 0x7f),
            (SourceType::F8_E4M3, 0xff),
            (SourceType::F8_E5M2, 0x7d),
            (SourceType::F8_E4M3FNUZ, 0x80),
            (SourceType::F8_E5M2FNUZ, 0x80),
            (SourceType::F8_E8M0, 0xff),
        ] {
            assert!(decoded(ty, &[byte])[0].is_nan(), "{ty}");
        }
        assert_eq!(decoded(SourceType::F4, &[0x1f, 0x72]), [-6.0, 0.5, 1.0, 6.0]);
    }
}
