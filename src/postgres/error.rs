//! What can go wrong with a server, in words that say what to do.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{tls::TlsTrouble, version::Version};
use crate::{driver::DriverError, finding::Finding};

/// Why a server could not be set up, started, stopped or attached to.
///
/// After any error of [`PrivateServer::start`](super::PrivateServer::start) no server runs that it
/// started, and the data directory is as it was before or complete: never half made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No PostgreSQL server programs on this machine.
    #[error(
        "PostgreSQL's server programs (initdb, postgres) were not found; looked in {}; install \
         them with: {install}; or name their folder with --pg-bin",
        list(looked)
    )]
    BinariesMissing {
        /// Folders that were searched.
        looked: Vec<PathBuf>,
        /// The command of this system's package manager.
        install: String,
    },
    /// The folder that the user named does not hold the programs.
    #[error("{} holds no working initdb and postgres: {reason}", dir.display())]
    BinariesUnusable {
        /// The folder.
        dir: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Only too old programs were found.
    #[error(
        "PostgreSQL {found} in {} is too old: {} or newer is needed; install it with: {install}; \
         or name its folder with --pg-bin",
        dir.display(),
        Version::OLDEST_MAJOR
    )]
    BinariesTooOld {
        /// The newest version found.
        found: Version,
        /// Where.
        dir: PathBuf,
        /// The command of this system's package manager.
        install: String,
    },
    /// The data directory was made by another major version than the programs are of.
    #[error(
        "{} was made by PostgreSQL {data}, but the programs in {} are version {programs}; install \
         PostgreSQL {data} beside it (or name its folder with --pg-bin), or convert the directory \
         with pg_upgrade",
        dir.display(),
        bin.display()
    )]
    MajorVersionDiffers {
        /// The data directory.
        dir: PathBuf,
        /// Major version that made it.
        data: u32,
        /// The programs.
        programs: Version,
        /// Where they are.
        bin: PathBuf,
    },
    /// There is something else where the data directory should be.
    #[error(
        "{} is not empty and was not made by starling ({reason}); choose another --data-dir, or \
         attach to the server it belongs to with --postgres",
        dir.display()
    )]
    NotOurs {
        /// The folder.
        dir: PathBuf,
        /// How it can be told.
        reason: &'static str,
    },
    /// Another controller looks after this server.
    #[error("{} is in use by another starling process", dir.display())]
    InUse {
        /// The server's folder.
        dir: PathBuf,
    },
    /// A server that we may not adopt runs on the data directory.
    #[error(
        "a PostgreSQL server (process {pid}) already runs on {} and does not let us in; stop it \
         first",
        dir.display()
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// The postmaster, as the lock file names it.
        pid: i32,
    },
    /// Started by root, and no user was found that could run the server.
    #[error(
        "no user to run PostgreSQL as: {reason}; name an ordinary user with --run-as (store.run_as)"
    )]
    NoAccount {
        /// What was tried.
        reason: String,
    },
    /// Only root can run the server as somebody else.
    #[error("cannot run PostgreSQL as user {wanted}: this process runs as {current}, not as root")]
    NotRoot {
        /// The user of `run_as`.
        wanted: String,
        /// The user that runs us.
        current: String,
    },
    /// The user that runs the server cannot reach its folder.
    #[error(
        "user {account}, who runs PostgreSQL, cannot enter {}; open it with: chmod o+x {}; or \
         choose another --data-dir, for example /var/lib/starling",
        folder.display(),
        folder.display()
    )]
    FolderClosed {
        /// The user.
        account: String,
        /// The first folder on the way that is closed.
        folder: PathBuf,
    },
    /// The file system refuses.
    #[error("permission denied: {what}")]
    PermissionDenied {
        /// What was refused, in the server's words.
        what: String,
    },
    /// The listen address is taken.
    #[error(
        "address {address} is already in use; choose another with --pg-listen (port 0: any free \
         one)"
    )]
    AddressInUse {
        /// The address.
        address: SocketAddr,
    },
    /// The listen address cannot be bound for another reason.
    #[error("cannot listen on {address}: {reason}")]
    AddressUnusable {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        reason: String,
    },
    /// No space left.
    #[error("the disk that holds {} is full: free some space and start again", dir.display())]
    DiskFull {
        /// The server's folder.
        dir: PathBuf,
    },
    /// The kernel gave no memory.
    #[error(
        "not enough memory to start PostgreSQL: {what}; lower shared_buffers (now {shared_buffers_mb} \
         MB)"
    )]
    OutOfMemory {
        /// The server's words.
        what: String,
        /// The configured size.
        shared_buffers_mb: u32,
    },
    /// Processes of a crashed server still use the data directory. Passes by itself.
    #[error("processes of the previous server on {} are still ending", dir.display())]
    StillEnding {
        /// The data directory.
        dir: PathBuf,
    },
    /// The server rejects its configuration: one of the user's overrides is wrong.
    #[error("PostgreSQL rejects its configuration: {what}; mend local.conf or postgresql.auto.conf in {}", dir.display())]
    BadSetting {
        /// The server's words.
        what: String,
        /// The data directory.
        dir: PathBuf,
    },
    /// `initdb` failed for a reason of its own.
    #[error("initdb failed ({status}): {output}")]
    Initdb {
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended while starting.
    #[error("PostgreSQL ended while starting ({status}): {output}")]
    Ended {
        /// Its exit status.
        status: String,
        /// The end of its log.
        output: String,
    },
    /// The server runs but did not answer in time.
    #[error("PostgreSQL did not answer within {seconds} s; see {}", log.display())]
    StartTimeout {
        /// How long we waited.
        seconds: u64,
        /// Its log.
        log: PathBuf,
    },
    /// The server does not end.
    #[error("PostgreSQL (process {pid}) did not end within {seconds} s")]
    StopTimeout {
        /// The postmaster.
        pid: i32,
        /// How long we waited.
        seconds: u64,
    },
    /// The server is down and is being started again already.
    #[error("the server is down and is being started again")]
    Down,
    /// The server is being looked after no more.
    #[error("the server was stopped")]
    Stopped,
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What we were doing.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A query failed.
    #[error("{what} failed: {cause}")]
    Query {
        /// What we were doing.
        what: &'static str,
        /// PostgreSQL's reason.
        cause: DriverError,
    },
    /// The connection string cannot be read.
    #[error("not a PostgreSQL connection string: {reason}")]
    BadUrl {
        /// Why; never holds the password.
        reason: String,
    },
    /// Nothing answers at the address.
    #[error("cannot reach a PostgreSQL server at {address}: {reason}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// The system's reason.
        reason: String,
    },
    /// Wrong password, or none where one is needed.
    #[error(
        "PostgreSQL at {address} refuses the password of user {user}, or was given none; give it in PGPASSWORD, \
         in ~/.pgpass, or in a file that STARLING_STORE__PASSWORD_FILE names"
    )]
    WrongPassword {
        /// Host and port.
        address: String,
        /// The user.
        user: String,
    },
    /// The server's `pg_hba.conf` keeps us out.
    #[error("PostgreSQL at {address} does not admit user {user}: {reason}")]
    NotAdmitted {
        /// Host and port.
        address: String,
        /// The user.
        user: String,
        /// The server's words.
        reason: String,
    },
    /// The server insists on TLS.
    #[error(
        "PostgreSQL at {address} admits nobody from here without TLS, and sslmode=disable forbids it; \
         leave sslmode out, or take sslmode=verify-full with sslrootcert to be sure whom you talk to"
    )]
    TlsNeeded {
        /// Host and port.
        address: String,
    },
    /// TLS is wanted, and does not come about.
    #[error("cannot connect to PostgreSQL at {address}: {trouble}")]
    Tls {
        /// Host and port.
        address: String,
        /// What is in the way, and what mends it.
        trouble: TlsTrouble,
    },
    /// Something that hands out other people's sessions stands before the server.
    #[error(
        "{address} is a connection pooler ({reason}): links are replication connections, and what a \
         session sets must stay its own; give the address of the PostgreSQL server itself"
    )]
    Pooler {
        /// Host and port.
        address: String,
        /// What shows it.
        reason: String,
    },
    /// The server, or what it is set to, cannot carry a store.
    #[error(
        "PostgreSQL at {address} is not fit to carry a store: {}",
        reasons(findings)
    )]
    Unfit {
        /// Host and port.
        address: String,
        /// The critical findings.
        findings: Vec<Finding>,
    },
    /// The database does not exist.
    #[error(
        "PostgreSQL at {address} has no database {database}; create it with: create database \"{database}\""
    )]
    NoSuchDatabase {
        /// Host and port.
        address: String,
        /// The database.
        database: String,
    },
    /// The server is too old.
    #[error(
        "PostgreSQL {found} at {address} is too old: {} or newer is needed",
        Version::OLDEST_MAJOR
    )]
    ServerTooOld {
        /// Its version.
        found: Version,
        /// Host and port.
        address: String,
    },
    /// The role lacks rights that a store needs.
    #[error(
        "role {role} lacks: {}; grant them as superuser, in database {database}, with: {fix}",
        missing.join(", ")
    )]
    NotPermitted {
        /// The role that connected.
        role: String,
        /// The rights.
        missing: Vec<String>,
        /// The database in which the commands are to be run: some rights belong to it.
        database: String,
        /// The commands, for a superuser.
        fix: String,
    },
}

impl Error {
    /// Makes the error of a failed file operation, with the kinds that have their own advice.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull {
                dir: path.to_owned(),
            },
            io::ErrorKind::PermissionDenied => Self::PermissionDenied {
                what: format!("cannot {action} {}", path.display()),
            },
            _ => Self::Io {
                action,
                path: path.to_owned(),
                source,
            },
        }
    }
}

/// What is wrong and what mends it, with the codes that the doctor gives.
fn reasons(findings: &[Finding]) -> String {
    let reason = |finding: &Finding| {
        let mut text = format!("{} {}", finding.code, finding.text());
        if let Some(fix) = &finding.fix {
            text.push_str("; fix: ");
            text.push_str(fix);
        }
        text
    };
    findings.iter().map(reason).collect::<Vec<_>>().join(" | ")
}

fn list(folders: &[PathBuf]) -> String {
    let names: Vec<_> = folders
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn who_has_no_good_password_or_user_is_told_where_to_give_one() {
        let password = Error::WrongPassword {
            address: "db:5432".to_owned(),
            user: "me".to_owned(),
        };
        let account = Error::NoAccount {
            reason: "there is no user nosuch".to_owned(),
        };
        for (error, places) in [
            (
                password,
                &["PGPASSWORD", ".pgpass", "STARLING_STORE__PASSWORD_FILE"][..],
            ),
            (account, &["--run-as", "store.run_as"][..]),
        ] {
            let text = error.to_string();
            for place in places {
                assert!(text.contains(place), "{place} in {text}");
            }
        }
    }
}
