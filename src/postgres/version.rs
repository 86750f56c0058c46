//! PostgreSQL versions.

use std::fmt;

/// A PostgreSQL version, 10 or newer: major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// For example 15. On-disk format and features depend on it.
    pub major: u32,
    /// For example 18 in `15.18`; 0 for a pre-release.
    pub minor: u32,
}

impl Version {
    /// The oldest major version that carries a store: row filters of publications came with it.
    pub const OLDEST_MAJOR: u32 = 15;

    /// Reads what `postgres --version` prints, for example `postgres (PostgreSQL) 15.18 (Debian
    /// 15.18-0+deb12u1)` or `postgres (PostgreSQL) 19beta1`.
    #[must_use]
    pub fn parse_banner(banner: &str) -> Option<Self> {
        let (_, rest) = banner.split_once("(PostgreSQL)")?;
        let word = rest.split_whitespace().next()?;
        let digits = |text: &str| -> Option<u32> {
            let end = text
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(text.len());
            text[..end].parse().ok()
        };
        Some(Self {
            major: digits(word)?,
            minor: word
                .split_once('.')
                .and_then(|(_, minor)| digits(minor))
                .unwrap_or(0),
        })
    }

    /// Reads the setting `server_version_num`, for example 150018.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        Self {
            major: number / 10_000,
            minor: number % 10_000,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn banners_of_all_builds_are_read() {
        let read = |text| Version::parse_banner(text).map(|v| (v.major, v.minor));
        assert_eq!(
            read("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some((15, 18))
        );
        assert_eq!(read("postgres (PostgreSQL) 18.4\n"), Some((18, 4)));
        assert_eq!(read("postgres (PostgreSQL) 19beta1"), Some((19, 0)));
        assert_eq!(read("something else 15.1"), None);
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(
            Version::from_number(150_018),
            Version {
                major: 15,
                minor: 18
            }
        );
        assert_eq!(Version::from_number(180_004).to_string(), "18.4");
    }
}
