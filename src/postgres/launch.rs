//! Brings a private server up: adopts the one that already runs on the data directory, or starts
//! one, and waits until it answers.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tokio::{
    process::Command,
    time::{sleep, timeout},
};
use tracing::{debug, info, warn};

use super::{
    conf, diagnosis,
    error::Error,
    installation::{Attempt, Endpoint, Installation, SECLUDED_PORT, blocking},
    pid_file::{Occupant, PidFile, Status, occupant},
    postmaster::{KillOnDrop, Postmaster},
    ready::{Answer, wait_ready},
};

/// A server that says it is starting (a long crash recovery, say) is waited for as long as it says
/// so; one that says nothing for this long has failed.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// The same for a server that runs already: it has no reason to be silent.
const ADOPTION_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Starts tried before giving up, when the cause passes by itself: a free port that somebody else
/// took between our look and the server's, or processes of a crashed server that are still ending.
const START_ATTEMPTS: u32 = 10;

/// Pause between them.
const START_PAUSE: Duration = Duration::from_millis(300);

/// How many seconds after its process a server may have begun by its own word. It has mostly set itself up within
/// one, and both times are cut to whole seconds, which makes one more. A process of another time that has the
/// same number is not taken for it.
const SET_UP_SECONDS: u64 = 2;

/// A server that answers.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) postmaster: Postmaster,
    pub(super) endpoint: Endpoint,
}

/// Adopts the server that runs on the data directory, or starts one; returns when it answers.
pub(super) async fn launch(
    installation: &Arc<Installation>,
    kill_on_drop: &KillOnDrop,
) -> Result<Running, Error> {
    if let Some(running) = adopt(installation, kill_on_drop).await? {
        return Ok(running);
    }
    let mut attempt = 1;
    loop {
        let error = match start(installation, kill_on_drop).await {
            Ok(running) => return Ok(running),
            Err(error) => error,
        };
        let passes = match error {
            Error::StillEnding { .. } => true,
            // The next attempt chooses another port. One that was asked for stays taken.
            Error::AddressInUse { .. } => installation.config.listen.port() == 0,
            _ => false,
        };
        if !passes || attempt == START_ATTEMPTS {
            return Err(error);
        }
        debug!(%error, attempt, "trying to start postgres again");
        attempt += 1;
        sleep(START_PAUSE).await;
    }
}

async fn start(
    installation: &Arc<Installation>,
    kill_on_drop: &KillOnDrop,
) -> Result<Running, Error> {
    let preparing = Arc::clone(installation);
    let Attempt {
        command,
        address,
        log_start,
    } = blocking(move || preparing.prepare_start()).await?;
    let child = Command::from(command)
        .spawn()
        .map_err(|error| Error::io("run", &installation.binaries.postgres(), error))?;
    let mut postmaster = Postmaster::child(child);
    // Before anything is waited for: a start that is given up leaves no server.
    kill_on_drop.hold(postmaster.pid());
    match wait_ready(installation, &mut postmaster, SILENCE_MAX).await {
        Ok(answer) => {
            let endpoint = answer.endpoint(address);
            info!(pid = postmaster.pid(), address = %endpoint,
                version = %endpoint.version, "postgres is ready");
            Ok(Running {
                postmaster,
                endpoint,
            })
        }
        Err(Error::Ended { status, .. }) => {
            kill_on_drop.release();
            // How the process ended says little; the reason is in what it has written since.
            let words = installation.log_since(log_start);
            let context = installation.diagnosis_context(address);
            Err(
                diagnosis::diagnose(&words, &context).unwrap_or_else(|| Error::Ended {
                    status,
                    output: diagnosis::tail(&words),
                }),
            )
        }
        // It runs and is of no use: a start that fails leaves no server behind.
        Err(error) => {
            let patience = installation.config.stop_timeout;
            postmaster.stop_held(patience, kill_on_drop).await?;
            Err(error)
        }
    }
}

/// Removes a file that may be gone already.
fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Takes over a server that an earlier controller left running, so that its links go on streaming
/// while we come up. It is restarted only when our settings changed in a way that needs it.
///
/// That it is ours is told by the lock file in our data directory, by the process's working
/// directory where the system shows it, and by the server itself: it must name our data directory
/// and the start time of the lock file.
async fn adopt(
    installation: &Arc<Installation>,
    kill_on_drop: &KillOnDrop,
) -> Result<Option<Running>, Error> {
    let path = installation.layout.pid_file();
    let Some(file) = PidFile::read(&path) else {
        return Ok(None);
    };
    let who = occupant(file.pid, &installation.layout.data);
    if matches!(who, Occupant::Nobody | Occupant::Stranger) {
        // After a crash, and in a container after every restart, the number may name another
        // process. PostgreSQL would take that one for a server and refuse to start; its check of
        // the shared memory still holds without the file.
        info!(
            pid = file.pid,
            "removing the lock file of a postgres that is gone"
        );
        // The socket has a lock of its own, with the same number in it.
        if let Some((port, dir)) = &file.endpoint {
            remove(&dir.join(format!(".s.PGSQL.{port}.lock")))?;
        }
        remove(&path)?;
        return Ok(None);
    }
    let mut postmaster = Postmaster::Adopted(file.pid, installation.layout.data.clone());
    let Some(answer) = question(installation, &mut postmaster, &file, who).await? else {
        return Ok(None);
    };
    // The file says when the process began, the server when it had set itself up: a moment later.
    let apart = answer.started.abs_diff(file.started);
    if answer.data_dir != installation.layout.data || apart > SET_UP_SECONDS {
        return Err(Error::Locked {
            dir: installation.layout.data.clone(),
            pid: file.pid,
        });
    }
    // Left by a controller that was killed before it let the server be found.
    if answer.port == SECLUDED_PORT {
        info!(
            pid = file.pid,
            "restarting a postgres that was found secluded"
        );
        postmaster.stop(installation.config.stop_timeout).await?;
        return Ok(None);
    }
    if !reconfigure(installation, &answer).await? {
        info!(
            pid = file.pid,
            "settings changed, restarting the postgres found running"
        );
        postmaster.stop(installation.config.stop_timeout).await?;
        return Ok(None);
    }
    kill_on_drop.hold(file.pid);
    let endpoint = answer.endpoint(installation.config.listen);
    info!(pid = file.pid, address = %endpoint, version = %endpoint.version,
        "adopted the postgres found running");
    Ok(Some(Running {
        postmaster,
        endpoint,
    }))
}

/// Asks the server found running what it is; `None` when it has ended or is none. Nothing is sent
/// to a process of which we do not know that it is a server of ours.
async fn question(
    installation: &Installation,
    postmaster: &mut Postmaster,
    file: &PidFile,
    who: Occupant,
) -> Result<Option<Answer>, Error> {
    let is_ours = who == Occupant::Postmaster;
    let stop_max = installation.config.stop_timeout;
    // On its way down a server lets nobody in: there is nothing to ask.
    if file.status == Status::Stopping {
        info!(pid = file.pid, "waiting for postgres to end");
        if timeout(stop_max, postmaster.ended()).await.is_err() && is_ours {
            postmaster.stop(stop_max).await?;
        }
        return Ok(None);
    }
    let asking = wait_ready(installation, postmaster, ADOPTION_SILENCE_MAX);
    // A stranger never gets past the state that the file was left in.
    let patience = if is_ours {
        Duration::MAX
    } else {
        ADOPTION_SILENCE_MAX
    };
    match timeout(patience, asking).await {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(Error::Ended { .. })) => Ok(None),
        Ok(Err(Error::StartTimeout { .. })) if is_ours => {
            warn!(
                pid = file.pid,
                "postgres runs but does not answer, restarting it"
            );
            postmaster.stop(stop_max).await?;
            Ok(None)
        }
        // Perhaps no server at all: leave it to PostgreSQL, which refuses if in doubt.
        Ok(Err(Error::StartTimeout { .. })) | Err(_) => Ok(None),
        Ok(Err(error)) => {
            debug!(%error, "postgres does not let us in");
            Err(Error::Locked {
                dir: installation.layout.data.clone(),
                pid: file.pid,
            })
        }
    }
}

/// Writes our settings below a running server and lets it read them; `false` when only a restart
/// makes them take effect.
async fn reconfigure(installation: &Arc<Installation>, answer: &Answer) -> Result<bool, Error> {
    let port = match installation.config.listen.port() {
        // Any port will do, so it keeps the one by which peers know it.
        0 => answer.port,
        port => port,
    };
    let listen = SocketAddr::new(installation.config.listen.ip(), port);
    let writing = Arc::clone(installation);
    let changed = blocking(move || {
        let socket_dir = writing.layout.socket_folder(&writing.account)?;
        conf::write(
            &writing.layout.data,
            &writing.conf(listen, &socket_dir),
            &writing.account,
        )
    })
    .await?;
    // The view reads the files as they are now, so no reload has to be waited for.
    let waiting = answer
        .client
        .query(
            "select f.name from pg_catalog.pg_file_settings f \
             join pg_catalog.pg_settings s on s.name = f.name \
             where s.context = 'postmaster' and not f.applied and f.error is not null \
             and f.sourcefile like '%/' || $1::text",
            &[&conf::OURS],
        )
        .await
        .map_err(|error| Error::Query {
            what: "reading the server's settings",
            cause: error.into(),
        })?;
    if !waiting.is_empty() {
        let names: Vec<String> = waiting.iter().map(|row| row.get(0)).collect();
        info!(settings = %names.join(", "), "settings need a restart");
        return Ok(false);
    }
    if changed {
        answer
            .client
            .execute("select pg_catalog.pg_reload_conf()", &[])
            .await
            .map_err(|error| Error::Query {
                what: "reloading the settings",
                cause: error.into(),
            })?;
    }
    Ok(true)
}
