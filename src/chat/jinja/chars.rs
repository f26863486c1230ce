//! Classes of characters, as Python's strings know them: by Unicode's categories.

use std::sync::LazyLock;

use regex::Regex;

static LETTER: LazyLock<Regex> = LazyLock::new(|| class(r"\p{L}"));
static DECIMAL: LazyLock<Regex> = LazyLock::new(|| class(r"\p{Nd}"));
static HIDDEN: LazyLock<Regex> = LazyLock::new(|| class(r"[\p{C}\p{Z}]"));

static IDENTIFIER: LazyLock<Regex> = LazyLock::new(|| class(r"\A[\p{XID_Start}_]\p{XID_Continue}*\z"));

fn class(class: &str) -> Regex {
    Regex::new(class).expect("a valid expression")
}

fn is_in(c: char, class: &Regex) -> bool {
    class.is_match(c.encode_utf8(&mut [0; 4]))
}

/// Whether it is a letter.
pub(super) fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || (!c.is_ascii() && is_in(c, &LETTER))
}

/// Whether it is a digit of a number to base 10.
pub(super) fn is_decimal(c: char) -> bool {
    c.is_ascii_digit() || (!c.is_ascii() && is_in(c, &DECIMAL))
}

/// `text` with the digits of all scripts as ASCII's.
pub(super) fn with_ascii_digits(text: &str) -> String {
    let ascii = |c: char| {
        if c.is_ascii() || !is_decimal(c) {
            return c;
        }
        // Digits come in tens, from 0 on, some tens side by side.
        let is_digit = |back: &u32| char::from_u32(u32::from(c) - back).is_some_and(is_decimal);
        let n_before = (1..60).take_while(is_digit).count();
        char::from(b'0' + (n_before % 10) as u8)
    };
    text.chars().map(ascii).collect()
}

/// Whether it is a digit, raised, circled and the like included.
pub(super) fn is_digit(c: char) -> bool {
    is_decimal(c)
        || matches!(c, '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' | '₀'..='₉' | '①'..='⑨' | '⑴'..='⑼' | '⒈'..='⒐'
            | '⓪' | '⓵'..='⓽' | '⓿' | '❶'..='❾' | '➀'..='➈' | '➊'..='➒' | '፩'..='፱' | '᧚')
}

/// Whether `text` could be the name of a variable.
pub(super) fn is_identifier(text: &str) -> bool {
    IDENTIFIER.is_match(text)
}

/// Whether it stands for a number: digits, fractions, numerals.
pub(super) fn is_numeric(c: char) -> bool {
    c.is_numeric() || "〇一二三四五六七八九十百千万亿億兆零壹贰叁肆伍陆柒捌玖拾佰仟萬両兩廿卅卌".contains(c)
}

/// Whether `repr` shows it as it is: no controls, nothing unassigned, no separators but the space.
pub(super) fn is_printable(c: char) -> bool {
    (' '..='~').contains(&c) || (!c.is_ascii() && !is_in(c, &HIDDEN))
}
