//! Dates for chat templates that state today's.
//!
//! In UTC: the local zone would need a database of zones, and a date is all that templates ask for.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_PER_DAY: i64 = 86_400;
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The present in seconds since 1970.
pub(super) fn now() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_secs()).map_or(i64::MIN, |seconds| -seconds),
    }
}

/// `format` with its directives filled in for the moment `seconds` after 1970 (UTC).
///
/// Understood are `%Y %y %m %d %e %j %H %I %M %S %p %A %a %B %b %h %F %T %D %w %u %Z %z %%`, and `%-d`
/// and its like without the leading zero. Others stay as they stand, as C libraries leave them.
pub(super) fn strftime(format: &str, seconds: i64) -> String {
    let moment = Moment::at(seconds);
    let mut out = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut ahead = rest.clone();
        let (bare, directive) = match ahead.next() {
            Some('-') => (true, ahead.next()),
            other => (false, other),
        };
        match directive.and_then(|directive| moment.field(directive)) {
            Some(field) => {
                let trimmed = field.trim_start_matches(['0', ' ']);
                out.push_str(if !bare {
                    &field
                } else if trimmed.is_empty() {
                    "0"
                } else {
                    trimmed
                });
                rest = ahead;
            }
            None => out.push('%'),
        }
    }
    out
}

/// A moment of the Gregorian calendar.
struct Moment {
    year: i64,
    /// From 1.
    month: i64,
    /// From 1.
    day: i64,
    /// From 1.
    day_of_year: i64,
    /// From 0, a Sunday.
    weekday: i64,
    second_of_day: i64,
}

impl Moment {
    /// By the days of an era of 400 years that starts on the first of March.
    fn at(seconds: i64) -> Self {
        let (days, second_of_day) =
            (seconds.div_euclid(SECONDS_PER_DAY), seconds.rem_euclid(SECONDS_PER_DAY));
        let from_era = days + 719_468; // days from 0000-03-01 to 1970-01-01
        let (era, day_of_era) = (from_era.div_euclid(146_097), from_era.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let from_march = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * from_march + 2) / 153;
        let day = from_march - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = era * 400 + year_of_era + i64::from(month <= 2);
        let leap = i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
        let day_of_year = if month > 2 { from_march + 60 + leap } else { from_march - 305 };
        Self { year, month, day, day_of_year, weekday: (days + 4).rem_euclid(7), second_of_day }
    }

    /// The text of `%directive`.
    fn field(&self, directive: char) -> Option<String> {
        let (hour, minute, second) =
            (self.second_of_day / 3600, self.second_of_day / 60 % 60, self.second_of_day % 60);
        let (weekday, month) = (WEEKDAYS[self.weekday as usize], MONTHS[self.month as usize - 1]);
        Some(match directive {
            'Y' => self.year.to_string(),
            'y' => format!("{:02}", self.year.rem_euclid(100)),
            'm' => format!("{:02}", self.month),
            'd' => format!("{:02}", self.day),
            'e' => format!("{:2}", self.day),
            'j' => format!("{:03}", self.day_of_year),
            'H' => format!("{hour:02}"),
            'I' => format!("{:02}", (hour + 11) % 12 + 1),
            'M' => format!("{minute:02}"),
            'S' => format!("{second:02}"),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'B' => month.to_owned(),
            'b' | 'h' => month[..3].to_owned(),
            'F' => format!("{}-{:02}-{:02}", self.year, self.month, self.day),
            'T' => format!("{hour:02}:{minute:02}:{second:02}"),
            'D' => format!("{:02}/{:02}/{:02}", self.month, self.day, self.year.rem_euclid(100)),
            'w' => self.weekday.to_string(),
            'u' => (if self.weekday == 0 { 7 } else { self.weekday }).to_string(),
            'Z' => "UTC".to_owned(),
            'z' => "+0000".to_owned(),
            '%' => "%".to_owned(),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_their_dates() {
        let cases = [
            (0, "1970-01-01 Thursday 001"),
            (951_782_400, "2000-02-29 Tuesday 060"),
            (951_868_800, "2000-03-01 Wednesday 061"),
            (1_735_603_200, "2024-12-31 Tuesday 366"),
            (1_767_225_599, "2025-12-31 Wednesday 365"),
            (-1, "1969-12-31 Wednesday 365"),
            (4_107_542_400, "2100-03-01 Monday 060"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(strftime("%F %A %j", seconds), expected);
        }
    }

    #[test]
    fn directives_are_filled_in_and_unknown_ones_kept() {
        let at = 1_722_003_723; // 2024-07-26 14:22:03
        assert_eq!(strftime("%d %b %Y, %I:%M:%S %p", at), "26 Jul 2024, 02:22:03 PM");
        assert_eq!(strftime("%-d/%-m %e %y%% %Q %", at), "26/7 26 24% %Q %");
        assert_eq!(strftime("%-H %a %B %D %T %u", 0), "0 Thu January 01/01/70 00:00:00 4");
    }
}
