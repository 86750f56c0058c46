//! `<data>/store.json`: what this node last knew of its store, kept outside of it.
//!
//! A store that was put back to an earlier state cannot tell by itself. This file can: it says how far
//! the store had got. It is replaced as a whole and synced, at the start, while the node runs whenever
//! something has changed, and at the end.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::SystemTime,
};

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::{
    api::{Renewal, timestamp},
    files,
    identity::{Lineage, NodeId, Site},
    store::{Owner, Position},
};

/// Of the site's past, this much is kept for people.
const RENEWALS_MAX: usize = 16;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::node) struct StoreRecord {
    /// The store's site.
    pub(in crate::node) site: Site,
    /// How far it had got.
    pub(in crate::node) position: Position,
    /// The node has had a neighbour: others may know what the store has forgotten.
    pub(in crate::node) has_met_peers: bool,
    /// The starts of the node with this site. A copy of the file has those until it was made, so that
    /// peers can tell a copy.
    #[serde(default)]
    pub(in crate::node) lineage: Lineage,
    /// The last times that it went on as another site, oldest first.
    #[serde(default)]
    pub(in crate::node) renewals: Vec<Renewal>,
}

/// What the record says about the store that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) enum Verdict {
    /// It is the one that was recorded, and nobody else knows more.
    Same,
    /// As far as the record tells it is, but the record may have been put back with it. Peers know.
    Unconfirmed,
    /// It is the one that was recorded, but nobody could tell if it were an older copy. Its vector is true
    /// all the same.
    Unconfirmable,
    /// It is not. Why.
    Another(String),
}

/// Compares the store that is there with what was recorded.
pub(in crate::node) fn judge(
    record: Option<&StoreRecord>,
    owner: &Owner,
    me: &NodeId,
    position: &Position,
) -> Verdict {
    if owner.node != *me {
        return Verdict::Another(format!("the store is a copy of node {}'s", owner.node));
    }
    let Some(record) = record else {
        return Verdict::Another(
            "the store has an identity, and the data directory has no record of it".to_owned(),
        );
    };
    if record.site != owner.site {
        return Verdict::Another(format!(
            "the store is from the time when the node was site {}; it was site {} at last",
            owner.site, record.site
        ));
    }
    if let Some(found) = position.departs_from(&record.position) {
        return Verdict::Another(found.to_string());
    }
    // In a run that has not ended nothing can have been put back. A doubt from before it still waits for its answer.
    if position.is_same_run(&record.position) && !owner.is_in_doubt {
        Verdict::Same
    } else if record.has_met_peers {
        Verdict::Unconfirmed
    } else {
        Verdict::Unconfirmable
    }
}

impl StoreRecord {
    fn path(data_dir: &Path) -> PathBuf {
        data_dir.join("store.json")
    }

    /// Reads the file. One that cannot be read is as good as none: the store goes on as another site.
    pub(in crate::node) fn read(data_dir: &Path) -> Option<Self> {
        let path = Self::path(data_dir);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .inspect_err(
                    |error| warn!(path = %path.display(), %error, "no record of the store"),
                )
                .ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                warn!(path = %path.display(), %error, "the record of the store cannot be read");
                None
            }
        }
    }

    /// Replaces the file; after a crash at any moment it holds the old content or the new.
    pub(in crate::node) fn write(&self, data_dir: &Path) -> io::Result<()> {
        files::replace(&Self::path(data_dir), &serde_json::to_vec_pretty(self)?)
    }

    /// Takes note that the store goes on as `to`, and tells the operator.
    pub(in crate::node) fn renewed(&mut self, from: Option<Site>, to: Site, why: &str) {
        warn!(
            old_site = from.map(Site::get),
            new_site = to.get(),
            why,
            "the store goes on as another site; nothing has to be done"
        );
        self.site = to;
        // Starts are counted by site.
        self.lineage = Lineage::default();
        self.renewals.push(Renewal {
            at: timestamp(SystemTime::now()),
            from: from.map_or(0, Site::get),
            to: to.get(),
            why: why.to_owned(),
        });
        let excess = self.renewals.len().saturating_sub(RENEWALS_MAX);
        self.renewals.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::{StoreRecord, Verdict, judge};
    use crate::{
        identity::{Lineage, NodeId, Run, Site},
        store::{Owner, Position},
    };

    fn me() -> NodeId {
        "me".parse::<NodeId>().unwrap()
    }

    fn position() -> Position {
        Position {
            system: 7,
            timeline: 1,
            wal: 1_000,
            database: 5,
            table: 6,
            checkpoint: 50,
            number: 55,
            started: 9,
        }
    }

    fn owner() -> Owner {
        Owner {
            site: Site::new(3).unwrap(),
            node: me(),
            cluster: "c".to_owned(),
            is_open: true,
            is_in_doubt: false,
        }
    }

    fn record() -> StoreRecord {
        StoreRecord {
            site: owner().site,
            position: position(),
            has_met_peers: true,
            lineage: Lineage::begin(Run::draw()),
            renewals: Vec::new(),
        }
    }

    #[test]
    fn a_server_that_ran_all_the_time_is_proof() {
        let verdict = judge(Some(&record()), &owner(), &me(), &position());
        assert_eq!(verdict, Verdict::Same);
        let leaving = Owner {
            is_open: false,
            ..owner()
        };
        let verdict = judge(Some(&record()), &leaving, &me(), &position());
        assert_eq!(verdict, Verdict::Same, "it was closed to leave the cluster");
        let doubtful = Owner {
            is_in_doubt: true,
            ..leaving
        };
        let verdict = judge(Some(&record()), &doubtful, &me(), &position());
        assert_eq!(verdict, Verdict::Unconfirmed, "an answer is still awaited");
    }

    #[test]
    fn a_server_that_was_started_again_is_another_site_unless_there_is_somebody_to_ask() {
        let restarted = Position {
            started: 10,
            ..position()
        };
        let verdict = judge(Some(&record()), &owner(), &me(), &restarted);
        assert_eq!(verdict, Verdict::Unconfirmed);
        let alone = StoreRecord {
            has_met_peers: false,
            ..record()
        };
        let verdict = judge(Some(&alone), &owner(), &me(), &restarted);
        assert_eq!(verdict, Verdict::Unconfirmable);
        let verdict = judge(Some(&alone), &owner(), &me(), &position());
        assert_eq!(verdict, Verdict::Same);
    }

    #[test]
    fn what_the_record_contradicts_is_another_store() {
        let is_another = |record: Option<&StoreRecord>, owner: &Owner, position: &Position| {
            matches!(judge(record, owner, &me(), position), Verdict::Another(_))
        };
        assert!(is_another(None, &owner(), &position()));
        let theirs = Owner {
            node: "you".parse::<NodeId>().unwrap(),
            ..owner()
        };
        assert!(is_another(Some(&record()), &theirs, &position()));
        let older = Owner {
            site: Site::new(2).unwrap(),
            ..owner()
        };
        assert!(is_another(Some(&record()), &older, &position()));
        let behind = Position {
            wal: 999,
            ..position()
        };
        assert!(is_another(Some(&record()), &owner(), &behind));
    }

    #[test]
    fn the_file_survives_and_a_broken_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(StoreRecord::read(dir.path()), None);
        let mut record = record();
        for to in 10..40 {
            record.renewed(Some(record.site), Site::new(to).unwrap(), "a test");
        }
        record.write(dir.path()).unwrap();
        assert_eq!(record.renewals.len(), 16);
        assert_eq!(StoreRecord::read(dir.path()), Some(record));
        std::fs::write(dir.path().join("store.json"), "{").unwrap();
        assert_eq!(StoreRecord::read(dir.path()), None);
    }
}
