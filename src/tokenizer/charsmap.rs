//! SentencePiece's normalisation: a table that replaces characters, as `tokenizer.ggml.precompiled_charsmap` has it.
//!
//! The table is a little-endian number of bytes, that many bytes of a double array whose keys are texts, and the
//! replacements, each closed by a zero byte, that the keys' values point into. A unit of the array holds its label
//! (bits 0 to 7), whether a key ends here (bit 8), and the offset to its children (bits 10 to 30, times 256 if bit 9).
//!
//! What is looked up are grapheme clusters below six bytes, else single characters, and the *shortest* key that such a
//! text begins with replaces all of it. SentencePiece takes the longest at every place. The former is what the
//! `tokenizers` library does with the same table, and so what embedding models have been run with; texts where it
//! matters are rare (a wide letter with a combining accent loses the accent). Vocabularies that were read from
//! SentencePiece's own file, tokenizer.model, are normalised as SentencePiece does: see [`CharsMap::normalize_longest`].

use std::path::Path;

use unicode_segmentation::UnicodeSegmentation;

use crate::error::{Error, Result};
use crate::limits::MAX_TEXT_BYTES;

/// Clusters this long are looked up character by character.
const MIN_LONG_CLUSTER: usize = 6;

/// A parsed table; an empty one changes nothing.
#[derive(Default)]
pub(super) struct CharsMap {
    units: Vec<u32>,
    replacements: String,
}

impl CharsMap {
    /// Parses `bytes`; `path` is for messages.
    ///
    /// # Errors
    /// `Malformed` for a table of another form.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let malformed = |what: &str| Error::malformed(path, format!("the precompiled charsmap {what}"));
        let (n_bytes, rest) = bytes.split_first_chunk().ok_or_else(|| malformed("has no length"))?;
        let n_bytes = u32::from_le_bytes(*n_bytes) as usize;
        let (units, rest) = rest.split_at_checked(n_bytes).ok_or_else(|| malformed("is cut short"))?;
        let (units, odd) = units.as_chunks();
        if units.is_empty() || !odd.is_empty() {
            return Err(malformed("has an array that is not of 32-bit units"));
        }
        let replacements =
            std::str::from_utf8(rest).map_err(|_| malformed("replaces by what is not UTF-8"))?;
        Ok(Self {
            units: units.iter().map(|&unit| u32::from_le_bytes(unit)).collect(),
            replacements: replacements.to_owned(),
        })
    }

    /// Whether it replaces nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// `text` with its characters replaced, as SentencePiece does: at every place the longest key that is there.
    ///
    /// # Errors
    /// As [`CharsMap::normalize`].
    pub(super) fn normalize_longest(&self, text: &str) -> Result<String> {
        let mut normal = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            check_length(&normal, text)?;
            // A key that ends inside of a character is none that SentencePiece writes.
            let found = self.keys(rest).filter(|&(len, _)| rest.is_char_boundary(len)).last();
            let (len, replacement) = found.unwrap_or((c.len_utf8(), &rest[..c.len_utf8()]));
            normal.push_str(replacement);
            rest = &rest[len..];
        }
        Ok(normal)
    }

    /// `text` with its characters replaced.
    ///
    /// # Errors
    /// `Limit` if that is too long: a table may replace a character by a novel.
    pub(super) fn normalize(&self, text: &str) -> Result<String> {
        let mut normal = String::with_capacity(text.len());
        if self.units.is_empty() {
            normal.push_str(text);
            return Ok(normal);
        }
        for cluster in text.graphemes(true) {
            check_length(&normal, text)?;
            if cluster.len() < MIN_LONG_CLUSTER
                && let Some(replacement) = self.replacement(cluster)
            {
                normal.push_str(replacement);
                continue;
            }
            for c in cluster.chars() {
                let mut buffer = [0; 4];
                let character = &*c.encode_utf8(&mut buffer);
                normal.push_str(self.replacement(character).unwrap_or(character));
            }
        }
        Ok(normal)
    }

    /// What the shortest key is replaced by that `text` begins with.
    fn replacement(&self, text: &str) -> Option<&str> {
        self.keys(text).next().map(|(_, replacement)| replacement)
    }

    /// The keys that `text` begins with, shorter ones first: their lengths in bytes, and what they are replaced by. An
    /// array that points out of itself has no key.
    fn keys<'s>(&'s self, text: &str) -> impl Iterator<Item = (usize, &'s str)> {
        let mut at = self.units.first().map(|&unit| offset(unit));
        let mut bytes = text.bytes().enumerate().take_while(|&(_, byte)| byte != 0);
        std::iter::from_fn(move || {
            loop {
                let (i, byte) = bytes.next()?;
                let place = at.take()? ^ usize::from(byte);
                let unit = *self.units.get(place)?;
                if unit & (1 << 31 | 0xff) != u32::from(byte) {
                    return None;
                }
                let behind = place ^ offset(unit);
                at = Some(behind);
                if unit >> 8 & 1 == 1 {
                    let value = *self.units.get(behind)? & !(1 << 31);
                    let rest = self.replacements.get(value as usize..)?;
                    return Some((i + 1, rest.split('\0').next().unwrap_or(rest)));
                }
            }
        })
    }
}

/// Refuses to go on with a text that became too long.
fn check_length(normal: &str, text: &str) -> Result<()> {
    if normal.len() > 2 * MAX_TEXT_BYTES {
        return Err(Error::limit(format!(
            "normalisation makes a text of {} bytes longer than {} bytes; encode it in parts",
            text.len(),
            2 * MAX_TEXT_BYTES
        )));
    }
    Ok(())
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & 1 << 9) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(bytes: &[u8]) -> String {
        CharsMap::parse(Path::new("m.gguf"), bytes).err().unwrap().to_string()
    }

    #[test]
    fn tables_that_are_cut_or_not_text_are_refused() {
        assert!(complaint(&[1, 0]).contains("no length"));
        assert!(complaint(&[8, 0, 0, 0, 1, 2, 3, 4]).contains("cut short"));
        assert!(complaint(&[3, 0, 0, 0, 1, 2, 3]).contains("32-bit"));
        assert!(complaint(&[4, 0, 0, 0, 1, 2, 3, 4, 0xff]).contains("UTF-8"));
    }

    #[test]
    fn hostile_arrays_replace_nothing_and_end() {
        let mut state = 7u64;
        for _ in 0..2000 {
            let mut bytes = vec![64, 0, 0, 0];
            for _ in 0..64 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                bytes.push((state >> 56) as u8);
            }
            bytes.extend("é\0".as_bytes());
            let map = CharsMap::parse(Path::new("m.gguf"), &bytes).unwrap();
            assert!(map.normalize("a é ｅ\u{301} 猫\0").unwrap().len() < 100);
            assert!(map.normalize_longest("a é ｅ\u{301} 猫\0").unwrap().len() < 100);
        }
    }

    #[test]
    fn no_table_changes_nothing() {
        let map = CharsMap::parse(Path::new("m.gguf"), &[]).unwrap();
        assert_eq!(map.normalize("Ａ\u{301}").unwrap(), "Ａ\u{301}");
        assert_eq!(map.normalize_longest("Ａ\u{301}").unwrap(), "Ａ\u{301}");
    }
}
