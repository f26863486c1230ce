//! Numbers, and paths with numbers, as people give them on a command line.

use std::path::{Path, PathBuf};

/// A whole number above 0.
///
/// # Errors
/// What to give instead.
pub fn at_least_one(text: &str) -> Result<usize, String> {
    match count(text)? {
        0 => Err("give 1 or more".to_owned()),
        n => Ok(n),
    }
}

/// A whole number of 0 or more.
///
/// # Errors
/// What to give instead.
pub fn count(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| "give a whole number, 0 or more".to_owned())
}

/// Whole numbers and ranges of them, as in `3,7-9`.
///
/// # Errors
/// What to give instead.
pub fn numbers(text: &str) -> Result<Vec<usize>, String> {
    const MOST: usize = 1 << 16;
    let wrong = || format!("{text:?} is not a list of numbers; give some as in 3,7 or 20-23");
    let mut all = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|&n| n < MOST).ok_or_else(wrong);
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return Err(wrong());
        }
        all.extend(first..=last);
    }
    Ok(all)
}

/// Bytes of a file, as in `4G` or `700MB` (powers of 1000), `3.5GiB` (of 1024) or `123456`.
///
/// # Errors
/// What to give instead.
pub fn file_bytes(text: &str) -> Result<u64, String> {
    bytes(text, 1000.0)
        .ok_or_else(|| format!("{text:?} is not a size of a file; give one as in 4G, 3.5GiB or 700M"))
}

/// Bytes of memory, as in `3G`, `1.5 GiB` or `512M` (powers of 1024, as memory is sold).
///
/// # Errors
/// What to give instead.
pub fn memory_bytes(text: &str) -> Result<u64, String> {
    bytes(text, 1024.0)
        .ok_or_else(|| format!("{text:?} is not an amount of memory; give one as in 512M, 3G or 1.5G"))
}

/// Bytes from a number with a unit, which is a power of `base` unless it ends in `iB`.
fn bytes(text: &str, base: f64) -> Option<u64> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim_start().to_ascii_uppercase();
    let is_binary = unit.ends_with("IB");
    let power = match unit.trim_end_matches("IB").trim_end_matches('B') {
        "" if !is_binary => 0,
        "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        _ => return None,
    };
    let base: f64 = if is_binary { 1024.0 } else { base };
    let bytes = number.parse::<f64>().ok()? * base.powi(power);
    (1.0..1e18).contains(&bytes).then_some(bytes as u64)
}

/// A path that is applied some number of times.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaled {
    /// The path.
    pub path: PathBuf,
    /// How many times.
    pub scale: f32,
}

/// A path and perhaps `:` and a number behind it, without which that is 1. A colon with anything else behind it is a
/// part of the path, as is a number where there is such a file.
///
/// # Errors
/// What to give instead.
pub fn scaled(text: &str) -> Result<Scaled, String> {
    let given = text.rsplit_once(':').and_then(|(path, scale)| Some((path, scale.parse::<f32>().ok()?)));
    let given = given.filter(|_| !Path::new(text).exists());
    match given {
        Some((_, scale)) if !scale.is_finite() => {
            Err(format!("{scale} is not a scale; give a finite number"))
        }
        Some((path, scale)) => Ok(Scaled { path: path.into(), scale }),
        None => Ok(Scaled { path: text.into(), scale: 1.0 }),
    }
}

/// How many tokens to generate at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxTokens {
    /// So many.
    AtMost(usize),
    /// As many as come.
    Unlimited,
}

impl MaxTokens {
    /// The number, if there is one.
    pub fn count(self) -> Option<usize> {
        match self {
            Self::AtMost(n) => Some(n),
            Self::Unlimited => None,
        }
    }
}

/// A number of tokens, or -1 for as many as come.
///
/// # Errors
/// What to give instead.
pub fn max_tokens(text: &str) -> Result<MaxTokens, String> {
    match text {
        "-1" => Ok(MaxTokens::Unlimited),
        _ => text.parse().map(MaxTokens::AtMost).map_err(|_| {
            "give a whole number of tokens, or -1 to go on until the text ends or the context is full"
                .to_owned()
        }),
    }
}

/// A random seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// This one.
    Given(u64),
    /// A new one each time.
    New,
}

/// A seed, or -1 for a new one each time.
///
/// # Errors
/// What to give instead.
pub fn seed(text: &str) -> Result<Seed, String> {
    match text {
        "-1" => Ok(Seed::New),
        _ => text.parse().map(Seed::Given).map_err(|_| {
            "give a whole number from 0 to 18446744073709551615, or -1 for a new seed each time".to_owned()
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_is_no_limit_and_a_new_seed() {
        assert_eq!(max_tokens("-1"), Ok(MaxTokens::Unlimited));
        assert_eq!(max_tokens("7").map(MaxTokens::count), Ok(Some(7)));
        assert_eq!(seed("-1"), Ok(Seed::New));
        assert_eq!(seed("18446744073709551615"), Ok(Seed::Given(u64::MAX)));
    }

    #[test]
    fn lists_of_numbers_have_ranges() {
        assert_eq!(numbers("3,7-9, 1"), Ok(vec![3, 7, 8, 9, 1]));
        for wrong in ["", "3,", "9-7", "-1", "1-2-3", "x", "0-99999999"] {
            assert!(numbers(wrong).expect_err("no list").contains("20-23"), "{wrong}");
        }
    }

    #[test]
    fn sizes_of_files_are_decimal_unless_told() {
        for (text, bytes) in [
            ("4G", 4_000_000_000),
            ("700 MB", 700_000_000),
            ("3.5GiB", 3_758_096_384),
            ("1kib", 1024),
            ("123456", 123_456),
        ] {
            assert_eq!(file_bytes(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "G", "0", "-1G", "4X", "1.2.3M", "nan", "iB", "9999999T"] {
            assert!(file_bytes(wrong).expect_err("no size").contains("3.5GiB"), "{wrong}");
        }
    }

    #[test]
    fn memory_is_given_in_binary_units() {
        for (text, bytes) in
            [("512M", 512 << 20), ("3G", 3 << 30), ("1.5 GiB", 3 << 29), ("2kb", 2048), ("77", 77)]
        {
            assert_eq!(memory_bytes(text), Ok(bytes), "{text}");
        }
        for wrong in ["", "G", "0", "-1G", "3X", "1.2.3M", "nan", "infG", "1 2G"] {
            let message = memory_bytes(wrong).expect_err("no amount");
            assert!(message.contains("512M"), "{message}");
        }
    }

    #[test]
    fn other_negative_numbers_and_words_are_answered_with_what_to_give() {
        for wrong in ["-2", "", "many", "1.5", "1e3", "99999999999999999999"] {
            assert!(max_tokens(wrong).expect_err("no number").contains("-1"), "{wrong}");
            assert!(seed(wrong).expect_err("no seed").contains("-1"), "{wrong}");
            assert!(count(wrong).expect_err("no count").contains("0 or more"), "{wrong}");
        }
    }
}
