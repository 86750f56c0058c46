//! The links as the API shows them.

use std::collections::BTreeMap;
use std::time::Duration;

use super::catch_up::Progress;
use super::desired::{Desired, Doubt};
use super::ledger::Ledger;
use super::names::LinkName;
use super::observed::{Incoming, Inventory, Outgoing};
use super::plan::{Key, STALL};
use crate::api::{Direction, LinkStatus};
use crate::identity::NodeName;

/// What the status is told from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) inventory: &'a Inventory,
    pub(crate) ledger: &'a Ledger,
    pub(crate) progress: &'a BTreeMap<NodeName, Progress>,
    pub(crate) now: Duration,
}

impl Scene<'_> {
    /// All links, and those that are about to be.
    pub(crate) fn links(&self) -> Vec<LinkStatus> {
        let incoming = self
            .inventory
            .incoming
            .iter()
            .map(|(name, link)| self.inbound(name, link));
        let outgoing = self
            .inventory
            .outgoing
            .iter()
            .map(|(name, link)| self.outbound(name, link));
        self.prospects().chain(incoming).chain(outgoing).collect()
    }

    /// Neighbours without a subscription.
    fn prospects(&self) -> impl Iterator<Item = LinkStatus> {
        let is_without = |peer: &NodeName| self.inventory.incoming_of(peer).next().is_none();
        self.desired
            .linked()
            .filter(move |peer| is_without(&peer.name))
            .map(|peer| LinkStatus {
                peer_id: peer.name.0.clone(),
                site: 0,
                direction: Direction::In,
                state: self.opening_state(&peer.name).to_owned(),
                lag_bytes: None,
                lag_seconds: None,
                slot: String::new(),
            })
    }

    fn opening_state(&self, peer: &NodeName) -> &'static str {
        if self.desired.doubts.get(peer) == Some(&Doubt::Ahead) {
            "refused"
        } else if self.progress.contains_key(peer) {
            "catching_up"
        } else {
            "opening"
        }
    }

    fn inbound(&self, name: &LinkName, link: &Incoming) -> LinkStatus {
        let is_wanted = link
            .peer
            .as_ref()
            .is_some_and(|peer| self.desired.peers.contains_key(peer));
        let is_linked = link
            .peer
            .as_ref()
            .is_some_and(|p| self.desired.neighbor(p).is_some());
        let busy = link
            .peer
            .as_ref()
            .is_some_and(|p| self.ledger.busy.contains(&Key::In(p.clone())));
        let down = self
            .ledger
            .incoming
            .get(name)
            .and_then(|note| note.down_since);
        let state = match (is_linked, link.streaming) {
            (false, _) if is_wanted && busy => "closing",
            (_, true) => "streaming",
            (true, false) if busy && !link.enabled => "opening",
            (_, false) => "down",
        };
        let behind = link.received.0.saturating_sub(link.heard.0);
        LinkStatus {
            peer_id: peer_id(link.peer.as_ref()),
            site: name.site.get(),
            direction: Direction::In,
            state: state.to_owned(),
            lag_bytes: link
                .streaming
                .then(|| i64::try_from(behind).unwrap_or(i64::MAX)),
            lag_seconds: Some(down.map_or(0.0, |since| (self.now - since).as_secs_f64())),
            slot: link.slot.map(|slot| slot.to_string()).unwrap_or_default(),
        }
    }

    fn outbound(&self, name: &LinkName, link: &Outgoing) -> LinkStatus {
        let note = self.ledger.outgoing.get(name);
        // Its subscriber is catching up.
        let is_new = note.is_some_and(|note| self.now < note.first_seen + STALL);
        let state = match link.slot {
            _ if self.ledger.opening.contains(name) => "opening",
            _ if self.ledger.busy.contains(&Key::Out(*name)) => "closing",
            Some(slot) if slot.active => "streaming",
            Some(slot) if !slot.lost && is_new => "opening",
            Some(_) | None => "down",
        };
        let behind = note.map(|note| (self.now - note.level_at).as_secs_f64());
        LinkStatus {
            peer_id: peer_id(link.peer.as_ref()),
            site: name.site.get(),
            direction: Direction::Out,
            state: state.to_owned(),
            lag_bytes: link.slot.map(|slot| slot.lag_bytes),
            lag_seconds: behind,
            slot: name.to_string(),
        }
    }
}

fn peer_id(peer: Option<&NodeName>) -> String {
    peer.map(|peer| peer.0.clone()).unwrap_or_default()
}
