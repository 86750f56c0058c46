//! Durations as people write them: `30s`, `500ms`, `1h30m`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serializer, de};

/// Units, largest first, in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Reads a duration such as `30s`, `500ms`, `2h` or `1m30s`.
///
/// # Errors
///
/// A sentence that says what is wrong with `text`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("a duration is needed, for example 30s".to_owned());
    }
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        // The unit is all up to the next digit, so `m` is never taken for the beginning of `ms`.
        let letters = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let factor = UNITS
            .iter()
            .find(|(name, _)| *name == unit.trim())
            .map(|(_, ms)| *ms);
        let (Ok(number), Some(factor)) = (number.parse::<u64>(), factor) else {
            return Err(format!(
                "`{text}` is not a duration: write a number with a unit (ms, s, m, h, d), \
                 for example 30s"
            ));
        };
        total_ms = number
            .checked_mul(factor)
            .and_then(|part| total_ms.checked_add(part))
            .ok_or_else(|| format!("`{text}` is too long a duration"))?;
        rest = tail;
    }
    Ok(Duration::from_millis(total_ms))
}

/// Writes a duration so that [`parse_duration`] reads the same one; finer than a millisecond is
/// cut off.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let mut rest = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    for (name, ms) in UNITS {
        if rest >= ms {
            text.push_str(&format!("{}{name}", rest / ms));
            rest %= ms;
        }
    }
    text
}

pub(super) fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format_duration(*value))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parse_duration(&String::deserialize(from)?).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{format_duration, parse_duration};

    #[test]
    fn durations_are_read_and_written_back() {
        for (text, ms, written) in [
            ("500ms", 500, "500ms"),
            ("30s", 30_000, "30s"),
            ("1m30s", 90_000, "1m30s"),
            ("90s", 90_000, "1m30s"),
            (" 2h ", 7_200_000, "2h"),
            ("1d", 86_400_000, "1d"),
            ("0s", 0, "0s"),
        ] {
            let read = parse_duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(ms), "{text}");
            assert_eq!(format_duration(read), written);
            assert_eq!(parse_duration(written), Ok(read));
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in [
            "",
            "30",
            "s",
            "-5s",
            "1.5s",
            "30 parsecs",
            "99999999999999999999s",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(
            parse_duration("999999999999d")
                .unwrap_err()
                .contains("too long")
        );
    }
}
