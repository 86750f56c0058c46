//! The folders, programs and user of one server: all that its starts share.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio_postgres::Config;
use tracing::{debug, info};

use super::{
    SUPERUSER,
    account::Account,
    binaries::Binaries,
    conf::{self, Conf},
    diagnosis,
    error::Error,
    initdb::{self, Found},
    layout::Layout,
    lifecycle::{Lifecycle, PrivateConfig},
    process_group::ProcessGroup,
    version::Version,
};

/// A longer log is put aside. The one put aside is kept until the next.
const LOG_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The end of the log that is read for the reason of a failure.
const LOG_TAIL_BYTES_MAX: u64 = 16 * 1024;

/// Names the socket of a secluded server. Nobody listens on it: such a server has no other address.
pub(super) const SECLUDED_PORT: u16 = 1;

/// All that the starts of one server share. Holds the lock on its folder.
#[derive(Debug)]
pub(super) struct Installation {
    pub(super) config: PrivateConfig,
    pub(super) layout: Layout,
    pub(super) account: Account,
    pub(super) binaries: Binaries,
    /// Whether the next start is to be a secluded one.
    pub(super) seclusion: Arc<AtomicBool>,
    _lock: File,
}

/// Where it answers, and as what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) socket_dir: PathBuf,
    pub(super) address: SocketAddr,
    pub(super) version: Version,
}

/// As people are told: a secluded server has its socket only.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.port() {
            SECLUDED_PORT => {
                let socket = self.socket_dir.join(format!(".s.PGSQL.{SECLUDED_PORT}"));
                write!(f, "{}", socket.display())
            }
            _ => write!(f, "{}", self.address),
        }
    }
}

/// A start about to be tried.
pub(super) struct Attempt {
    pub(super) command: Command,
    pub(super) address: SocketAddr,
    pub(super) log_start: u64,
}

impl Installation {
    /// Prepares folders, programs and user; makes the data directory if there is none. Blocks; what takes long
    /// ends when `group` is cancelled.
    pub(super) fn prepare(
        config: PrivateConfig,
        report: impl Fn(Lifecycle),
        group: &ProcessGroup,
    ) -> Result<Self, Error> {
        let layout = Layout::new(&config.data_dir)?;
        // Before anything is changed: another controller may be at work in this folder.
        let lock = layout.lock()?;
        let account = Account::choose(config.run_as.as_deref(), &layout.base, &layout.node)?;
        account.own_folder(&layout.base)?;
        // Before programs are looked for: those of the version that made the data are preferred.
        let found = initdb::inspect(&layout)?;
        let data_major = match found {
            Found::Ours(major) => Some(major),
            Found::Nothing => None,
        };
        let binaries = Binaries::find(config.pg_bin.as_deref(), data_major)?;
        account.require_access(&binaries, &layout.node, &layout.base)?;
        let installation = Self {
            config,
            layout,
            account,
            binaries,
            seclusion: Arc::default(),
            _lock: lock,
        };
        match found {
            Found::Ours(major) => {
                initdb::require_same_major(&installation.layout, major, &installation.binaries)?;
            }
            Found::Nothing => {
                info!(dir = %installation.layout.data.display(), version = %installation.binaries.version,
                    user = %installation.account.name, "making a postgres data directory");
                let context = installation.diagnosis_context(installation.config.listen);
                initdb::create(
                    &installation.layout,
                    &installation.binaries,
                    &installation.account,
                    &context,
                    group,
                )?;
            }
        }
        report(Lifecycle::Initialised);
        Ok(installation)
    }

    /// The configuration of a connection to `database` over the socket.
    pub(super) fn connection(socket_dir: &Path, port: u16, database: &str) -> Config {
        let mut config = Config::new();
        config
            .host_path(socket_dir)
            .port(port)
            .user(SUPERUSER)
            .dbname(database)
            .application_name("starling");
        config
    }

    /// Puts a long log aside. The server goes on appending to the same file, so it is copied and
    /// emptied, not renamed.
    pub(super) fn rotate_log(&self) -> Result<(), Error> {
        let log = &self.layout.log;
        if fs::metadata(log).map_or(0, |meta| meta.len()) <= LOG_BYTES_MAX {
            return Ok(());
        }
        fs::copy(log, &self.layout.old_log)
            .and_then(|_| File::options().write(true).open(log)?.set_len(0))
            .map_err(|error| Error::io("rotate", log, error))
    }

    /// Removes the socket's folder of a stopped server, if it lies outside of our own.
    pub(super) fn remove_socket_folder(&self, endpoint: &Endpoint) {
        if !endpoint.socket_dir.starts_with(&self.layout.base)
            && let Err(error) = fs::remove_dir(&endpoint.socket_dir)
        {
            debug!(%error, dir = %endpoint.socket_dir.display(), "cannot remove the socket's folder");
        }
    }

    /// What the server has said since its log was `start` bytes long; the end of it, if that is
    /// much.
    pub(super) fn log_since(&self, start: u64) -> String {
        read_from(&self.layout.log, start).unwrap_or_default()
    }

    pub(super) fn conf<'a>(&self, listen: SocketAddr, socket_dir: &'a Path) -> Conf<'a> {
        Conf {
            major: self.binaries.version.major,
            listen,
            socket_dir,
            max_links: self.config.max_links,
            shared_buffers_mb: self.config.shared_buffers_mb,
            slot_wal_max_mb: self.config.slot_wal_max_mb,
        }
    }

    /// All that a start needs on disk; returns the command, the address it will listen on, and the
    /// length of the log before it. Blocks.
    pub(super) fn prepare_start(&self) -> Result<Attempt, Error> {
        let address = choose_address(self.config.listen, conf::last_port(&self.layout.data))?;
        self.account.own_tree(&self.layout.data)?;
        let socket_dir = self.layout.socket_folder(&self.account)?;
        conf::write(
            &self.layout.data,
            &self.conf(address, &socket_dir),
            &self.account,
        )?;
        self.rotate_log()?;
        // Appending: a server that wrote at its own place would leave a hole where the log was emptied.
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.layout.log)
            .map_err(|error| Error::io("open", &self.layout.log, error))?;
        let log_start = log.metadata().map_or(0, |meta| meta.len());
        let errors = log
            .try_clone()
            .map_err(|error| Error::io("open", &self.layout.log, error))?;
        let mut command = self
            .account
            .command(&self.binaries.postgres(), &self.layout.data);
        // Its own process group: Ctrl-C in a terminal reaches us, and we stop the server in order.
        command
            .arg("-D")
            .arg(&self.layout.data)
            .stdout(log)
            .stderr(errors)
            .process_group(0);
        if self.seclusion.load(Ordering::Relaxed) {
            // The command line wins over all files, `alter system` included. No apply workers: the data may
            // be an older copy, into which no link of an earlier run must bring anything before the store
            // has been looked into.
            let port = format!("port={SECLUDED_PORT}");
            for setting in [
                &port,
                "listen_addresses=",
                "max_logical_replication_workers=0",
            ] {
                command.args(["-c", setting]);
            }
        }
        Ok(Attempt {
            command,
            address,
            log_start,
        })
    }

    pub(super) fn diagnosis_context(&self, address: SocketAddr) -> diagnosis::Context<'_> {
        diagnosis::Context {
            data: &self.layout.data,
            address,
            shared_buffers_mb: self.config.shared_buffers_mb,
        }
    }
}

/// The address to listen on, if it can be bound now: better a clear error here than one in a log.
fn choose_address(wanted: SocketAddr, last_port: Option<u16>) -> Result<SocketAddr, Error> {
    let bind = |port| -> io::Result<SocketAddr> {
        TcpListener::bind(SocketAddr::new(wanted.ip(), port))?.local_addr()
    };
    // Peers know the port of the last time.
    if let (0, Some(last)) = (wanted.port(), last_port)
        && let Ok(address) = bind(last)
    {
        return Ok(address);
    }
    bind(wanted.port()).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => Error::AddressInUse { address: wanted },
        _ => Error::AddressUnusable {
            address: wanted,
            reason: error.to_string(),
        },
    })
}

/// The log from `start` on, or its end if that is long.
fn read_from(path: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    // A log shorter than before was rotated meanwhile: all of it is new.
    let start = if length < start { 0 } else { start };
    file.seek(SeekFrom::Start(
        start.max(length.saturating_sub(LOG_TAIL_BYTES_MAX)),
    ))?;
    let mut bytes = Vec::new();
    file.take(LOG_TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Runs file work beside the event loop.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Error::Stopped),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, SECLUDED_PORT};
    use crate::postgres::Version;

    #[test]
    fn a_secluded_server_is_told_to_be_where_it_is() {
        let at = |port| Endpoint {
            socket_dir: "/srv/node/postgres/run".into(),
            address: ([127, 0, 0, 1], port).into(),
            version: Version::from_number(150_018),
        };
        assert_eq!(
            at(SECLUDED_PORT).to_string(),
            "/srv/node/postgres/run/.s.PGSQL.1"
        );
        assert_eq!(at(7432).to_string(), "127.0.0.1:7432");
    }
}
