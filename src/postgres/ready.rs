//! Tells whether a server answers, and what it says of itself.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::{Client, Config, error::SqlState};
use tracing::info;

use super::{
    connection::open,
    error::Error,
    installation::{Endpoint, Installation},
    pid_file::{PidFile, Status},
    postmaster::Postmaster,
    version::Version,
};
use crate::driver::DriverError;

/// Pause between two questions to a server that starts. A start takes about 100 ms.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// How often a long start is mentioned.
const NOTICE_INTERVAL: Duration = Duration::from_secs(30);

/// One question, from connecting to the answer.
const PROBE_MAX: Duration = Duration::from_secs(5);

/// What a server says of itself when it is ready.
pub(super) struct Answer {
    pub(super) client: Client,
    socket_dir: PathBuf,
    pub(super) port: u16,
    version: Version,
    pub(super) data_dir: PathBuf,
    pub(super) started: i64,
}

impl Answer {
    pub(super) fn endpoint(&self, listen: SocketAddr) -> Endpoint {
        Endpoint {
            socket_dir: self.socket_dir.clone(),
            address: SocketAddr::new(listen.ip(), self.port),
            version: self.version,
        }
    }
}

/// Asks until the server answers with our database there, ends, or has been silent for too long.
pub(super) async fn wait_ready(
    installation: &Installation,
    postmaster: &mut Postmaster,
    silence_max: Duration,
) -> Result<Answer, Error> {
    let pid = postmaster.pid();
    let mut deadline = Instant::now() + silence_max;
    let mut next_notice = Instant::now() + NOTICE_INTERVAL;
    loop {
        // A time-out is silence like a refused connection.
        match timeout(PROBE_MAX, probe(installation, pid))
            .await
            .unwrap_or(Ok(Probe::Silent))?
        {
            Probe::Ready(answer) => return Ok(*answer),
            Probe::Starting => {
                deadline = Instant::now() + silence_max;
                if Instant::now() >= next_notice {
                    next_notice += NOTICE_INTERVAL;
                    info!(pid, "postgres is still starting");
                }
            }
            Probe::Silent => {}
        }
        if Instant::now() >= deadline {
            return Err(Error::StartTimeout {
                seconds: silence_max.as_secs(),
                log: installation.layout.log.clone(),
            });
        }
        tokio::select! {
            status = postmaster.ended() => {
                return Err(Error::Ended { status, output: String::new() });
            }
            () = sleep(PROBE_INTERVAL) => {}
        }
    }
}

enum Probe {
    Silent,
    Starting,
    Ready(Box<Answer>),
}

async fn probe(installation: &Installation, pid: i32) -> Result<Probe, Error> {
    // Until a new server has written its own, the file may be that of the one before.
    let Some(file) = PidFile::read(&installation.layout.pid_file()).filter(|file| file.pid == pid)
    else {
        return Ok(Probe::Silent);
    };
    // Connecting any earlier would fail, and leave an error in the log.
    let (Status::Ready, Some((port, socket_dir))) = (file.status, file.endpoint) else {
        return Ok(Probe::Starting);
    };
    let database = &installation.config.database;
    let client = match open(&Installation::connection(&socket_dir, port, database)).await {
        Ok(client) => client,
        Err(error) => match error.code() {
            // No word of the server: the connection was refused, or broke.
            None => return Ok(Probe::Silent),
            // It answers, so it is alive; that it has no room for us passes.
            Some(&SqlState::CANNOT_CONNECT_NOW | &SqlState::TOO_MANY_CONNECTIONS) => {
                return Ok(Probe::Starting);
            }
            Some(&SqlState::INVALID_CATALOG_NAME) => {
                let maintenance = Installation::connection(&socket_dir, port, "postgres");
                create_database(&maintenance, database)
                    .await
                    .map_err(|cause| match cause.code() {
                        Some(&SqlState::DISK_FULL) => Error::DiskFull {
                            dir: installation.layout.base.clone(),
                        },
                        _ => Error::Query {
                            what: "creating the database",
                            cause,
                        },
                    })?;
                return Ok(Probe::Starting);
            }
            Some(_) => {
                return Err(Error::Query {
                    what: "connecting to our server",
                    cause: error,
                });
            }
        },
    };
    let row = client
        .query_one(
            "select current_setting('server_version_num')::int8, \
             current_setting('data_directory'), \
             extract(epoch from pg_catalog.pg_postmaster_start_time())::int8",
            &[],
        )
        .await;
    // It let us in and went: whether its process has ended is seen elsewhere.
    let Ok(row) = row else {
        return Ok(Probe::Silent);
    };
    let number: i64 = row.get(0);
    Ok(Probe::Ready(Box::new(Answer {
        client,
        socket_dir,
        port,
        version: Version::from_number(u32::try_from(number).unwrap_or(0)),
        data_dir: PathBuf::from(row.get::<_, String>(1)),
        started: row.get(2),
    })))
}

/// Makes our database; at the first start, or when a crash came between `initdb` and this.
async fn create_database(config: &Config, database: &str) -> Result<(), DriverError> {
    let name = database.replace('"', "\"\"");
    open(config)
        .await?
        .batch_execute(&format!("create database \"{name}\""))
        .await
        .map_err(DriverError::from)
}
