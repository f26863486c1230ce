//! What is appended behind a saved sequence while its file is in use: records, one a line, so that a
//! program that is killed loses at most the record it was writing.
//!
//! A record is `LENGTH SUM TEXT` and a newline: the bytes of the text, in decimal, then 16 hexadecimal
//! digits, the beginning of SHA-256 over the sum before it and the text, then the text, which has no
//! newline. The first record's sum goes on from the digest that the saved sequence ends with: a record
//! that is changed, missing or from another file does not have its sum.
//!
//! A last record that ends too early, or in zeros (a power cut can leave them), was torn: it was never
//! acknowledged, so it is left out. Everything else that is wrong is damage, which is never written over.

use sha2::{Digest, Sha256};

/// What the sum of a record goes on from.
pub(super) type Sum = [u8; 32];

const SUM_DIGITS: usize = 16;

/// A record as it is written; advances `sum`.
///
/// # Panics
/// If `text` has a newline.
pub(super) fn line(text: &str, sum: &mut Sum) -> String {
    assert!(!text.contains('\n'), "a record is one line");
    format!("{} {} {text}\n", text.len(), digits(&advance(sum, text.as_bytes())))
}

/// The records that a journal holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Records {
    /// Their texts.
    pub texts: Vec<String>,
    /// Bytes of the whole records.
    pub n_bytes: usize,
    /// Whether a torn record follows them.
    pub is_torn: bool,
}

/// Reads a journal; advances `sum`.
///
/// # Errors
/// The number of the first record that is damaged, counted from 1.
pub(super) fn read(journal: &[u8], sum: &mut Sum) -> Result<Records, usize> {
    let mut records = Records { texts: Vec::new(), n_bytes: 0, is_torn: false };
    loop {
        let rest = &journal[records.n_bytes..];
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            let written = &rest[..rest.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)];
            records.is_torn = !rest.is_empty();
            return if is_beginning(written) { Ok(records) } else { Err(records.texts.len() + 1) };
        };
        let text = text_of(&rest[..end], sum).ok_or(records.texts.len() + 1)?;
        records.texts.push(text);
        records.n_bytes += end + 1;
    }
}

/// The text of a whole line, if it is a sound record.
fn text_of(line: &[u8], sum: &mut Sum) -> Option<String> {
    let (stated, text) = head_of(line)?;
    let is_sound = stated.n_bytes == text.len() && stated.digits == digits(&advance(sum, text)).as_bytes();
    is_sound.then(|| String::from_utf8(text.to_vec()).ok()).flatten()
}

struct Head<'a> {
    n_bytes: usize,
    digits: &'a [u8],
}

/// What stands before the text, if it is whole, and the text as far as it goes.
fn head_of(line: &[u8]) -> Option<(Head<'_>, &[u8])> {
    let space = line.iter().position(|&byte| byte == b' ')?;
    let n_bytes = std::str::from_utf8(&line[..space]).ok()?.parse().ok()?;
    let (digits, rest) = line[space + 1..].split_at_checked(SUM_DIGITS)?;
    Some((Head { n_bytes, digits }, rest.strip_prefix(b" ")?))
}

/// Whether `bytes`, which no newline ends, can be the beginning of a record.
fn is_beginning(bytes: &[u8]) -> bool {
    match head_of(bytes) {
        Some((head, text)) => text.len() <= head.n_bytes,
        None => {
            let is_of_head = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b' ';
            bytes.len() <= "18446744073709551615 ".len() + SUM_DIGITS && bytes.iter().all(is_of_head)
        }
    }
}

fn advance(sum: &mut Sum, text: &[u8]) -> Sum {
    *sum = Sha256::new().chain_update(*sum).chain_update(text).finalize().into();
    *sum
}

fn digits(sum: &Sum) -> String {
    sum[..SUM_DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Sum = [7; 32];

    /// A journal of three records, with where each ends.
    fn journal() -> (Vec<u8>, Vec<usize>) {
        let (mut sum, mut bytes, mut ends) = (START, Vec::new(), vec![0]);
        for text in ["one", "", "zwölf 3"] {
            bytes.extend_from_slice(line(text, &mut sum).as_bytes());
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    fn read(bytes: &[u8]) -> Result<Records, usize> {
        super::read(bytes, &mut START.clone())
    }

    #[test]
    fn a_journal_cut_anywhere_keeps_its_whole_records() {
        let (bytes, ends) = journal();
        for len in 0..=bytes.len() {
            for zeros in [0, 5] {
                let cut: Vec<u8> =
                    bytes[..len].iter().copied().chain(std::iter::repeat_n(0, zeros)).collect();
                let records = read(&cut).unwrap_or_else(|n| panic!("{len}: record {n} is damaged"));
                let n_whole = ends.iter().filter(|&&end| end > 0 && end <= len).count();
                assert_eq!(records.texts, &["one", "", "zwölf 3"][..n_whole], "{len} bytes");
                assert_eq!(records.n_bytes, ends[n_whole]);
                assert_eq!(records.is_torn, !ends.contains(&len) || zeros > 0);
            }
        }
    }

    #[test]
    fn every_changed_bit_of_a_whole_journal_is_damage() {
        let (sound, _) = journal();
        for at in 0..sound.len() {
            for bit in 0..8 {
                let mut bytes = sound.clone();
                bytes[at] ^= 1 << bit;
                assert!(read(&bytes).is_err(), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_record_that_is_missing_or_from_another_file_is_damage() {
        let (bytes, ends) = journal();
        assert_eq!(read(&bytes[ends[1]..]), Err(1));
        assert_eq!(read(&[&bytes[..ends[1]], &bytes[ends[2]..]].concat()), Err(2));
        assert_eq!(super::read(&bytes, &mut [8; 32]), Err(1));
    }
}
