//! Two processes with one key: this node's part in noticing them, and in keeping their sites apart.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use super::{Members, starts::Verdict, twins::News};
use crate::{
    identity::{Lineage, NodeId, Run, Site, Start},
    network::Other,
    node::peer_protocol::{Presence, Seen},
    replication::{self, protocol::code},
};

impl Members {
    /// What we say of ourselves to who may see another process with our key.
    pub(in crate::node) fn presence(&self) -> Presence {
        let me = self.directory.me();
        Presence {
            run: self.run,
            site: me.site,
            generation: me.generation,
        }
    }

    /// `from` asks whether we see another process with its key; `others` are those that are connected.
    pub(in crate::node) fn see(
        &mut self,
        from: &NodeId,
        presence: Presence,
        others: Vec<Other>,
    ) -> Option<Seen> {
        // Remembered also while there is no other: a copy that comes later is denied by it.
        if let Some((site, start)) = presence.writes() {
            self.starts.learn(from, site, start);
        }
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
    /// site, or may not. `others` gives the processes with the key of `from` that are connected, besides the one
    /// named.
    pub(in crate::node) fn objection(
        &mut self,
        from: &NodeId,
        request: &replication::Request,
        others: impl FnOnce(Run) -> Vec<Other>,
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
        let start = lineage.last()?;
        // A start that was gossiped a moment ago counts as well.
        self.starts.learn_all(&self.directory);
        let others = others(start.run);
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
    pub(in crate::node) fn twin(&self, now: Duration) -> Option<String> {
        let seen = self.twins.words(now).next();
        seen.map(|(peer, seen)| format!("at {} by {peer}", seen.address))
            .or_else(|| {
                let is_heard = self.directory.twin(now).is_some();
                is_heard.then(|| "by what it says to other nodes".to_owned())
            })
    }

    /// Tells of another process with our key, once when it comes and once when it is gone.
    pub(in crate::node) fn note_twin(&mut self, now: Duration) {
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
            Some(News::Over) => info!(
                %node,
                over = "another process runs with a copy of this node's key",
                "no other process runs with this node's key any more"
            ),
            None => {}
        }
    }

    /// Whether another process has written as our store's `site`, so that numbers may have been given out
    /// twice: it has said so itself, or it is one from which this one descends and is alive all the same.
    pub(in crate::node) fn shares_site(
        &self,
        site: Site,
        lineage: &Lineage,
        now: Duration,
    ) -> bool {
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
}
