//! Attaches to a server of the user's.

use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::{Client, Config, config::SslMode, error::SqlState};

use super::{
    connection::{MARK, open},
    conninfo::{BadConninfo, Conninfo, address},
    error::Error,
    tls::TlsTrouble,
    version::Version,
};
use crate::driver::DriverError;

/// How long connecting may take before the server counts as unreachable.
const CONNECT_MAX: Duration = Duration::from_secs(10);

/// A server that can carry a store: reachable, new enough, and the role may do what is needed.
/// Whether its settings are good is the [`doctor`](super::doctor)'s to say.
#[derive(Debug, Clone)]
pub struct Attached {
    /// How to connect.
    pub connection: Conninfo,
    /// Its version.
    pub version: Version,
}

/// Connects to the server at `url` and checks what no setting can mend later.
///
/// # Errors
///
/// A typed [`Error`] for each thing that is wrong. Changes nothing on the server.
pub async fn attach(url: &str) -> Result<Attached, Error> {
    connect_to(parse(url)?).await
}

/// [`attach`] for a connection string that was read before.
///
/// # Errors
///
/// As for [`attach`].
pub async fn attach_to(connection: impl Into<Conninfo>) -> Result<Attached, Error> {
    connect_to(complete(connection.into())?).await
}

async fn connect_to(mut connection: Conninfo) -> Result<Attached, Error> {
    connection.connect_timeout(CONNECT_MAX);
    // The client's own limit does not cover a server that accepts and then says nothing.
    let client = match timeout(CONNECT_MAX, open(&connection)).await {
        Ok(connected) => connected.map_err(|error| refine(&connection, &error))?,
        Err(_) => {
            let reason = format!("no answer within {} s", CONNECT_MAX.as_secs());
            return Err(Error::Unreachable {
                address: address(&connection),
                reason,
            });
        }
    };
    require_own_session(&client, &connection).await?;
    let version = super::doctor::require(&client, &address(&connection)).await?;
    Ok(Attached {
        connection,
        version,
    })
}

/// A session that lacks what it was started with is one that somebody else has started.
async fn require_own_session(client: &Client, connection: &Config) -> Result<(), Error> {
    let row = client
        .query_one("select pg_catalog.current_setting($1, true)", &[&MARK])
        .await
        .map_err(|error| Error::Query {
            what: "asking for the session's settings",
            cause: error.into(),
        })?;
    match row.get::<_, Option<&str>>(0) {
        Some("on") => Ok(()),
        _ => Err(Error::Pooler {
            address: address(connection),
            reason: "it does not pass on what a session is started with".to_owned(),
        }),
    }
}

fn parse(url: &str) -> Result<Conninfo, Error> {
    let config = url.parse().map_err(|error: BadConninfo| Error::BadUrl {
        reason: error.to_string(),
    })?;
    complete(config)
}

fn complete(mut config: Conninfo) -> Result<Conninfo, Error> {
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(Error::BadUrl {
            reason: "it names no host".to_owned(),
        });
    }
    if config.get_user().is_none() {
        return Err(Error::BadUrl {
            reason: "it names no user".to_owned(),
        });
    }
    if config.get_application_name().is_none() {
        config.application_name("starling");
    }
    Ok(config)
}

/// Tells the kinds of refusal apart.
fn refine(config: &Config, error: &DriverError) -> Error {
    let address = address(config);
    let user = config.get_user().unwrap_or_default().to_owned();
    if let Some(trouble) = TlsTrouble::of(error) {
        return Error::Tls { address, trouble };
    }
    let Some(refusal) = error.as_db_error() else {
        let reason = error.to_string();
        // The client gives up by itself when the server asks for a password that it has not.
        if reason.contains("password missing") {
            return Error::WrongPassword { address, user };
        }
        return Error::Unreachable { address, reason };
    };
    let code = refusal.code();
    if *code == SqlState::INVALID_PASSWORD {
        Error::WrongPassword { address, user }
    } else if *code == SqlState::INVALID_CATALOG_NAME {
        // Where none is named, the server looks for one with the name of the user.
        let database = config.get_dbname().unwrap_or(&user).to_owned();
        Error::NoSuchDatabase { address, database }
    } else if *code == SqlState::PROTOCOL_VIOLATION
        && refusal.message().contains("startup parameter")
    {
        // PostgreSQL itself has no parameter that it calls so.
        Error::Pooler {
            address,
            reason: refusal.message().to_owned(),
        }
    } else if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION
        // In every other mode TLS was tried: then its absence is not what keeps us out.
        && config.get_ssl_mode() == SslMode::Disable
        && refusal.message().contains("no encryption")
    {
        Error::TlsNeeded { address }
    } else {
        Error::NotAdmitted {
            address,
            user,
            reason: refusal.message().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incomplete_strings_are_refused() {
        for url in [
            "not a url",
            "postgresql://user@/db",
            "postgresql://localhost/db",
        ] {
            assert!(matches!(parse(url), Err(Error::BadUrl { .. })), "{url}");
        }
    }

    #[test]
    fn sockets_and_hosts_are_addresses() {
        let config = parse("postgresql://u@/db?host=/run/pg&port=7432").unwrap();
        assert_eq!(address(&config), "/run/pg:7432");
        let config = parse("host=db.example user=u").unwrap();
        assert_eq!(address(&config), "db.example:5432");
        let config = parse("hostaddr=192.0.2.7 user=u").unwrap();
        assert_eq!(address(&config), "192.0.2.7:5432");
    }
}
