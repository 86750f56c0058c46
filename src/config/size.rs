//! Sizes as people write them: `1GiB`, `64MiB`, `500MB`, or plain bytes.

use serde::{Deserializer, Serializer, de};

/// Units with their number of bytes; binary ones largest first, as they are used for writing.
const UNITS: [(&str, u64); 10] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Reads a size such as `1GiB`, `500MB` or `4096` (bytes).
///
/// # Errors
///
/// A sentence that says what is wrong with `text`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let trimmed = text.trim();
    let digits = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let unit = unit.trim();
    let factor = if unit.is_empty() {
        Some(1)
    } else {
        UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, bytes)| *bytes)
    };
    let (Ok(number), Some(factor)) = (number.parse::<u64>(), factor) else {
        return Err(format!(
            "`{text}` is not a size: write a whole number with a unit (KiB, MiB, GiB, TiB, or \
             kB, MB, GB, TB), for example 1GiB"
        ));
    };
    number
        .checked_mul(factor)
        .ok_or_else(|| format!("`{text}` is too large a size"))
}

/// Writes a size so that [`parse_size`] reads the same one.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let unit = UNITS[..4]
        .iter()
        .find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    match unit {
        Some((name, unit)) => format!("{}{name}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

pub(super) fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&format_size(*value))
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    struct Visitor;
    impl de::Visitor<'_> for Visitor {
        type Value = u64;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a size such as \"1GiB\" or a number of bytes")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
            parse_size(text).map_err(E::custom)
        }
        fn visit_u64<E>(self, bytes: u64) -> Result<u64, E> {
            Ok(bytes)
        }
        // TOML knows signed numbers only: a plain size in a file comes here.
        fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<u64, E> {
            u64::try_from(bytes).map_err(|_| E::custom("a size cannot be negative"))
        }
    }
    from.deserialize_any(Visitor)
}

#[cfg(test)]
mod tests {
    use super::{format_size, parse_size};

    #[test]
    fn sizes_are_read_and_written_back() {
        for (text, bytes, written) in [
            ("1GiB", 1 << 30, "1GiB"),
            ("1536 MiB", 1536 << 20, "1536MiB"),
            ("500MB", 500_000_000, "500000000B"),
            ("1kB", 1000, "1000B"),
            ("4096", 4096, "4KiB"),
            ("0", 0, "0B"),
        ] {
            let read = parse_size(text).unwrap();
            assert_eq!(read, bytes, "{text}");
            assert_eq!(format_size(read), written);
            assert_eq!(parse_size(written), Ok(read));
        }
    }

    #[test]
    fn what_is_not_a_size_is_refused() {
        for text in ["", "GiB", "1.5GiB", "-1", "1gib", "1 fathom"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
        assert!(parse_size("99999999TiB").unwrap_err().contains("too large"));
    }
}
