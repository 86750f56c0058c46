//! The configuration of a private server, rendered from values.
//!
//! `postgresql.conf` stays as `initdb` wrote it, with two includes at its end: `starling.conf`, ours
//! and written anew at every start, and `local.conf`, the user's and never touched. What the user
//! sets there or with `alter system` wins.

use std::{
    fs::{self, File},
    io::{self, Write},
    net::SocketAddr,
    path::Path,
};

use super::{SUPERUSER, account::Account, error::Error, sizing::Sizing};

/// Our file in the data directory. That it is there also tells that the directory is ours.
pub(super) const OURS: &str = "starling.conf";

/// The user's file in the data directory.
const LOCAL: &str = "local.conf";

/// While a sender decodes a transaction of which it sends nothing it answers no ping for half of its
/// own time-out, which links set to ten minutes.
const WAL_RECEIVER_TIMEOUT: &str = "10min";

/// The name of the map in `pg_ident.conf`.
const MAP: &str = "starling";

const LOCAL_TEXT: &str = "\
# Your own settings for this node's PostgreSQL server. They win over those of starling.conf.
# `select pg_reload_conf()` makes most of them take effect; some need a restart of the node.
";

/// All that the settings depend on.
#[derive(Debug, Clone)]
pub(super) struct Conf<'a> {
    /// Major version of the server.
    pub(super) major: u32,
    /// Where it listens, with the real port.
    pub(super) listen: SocketAddr,
    /// The folder of its socket.
    pub(super) socket_dir: &'a Path,
    /// Links to be sized for.
    pub(super) max_links: u16,
    /// Buffer pool.
    pub(super) shared_buffers_mb: u32,
    /// The most WAL that a slot may hold back.
    pub(super) slot_wal_max_mb: u32,
}

impl Conf<'_> {
    /// The text of `starling.conf`.
    pub(super) fn render(&self) -> String {
        let mut text = String::from(
            "# Written at every start of the node: changes made here are lost. Put yours into\n\
             # local.conf, which is read after this file, or use `alter system`.\n",
        );
        let sections = [
            self.connections(),
            self.replication(),
            Self::links(),
            self.memory(),
            Self::logging(),
        ];
        for (why, settings) in sections {
            text.push('\n');
            for line in why {
                text.push_str(&format!("# {line}\n"));
            }
            for (name, value) in settings {
                text.push_str(&format!("{name} = '{}'\n", value.replace('\'', "''")));
            }
        }
        text
    }

    fn connections(&self) -> Section {
        (
            &["Where it listens. The socket's folder admits root and the server's user only."],
            vec![
                ("listen_addresses", self.listen.ip().to_string()),
                ("port", self.listen.port().to_string()),
                ("unix_socket_directories", quoted_in_list(self.socket_dir)),
                ("unix_socket_permissions", "0700".to_owned()),
                ("password_encryption", "scram-sha-256".to_owned()),
                ("restart_after_crash", "on".to_owned()),
            ],
        )
    }

    fn replication(&self) -> Section {
        let sizing = Sizing::for_links(self.max_links);
        let mut settings = vec![
            ("wal_level", "logical".to_owned()),
            ("max_replication_slots", sizing.slots.to_string()),
            ("max_wal_senders", sizing.senders.to_string()),
            (
                "max_logical_replication_workers",
                sizing.workers.to_string(),
            ),
            ("max_worker_processes", sizing.processes.to_string()),
            // Links copy no tables, so no worker is kept for that.
            ("max_sync_workers_per_subscription", "1".to_owned()),
            (
                "max_slot_wal_keep_size",
                format!("{}MB", self.slot_wal_max_mb),
            ),
        ];
        if self.major >= 16 {
            // A parallel worker would apply a transaction out of its link's order.
            settings.push((
                "max_parallel_apply_workers_per_subscription",
                "0".to_owned(),
            ));
        }
        if self.major >= 18 {
            settings.push(("max_active_replication_origins", sizing.origins.to_string()));
        }
        (
            &[
                "Links are logical replication. These take effect at a restart only, so they are",
                "sized for the most links this node will ever have. A slot that holds back more",
                "WAL than this is given up: its link catches up later, and the disk does not fill.",
                "track_commit_timestamp stays off: operations carry their own clock.",
            ],
            settings,
        )
    }

    fn links() -> Section {
        let settings = [
            ("wal_writer_delay", "1ms"),
            ("wal_retrieve_retry_interval", "500ms"),
            ("jit", "off"),
            ("wal_receiver_timeout", WAL_RECEIVER_TIMEOUT),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
        ];
        (
            &[
                "A sender ships flushed WAL only and apply workers commit asynchronously, so each",
                "hop waits for the WAL writer: 1 ms instead of 200 ms. An idle WAL writer sleeps 25",
                "times as long. A broken link is tried again twice a second. A machine that is gone",
                "is noticed by its network connection, within 15 to 25 s; a server that is slow is",
                "no server that is gone, so its silence is borne much longer (senders of links have",
                "their own wal_sender_timeout). The statements of links and of queries are short:",
                "compiling one costs more than it saves.",
            ],
            settings
                .into_iter()
                .map(|(name, value)| (name, value.to_owned()))
                .collect(),
        )
    }

    fn memory(&self) -> Section {
        (
            &[
                "Modest: a node may be an edge box. Each sender may decode up to",
                "logical_decoding_work_mem in memory before it spills to disk.",
            ],
            vec![
                ("shared_buffers", format!("{}MB", self.shared_buffers_mb)),
                ("logical_decoding_work_mem", "16MB".to_owned()),
            ],
        )
    }

    fn logging() -> Section {
        (
            &["The controller rotates the log that stderr goes to, and reads it for errors."],
            vec![
                ("log_destination", "stderr".to_owned()),
                ("logging_collector", "off".to_owned()),
                ("log_line_prefix", "%m [%p] %q%u@%d %a ".to_owned()),
                ("log_timezone", "UTC".to_owned()),
                ("log_checkpoints", "off".to_owned()),
                // Whatever the machine speaks: `diagnosis` knows the words of one language.
                ("lc_messages", "C".to_owned()),
            ],
        )
    }
}

/// Why, and the settings.
type Section = (&'static [&'static str], Vec<(&'static str, String)>);

/// A folder as an element of a comma-separated setting.
fn quoted_in_list(path: &Path) -> String {
    format!("\"{}\"", path.display().to_string().replace('"', "\"\""))
}

/// Who may connect: over the socket the users of the map as the superuser; over TCP anybody with a
/// password, which the superuser does not have.
fn hba() -> String {
    format!(
        "# Written at every start of the node: changes made here are lost.\n\
         local all all peer map={MAP}\n\
         local replication all peer map={MAP}\n\
         host all all all scram-sha-256\n"
    )
}

fn ident(account: &Account) -> String {
    let name = account.name.replace('"', "\"\"");
    format!(
        "# Written at every start of the node: changes made here are lost.\n\
         {MAP} \"{name}\" {SUPERUSER}\n\
         {MAP} root {SUPERUSER}\n"
    )
}

/// Writes our files into the data directory; tells whether any of them changed.
pub(super) fn write(data: &Path, conf: &Conf<'_>, account: &Account) -> Result<bool, Error> {
    include(data, account)?;
    let mut changed = false;
    for (name, text) in [
        (OURS, conf.render()),
        ("pg_hba.conf", hba()),
        ("pg_ident.conf", ident(account)),
    ] {
        changed |= write_if_changed(&data.join(name), &text, account)?;
    }
    Ok(changed)
}

/// Makes `postgresql.conf` include our file and the user's, if it does not already.
pub(super) fn include(data: &Path, account: &Account) -> Result<(), Error> {
    let main = data.join("postgresql.conf");
    let mut text = fs::read_to_string(&main).map_err(|error| Error::io("read", &main, error))?;
    for line in [
        format!("include_if_exists = '{OURS}'"),
        format!("include_if_exists = '{LOCAL}'"),
    ] {
        if !text.lines().any(|present| present.trim() == line) {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    // Ours, though empty, marks the directory as ours from now on.
    for (name, default) in [(LOCAL, LOCAL_TEXT), (OURS, "")] {
        let path = data.join(name);
        if !path.exists() {
            write_if_changed(&path, default, account)?;
        }
    }
    write_if_changed(&main, &text, account).map(|_| ())
}

/// Replaces a file at once and durably, if its text differs; tells whether it did.
fn write_if_changed(path: &Path, text: &str, account: &Account) -> Result<bool, Error> {
    if fs::read_to_string(path).is_ok_and(|present| present == text) {
        return Ok(false);
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    let written = || -> io::Result<()> {
        let mut file = File::create(new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    written().map_err(|error| Error::io("write", new, error))?;
    // Before it is in its place, where the server may read it at any time.
    account.own(new)?;
    fs::rename(new, path).map_err(|error| Error::io("replace", path, error))?;
    Ok(true)
}

/// The port of the last start, so that a port chosen freely stays the same as long as it is free.
pub(super) fn last_port(data: &Path) -> Option<u16> {
    let text = fs::read_to_string(data.join(OURS)).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("port = '"))?;
    line.trim_end_matches('\'').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(major: u32) -> Conf<'static> {
        Conf {
            major,
            listen: SocketAddr::from(([127, 0, 0, 1], 7432)),
            socket_dir: Path::new("/srv/o'neill, \"x\""),
            max_links: 32,
            shared_buffers_mb: 64,
            slot_wal_max_mb: 1024,
        }
    }

    #[test]
    fn values_are_quoted() {
        let text = conf(15).render();
        assert!(
            text.contains("unix_socket_directories = '\"/srv/o''neill, \"\"x\"\"\"'\n"),
            "{text}"
        );
        assert!(text.contains("port = '7432'\n"));
        assert!(text.contains("max_slot_wal_keep_size = '1024MB'\n"));
    }

    #[test]
    fn no_setting_is_said_twice() {
        let text = conf(18).render();
        let names = || text.lines().filter_map(|line| line.split_once(" = '"));
        for (name, _) in names() {
            assert_eq!(
                names().filter(|(other, _)| *other == name).count(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn settings_of_later_versions_are_left_out_of_earlier_ones() {
        assert!(!conf(15).render().contains("max_parallel_apply"));
        assert!(conf(16).render().contains("max_parallel_apply"));
        assert!(!conf(17).render().contains("max_active_replication_origins"));
        assert!(
            conf(18)
                .render()
                .contains("max_active_replication_origins = '40'")
        );
    }

    #[test]
    fn includes_are_added_once_and_the_users_file_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let account = Account::choose(None, dir.path(), dir.path()).unwrap();
        let main = dir.path().join("postgresql.conf");
        fs::write(&main, "max_connections = 100").unwrap();
        include(dir.path(), &account).unwrap();
        fs::write(dir.path().join(LOCAL), "work_mem = '8MB'\n").unwrap();
        include(dir.path(), &account).unwrap();
        assert_eq!(
            fs::read_to_string(&main).unwrap(),
            "max_connections = 100\ninclude_if_exists = 'starling.conf'\n\
             include_if_exists = 'local.conf'\n"
        );
        assert_eq!(
            fs::read_to_string(dir.path().join(LOCAL)).unwrap(),
            "work_mem = '8MB'\n"
        );
    }

    #[test]
    fn an_unchanged_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("postgresql.conf"), "").unwrap();
        let account = Account::choose(None, dir.path(), dir.path()).unwrap();
        assert!(write(dir.path(), &conf(15), &account).unwrap());
        assert!(!write(dir.path(), &conf(15), &account).unwrap());
        assert_eq!(last_port(dir.path()), Some(7432));
        let more = Conf {
            max_links: 33,
            ..conf(15)
        };
        assert!(write(dir.path(), &more, &account).unwrap());
    }
}
