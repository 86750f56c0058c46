//! Two processes with one key: this node's part in noticing them, and in keeping their sites apart.

use std::collections::BTreeSet;

use tracing::{debug, error, info, warn};

use super::Core;
use crate::{
    identity::{NodeId, Run, Site, Start},
    node::{
        members::{
            starts::Verdict,
            twins::{News, Presence, Seen},
        },
        store::open::OpenStore,
    },
    replication::{self, protocol::code},
    vector::Seq,
};

/// Members that are asked about our store; the vectors of all are looked at.
const ASKED_MAX: usize = 32;

impl Core {
    /// What we say of ourselves to who may see another process with our key.
    fn presence(&self) -> Presence {
        let me = self.directory.me();
        Presence {
            run: self.run,
            site: me.site,
            generation: me.generation,
        }
    }

    /// Asks `peer` whether it sees another process with our key.
    pub(super) fn inquire(&mut self, peer: NodeId) {
        let presence = self.presence();
        self.gossiper.inquire(peer, presence);
    }

    /// Asks all who are connected with us.
    pub(super) fn inquire_all(&mut self) {
        for peer in self.network.acquaintances() {
            self.inquire(peer);
        }
    }

    /// `from` asks whether we see another process with its key.
    pub(super) fn see(&mut self, from: &NodeId, presence: Presence) -> Option<Seen> {
        // Remembered also while there is no other: a copy that comes later is denied by it.
        if let Some((site, start)) = presence.writes() {
            self.starts.learn(from, site, start);
        }
        let others = self.network.others(from, presence.run);
        // What is not proved may be left of an earlier run of the asker itself.
        let other = others.into_iter().find(|other| other.is_proven)?;
        // Both ask with every heartbeat; one line is enough.
        if self.doubles.insert(from.clone()) {
            warn!(
                node = %from, address = other.address,
                "two processes are connected that have the key of one node"
            );
        }
        Some(Seen {
            run: other.run,
            site: self.starts.site_of(from, other.run),
            address: other.address,
        })
    }

    /// Why a request about links is not served, if so: it comes from a process that must not use its
    /// site, or may not.
    pub(super) fn objection(
        &mut self,
        from: &NodeId,
        request: &replication::Request,
    ) -> Option<replication::Reply> {
        let replication::Request::Confirm {
            site,
            lineage: Some(lineage),
            is_confirmed,
            ..
        } = request
        else {
            return None;
        };
        let start = lineage.last().filter(|_| lineage.is_bounded())?;
        // A start that was gossiped a moment ago counts as well.
        self.starts.learn_all(&self.directory);
        let others = self.network.others(from, start.run);
        let verdict = self
            .starts
            .judge(from, *site, lineage, *is_confirmed, &others);
        debug!(%from, %site, %start.run, is_confirmed, ?others, ?verdict, "asked about a start");
        let (code, message) = match verdict {
            Verdict::Denied(why) => (code::ANOTHER_SITE, why),
            Verdict::Unsure => (
                code::BUSY,
                "a connection of another process with this key is still open; ask again".to_owned(),
            ),
            Verdict::Fine => {
                // A start that is still to be confirmed has written nothing, and denies nobody.
                if *is_confirmed {
                    self.starts.learn(from, *site, start);
                }
                return None;
            }
        };
        Some(replication::Reply::refused(code, message))
    }

    /// Where another process with our key was seen, if there is one.
    pub(super) fn twin(&self) -> Option<String> {
        let now = self.born.elapsed();
        let seen = self.twins.words(now).next();
        seen.map(|(peer, seen)| format!("at {} by {peer}", seen.address))
            .or_else(|| {
                let is_heard = self.directory.twin(now).is_some();
                is_heard.then(|| "by what it says to other nodes".to_owned())
            })
    }

    /// Tells of another process with our key, once when it comes and once when it is gone.
    pub(super) fn note_twin(&mut self) {
        let now = self.born.elapsed();
        let (node, is_heard) = (&self.me, self.directory.twin(now).is_some());
        match self.twins.news(is_heard, now) {
            // Both go on as sites of their own, so their data is safe; the overlay cannot tell them apart.
            Some(News::Begun(seen)) => {
                let (seen_by, seen_at) = seen.unzip();
                let seen_by = seen_by.map(tracing::field::display);
                error!(
                    %node, seen_at, seen_by,
                    "another process runs with a copy of this node's key: stop one of the two, remove identity.key \
                     from its data directory, and start it again"
                );
            }
            Some(News::Over) => info!(%node, "no other process runs with this node's key any more"),
            None => {}
        }
    }

    /// Whether another process has written as the store's site, so that numbers may have been given out
    /// twice: it has said so itself, or it is one from which this one descends and is alive all the same.
    pub(super) fn shares_site(&self, store: &OpenStore) -> bool {
        let (now, site) = (self.born.elapsed(), store.continuity.site());
        let lineage = store.continuity.lineage();
        // The claim may be from an earlier run of ours, which the lineage has.
        let is_foreign = |start: Start| !lineage.may_hold(start);
        let is_elder = |run: Run| run != self.run && lineage.holds(run);
        self.directory.claimed().is_some_and(is_foreign)
            || self.directory.twin(now).is_some_and(is_elder)
            || self
                .twins
                .words(now)
                .any(|(_, seen)| seen.site == Some(site) || is_elder(seen.run))
    }

    /// Who besides the neighbours may know whether our store is what it was.
    pub(super) fn members(&self, own: Site) -> replication::Members {
        let now = self.born.elapsed();
        let others = || {
            let members = self.directory.members();
            members.filter(|record| record.node != self.me)
        };
        let alive: BTreeSet<NodeId> = others()
            .map(|record| &record.node)
            .filter(|node| self.directory.is_alive(node, now))
            .take(ASKED_MAX)
            .cloned()
            .collect();
        // They have nothing to confirm by: when they were asked, sound stores went on as other sites.
        let storeless = others()
            .filter(|record| record.site.is_none())
            .map(|record| record.node.clone())
            .collect();
        // Who has the most of our own numbers: a store of ours that has fewer is an older copy.
        let vouched = others()
            .map(|record| (record.vector.get(own), record.node.clone()))
            .filter(|(seq, _)| *seq > Seq::NONE)
            .max();
        replication::Members {
            is_known: self.has_met_members,
            alive,
            storeless,
            vouched,
        }
    }
}
