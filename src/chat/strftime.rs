//! `strftime_now`: the local date and time, written as Python's `datetime.now().strftime(format)` does.

use jiff::Zoned;
use jiff::fmt::strtime;

/// Directives that are others in a row, in the C locale.
const COMPOSED: [(char, &str); 4] =
    [('c', "%a %b %e %H:%M:%S %Y"), ('r', "%I:%M:%S %p"), ('x', "%m/%d/%y"), ('X', "%H:%M:%S")];

/// The present in the local time zone (`TZ`, else the system's), by `format`.
pub(super) fn now(format: &str) -> String {
    at(format, &Zoned::now())
}

fn at(format: &str, moment: &Zoned) -> String {
    let mut out = String::new();
    let mut rest = format;
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        rest = &rest[start..];
        let len = directive(rest);
        let written = len.and_then(|len| one(&rest[..len], moment));
        // What is not a directive stays as it stands.
        out.push_str(written.as_deref().unwrap_or("%"));
        rest = &rest[if written.is_some() { len.unwrap_or(1) } else { 1 }..];
    }
    out + rest
}

/// The length of the directive that `text` begins with: flags and a width may stand before its letter.
fn directive(text: &str) -> Option<usize> {
    let body = text[1..].trim_start_matches(['-', '_', '0', '^', '#']);
    let body = body.trim_start_matches(|c: char| c.is_ascii_digit());
    body.starts_with(|c: char| c.is_ascii()).then(|| text.len() - body.len() + 1)
}

/// What one directive writes.
fn one(directive: &str, moment: &Zoned) -> Option<String> {
    let (flags, letter) = directive.split_at(directive.len() - 1);
    let letter = letter.chars().next()?;
    if let Some((_, composed)) = COMPOSED.iter().find(|(name, _)| *name == letter) {
        return Some(at(composed, moment));
    }
    match letter {
        // Python's `now()` knows no zone.
        'z' | 'Z' => Some(String::new()),
        'f' => strtime::format("%6f", moment).ok(),
        'g' => strtime::format("%G", moment).ok().map(|year| year[year.len().saturating_sub(2)..].to_owned()),
        'y' => strtime::format("%Y", moment).ok().map(|year| year[year.len().saturating_sub(2)..].to_owned()),
        '%' => Some("%".to_owned()),
        letter if "aAbBCdDeFGhHIjklmMnpPRsStTuUVwWY".contains(letter) => {
            strtime::format(format!("{flags}{letter}"), moment).ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(text: &str) -> Zoned {
        text.parse().unwrap()
    }

    #[test]
    fn directives_write_what_pythons_write() {
        // Values of CPython 3.11 with glibc.
        let morning = moment("2024-07-06T04:05:09.001234[UTC]");
        let cases = [
            ("%a %A %b %B %h", "Sat Saturday Jul July Jul"),
            ("%d %e %m %y %Y %C %j", "06  6 07 24 2024 20 188"),
            ("%H %I %k %l %M %S %p %P %f", "04 04  4  4 05 09 AM am 001234"),
            ("%D %F %R %T %x %X", "07/06/24 2024-07-06 04:05 04:05:09 07/06/24 04:05:09"),
            ("%c|%r", "Sat Jul  6 04:05:09 2024|04:05:09 AM"),
            ("%g %G %V %u %w %U %W", "24 2024 27 6 6 26 27"),
            ("[%z%Z] %% %n%t.", "[] % \n\t."),
            ("%-d %-m %-I %-H %-j %_d %0e %^a", "6 7 4 4 188  6 06 SAT"),
            ("%Q %q %L % é%", "%Q %q %L % é%"),
        ];
        for (format, expected) in cases {
            assert_eq!(at(format, &morning), expected, "{format}");
        }
        let evening = moment("2024-12-30T16:05:09[UTC]");
        assert_eq!(at("%G %V %u %U %W %j %g %I %p", &evening), "2025 01 1 52 53 365 25 04 PM");
    }

    #[test]
    fn the_zone_is_the_local_one() {
        let far_east =
            moment("2024-12-31T23:30:00[UTC]").with_time_zone(jiff::tz::TimeZone::get("Asia/Tokyo").unwrap());
        assert_eq!(at("%Y-%m-%d %H:%M", &far_east), "2025-01-01 08:30");
    }
}
