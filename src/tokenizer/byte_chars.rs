//! The printable alphabet of byte-level BPE: one character for each of the 256 bytes.
//!
//! GPT-2 introduced it so that vocabularies are text files: bytes that print in Latin-1 stand for
//! themselves, and the 68 others (controls, space, soft hyphen) get the characters from U+0100 on,
//! in byte order. A space is `Ġ` (U+0120), a line feed `Ċ` (U+010A).

/// Whether `byte` stands for itself.
const fn prints(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF)
}

/// Bytes that do not print, in order: the byte of U+0100 + i is the i-th.
const HIDDEN: [u8; 68] = {
    let mut hidden = [0; 68];
    let (mut byte, mut n) = (0usize, 0);
    while byte < 256 {
        if !prints(byte as u8) {
            hidden[n] = byte as u8;
            n += 1;
        }
        byte += 1;
    }
    hidden
};

/// The byte that `c` stands for; `None` for a character outside the alphabet.
pub(super) fn byte_of(c: char) -> Option<u8> {
    match u32::from(c) {
        code @ 0..=0xFF => Some(code as u8).filter(|&byte| prints(byte)),
        code => HIDDEN.get(code as usize - 0x100).copied(),
    }
}

/// The bytes that `text` stands for; `None` if one of its characters is outside the alphabet.
pub(super) fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    push_bytes_of(text, &mut bytes).then_some(bytes)
}

/// Appends the bytes that `text` stands for to `bytes`, as far as its characters are in the alphabet; whether
/// all of them are.
pub(super) fn push_bytes_of(text: &str, bytes: &mut Vec<u8>) -> bool {
    text.chars().all(|c| byte_of(c).map(|byte| bytes.push(byte)).is_some())
}

/// The character that stands for `byte`.
pub(super) fn char_of(byte: u8) -> char {
    match HIDDEN.binary_search(&byte) {
        Ok(i) => char::from_u32(0x100 + i as u32).unwrap_or(char::REPLACEMENT_CHARACTER),
        Err(_) => char::from(byte),
    }
}

/// `bytes` written in the alphabet.
pub(super) fn text_of(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char_of(byte)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character_and_comes_back() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255 {
            assert!(seen.insert(char_of(byte)));
            assert_eq!(byte_of(char_of(byte)), Some(byte));
        }
    }

    #[test]
    fn well_known_characters_are_where_gpt2_put_them() {
        assert_eq!(text_of(b" a\n\x00\x7f\xad"), "ĠaĊĀġŃ");
    }

    #[test]
    fn characters_outside_the_alphabet_stand_for_nothing() {
        for c in [' ', '\n', '\u{7f}', '\u{ad}', '\u{144}', '▁', '🦙'] {
            assert_eq!(byte_of(c), None, "{c:?}");
        }
        assert_eq!(bytes_of("Ġ a"), None);
        let mut bytes = b"x".to_vec();
        assert!(!push_bytes_of("Ġ a", &mut bytes));
        assert_eq!(bytes, b"x ");
    }
}
