//! Whose tree the data follows: the root, and who comes after it.
//!
//! Each node chooses for itself, by what its directory says of the members: the best of those that are there
//! and have a store. All choose alike as soon as they know alike; until then opinions may differ, which costs
//! links and never data. Choosing anew moves links, so it is slow where it can be and quick where it must be:
//!
//! * a root that is lost is replaced at once. Its neighbours see that first. The others take their word for it:
//!   a neighbour of the root that has followed it and now follows somebody worse casts a doubt on it, and unless
//!   the root is heard of soon it counts as lost;
//! * a better one than a root that is there has to have been there for a while;
//! * whoever was lost and is back has to stay for longer, so that one that comes and goes moves no links.
//!
//! Who is alone has no links to move, and takes whom it likes.
//!
//! It hears no events: all that it goes by stands in the directory, which it looks at after each turn of the loop.

use std::{collections::BTreeMap, time::Duration};

use tracing::info;

use super::part::Effect;
use crate::{
    api::{Dissemination, NodeState, Presence},
    directory::{Directory, NodeRecord, Relay},
    identity::{Incarnation, NodeId},
};

/// Who was lost and is back counts again after this time: a [`HEARTBEAT`](crate::directory::HEARTBEAT), so one
/// sign of life alone is not enough.
const RETURN_AFTER: Duration = Duration::from_secs(5);

/// A better one takes the place of a root that is there after this time: records of others that came with its
/// own are here by then, so it is one change and not several.
const BETTER_AFTER: Duration = Duration::from_secs(2);

/// A root whose neighbour has left it has this time to be heard of. It notices the end of the relation as well,
/// and speaks within 200 ms.
const DOUBT_AFTER: Duration = Duration::from_secs(1);

/// A sign of life: which start of a node, and the beat counted in that.
type Life = (Incarnation, u64);

/// What decides who is better: the smaller one is.
type Rank<'a> = (Relay, bool, u64, &'a NodeId);

/// Somebody who is fit to be the root.
#[derive(Debug, Clone, Copy)]
struct Candidate<'a> {
    record: &'a NodeRecord,
    /// From when on it counts.
    since: Duration,
}

/// What is remembered of a member that has been fit to be the root.
#[derive(Debug, Default)]
struct Standing {
    /// From when on it is a candidate, which may be in the future; `None` while it is not fit.
    since: Option<Duration>,
    doubt: Option<Doubt>,
}

/// One of its neighbours has left it.
#[derive(Debug)]
struct Doubt {
    /// Its newest sign of life then: one that is newer ends the doubt.
    life: Life,
    /// From when on it counts.
    since: Duration,
}

/// Chooses the root.
#[derive(Debug)]
pub(super) struct Tree {
    mode: Dissemination,
    me: NodeId,
    root: Option<NodeId>,
    /// Whom the network follows.
    followed: Option<NodeId>,
    /// Who has been fit, as far as the directory remembers them.
    standings: BTreeMap<NodeId, Standing>,
    /// Whom the neighbours of the root followed at the last look, and in which of their starts.
    around: BTreeMap<NodeId, (Incarnation, Option<NodeId>)>,
    /// Nobody else was fit at the last look.
    is_alone: bool,
    wake: Option<Duration>,
}

impl Tree {
    pub(super) fn new(mode: Dissemination, me: NodeId) -> Self {
        Self {
            mode,
            me,
            root: None,
            followed: None,
            standings: BTreeMap::new(),
            around: BTreeMap::new(),
            is_alone: true,
            wake: None,
        }
    }

    /// How data goes through the overlay.
    pub(super) fn mode(&self) -> Dissemination {
        self.mode
    }

    /// Whose tree data follows; `None` where it follows none, or while nobody is fit.
    pub(super) fn root(&self) -> Option<&NodeId> {
        self.root.as_ref()
    }

    /// Whether that is ourselves.
    pub(super) fn is_root(&self) -> bool {
        self.root.as_ref() == Some(&self.me)
    }

    /// When to look again, although nothing happens.
    pub(super) fn wake(&self) -> Option<Duration> {
        self.wake
    }

    /// The network follows `root`. Until it says so it is asked again with each look.
    pub(super) fn follows(&mut self, root: Option<NodeId>) {
        self.followed = root;
    }

    /// Chooses by what is known now.
    pub(super) fn look(&mut self, directory: &Directory, now: Duration) -> Vec<Effect> {
        if self.mode == Dissemination::Flood {
            return Vec::new();
        }
        self.judge_members(directory, now);
        let root = self.choose(directory, now);
        let mut effects = Vec::new();
        if root != self.root {
            let name = root.as_ref().map_or("nobody", NodeId::as_str);
            info!(root = name, "the data's tree has another root");
            self.root = root;
            self.around.clear();
            // Others may learn by it that the former one is lost.
            effects.push(Effect::SpeakSoon);
        }
        self.hear_its_neighbors(directory, now);
        self.wake = self.next_change(now);
        if self.root != self.followed {
            effects.push(Effect::Follow(self.root.clone()));
        }
        effects
    }

    /// A neighbour of the root that has left it for somebody worse is believed, unless the root speaks. That it
    /// has left is a change: what it says again and again is no new doubt, so one that has another opinion for
    /// some time moves nobody.
    fn hear_its_neighbors(&mut self, directory: &Directory, now: Duration) {
        let Some(root) = self.root.clone().filter(|root| *root != self.me) else {
            return;
        };
        let (Some(record), Some(life)) = (directory.record(&root), directory.life(&root)) else {
            return;
        };
        let mut has_left = false;
        let mut said = BTreeMap::new();
        // Of our own relation with it the directory knows.
        for name in record.neighbors.iter().filter(|name| **name != self.me) {
            let Some(neighbor) = directory.record(name) else {
                continue;
            };
            let before = self.around.get(name);
            // One that was started again follows nobody yet; that says nothing of the root.
            let has_followed = before.is_some_and(|(incarnation, followed)| {
                *incarnation == neighbor.incarnation && followed.as_ref() == Some(&root)
            });
            let other = neighbor.follows.as_ref();
            let is_worse = other
                .and_then(|other| directory.record(other))
                .is_some_and(|other| rank(other) > rank(record));
            has_left |= has_followed && is_worse;
            let word = (neighbor.incarnation, neighbor.follows.clone());
            said.insert(name.clone(), word);
        }
        self.around = said;
        let standing = self.standings.entry(root).or_default();
        if has_left && standing.doubt.is_none() {
            standing.doubt = Some(Doubt {
                life,
                since: now + DOUBT_AFTER,
            });
        }
    }

    /// Notes who is fit, and since when.
    fn judge_members(&mut self, directory: &Directory, now: Duration) {
        let me = directory.me();
        let own = (me, directory.is_alive(&me.node, now));
        let others = directory
            .others(now)
            .map(|(record, presence)| (record, presence == Presence::Here));
        for (record, is_here) in std::iter::once(own).chain(others) {
            let can_be_root = is_here && has_store(record);
            match self.standings.get_mut(&record.node) {
                Some(standing) => {
                    let life = directory.life(&record.node);
                    let is_fit = can_be_root && !standing.is_doubted(life, now);
                    standing.note(is_fit, now);
                }
                // Who was never seen to be lost need not show that it stays.
                None if can_be_root => {
                    let standing = Standing {
                        since: Some(now),
                        doubt: None,
                    };
                    self.standings.insert(record.node.clone(), standing);
                }
                None => {}
            }
        }
        // Who is forgotten is new when it comes again.
        self.standings
            .retain(|node, _| directory.record(node).is_some());
    }

    fn choose(&mut self, directory: &Directory, now: Duration) -> Option<NodeId> {
        let fit = self.standings.iter().filter_map(|(node, standing)| {
            let (record, since) = (directory.record(node)?, standing.since?);
            Some(Candidate { record, since })
        });
        let fit: Vec<Candidate<'_>> = fit.collect();
        let is_other = |it: &&Candidate<'_>| it.record.node != self.me;
        let others = fit.iter().filter(is_other).count();
        let settled = fit.iter().filter(is_other).filter(|it| it.since <= now);
        let has_settled = settled.count() > 0;
        let was_alone = std::mem::replace(&mut self.is_alone, others == 0);
        let present = fit
            .iter()
            .map(|it| it.record)
            .find(|record| self.root.as_ref() == Some(&record.node));
        // Where nobody else has stayed, whoever is back is better than nobody.
        let counts = |it: &Candidate<'_>| !has_settled || it.since <= now;
        let candidates = fit.iter().copied().filter(counts);
        let chosen = match present {
            Some(present) if !(was_alone && present.node == self.me) => {
                let has_been_better = |it: &Candidate<'_>| {
                    rank(it.record) < rank(present) && it.since + BETTER_AFTER <= now
                };
                best(candidates.filter(has_been_better)).or(Some(present))
            }
            // It is lost, or there was no tree that could be kept.
            Some(_) | None => best(candidates),
        };
        chosen.map(|record| record.node.clone())
    }

    /// The next time at which somebody counts who does not yet, or does not any more.
    fn next_change(&self, now: Duration) -> Option<Duration> {
        let times = self.standings.values().flat_map(|standing| {
            let better = standing.since.map(|since| since + BETTER_AFTER);
            let doubt = standing.doubt.as_ref().map(|doubt| doubt.since);
            [standing.since, better, doubt]
        });
        times.flatten().filter(|time| *time > now).min()
    }
}

impl Standing {
    /// Whether its neighbours are believed to have lost it; a doubt that it has answered is forgotten.
    fn is_doubted(&mut self, life: Option<Life>, now: Duration) -> bool {
        self.doubt = self.doubt.take().filter(|doubt| life <= Some(doubt.life));
        self.doubt.as_ref().is_some_and(|doubt| doubt.since <= now)
    }

    /// It is fit now, or not. Who was not is back.
    fn note(&mut self, is_fit: bool, now: Duration) {
        let back = self.since.unwrap_or(now + RETURN_AFTER);
        self.since = is_fit.then_some(back);
    }
}

/// Whether it has a store that others can take data from, now or soon.
fn has_store(record: &NodeRecord) -> bool {
    let is_up = match record.state {
        // Who joins comes last by its start; where all of them do, one has to be the root all the same.
        NodeState::Joining | NodeState::Ready => true,
        NodeState::Starting | NodeState::Degraded | NodeState::Leaving => false,
    };
    is_up && record.site.is_some()
}

/// By how gladly it relays, then by how long it has been running, then by name. Who does not say when it was
/// started comes last of its kind.
fn rank(record: &NodeRecord) -> Rank<'_> {
    let is_untold = record.started == 0;
    (record.relay, is_untold, record.started, &record.node)
}

fn best<'a>(candidates: impl Iterator<Item = Candidate<'a>>) -> Option<&'a NodeRecord> {
    let records = candidates.map(|it| it.record);
    records.min_by_key(|&record| rank(record))
}

#[cfg(test)]
mod tests;
