//! Reads the reason out of what `initdb` or a failed server left in its log.
//!
//! PostgreSQL gives no error numbers here; the words are stable and in English, because we start
//! the programs with `LC_ALL=C`.

use std::{net::SocketAddr, path::Path};

use super::error::Error;

/// The end of a log that an error message may carry.
const TAIL_LINES: usize = 6;

/// What the words are to be read with.
#[derive(Debug)]
pub(super) struct Context<'a> {
    /// The data directory.
    pub(super) data: &'a Path,
    /// The address that was to be bound.
    pub(super) address: SocketAddr,
    /// The configured size of the buffer pool.
    pub(super) shared_buffers_mb: u32,
}

/// The typed error for `output`, if its reason is one that we know.
pub(super) fn diagnose(output: &str, context: &Context<'_>) -> Option<Error> {
    let dir = context.data.to_owned();
    let line = |words: &str| output.lines().find(|line| line.contains(words)).map(plain);
    if line("No space left on device")
        .or_else(|| line("Disk quota exceeded"))
        .is_some()
    {
        return Some(Error::DiskFull { dir });
    }
    // Before `could not bind`, which stands in the same line.
    if line("Address already in use").is_some() {
        return Some(Error::AddressInUse {
            address: context.address,
        });
    }
    if let Some(what) = line("could not bind") {
        return Some(Error::AddressUnusable {
            address: context.address,
            reason: what,
        });
    }
    if line("pre-existing shared memory block").is_some() {
        return Some(Error::StillEnding { dir });
    }
    if line("lock file \"postmaster.pid\" already exists").is_some() {
        return Some(Error::Locked {
            dir,
            pid: pid_in(output).unwrap_or(0),
        });
    }
    if let Some(what) =
        line("Cannot allocate memory").or_else(|| line("could not create shared memory segment"))
    {
        return Some(Error::OutOfMemory {
            what,
            shared_buffers_mb: context.shared_buffers_mb,
        });
    }
    if line("contains errors").is_some() || line("configuration file").is_some() {
        return Some(Error::BadSetting {
            // The line that was found names the file; those around it say which setting it is.
            what: tail(output),
            dir,
        });
    }
    // Last: it is also the reason that other lines end with, such as `could not bind`.
    line("Permission denied")
        .or_else(|| line("has wrong ownership"))
        .or_else(|| line("has invalid permissions"))
        .map(|what| Error::PermissionDenied { what })
}

/// The last lines of a log, as one.
pub(super) fn tail(output: &str) -> String {
    let lines: Vec<_> = output
        .lines()
        .map(plain)
        .filter(|line| !line.is_empty())
        .collect();
    let start = lines.len().saturating_sub(TAIL_LINES);
    lines[start..].join("; ")
}

/// A log line without time, process and severity.
fn plain(line: &str) -> String {
    let severity = [
        "FATAL:  ",
        "ERROR:  ",
        "PANIC:  ",
        "LOG:  ",
        "HINT:  ",
        "initdb: error: ",
    ];
    severity
        .iter()
        .find_map(|mark| line.split_once(mark))
        .map_or(line, |(_, words)| words)
        .trim()
        .to_owned()
}

fn pid_in(output: &str) -> Option<i32> {
    let (_, rest) = output.split_once("(PID ")?;
    rest.split(')').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(output: &str) -> Option<Error> {
        let context = Context {
            data: Path::new("/data"),
            address: SocketAddr::from(([127, 0, 0, 1], 7432)),
            shared_buffers_mb: 64,
        };
        diagnose(output, &context)
    }

    #[test]
    fn a_full_disk_is_known() {
        let output =
            "initdb: error: could not write to file \"/data/pg_wal/x\": No space left on device";
        assert!(matches!(read(output), Some(Error::DiskFull { .. })));
    }

    #[test]
    fn a_taken_port_is_known() {
        let output = "2026-01-01 [7] LOG:  could not bind IPv4 address \"127.0.0.1\": Address \
                      already in use\nHINT:  Is another postmaster already running on port 7432?";
        let error = read(output).unwrap();
        assert!(error.to_string().contains("127.0.0.1:7432"), "{error}");
    }

    #[test]
    fn a_live_lock_names_its_process() {
        let output = "[9] FATAL:  lock file \"postmaster.pid\" already exists\n[9] HINT:  Is \
                      another postmaster (PID 4711) running in data directory \"/data\"?";
        assert!(matches!(
            read(output),
            Some(Error::Locked { pid: 4711, .. })
        ));
    }

    #[test]
    fn a_wrong_override_is_known() {
        let output = "[9] LOG:  invalid value for parameter \"work_mem\": \"lots\"\n[9] FATAL:  \
                      configuration file \"/data/local.conf\" contains errors";
        let error = read(output).unwrap();
        assert!(matches!(error, Error::BadSetting { .. }));
        assert!(error.to_string().contains("work_mem"), "{error}");
    }

    #[test]
    fn other_words_are_left_to_the_caller() {
        assert!(read("[9] PANIC:  could not locate a valid checkpoint record").is_none());
        assert_eq!(
            tail("[9] PANIC:  could not locate a valid checkpoint record\n\n"),
            "could not locate a valid checkpoint record"
        );
    }
}
