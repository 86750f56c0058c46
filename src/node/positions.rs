//! Which neighbour is told our position when, and what the neighbours have told.
//!
//! A position is what a node holds, and whether it insists on being linked with the neighbour. Each node tells it
//! to each neighbour, and to nobody else: a link is a matter of two. It is told by the level: whoever has another
//! one of us than it should have is told, until it answers. A neighbour that is insisted on, or is not any more,
//! hears so at once, and so does a new one; that our store holds more is told at a measured pace. While nothing
//! changes nothing is sent.
//!
//! The answer has the neighbour's own position, so that a new one is known before it tells. Afterwards its
//! answers count for nothing: what it tells is repeated until it arrives and comes in order, an answer does neither.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tracing::debug;

use super::part::{Context, Effect, Event, Part, PositionAnswer};
use crate::{api::Dissemination, identity::NodeId, replication::Position, vector::Vector};

/// The pace at which a neighbour hears that our store holds more, and at which one that did not answer is told
/// again: a checkpoint comes every second by default.
const TELL_INTERVAL: Duration = Duration::from_secs(1);

/// What the data plane has of us.
#[derive(Debug, Clone, Copy)]
pub(super) struct Own<'a> {
    /// What our store holds.
    pub(super) vector: &'a Vector,
    /// Whom we insist on being linked with. Where data floods that is every neighbour, whatever this says.
    pub(super) insisted: &'a BTreeSet<NodeId>,
}

/// What is known of a neighbour's position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Theirs {
    /// It has told it.
    Told(Position),
    /// It has told nothing so far, but answered with it.
    Answered(Position),
    /// It cannot tell, and is linked with all its neighbours.
    Floods,
}

/// What there is to tell: our vector by its version, for comparing and keeping it is cheap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    version: u64,
    insists: bool,
}

/// When a neighbour is told next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    Now,
    At(Duration),
    /// There is nothing to tell, or an answer comes first.
    Not,
}

/// What we and one neighbour have told each other since it became one.
#[derive(Debug)]
struct Relation {
    /// No two have the same: an answer from before is none.
    number: u64,
    /// What it has of us, for certain.
    acknowledged: Option<Word>,
    /// What it is being told.
    under_way: Option<Word>,
    /// When it was told last, or has not answered.
    told: Option<Duration>,
    theirs: Option<Theirs>,
}

/// All that is known of positions.
#[derive(Debug)]
pub(super) struct Positions {
    mode: Dissemination,
    neighbors: BTreeMap<NodeId, Relation>,
    /// How many relations there have been.
    relations: u64,
    /// `None` while there is no data plane: nobody is told anything then.
    vector: Option<Vector>,
    insisted: BTreeSet<NodeId>,
    /// Counts the changes of our vector.
    version: u64,
    wake: Option<Duration>,
    /// Positions of others that broke a bound.
    refused: u64,
}

impl Positions {
    pub(super) fn new(mode: Dissemination) -> Self {
        Self {
            mode,
            neighbors: BTreeMap::new(),
            relations: 0,
            vector: None,
            insisted: BTreeSet::new(),
            version: 0,
            wake: None,
            refused: 0,
        }
    }

    /// Who is to be told what now. They count as being told until an answer is heard of.
    pub(super) fn due(&mut self, own: Option<Own<'_>>, now: Duration) -> Vec<Effect> {
        self.take(own);
        self.wake = None;
        let Some(vector) = &self.vector else {
            return Vec::new();
        };
        let mut effects = Vec::new();
        for (peer, relation) in &mut self.neighbors {
            let word = Word {
                version: self.version,
                insists: self.mode == Dissemination::Flood || self.insisted.contains(peer),
            };
            match relation.due(word, now) {
                Due::Now => {
                    relation.under_way = Some(word);
                    relation.told = Some(now);
                    effects.push(Effect::TellPosition {
                        peer: peer.clone(),
                        relation: relation.number,
                        position: Position {
                            vector: vector.clone(),
                            insists: word.insists,
                        },
                    });
                }
                Due::At(time) => self.wake = Some(self.wake.map_or(time, |wake| wake.min(time))),
                Due::Not => {}
            }
        }
        effects
    }

    /// When somebody is due next, although nothing happens.
    pub(super) fn wake(&self) -> Option<Duration> {
        self.wake
    }

    /// Our position toward `peer`, who asks. Whom we are no neighbour of we do not insist on.
    pub(super) fn toward(&self, peer: &NodeId) -> Position {
        let is_wanted = self.mode == Dissemination::Flood || self.insisted.contains(peer);
        let is_serving = self.vector.is_some();
        Position {
            vector: self.vector.clone().unwrap_or_default(),
            insists: is_serving && is_wanted && self.neighbors.contains_key(peer),
        }
    }

    /// What is known of `peer`'s position, if it is a neighbour.
    pub(super) fn theirs(&self, peer: &NodeId) -> Option<&Theirs> {
        self.neighbors.get(peer)?.theirs.as_ref()
    }

    /// Whether what `peer` holds is known from itself; what it says to all is older.
    pub(super) fn has_told(&self, peer: &NodeId) -> bool {
        matches!(
            self.theirs(peer),
            Some(Theirs::Told(_) | Theirs::Answered(_))
        )
    }

    fn take(&mut self, own: Option<Own<'_>>) {
        let Some(Own { vector, insisted }) = own else {
            self.vector = None;
            self.insisted.clear();
            return;
        };
        if self.vector.as_ref() != Some(vector) {
            self.vector = Some(vector.clone());
            self.version += 1;
        }
        if self.insisted != *insisted {
            self.insisted.clone_from(insisted);
        }
    }

    /// A peer is a neighbour; it may only have moved.
    fn met(&mut self, peer: &NodeId) {
        if self.neighbors.contains_key(peer) {
            return;
        }
        self.relations += 1;
        let relation = Relation {
            number: self.relations,
            acknowledged: None,
            under_way: None,
            told: None,
            theirs: None,
        };
        self.neighbors.insert(peer.clone(), relation);
    }

    /// A peer has told its position: `true` if that is news of a neighbour.
    fn hear(&mut self, peer: &NodeId, position: &Position) -> bool {
        let is_bounded = self.is_bounded(peer, position);
        match self.neighbors.get_mut(peer) {
            Some(relation) if is_bounded => relation.know(Theirs::Told(position.clone())),
            _ => false,
        }
    }

    /// A neighbour was told our position: `true` if there is news of its own.
    fn answered(
        &mut self,
        peer: &NodeId,
        number: u64,
        answer: &PositionAnswer,
        now: Duration,
    ) -> bool {
        let is_usable = match answer {
            PositionAnswer::Position(position) => self.is_bounded(peer, position),
            PositionAnswer::Unknown | PositionAnswer::Silence => true,
        };
        let relation = self.neighbors.get_mut(peer);
        let Some(relation) = relation.filter(|relation| relation.number == number) else {
            return false;
        };
        let word = relation.under_way.take();
        let has_told = matches!(relation.theirs, Some(Theirs::Told(_)));
        match answer {
            PositionAnswer::Position(position) => {
                relation.acknowledged = word;
                is_usable && !has_told && relation.know(Theirs::Answered(position.clone()))
            }
            PositionAnswer::Unknown if !has_told => relation.know(Theirs::Floods),
            // It may have taken it in or not: it is told again, also what it has had before.
            PositionAnswer::Unknown | PositionAnswer::Silence => {
                relation.acknowledged = None;
                relation.told = Some(now);
                false
            }
        }
    }

    fn is_bounded(&mut self, peer: &NodeId, position: &Position) -> bool {
        let is_bounded = position.vector.is_bounded();
        if !is_bounded {
            self.refused += 1;
            debug!(%peer, refused = self.refused, "position of a peer is refused");
        }
        is_bounded
    }
}

impl Relation {
    fn due(&self, word: Word, now: Duration) -> Due {
        let is_known = self.acknowledged == Some(word) || self.theirs == Some(Theirs::Floods);
        if is_known || self.under_way.is_some() {
            return Due::Not;
        }
        let is_urgent = self
            .acknowledged
            .is_some_and(|known| known.insists != word.insists);
        match self.told {
            Some(told) if !is_urgent && now < told + TELL_INTERVAL => Due::At(told + TELL_INTERVAL),
            Some(_) | None => Due::Now,
        }
    }

    /// `true` if it is news.
    fn know(&mut self, theirs: Theirs) -> bool {
        let is_news = self.theirs.as_ref() != Some(&theirs);
        self.theirs = Some(theirs);
        is_news
    }
}

impl Part for Positions {
    fn on(&mut self, event: &Event, context: &Context<'_>) -> Vec<Effect> {
        let news = match event {
            Event::NeighborUp(peer) => {
                self.met(peer);
                None
            }
            Event::NeighborDown(peer, _) => {
                self.neighbors.remove(peer);
                None
            }
            Event::Position(peer, position) => self.hear(peer, position).then_some(peer),
            Event::PositionTold {
                peer,
                relation,
                answer,
            } => {
                let is_news = self.answered(peer, *relation, answer, context.now);
                is_news.then_some(peer)
            }
            _ => None,
        };
        news.map(|peer| Effect::PassPosition(peer.clone()))
            .into_iter()
            .collect()
    }
}

#[cfg(test)]
mod tests;
