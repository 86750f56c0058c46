//! Connections to a server.

use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, Connection, Error, Socket, config::SslMode, error::SqlState, tls::MakeTlsConnect,
};
use tracing::debug;

use super::{
    conninfo::Conninfo,
    tls::{Connector, TlsTrouble},
};
use crate::driver::DriverError;

type Connected = (
    Client,
    Connection<Socket, <Connector as MakeTlsConnect<Socket>>::Stream>,
);

/// What sessions of ours depend on. Given when the session starts, it wins over what is set for the
/// server, the database, the role, or in the URL.
///
/// Read-only and isolation decide whether our statements do what they say; time limits would end them
/// where we have our own; a role that is put on at login lacks rights that we have; nobody's function may
/// stand in for the server's; and the rest decides what a literal means and what a value looks like.
const PINNED: &[(&str, &str)] = &[
    ("role", "none"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("exit_on_error", "off"),
    ("search_path", "pg_catalog"),
    ("row_security", "on"),
    ("check_function_bodies", "on"),
    ("default_tablespace", ""),
    ("temp_tablespaces", ""),
    ("default_table_access_method", "heap"),
    ("standard_conforming_strings", "on"),
    ("backslash_quote", "safe_encoding"),
    ("array_nulls", "on"),
    ("transform_null_equals", "off"),
    ("quote_all_identifiers", "off"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    ("datestyle", "ISO,YMD"),
    ("intervalstyle", "postgres"),
    ("timezone", "UTC"),
    ("jit", "off"),
    // What we say we did is on disk, whatever the default is, but no standby is waited for.
    ("synchronous_commit", "local"),
    (MARK, "on"),
];

/// A name of our own, by which a session tells that its settings have arrived.
pub(super) const MARK: &str = "starling.session";

/// Sets what not every version knows, or not every role may set, where it is not as it should be.
const CONDITIONAL: &str = "\
select pg_catalog.set_config(v.name, v.value, false)
  from (values ('transaction_timeout', '0'), ('restrict_nonsystem_relation_kind', ''),
               ('session_replication_role', 'origin')) as v (name, value)
 where pg_catalog.current_setting(v.name, true) operator(pg_catalog.<>) v.value
   and case v.name when 'session_replication_role'
       then pg_catalog.has_parameter_privilege('session_replication_role', 'set') else true end";

/// Opens a session of ours: what it depends on is set, whatever it is elsewhere.
///
/// # Errors
///
/// When the server cannot be reached, does not admit us, or is behind something that refuses settings.
pub async fn open(to: &(impl Clone + Into<Conninfo>)) -> Result<Client, DriverError> {
    let (client, _) = open_with(to, &[]).await?;
    Ok(client)
}

/// [`open()`] with more settings, which win; also gives the task that drives the connection.
pub(crate) async fn open_with(
    to: &(impl Clone + Into<Conninfo>),
    more: &[(&str, &str)],
) -> Result<(Client, JoinHandle<()>), DriverError> {
    let mut to: Conninfo = to.clone().into();
    // The options of the URL go first: of two values the later wins, which is to be ours.
    let given = to.get_options().unwrap_or_default().to_owned();
    to.options(options(&given, PINNED.iter().chain(more)));
    let (client, driver) = drive(&to).await?;
    client.batch_execute(CONDITIONAL).await?;
    Ok((client, driver))
}

/// Limits that would end what we ask, whatever it is about.
const PATIENT: &[(&str, &str)] = &[
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
];

/// Opens a session as any client's, but for its limits of time: to see what is set for all.
///
/// # Errors
///
/// When the server cannot be reached or does not admit us.
pub(crate) async fn connect_patient(
    to: &(impl Clone + Into<Conninfo>),
) -> Result<Client, DriverError> {
    let mut to: Conninfo = to.clone().into();
    let given = to.get_options().unwrap_or_default().to_owned();
    to.options(options(&given, PATIENT.iter()));
    connect(&to).await
}

/// Opens a connection as any client's and drives it in a task of its own, which ends with the client.
///
/// # Errors
///
/// When the server cannot be reached or does not admit us.
pub async fn connect(to: &(impl Clone + Into<Conninfo>)) -> Result<Client, DriverError> {
    let (client, _) = drive(&to.clone().into()).await?;
    Ok(client)
}

async fn drive(to: &Conninfo) -> Result<(Client, JoinHandle<()>), DriverError> {
    let (client, connection) = enter(to).await?;
    let driver = tokio::spawn(async move {
        // The client's next query reports it too, to somebody who can act on it.
        if let Err(error) = connection.await {
            debug!(error = %DriverError::from(error), "connection to postgres ended");
        }
    });
    Ok((client, driver))
}

/// As libpq does with `sslmode=prefer`, tries once more in clear text where TLS fails, or where the
/// server admits us only without it. Should that fail as well, the first error says more.
async fn enter(to: &Conninfo) -> Result<Connected, Error> {
    let connector = Connector::new(to.trust().clone());
    // A handshake's state is large, and would be a part of everybody's who opens a session.
    let refused = match Box::pin(to.connect(connector.clone())).await {
        Err(error) if to.get_ssl_mode() == SslMode::Prefer && is_due_to_tls(&error) => error,
        result => return result,
    };
    let mut plain = to.clone();
    plain.ssl_mode(SslMode::Disable);
    Box::pin(plain.connect(connector))
        .await
        .map_err(|_| refused)
}

fn is_due_to_tls(error: &Error) -> bool {
    match TlsTrouble::of(error) {
        // A file that was named and is not there is a mistake, whatever the mode is.
        Some(TlsTrouble::Roots(_)) => false,
        Some(_) => true,
        None => error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION),
    }
}

/// The start-up parameter `options`: of two values for one name the later wins.
fn options<'a>(given: &str, settings: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    let mut text = given.to_owned();
    for (name, value) in settings {
        text.push_str(" -c ");
        text.push_str(name);
        text.push('=');
        for letter in value.chars() {
            if letter == '\\' || letter.is_whitespace() {
                text.push('\\');
            }
            text.push(letter);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::options;

    #[test]
    fn ours_come_last_and_keep_their_spaces() {
        let settings = [
            ("default_transaction_isolation", "read committed"),
            ("search_path", ""),
        ];
        assert_eq!(
            options("-c a=b", settings.iter()),
            r"-c a=b -c default_transaction_isolation=read\ committed -c search_path="
        );
    }
}
