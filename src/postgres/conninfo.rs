//! How to reach a server: what the driver knows of it, and how far its certificate is checked.
//!
//! The driver reads connection strings in both forms of libpq, but neither `sslmode=verify-ca`,
//! `sslmode=verify-full` nor `sslrootcert`. They are taken out before it sees the string, and mean what
//! they mean to libpq.

use std::{
    ops::{Deref, DerefMut},
    path::PathBuf,
    str::FromStr,
};

use percent_encoding::percent_decode_str;
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

/// A driver's configuration, and whom to take for the server over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conninfo {
    config: Config,
    trust: Trust,
}

/// What a server's certificate has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Trust {
    /// Anything: the connection is encrypted, to whomever it leads.
    #[default]
    Anybody,
    /// Signed by one of the roots.
    Chain(Roots),
    /// That, and made for the host's name.
    Name(Roots),
}

/// Whose signatures are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Roots {
    /// Those that the system trusts.
    System,
    /// The certificates of a PEM file, which is read for each connection.
    File(PathBuf),
}

/// Why a text is no connection string. Repeats none of its values: one of them may be a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadConninfo {
    /// The driver does not understand it.
    #[error("this is not a PostgreSQL connection string: {0}")]
    Syntax(String),
    /// It is a URL of something else.
    #[error("a URL of a PostgreSQL server begins with postgresql://")]
    Scheme,
    /// There is no such mode.
    #[error("sslmode has to be disable, prefer, require, verify-ca or verify-full")]
    Mode,
    /// A certificate cannot be checked against nothing.
    #[error(
        "sslmode={0} needs the certificates that it is checked against: name their PEM file with \
         sslrootcert=FILE, or take those that the system trusts with sslrootcert=system"
    )]
    NoRoots(&'static str),
    /// Everybody gets a certificate of some public authority: without the name it says nothing.
    #[error(
        "sslrootcert=system needs sslmode=verify-full: anybody has some certificate that a public \
         authority has signed"
    )]
    WeakMode,
}

impl Conninfo {
    /// Whom to take for the server.
    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }
}

impl From<Config> for Conninfo {
    /// What the driver can say by itself: no certificate is checked.
    fn from(config: Config) -> Self {
        let trust = Trust::default();
        Self { config, trust }
    }
}

impl Deref for Conninfo {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

impl DerefMut for Conninfo {
    fn deref_mut(&mut self) -> &mut Config {
        &mut self.config
    }
}

impl FromStr for Conninfo {
    type Err = BadConninfo;

    fn from_str(text: &str) -> Result<Self, BadConninfo> {
        let (rest, tls) = if is_url(text) {
            split_url(text)?
        } else if is_foreign_url(text) {
            return Err(BadConninfo::Scheme);
        } else {
            split_pairs(text)
        };
        let mut config: Config = rest.parse().map_err(|error| {
            // The driver's error names the option, not the whole string: nothing leaks.
            let error: &dyn std::error::Error = &error;
            let cause = error
                .source()
                .map_or(error.to_string(), |cause| cause.to_string());
            BadConninfo::Syntax(cause)
        })?;
        let (mode, trust) = tls.judge()?;
        config.ssl_mode(mode);
        Ok(Self { config, trust })
    }
}

/// The two options as they were given, the last of each.
#[derive(Debug, Default)]
struct TlsOptions {
    mode: Option<String>,
    roots: Option<String>,
}

impl TlsOptions {
    /// Keeps the option if it is one of ours.
    fn take(&mut self, key: &str, value: impl FnOnce() -> String) -> bool {
        let place = match key {
            "sslmode" => &mut self.mode,
            "sslrootcert" => &mut self.roots,
            _ => return false,
        };
        *place = Some(value());
        true
    }

    fn judge(self) -> Result<(SslMode, Trust), BadConninfo> {
        let roots = match self.roots.as_deref() {
            None | Some("") => None,
            Some("system") => Some(Roots::System),
            Some(path) => Some(Roots::File(PathBuf::from(path))),
        };
        let is_system = roots == Some(Roots::System);
        match (self.mode.as_deref(), roots) {
            // As for libpq: with the roots of the system nothing less than the name is good enough.
            (None, Some(Roots::System)) => Ok((SslMode::Require, Trust::Name(Roots::System))),
            (Some("verify-full"), Some(roots)) => Ok((SslMode::Require, Trust::Name(roots))),
            (Some("disable" | "prefer" | "require" | "verify-ca"), _) if is_system => {
                Err(BadConninfo::WeakMode)
            }
            (Some("verify-full"), None) => Err(BadConninfo::NoRoots("verify-full")),
            (Some("verify-ca"), None) => Err(BadConninfo::NoRoots("verify-ca")),
            // libpq, too, checks the chain in mode `require` once it has roots.
            (Some("verify-ca" | "require"), Some(roots)) => {
                Ok((SslMode::Require, Trust::Chain(roots)))
            }
            (Some("require"), None) => Ok((SslMode::Require, Trust::Anybody)),
            (Some("disable"), _) => Ok((SslMode::Disable, Trust::Anybody)),
            (None | Some("prefer"), None) => Ok((SslMode::Prefer, Trust::Anybody)),
            // Whoever fails is talked to in clear text then. That is libpq's way, too.
            (None | Some("prefer"), Some(roots)) => Ok((SslMode::Prefer, Trust::Chain(roots))),
            (Some(_), _) => Err(BadConninfo::Mode),
        }
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgresql://") || text.starts_with("postgres://")
}

/// `word://`, and not in a value.
fn is_foreign_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| {
        scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    })
}

/// Takes our options out of the query of a URL.
fn split_url(url: &str) -> Result<(String, TlsOptions), BadConninfo> {
    let mut tls = TlsOptions::default();
    let Some(query_at) = query_of(url) else {
        return Ok((url.to_owned(), tls));
    };
    let mut kept = Vec::new();
    for pair in url[query_at + 1..].split('&') {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        // Decoded to be read only: what is not ours goes to the driver as it was.
        let decoded = percent_decode_str(value)
            .decode_utf8()
            .map_err(|_| BadConninfo::Syntax(format!("the value of `{key}` is not UTF-8")))?;
        if !tls.take(key, || decoded.into_owned()) {
            kept.push(pair);
        }
    }
    let mut rest = url[..query_at].to_owned();
    if !kept.is_empty() {
        rest.push('?');
        rest.push_str(&kept.join("&"));
    }
    Ok((rest, tls))
}

/// Where the query of a URL begins. A password may hold a question mark that nobody has encoded.
fn query_of(url: &str) -> Option<usize> {
    let authority = url.find("://")? + "://".len();
    let login = url[authority..]
        .find(['@', '/'])
        .filter(|at| url[authority + at..].starts_with('@'))
        .unwrap_or_default();
    let from = authority + login;
    url[from..].find('?').map(|at| from + at)
}

/// Takes our options out of keywords and values.
fn split_pairs(text: &str) -> (String, TlsOptions) {
    let mut tls = TlsOptions::default();
    let mut kept = Vec::new();
    let mut rest = text.trim_start();
    while let Some((key, tail)) = rest.split_once('=') {
        let (value, tail) = split_value(tail.trim_start());
        if !tls.take(key.trim(), || unquote(value)) {
            kept.push(format!("{}={value}", key.trim()));
        }
        rest = tail.trim_start();
    }
    // What is no pair is for the driver to refuse.
    kept.push(rest.to_owned());
    (kept.join(" "), tls)
}

/// The value at the front of `text` (quoted or bare, with backslash escapes) and what follows it.
pub(crate) fn split_value(text: &str) -> (&str, &str) {
    let quoted = text.starts_with('\'');
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(usize::from(quoted)) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '\'' if quoted => return text.split_at(at + 1),
            c if !quoted && c.is_whitespace() => return text.split_at(at),
            _ => {}
        }
    }
    (text, "")
}

fn unquote(value: &str) -> String {
    let bare = value
        .strip_prefix('\'')
        .map_or(value, |rest| rest.strip_suffix('\'').unwrap_or(rest));
    let mut text = String::new();
    let mut letters = bare.chars();
    while let Some(letter) = letters.next() {
        text.extend(if letter == '\\' {
            letters.next()
        } else {
            Some(letter)
        });
    }
    text
}

/// Host and port, for people.
pub(super) fn address(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(name)) => name.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        // An address alone will do.
        None => config
            .get_hostaddrs()
            .first()
            .map(ToString::to_string)
            .unwrap_or_default(),
    };
    format!(
        "{host}:{}",
        config.get_ports().first().copied().unwrap_or(5432)
    )
}

#[cfg(test)]
mod tests;
