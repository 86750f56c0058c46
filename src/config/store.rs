//! `[store]`: the node's PostgreSQL server, private or attached.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use nix::unistd::User;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{
    PasswordSources,
    check::Check,
    secret::{PostgresUrl, Secret},
    size, switch,
};
use crate::postgres::Conninfo;

/// Eight times PostgreSQL's own minimum; below it every query waits for the disk.
const SHARED_BUFFERS_MIN: u64 = 1 << 20;

/// PostgreSQL counts pages of 8 KiB and takes less than 2^30 of them: with more its server does not start. How
/// much of a machine's memory it is to have is for the operator to choose; nothing is computed from the machine, and
/// a server that gets no memory says so.
const SHARED_BUFFERS_END: u64 = 8 << 40;

/// The node's PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The server to attach to; without it the node runs a private one.
    pub postgres: Option<PostgresUrl>,
    /// Password for `postgres` when its URL has none.
    pub password: Option<Secret>,
    /// Where `initdb` and `postgres` are. Defaults to the first ones found.
    pub pg_bin: Option<PathBuf>,
    /// The private server's address. Defaults to `127.0.0.1:7432`; neighbours on other machines
    /// need one that they can reach.
    pub pg_listen: SocketAddr,
    /// Where other stores reach this one. Defaults to the host that peers see in our multiaddr and
    /// the server's own port.
    pub pg_advertise: Option<Advertise>,
    /// The user that runs the private server when the node is started by root. Defaults to
    /// `postgres`, or `nobody` where there is none.
    pub run_as: Option<String>,
    /// Where schema `crdv` stands on the database's `search_path`. Defaults to last; on an attached server
    /// only if no name of the application's collides, and otherwise to off.
    pub search_path: Option<SearchPath>,
    /// The private server's page cache. Defaults to 64 MiB: an edge box should not notice it.
    #[serde(with = "size")]
    pub shared_buffers: u64,
    /// Takes over an attached store that belongs to another node: it is a copy of that node's, which
    /// nobody else uses. It goes on as a site of its own. Defaults to off; a private server's needs it
    /// not.
    #[serde(deserialize_with = "switch::deserialize")]
    pub adopt: bool,
}

/// Where schema `crdv` stands on the database's `search_path`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchPath {
    /// Not on it: the path is as it was. The functions are called as `crdv.mapAdd`.
    Off,
    /// Behind all others: the application's names win.
    Last,
    /// Before all others: the functions' names win, and new tables land in `crdv`.
    First,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            postgres: None,
            password: None,
            pg_bin: None,
            pg_listen: SocketAddr::from(([127, 0, 0, 1], 7432)),
            pg_advertise: None,
            run_as: None,
            search_path: None,
            shared_buffers: 64 << 20,
            adopt: false,
        }
    }
}

impl Store {
    /// How to connect to the attached server; `None` when the node runs a private one.
    ///
    /// A password comes from the URL, else from `store.password`, else from where libpq looks:
    /// `PGPASSWORD`, then the password file.
    #[must_use]
    pub fn connection(&self, passwords: &PasswordSources) -> Option<Conninfo> {
        let mut config = self.postgres.as_ref()?.parsed();
        if config.get_password().is_none() {
            if let Some(password) = &self.password {
                config.password(password.expose());
            } else if let Some(password) = passwords.find(&config) {
                config.password(password.expose());
            }
        }
        Some(config)
    }

    pub(super) fn check(&self, check: &mut Check<'_>) {
        if self.postgres.is_none() && self.password.is_some() {
            check.fail(
                "store.password",
                "there is no server to use this password on",
                "set store.postgres too, or remove the password: a private server needs none",
            );
        }
        // The default may well stand in a file that `config show` printed.
        if self.postgres.is_some() && self.pg_listen != Self::default().pg_listen {
            check.fail(
                "store.pg_listen",
                "this is the address of a private server, but the node attaches to another one",
                "set either store.postgres or store.pg_listen; where others reach an attached \
                 server is store.pg_advertise",
            );
        }
        if let Some(dir) = &self.pg_bin
            && !dir.join("postgres").exists()
        {
            check.fail(
                "store.pg_bin",
                format!("there is no `postgres` in `{}`", dir.display()),
                "name the directory that holds initdb and postgres, for example \
                 /usr/lib/postgresql/17/bin",
            );
        }
        if self
            .run_as
            .as_deref()
            .is_some_and(|user| user.is_empty() || user == "root")
        {
            check.fail(
                "store.run_as",
                "PostgreSQL does not run as root",
                "name an unprivileged user, for example postgres",
            );
        }
        // Only a private server is run as somebody.
        if self.postgres.is_none()
            && let Some(user) = self.run_as.as_deref().filter(|user| !user.is_empty())
            // Where users cannot be looked up the start says so.
            && let Ok(None) = User::from_name(user)
        {
            check.fail(
                "store.run_as",
                format!("there is no user `{user}` on this machine"),
                "name an unprivileged user, for example postgres",
            );
        }
        if self.shared_buffers < SHARED_BUFFERS_MIN {
            check.fail(
                "store.shared_buffers",
                "below 1MiB every query waits for the disk",
                "leave it out, or give a size such as 128MiB",
            );
        }
        if self.shared_buffers >= SHARED_BUFFERS_END {
            check.fail(
                "store.shared_buffers",
                "PostgreSQL takes less than 8TiB",
                "give a part of the machine's memory, such as 16GiB",
            );
        }
    }
}

/// Where other stores reach this one: `host`, `host:port` or `:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertise {
    /// Host name or IP; `None` for the one that peers see in our multiaddr.
    pub host: Option<String>,
    /// Port; `None` for the server's own.
    pub port: Option<u16>,
}

impl FromStr for Advertise {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not HOST:PORT: write for example db.example.org:5432, [2001:db8::1], \
                 or :5432 to leave the host to the peers"
            )
        };
        // An IPv6 address holds colons itself: with a port it stands in brackets.
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or_else(wrong)?;
            let host: std::net::Ipv6Addr = host.parse().map_err(|_| wrong())?;
            let port = if rest.is_empty() {
                None
            } else {
                Some(rest.strip_prefix(':').ok_or_else(wrong)?)
            };
            (host.to_string(), port)
        } else if text.parse::<std::net::Ipv6Addr>().is_ok() {
            (text.to_owned(), None)
        } else {
            match text.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (text.to_owned(), None),
            }
        };
        let port = match port {
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => Some(port),
                _ => return Err(wrong()),
            },
            None => None,
        };
        // A colon can only be IPv6's by now: what stood before a port has been split off.
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        if !host.chars().all(plain) || (host.is_empty() && port.is_none()) {
            return Err(wrong());
        }
        Ok(Self {
            host: (!host.is_empty()).then_some(host),
            port,
        })
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_deref() {
            Some(host) if host.contains(':') => write!(f, "[{host}]")?,
            Some(host) => f.write_str(host)?,
            None => {}
        }
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

impl Serialize for Advertise {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Advertise {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::Advertise;
    use crate::config::{Sources, load};

    #[test]
    fn a_page_cache_is_as_large_as_a_server_takes_and_no_larger() {
        let with = |size: &str| {
            let flags = [("shared-buffers".to_owned(), vec![size.to_owned()])];
            load(&Sources {
                flags: flags.into(),
                ..Sources::default()
            })
        };
        for size in ["1MiB", "1TiB", "8191GiB"] {
            assert!(with(size).is_ok(), "{size}");
        }
        for size in ["1023KiB", "8TiB", "9999TiB"] {
            let problems = with(size).unwrap_err().problems;
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert_eq!(problems[0].key, "store.shared_buffers");
        }
    }

    #[test]
    fn an_advertised_address_is_read_and_written_back() {
        for (text, host, port) in [
            ("db.example.org:5432", Some("db.example.org"), Some(5432)),
            ("db", Some("db"), None),
            (":5432", None, Some(5432)),
            ("10.0.0.1:5432", Some("10.0.0.1"), Some(5432)),
            ("[2001:db8::1]:5432", Some("2001:db8::1"), Some(5432)),
            ("[2001:db8::1]", Some("2001:db8::1"), None),
        ] {
            let read: Advertise = text.parse().unwrap();
            assert_eq!((read.host.as_deref(), read.port), (host, port), "{text}");
            assert_eq!(read.to_string(), text);
        }
        for text in [
            "", ":", "h:", "h:0", "h:65536", "a b", "u@h:1", "[::1", "h:1:2",
        ] {
            assert!(text.parse::<Advertise>().is_err(), "{text}");
        }
    }
}
