//! Times as manifests hold them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A time in UTC, to the second: RFC 3339, always with `Z`, so that the order of the texts is the order of the times.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(String);

/// Text that is no such time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{}' is not a time like 2026-01-31T12:00:00Z", .0.escape_debug())]
pub struct ParseTimestampError(String);

impl Timestamp {
    /// The time so many seconds after the start of 1970; those after the year 9999 are its end.
    pub fn of_unix(seconds: u64) -> Self {
        const YEAR_10000: u64 = 253_402_300_800;
        let seconds = seconds.min(YEAR_10000 - 1);
        let (mut day, second) = (seconds / 86_400, seconds % 86_400);
        let mut year = 1970;
        while day >= days_of_year(year) {
            day -= days_of_year(year);
            year += 1;
        }
        let mut month = 1;
        while day >= days_of_month(year, month) {
            day -= days_of_month(year, month);
            month += 1;
        }
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        Self(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1))
    }

    /// RFC 3339.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimestampError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let pattern = "dddd-dd-ddTdd:dd:ddZ";
        let fits = |(c, p): (char, char)| if p == 'd' { c.is_ascii_digit() } else { c == p };
        let number = |at: usize, n: usize| s.get(at..at + n).and_then(|d| d.parse().ok()).unwrap_or(u64::MAX);
        let (year, month, day) = (|| number(0, 4), || number(5, 2), || number(8, 2));
        let is_time = s.len() == pattern.len()
            && s.chars().zip(pattern.chars()).all(fits)
            && (1..=12).contains(&month())
            && (1..=days_of_month(year(), month())).contains(&day())
            && number(11, 2) < 24
            && number(14, 2) < 60
            && number(17, 2) < 60;
        if is_time { Ok(Self(s.to_owned())) } else { Err(ParseTimestampError(s.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for Timestamp {
    type Error = ParseTimestampError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_210_096, "2024-02-29T12:34:56Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (u64::MAX, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(Timestamp::of_unix(seconds).as_str(), text);
            assert_eq!(text.parse(), Ok(Timestamp::of_unix(seconds)));
        }
        for bad in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-01-31T12:00:00+01:00",
            "2026-02-29T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31t12:00:00Z",
            "２026-01-31T12:00:00Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
