//! Values that are never shown: [`Secret`], and [`PostgresUrl`] with its password masked.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::postgres::{BadConninfo, Conninfo, split_value};

/// What stands in the place of a secret.
pub(super) const MASK: &str = "***";

/// A text that neither `Debug` nor `Serialize` shows.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(MASK)
    }
}

/// A libpq connection string, URL or `key=value` form; shown with its password masked.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl(String);

impl PostgresUrl {
    /// The connection string itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The connection string with its password replaced.
    #[must_use]
    pub fn masked(&self) -> String {
        if self.0.contains("://") {
            mask_url(&self.0)
        } else {
            mask_pairs(&self.0)
        }
    }

    /// How to connect.
    #[must_use]
    pub fn parsed(&self) -> Conninfo {
        // `FromStr` let nothing else in.
        self.0
            .parse()
            .unwrap_or_else(|_| tokio_postgres::Config::new().into())
    }
}

impl FromStr for PostgresUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed: Conninfo = text
            .parse()
            .map_err(|error: BadConninfo| error.to_string())?;
        if parsed.get_hosts().is_empty() && parsed.get_hostaddrs().is_empty() {
            return Err("this connection string names no host".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

impl Serialize for PostgresUrl {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.masked())
    }
}

impl<'de> Deserialize<'de> for PostgresUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// `postgresql://user:password@host/db?password=…`: both places are masked.
fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return MASK.to_owned();
    };
    // The driver takes all before the first `@` for the login, people may mean something else: what can be
    // read in two ways is not shown.
    let is_ambiguous = rest
        .split_once('@')
        .is_some_and(|(before, _)| before.contains(':') && before.contains(['/', '?']));
    if is_ambiguous {
        return format!("{scheme}://{MASK}");
    }
    let (body, query) = match rest.split_once('?') {
        Some((body, query)) => (body, Some(query)),
        None => (rest, None),
    };
    // The last `@`: an unescaped one inside the password must not end the masking early.
    let body = match body.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:{MASK}@{host}"),
            None => body.to_owned(),
        },
        None => body.to_owned(),
    };
    let Some(query) = query else {
        return format!("{scheme}://{body}");
    };
    let query: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) if key.contains("password") => format!("{key}={MASK}"),
            Some(_) => pair.to_owned(),
            // No parameter: the rest of a password, perhaps.
            None => MASK.to_owned(),
        })
        .collect();
    format!("{scheme}://{body}?{}", query.join("&"))
}

/// `host=a password='it''s' user=b`: the value after a password key is masked.
fn mask_pairs(pairs: &str) -> String {
    let mut masked = Vec::new();
    let mut rest = pairs.trim_start();
    while let Some((key, tail)) = rest.split_once('=') {
        let key = key.trim();
        let (value, tail) = split_value(tail.trim_start());
        // `sslpassword` is one as well.
        let value = if key.contains("password") {
            MASK
        } else {
            value
        };
        masked.push(format!("{key}={value}"));
        rest = tail.trim_start();
    }
    masked.join(" ")
}

#[cfg(test)]
mod tests {
    use super::{PostgresUrl, Secret};

    #[test]
    fn a_password_is_masked_wherever_it_stands() {
        for (url, masked) in [
            ("postgresql://u:geheim@h:5/d", "postgresql://u:***@h:5/d"),
            ("postgres://u:ge@heim@h/d", "postgres://u:***@h/d"),
            (
                "postgresql://u@h/d?password=geheim&port=5",
                "postgresql://u@h/d?password=***&port=5",
            ),
            ("postgresql://u:ge?heim@h/d", "postgresql://***"),
            ("postgresql://u:ge/he?im@h/d", "postgresql://***"),
            ("postgresql://u:ge@he?im@h/d", "postgresql://u:***@he?***"),
            ("postgresql://h:5/d?password=ge@heim", "postgresql://***"),
            (
                "postgresql://h/d?password=ge@heim",
                "postgresql://h/d?password=***",
            ),
            ("postgresql://h/d", "postgresql://h/d"),
            ("postgresql://u@h/d", "postgresql://u@h/d"),
            (
                "host=h password=geheim user=u",
                "host=h password=*** user=u",
            ),
            (
                r"host=h password = 'ge \' heim' user=u",
                "host=h password=*** user=u",
            ),
            (r"host=h password=ge\ heim", "host=h password=***"),
        ] {
            let shown = PostgresUrl(url.to_owned());
            assert_eq!(shown.masked(), masked);
            assert!(!format!("{shown:?}").contains("heim"));
            assert!(!serde_json::to_string(&shown).unwrap().contains("heim"));
            assert_eq!(shown.expose(), url);
        }
        assert_eq!(format!("{:?}", Secret::new("geheim")), "***");
    }

    #[test]
    fn what_is_not_a_connection_string_is_refused_without_repeating_it() {
        for url in [
            "geheim",
            "postgresql://u:geheim@h:port/d",
            "user=u password=geheim",
        ] {
            let error = url.parse::<PostgresUrl>().unwrap_err();
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
