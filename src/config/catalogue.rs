//! Every setting, once: its key, flag, environment variables and what it is for.

/// What a value looks like where everything is text (flags and environment).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As it is.
    Text,
    /// A whole number.
    Number,
    /// `on` or `off`.
    Switch,
    /// Several; a repeated flag, or a variable with commas or blanks between.
    List,
    /// As it is, never shown, and readable from a file: `<VARIABLE>_FILE`, or `<key>_file`.
    Secret,
}

/// One setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Section and name, as in the file: `network.listen`.
    pub key: &'static str,
    /// What its values look like.
    pub kind: Kind,
    /// Its command line flag, without the dashes.
    pub flag: Option<&'static str>,
    /// What stands for the value in the help.
    pub value: &'static str,
    /// One line of help.
    pub help: &'static str,
}

impl Setting {
    /// The section that holds it.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.key
            .split_once('.')
            .map_or(self.key, |(section, _)| section)
    }

    /// Its name within the section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.key.split_once('.').map_or(self.key, |(_, name)| name)
    }

    /// Its environment variables, the one that counts more first: `STARLING_NETWORK__LISTEN`, and
    /// `STARLING_LISTEN` after its flag.
    #[must_use]
    pub fn variables(&self) -> Vec<String> {
        let long = format!(
            "{PREFIX}{}",
            self.key.replace('.', "__").to_ascii_uppercase()
        );
        let short = self
            .flag
            .map(|flag| format!("{PREFIX}{}", flag.replace('-', "_").to_ascii_uppercase()));
        std::iter::once(long).chain(short).collect()
    }
}

/// What our environment variables begin with.
pub const PREFIX: &str = "STARLING_";

/// The setting with this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The names of the sections, in order.
pub fn sections() -> impl Iterator<Item = &'static str> {
    // Settings of a section stand together; a test counts that no section comes twice.
    let mut last = "";
    SETTINGS
        .iter()
        .map(Setting::section)
        .filter(move |section| {
            let new = *section != last;
            last = section;
            new
        })
}

const fn setting(
    key: &'static str,
    kind: Kind,
    (flag, value): (&'static str, &'static str),
    help: &'static str,
) -> Setting {
    let flag = if flag.is_empty() { None } else { Some(flag) };
    Setting {
        key,
        kind,
        flag,
        value,
        help,
    }
}

use Kind::{List, Number, Secret, Switch, Text};

/// All settings, section by section.
pub const SETTINGS: &[Setting] = &[
    setting(
        "node.data_dir",
        Text,
        ("data-dir", "DIR"),
        "Identity, address book, private server",
    ),
    setting(
        "node.cluster",
        Text,
        ("cluster", "NAME"),
        "Cluster name; part of the protocol ids",
    ),
    setting(
        "node.name",
        Text,
        ("name", "LABEL"),
        "Human name of the node [default: host name]",
    ),
    setting(
        "network.listen",
        List,
        ("listen", "MULTIADDR"),
        "Address to listen on; repeatable",
    ),
    setting(
        "network.external",
        List,
        ("external", "MULTIADDR"),
        "Address at which others reach us through a router or container host; repeatable",
    ),
    setting(
        "network.bootstrap",
        List,
        ("bootstrap", "MULTIADDR"),
        "Peer to join through, with or without /p2p/<PeerId>; repeatable",
    ),
    setting(
        "network.mdns",
        Switch,
        ("mdns", "on|off"),
        "Find peers on the local network",
    ),
    setting(
        "network.swarm_key",
        Text,
        ("swarm-key", "FILE"),
        "Pre-shared key that admits to the network",
    ),
    setting(
        "overlay.active_view",
        Number,
        ("active-view", "N"),
        "Neighbours kept",
    ),
    setting(
        "overlay.passive_view",
        Number,
        ("passive-view", "N"),
        "Spare peers known",
    ),
    setting(
        "overlay.arwl",
        Number,
        ("arwl", "N"),
        "Active random walk length",
    ),
    setting(
        "overlay.prwl",
        Number,
        ("prwl", "N"),
        "Passive random walk length",
    ),
    setting(
        "overlay.shuffle_interval",
        Text,
        ("shuffle-interval", "TIME"),
        "How often spare peers are exchanged",
    ),
    setting(
        "overlay.shuffle_active",
        Number,
        ("shuffle-active", "N"),
        "Neighbours in a shuffle",
    ),
    setting(
        "overlay.shuffle_passive",
        Number,
        ("shuffle-passive", "N"),
        "Spare peers in a shuffle",
    ),
    setting(
        "overlay.heartbeat_interval",
        Text,
        ("heartbeat-interval", "TIME"),
        "Time between two heartbeats",
    ),
    setting(
        "overlay.silence_deadline",
        Text,
        ("silence-deadline", "TIME"),
        "A neighbour silent for longer is given up",
    ),
    setting(
        "overlay.remix_interval",
        Text,
        ("remix-interval", "TIME"),
        "Mean time between two exchanges of links",
    ),
    setting(
        "overlay.optimize",
        Text,
        ("optimize", "none|latency"),
        "Exchange links for such with a shorter round trip",
    ),
    setting(
        "overlay.relay",
        Text,
        ("relay", "preferred|normal|avoid"),
        "How gladly this node passes on what others wrote",
    ),
    setting(
        "store.postgres",
        Secret,
        ("postgres", "URL"),
        "Attach to this server instead of running a private one",
    ),
    setting(
        "store.password",
        Secret,
        // No flag: the words that a process was started with are for everybody to read.
        ("", "TEXT"),
        "Password for the attached server",
    ),
    setting(
        "store.pg_bin",
        Text,
        ("pg-bin", "DIR"),
        "Where initdb and postgres are",
    ),
    setting(
        "store.pg_listen",
        Text,
        ("pg-listen", "ADDR:PORT"),
        "Private server's address",
    ),
    setting(
        "store.pg_advertise",
        Text,
        ("pg-advertise", "HOST:PORT"),
        "Where other stores reach this store",
    ),
    setting(
        "store.run_as",
        Text,
        ("run-as", "USER"),
        "User that runs the private server when started by root",
    ),
    setting(
        "store.search_path",
        Text,
        ("search-path", "off|last|first"),
        "Where crdv stands on the database's search_path [default: last; on an attached server off if \
         names collide]",
    ),
    setting(
        "store.shared_buffers",
        Text,
        ("shared-buffers", "SIZE"),
        "Private server's page cache",
    ),
    setting(
        "store.adopt",
        Switch,
        ("adopt-store", "on|off"),
        "Take over an attached store that is a copy of another node's",
    ),
    setting(
        "replication.dissemination",
        Text,
        ("dissemination", "flood|tree"),
        "Which neighbours carry data",
    ),
    setting(
        "replication.store_hosts",
        List,
        ("store-host", "HOST"),
        "Host where other nodes' stores may be, beside their own addresses; repeatable",
    ),
    setting(
        "replication.link_grace",
        Text,
        ("link-grace", "TIME"),
        "How long the link to a lost neighbour is kept",
    ),
    setting(
        "replication.slot_bytes_max",
        Text,
        ("slot-bytes-max", "SIZE"),
        "WAL that one link may hold back",
    ),
    setting(
        "replication.slot_inactive_max",
        Text,
        ("slot-inactive-max", "TIME"),
        "How long an unused slot is kept",
    ),
    setting(
        "replication.checkpoint_interval",
        Text,
        ("checkpoint-interval", "TIME"),
        "How often the node states how far its writes are complete",
    ),
    setting(
        "replication.confirm_within",
        Text,
        ("confirm-within", "TIME"),
        "How long a restarted store waits for its peers to confirm it",
    ),
    setting(
        "replication.clock_warn",
        Text,
        ("clock-warn", "TIME"),
        "Difference to the neighbours' clocks that is worth a warning",
    ),
    setting(
        "replication.max_clock_ahead",
        Text,
        ("max-clock-ahead", "TIME"),
        "Take no data from a neighbour whose clock is ahead by more; 0: from all",
    ),
    setting("http.listen", Text, ("http", "ADDR:PORT"), "HTTP API"),
    setting(
        "http.hosts",
        List,
        ("http-host", "NAME"),
        "Host name by which those without the token may address the HTTP API; repeatable",
    ),
    setting(
        "log.level",
        Text,
        ("log-level", "LEVELS"),
        "Log level, also per target",
    ),
    setting(
        "log.format",
        Text,
        ("log-format", "text|json"),
        "Log format",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{SETTINGS, find, sections};
    use crate::config::Config;

    #[test]
    fn the_catalogue_names_every_field_of_the_configuration_and_no_other() {
        let config = serde_json::to_value(Config::default()).unwrap();
        let fields: BTreeSet<String> = config
            .as_object()
            .unwrap()
            .iter()
            .flat_map(|(section, fields)| {
                fields
                    .as_object()
                    .unwrap()
                    .keys()
                    .map(move |name| format!("{section}.{name}"))
            })
            .collect();
        let keys: BTreeSet<String> = SETTINGS
            .iter()
            .map(|setting| setting.key.to_owned())
            .collect();
        assert_eq!(keys, fields);
        assert_eq!(keys.len(), SETTINGS.len());
        assert_eq!(sections().count(), config.as_object().unwrap().len());
    }

    #[test]
    fn no_two_settings_share_a_flag_or_a_variable() {
        let names: Vec<String> = SETTINGS
            .iter()
            .flat_map(super::Setting::variables)
            .collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
        assert_eq!(
            find("http.listen").unwrap().variables(),
            ["STARLING_HTTP__LISTEN", "STARLING_HTTP"]
        );
    }
}
