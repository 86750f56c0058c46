//! The PostgreSQL driver's errors, in words that say what is the case.

use std::{error::Error as _, fmt, io, ops::Deref};

use tokio_postgres::error::SqlState;

/// What the driver reports, with what the server or the system said about it.
///
/// The driver's own text names the kind only ("db error"), and its cause leaves the SQLSTATE out. This
/// one says all of it, in one line, and has no further cause that would be printed a second time.
#[derive(Debug)]
pub struct DriverError(tokio_postgres::Error);

impl DriverError {
    /// What an operator can do about the server's answer; `None` where its own words say all there is.
    ///
    /// By SQLSTATE (PostgreSQL's documentation, appendix A), which does not depend on the server's language.
    #[must_use]
    pub fn cure(&self) -> Option<&'static str> {
        let cure = match *self.0.code()? {
            SqlState::INSUFFICIENT_PRIVILEGE => {
                "grant what the answer names to the role that the node logs in as"
            }
            SqlState::READ_ONLY_SQL_TRANSACTION => {
                "let the server take writes: promote it if it is a standby, or set \
                 default_transaction_read_only to off"
            }
            SqlState::LOCK_NOT_AVAILABLE => {
                "end the session that holds the lock: select distinct pid, usename, state, query from \
                 pg_stat_activity join pg_locks using (pid) join pg_class c on c.oid = relation \
                 where c.relnamespace = 'crdv'::regnamespace and pid <> pg_backend_pid()"
            }
            SqlState::CONFIGURATION_LIMIT_EXCEEDED => {
                "raise that limit in the server's settings and restart the server, or drop what uses it \
                 up and is not needed (pg_replication_slots, pg_replication_origin)"
            }
            SqlState::TOO_MANY_CONNECTIONS => {
                "raise max_connections (for links max_wal_senders) and restart the server"
            }
            SqlState::CONNECTION_FAILURE => {
                "see that this machine's server reaches the peer's, and that the peer's admits one more \
                 (max_wal_senders, max_connections)"
            }
            SqlState::DISK_FULL => "free space on the server's disk",
            SqlState::INVALID_SCHEMA_NAME
            | SqlState::UNDEFINED_TABLE
            | SqlState::UNDEFINED_FUNCTION => {
                "if it is of the schema crdv, somebody dropped it: restart the node, which makes it again"
            }
            _ => return None,
        };
        Some(cure)
    }
}

impl From<tokio_postgres::Error> for DriverError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self(error)
    }
}

impl From<DriverError> for tokio_postgres::Error {
    fn from(error: DriverError) -> Self {
        error.0
    }
}

impl Deref for DriverError {
    type Target = tokio_postgres::Error;

    fn deref(&self) -> &tokio_postgres::Error {
        &self.0
    }
}

impl std::error::Error for DriverError {}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(told) = self.0.as_db_error() else {
            return f.write_str(&without_server(&self.0));
        };
        write!(f, "{} {}", told.severity(), told.code().code())?;
        let parts = [
            (": ", Some(told.message())),
            ("; ", told.detail()),
            ("; hint: ", told.hint()),
        ];
        for (before, part) in parts {
            if let Some(text) = part {
                write!(f, "{before}{}", one_line(text))?;
            }
        }
        Ok(())
    }
}

/// What the system said, which is all that matters of a connection; else the driver's kind with its causes.
fn without_server(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if error.is::<io::Error>() {
            return one_line(&next);
        }
        // Some say their cause themselves.
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    one_line(&text)
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::DriverError;

    #[tokio::test]
    async fn of_a_connection_the_systems_words_are_told() {
        // Nobody listens where somebody did.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let url = format!("host=127.0.0.1 user=u port={port}");
        let config: crate::postgres::Conninfo = url.parse().unwrap();
        let refused = crate::postgres::connect(&config).await;
        let told = refused.unwrap_err().to_string();
        assert!(told.starts_with("Connection refused"), "{told}");
    }

    #[test]
    fn what_was_no_connection_keeps_its_kind() {
        let wrong: Result<tokio_postgres::Config, _> = "nonsense=1".parse();
        let told = DriverError::from(wrong.unwrap_err()).to_string();
        assert!(told.contains("nonsense") && !told.contains('\n'), "{told}");
    }
}
