//! `postmaster.pid`: what a running postmaster says of itself.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::{errno::Errno, sys::signal::kill, unistd::Pid};

/// The lines of `postmaster.pid` that we need. PostgreSQL writes the later ones as it gets there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PidFile {
    /// The postmaster.
    pub(super) pid: i32,
    /// Its data directory.
    pub(super) data_dir: PathBuf,
    /// When it started, seconds since 1970.
    pub(super) started: i64,
    /// Where it listens; absent until the sockets are open.
    pub(super) endpoint: Option<(u16, PathBuf)>,
    /// What it says it is doing.
    pub(super) status: Status,
}

/// What a postmaster says it is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    /// Not open to sessions yet; recovering after a crash, perhaps.
    Starting,
    /// Open to sessions.
    Ready,
    /// On its way down.
    Stopping,
}

impl PidFile {
    /// Reads the file; `None` when there is none or it is not yet whole.
    pub(super) fn read(path: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        // A server in single-user mode writes its number with a minus; it is nobody to be asked.
        let pid = lines.next()?.parse().ok().filter(|pid| *pid > 0)?;
        let data_dir = PathBuf::from(lines.next()?);
        let started = lines.next()?.parse().ok()?;
        let port = lines.next().and_then(|line| line.parse().ok());
        let socket = lines.next().map(PathBuf::from);
        // Past the address and the key of the shared memory.
        let status = match lines.nth(2) {
            Some("ready" | "standby") => Status::Ready,
            Some("stopping") => Status::Stopping,
            _ => Status::Starting,
        };
        Some(Self {
            pid,
            data_dir,
            started,
            endpoint: port.zip(socket),
            status,
        })
    }
}

/// What a process id is, as far as we may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Occupant {
    /// Nobody, or a process that has ended and was not yet collected.
    Nobody,
    /// A process that works in the data directory: its postmaster.
    Postmaster,
    /// Another process: the number was used again.
    Stranger,
    /// A process that we may not look at.
    Unknown,
}

/// Who runs under `pid`, as far as we may see.
pub(super) fn occupant(pid: i32, data_dir: &Path) -> Occupant {
    if !is_alive(pid) {
        return Occupant::Nobody;
    }
    // A postmaster changes into its data directory. Only Linux shows that, and in a container not
    // even to root; but there everybody sees a process's name and the words it was started with.
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(dir) if dir == data_dir => Occupant::Postmaster,
        Ok(_) => Occupant::Stranger,
        Err(_) if is_told(pid, data_dir) => Occupant::Postmaster,
        Err(_) => match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) if !["postgres", "postmaster"].contains(&name.trim()) => Occupant::Stranger,
            _ => Occupant::Unknown,
        },
    }
}

/// Whether the process was started with the data directory as one of its arguments.
fn is_told(pid: i32, data_dir: &Path) -> bool {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    words
        .split(|byte| *byte == 0)
        .any(|word| word == data_dir.as_os_str().as_encoded_bytes())
}

/// Whether the process still runs.
pub(super) fn is_alive(pid: i32) -> bool {
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return false;
    }
    // A process that has ended still takes signals until its parent collects it; in a container
    // the parent may be a program that never does.
    let ended = |stat: String| {
        // The last one: a process's name may have parentheses of its own.
        stat.rsplit_once(')')
            .is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
    };
    !fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(ended)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_whole_file_is_read() {
        let text = "4711\n/data\n1700000000\n7432\n/run/pg\n127.0.0.1\n  1234567   890\nready   \n";
        assert_eq!(
            PidFile::parse(text),
            Some(PidFile {
                pid: 4711,
                data_dir: PathBuf::from("/data"),
                started: 1_700_000_000,
                endpoint: Some((7432, PathBuf::from("/run/pg"))),
                status: Status::Ready,
            })
        );
        let stopping = PidFile::parse(&text.replace("ready   ", "stopping")).unwrap();
        assert_eq!(stopping.status, Status::Stopping);
    }

    #[test]
    fn a_file_in_the_making_has_no_endpoint_yet() {
        let read = PidFile::parse("4711\n/data\n1700000000\n").unwrap();
        assert_eq!(read.endpoint, None);
        assert_eq!(read.status, Status::Starting);
        assert_eq!(PidFile::parse("47"), None);
        assert_eq!(PidFile::parse("-1\n/data\n1\n"), None);
    }

    #[test]
    fn a_process_that_ended_is_nobody_even_before_it_is_collected() {
        let mut child = Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        while is_alive(pid) {
            std::thread::yield_now();
        }
        assert_eq!(occupant(pid, Path::new("/")), Occupant::Nobody);
        child.wait().unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_postmaster_is_known_by_its_folder_or_its_words() {
        let me = i32::try_from(std::process::id()).unwrap();
        let here = std::env::current_dir().unwrap();
        assert_eq!(occupant(me, &here), Occupant::Postmaster);
        assert_eq!(occupant(me, Path::new("/nonexistent")), Occupant::Stranger);
        let word = std::env::args_os().next().unwrap();
        assert!(is_told(me, Path::new(&word)));
        assert!(!is_told(me, Path::new("/nonexistent")));
    }
}
