//! What the node knows of the members of the cluster: the directory, who has departed, which starts wrote as
//! which site, who has our key. [`rounds`] asks them.

mod departed;
mod presence;
pub(super) mod rounds;
mod starts;
mod twins;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracing::info;

use self::{departed::Departed, starts::Starts, twins::Twins};
use super::part::{Context, Effect, Event, Part};
use crate::{
    api::{NodeState, Presence},
    directory::{self, Directory},
    http::CommandError,
    identity::{Incarnation, NodeId, Run, Site},
    replication::{self, Departure, Member},
    vector::Seq,
};

/// Members that are asked about our store; the vectors of all are looked at.
const ASKED_MAX: usize = 32;

/// All that is known of the members, ourselves included.
#[derive(Debug)]
pub(super) struct Members {
    me: NodeId,
    run: Run,
    /// What each says of itself.
    pub(super) directory: Directory,
    departed: Departed,
    /// A neighbour has told which members there are.
    has_met_members: bool,
    /// Whether another process has our key.
    twins: Twins,
    /// Which starts of others have written as which site.
    starts: Starts,
    /// Nodes with whose key two processes were seen.
    doubles: BTreeSet<NodeId>,
}

impl Members {
    /// Knows ourselves alone.
    pub(super) fn new(me: NodeId, incarnation: Incarnation, run: Run) -> Self {
        let settings = directory::Settings::default();
        Self {
            directory: Directory::new(me.clone(), incarnation, run, settings),
            departed: Departed::default(),
            has_met_members: false,
            twins: Twins::default(),
            starts: Starts::default(),
            doubles: BTreeSet::new(),
            me,
            run,
        }
    }

    /// Evicts a member that is gone.
    ///
    /// # Errors
    ///
    /// It is us, nobody that is known, or alive.
    pub(super) fn evict(
        &mut self,
        peer: &NodeId,
        context: &Context<'_>,
    ) -> Result<Vec<Effect>, CommandError> {
        if *peer == self.me {
            return Err(CommandError::Myself(peer.clone()));
        }
        if self.directory.record(peer).is_none() {
            return Err(CommandError::UnknownPeer(peer.clone()));
        }
        // A neighbour is connected, whatever the directory has heard of it yet.
        if context.overlay.is_neighbor(peer) || self.directory.is_alive(peer, context.now) {
            return Err(CommandError::Alive(peer.clone()));
        }
        let mut effects = Vec::new();
        // It is not our word, so it is not broadcast, but goes from neighbour to neighbour.
        if self.directory.evict(peer) {
            effects.push(Effect::ExchangeSoon);
        }
        // Also where it was evicted before: what could not be taken down then may be by now.
        effects.push(Effect::Forget(peer.clone()));
        Ok(effects)
    }

    /// Who besides the neighbours may know whether our store is what it was.
    pub(super) fn confirmers(&self, own: Site, now: Duration) -> replication::Members {
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

    /// What others have, and whether they keep it: for one who leaves.
    pub(super) fn holders(&self, now: Duration) -> BTreeMap<NodeId, Member> {
        self.directory
            .others(now)
            .filter(|(_, presence)| !presence.is_gone())
            .map(|(record, presence)| {
                let keeps = match presence {
                    // Two that leave at once must not count on each other.
                    Presence::Here => record.state != NodeState::Leaving,
                    // It has said that it comes back, and its disk has what it had.
                    Presence::Stopped => true,
                    Presence::Silent | Presence::Left | Presence::Evicted => false,
                };
                let vector = record.vector.clone();
                (record.node.clone(), Member { vector, keeps })
            })
            .collect()
    }

    /// Who went for good and who came back, told once each.
    fn departures(&mut self) -> Vec<Effect> {
        let news = self.departed.news(&self.directory);
        let gone = news.gone.into_iter().map(|node| {
            info!(%node, "a member is gone for good");
            Effect::Forget(node)
        });
        let back = news.back.into_iter().map(|node| {
            info!(%node, "a member that was gone is back");
            // It may have been a neighbour all the while, with links that were refused.
            Effect::Readmit(node)
        });
        gone.chain(back).collect()
    }
}

impl Part for Members {
    fn on(&mut self, event: &Event, context: &Context<'_>) -> Vec<Effect> {
        let mut effects = match event {
            Event::NeighborUp(peer) => {
                self.directory.neighbor_up(peer);
                vec![Effect::ExchangeSoon]
            }
            Event::NeighborDown(peer, departure) => {
                let is_lost = *departure == Departure::Lost;
                self.directory.neighbor_down(peer, is_lost);
                // Who our neighbours are is a part of what we say of ourselves.
                vec![Effect::SpeakSoon]
            }
            Event::Met(peer) => vec![Effect::AskPresence(peer.clone())],
            Event::Heartbeat { .. } => vec![Effect::AskAllPresence],
            Event::Gossip(from, gossip) => {
                let is_news = self.directory.receive(from, gossip.clone(), context.now);
                self.has_met_members = true;
                self.starts.learn_all(&self.directory);
                let exchange = is_news.then_some(Effect::ExchangeSoon);
                exchange.into_iter().collect()
            }
            Event::Status(from, rumor) => {
                // All others hear it as well: nothing needs to be passed on.
                self.directory.hear_status(from, rumor.clone(), context.now);
                self.starts.learn_all(&self.directory);
                Vec::new()
            }
            Event::Seen(peer, seen) => {
                self.twins.told(peer.clone(), seen.clone(), context.now);
                Vec::new()
            }
            // None of these says anything of members, so nobody can have departed.
            Event::Clock { .. }
            | Event::Roles(..)
            | Event::Position(..)
            | Event::PositionTold { .. } => return Vec::new(),
        };
        effects.extend(self.departures());
        effects
    }
}

#[cfg(test)]
mod tests;
