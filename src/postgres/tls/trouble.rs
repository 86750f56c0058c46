//! Why no connection over TLS came about, and what mends it.

use std::{error::Error, io};

use rustls::{CertificateError as Bad, pki_types::UnixTime};

use super::RootError;

/// What the driver says of a server without TLS.
const NO_TLS: &str = "server does not support TLS";

/// What the driver says of all that goes wrong before the server has read a word of ours.
const NO_HANDSHAKE: &str = "error performing TLS handshake";

/// What is in the way of a connection over TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsTrouble {
    /// The server has none.
    #[error(
        "the server has no TLS, which sslmode asks for; give the server a certificate (ssl_cert_file, \
         ssl_key_file, ssl = on), or leave sslmode out in a network that you trust"
    )]
    Missing,
    /// What the certificate is to be checked against cannot be had.
    #[error("{0}")]
    Roots(String),
    /// Nobody who is believed has signed the certificate.
    #[error(
        "the server's certificate is signed by none of those that sslrootcert names; name the file with \
         the certificate of the authority that has signed it, or with the server's own if it has signed \
         for itself"
    )]
    UnknownIssuer,
    /// Its time is over.
    #[error(
        "the server's certificate has expired {0} ago; put a new one in its place (ssl_cert_file) and \
         reload the server"
    )]
    Expired(String),
    /// Its time has not begun.
    #[error(
        "the server's certificate is valid only in {0} from now; look at the clock of this machine, or \
         have the certificate made anew"
    )]
    NotYetValid(String),
    /// It belongs to another host.
    #[error(
        "the server's certificate is not made for {host}, but for {names}; connect by such a name, have a \
         certificate made for this one, or check only who has signed it with sslmode=verify-ca"
    )]
    WrongName {
        /// Where we connect to.
        host: String,
        /// Whom it is made for.
        names: String,
    },
    /// Anything else.
    #[error(
        "TLS with the server fails: {0}; the server's log says more, and `openssl s_client -starttls \
         postgres -connect HOST:PORT` shows its certificate"
    )]
    Other(String),
}

impl TlsTrouble {
    /// Reads it out of what the driver says; `None` if TLS has nothing to do with it.
    pub(in crate::postgres) fn of(error: &tokio_postgres::Error) -> Option<Self> {
        if !error.to_string().starts_with(NO_HANDSHAKE) {
            return None;
        }
        let cause = error.source()?;
        if let Some(roots) = cause.downcast_ref::<RootError>() {
            return Some(Self::Roots(roots.to_string()));
        }
        // The driver gives this no type of its own.
        if cause.to_string() == NO_TLS {
            return Some(Self::Missing);
        }
        let inner = cause
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match inner.and_then(|inner| inner.downcast_ref()) {
            Some(rustls::Error::InvalidCertificate(bad)) => Some(Self::of_certificate(bad)),
            Some(other) => Some(Self::Other(other.to_string())),
            None => Some(Self::Other(cause.to_string())),
        }
    }

    fn of_certificate(bad: &Bad) -> Self {
        match bad {
            Bad::UnknownIssuer => Self::UnknownIssuer,
            Bad::ExpiredContext { time, not_after } => Self::Expired(between(*not_after, *time)),
            Bad::NotValidYetContext { time, not_before } => {
                Self::NotYetValid(between(*time, *not_before))
            }
            Bad::NotValidForNameContext {
                expected,
                presented,
            } => Self::WrongName {
                host: expected.to_str().into_owned(),
                names: if presented.is_empty() {
                    "nobody (the common name alone does not count, subjectAltName does)".to_owned()
                } else {
                    presented.join(", ")
                },
            },
            other => Self::Other(rustls::Error::InvalidCertificate(other.clone()).to_string()),
        }
    }
}

/// A time for people: how many days it is exactly matters to nobody.
fn between(earlier: UnixTime, later: UnixTime) -> String {
    match later.as_secs().saturating_sub(earlier.as_secs()) {
        seconds if seconds < 7_200 => format!("{} minutes", seconds / 60),
        seconds if seconds < 172_800 => format!("{} hours", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}
