//! The links as the API shows them.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{
    desired::{Desired, Doubt, Phase, Presence},
    ledger::{InNote, Ledger, OutNote},
    observed::{Incoming, Inventory, Outgoing},
    plan::STALL,
    policy::{Want, Wants},
    step::Key,
};
use crate::{
    api::{Direction, LinkState, LinkStatus, Side, timestamp},
    identity::NodeId,
    replication::{
        names::LinkName,
        reason::{Reason, SET_CLOCK},
        subscriber::Progress,
    },
};

#[cfg(test)]
mod tests;

/// A link is made within seconds. What has carried nothing for longer deserves a look.
pub(crate) const OVERDUE: Duration = Duration::from_secs(30);

/// What the status is told from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) desired: &'a Desired,
    pub(crate) wants: &'a Wants,
    pub(crate) inventory: &'a Inventory,
    pub(crate) ledger: &'a Ledger,
    pub(crate) progress: &'a BTreeMap<NodeId, Progress>,
    pub(crate) denials: &'a BTreeMap<NodeId, Reason>,
    pub(crate) now: Duration,
}

/// A link's state, and what is to be said about it.
struct Told(LinkState, Option<Reason>);

impl From<Reason> for Told {
    fn from(reason: Reason) -> Self {
        Self(reason.state, Some(reason))
    }
}

impl Scene<'_> {
    /// All links, and those that are about to be: each neighbour has one at least in each direction.
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

    /// Neighbours without a subscription or without a publication.
    fn prospects(&self) -> impl Iterator<Item = LinkStatus> {
        // A node that leaves makes no link, so none is awaited.
        let is_serving = self.desired.phase == Phase::Serving;
        let present = self.desired.present().filter(move |_| is_serving);
        present.flat_map(|peer| {
            let peer = &peer.name;
            let taken = self.inventory.incoming_of(peer).next().is_none();
            let given = self.inventory.outgoing_of(peer).next().is_none();
            let taken = taken.then(|| (Direction::In, self.unsubscribed(peer)));
            let given = given.then(|| (Direction::Out, self.unpublished(peer)));
            let link = |(direction, told)| LinkStatus {
                lag_seconds: self.lag_seconds(direction, peer),
                ..status(Some(peer), direction, told)
            };
            taken.into_iter().chain(given).map(link)
        })
    }

    /// Seconds for which a neighbour has had what is missing here; `None`: it has not said what it has.
    fn lag_seconds(&self, direction: Direction, peer: &NodeId) -> Option<f64> {
        let backlog = self.ledger.backlogs.get(peer);
        // Over a lazy one nothing is to come: who is behind is so by another.
        let backlog = backlog.filter(|_| direction == Direction::In && !self.is_lazy(peer))?;
        Some(backlog.lag(self.now).unwrap_or_default().as_secs_f64())
    }

    fn unsubscribed(&self, peer: &NodeId) -> Told {
        if self.is_lazy(peer) {
            return Told(LinkState::Lazy, None);
        }
        // First: while there is a doubt nothing is tried, so what failed before is no reason any more.
        if let Some(reason) = self.doubt(peer) {
            return reason.into();
        }
        if let Some(progress) = self.progress.get(peer) {
            let text = match progress {
                Progress {
                    rows,
                    applying: true,
                    ..
                } => format!("applying {rows} rows"),
                Progress {
                    rows, estimate: 0, ..
                } => format!("{rows} rows received"),
                Progress { rows, estimate, .. } => {
                    format!("{rows} rows received, of {estimate} at most")
                }
            };
            return Reason::new(LinkState::CatchingUp, text).into();
        }
        // Last: what is remembered is the trouble of an attempt that is over.
        match self.ledger.trouble(&Key::In(peer.clone()), "open") {
            Some(trouble) => trouble.clone().into(),
            None => Told(LinkState::Opening, None),
        }
    }

    /// No link is made with the neighbour: what it has comes by other ways.
    fn is_lazy(&self, peer: &NodeId) -> bool {
        matches!(self.wants.of(peer), Some(Want::Lazy | Want::Kept))
    }

    fn doubt(&self, peer: &NodeId) -> Option<Reason> {
        let (state, text) = match self.desired.doubts.get(peer)? {
            Doubt::Ahead => (
                LinkState::Refused,
                "nothing is taken from the peer: its clock is too far ahead",
            ),
            Doubt::Unread => (LinkState::Opening, "the peer has not told its time yet"),
        };
        let reason = Reason::new(state, text).at(Side::Peer);
        // A clock that was merely not read yet needs nobody to set it.
        Some(match state {
            LinkState::Refused => reason.fixed_by(SET_CLOCK),
            _ => reason,
        })
    }

    fn unpublished(&self, peer: &NodeId) -> Told {
        if self.is_lazy(peer) {
            return Told(LinkState::Lazy, None);
        }
        match self.denials.get(peer) {
            Some(denial) => denial.clone().into(),
            None => Reason::new(LinkState::Opening, "the peer has not asked for it")
                .at(Side::Peer)
                .fixed_by(ASK_THE_PEER)
                .into(),
        }
    }

    fn inbound(&self, name: &LinkName, link: &Incoming) -> LinkStatus {
        let peer = link.peer.as_ref();
        let note = self.ledger.incoming.get(name);
        let down = note.and_then(|note| note.down_since);
        let down = down.map_or(Duration::ZERO, |since| self.now.saturating_sub(since));
        let backlog = peer.and_then(|peer| self.ledger.backlogs.get(peer));
        let lag = backlog.and_then(|backlog| backlog.lag(self.now));
        let behind = link.received_lsn.0.saturating_sub(link.latest_end_lsn.0);
        LinkStatus {
            site: name.site.get(),
            // Both positions are those of a running worker.
            lag_bytes: link
                .streaming
                .then(|| i64::try_from(behind).unwrap_or(i64::MAX)),
            // A peer that is cut off cannot tell what it has, so a link that is down lags since then.
            lag_seconds: Some(lag.unwrap_or_default().max(down).as_secs_f64()),
            slot: link.slot.map(|slot| slot.to_string()).unwrap_or_default(),
            ..status(peer, Direction::In, self.taking(name, link, note, lag))
        }
    }

    fn taking(
        &self,
        name: &LinkName,
        link: &Incoming,
        note: Option<&InNote>,
        lag: Option<Duration>,
    ) -> Told {
        let down = |text: String| Reason::new(LinkState::Down, text);
        let presence = link.peer.as_ref().and_then(|p| self.desired.peers.get(p));
        let key = link.peer.clone().map(Key::In);
        let is_busy = key
            .as_ref()
            .is_some_and(|key| self.ledger.busy.contains(key));
        let is_present = matches!(presence, Some(Presence::Present { .. }));
        let is_lazy = link
            .peer
            .as_ref()
            .is_some_and(|peer| self.wants.of(peer) == Some(Want::Lazy));
        if presence.is_some() && (!is_present || is_lazy) && is_busy {
            return Told(LinkState::Closing, None);
        }
        // Before it is asked what is wanted: the store of a peer that is lost may be well all the while.
        if link.streaming {
            return Told(
                LinkState::Streaming,
                lag.map(|lag| self.behind(name, note, lag)),
            );
        }
        // It is enabled last: this one is about to be, and not half-made.
        if is_present && is_busy && !link.enabled {
            return Told(LinkState::Opening, None);
        }
        let trouble = |step| key.as_ref().and_then(|key| self.ledger.trouble(key, step));
        match presence {
            // As soon as its key is free.
            Some(Presence::Present { .. }) if is_lazy => return Told(LinkState::Closing, None),
            Some(Presence::Present { .. }) => {}
            Some(Presence::Lost { .. }) => {
                let text = "the peer is lost; the link is kept for a while in case it comes back";
                return down(text.to_owned()).at(Side::Peer).into();
            }
            Some(Presence::Gone) => return Told(LinkState::Closing, None),
            None => return down("nobody has claimed it so far".to_owned()).into(),
        }
        if let Some(trouble) = trouble("open").or_else(|| trouble("resume")) {
            return trouble.clone().into();
        }
        // After the troubles: what keeps it from being made anew would be the reason.
        if note.is_some_and(|note| note.beyond_repair) {
            return down("it cannot go on where it was, and is being made anew".to_owned()).into();
        }
        if link.lacks_worker {
            return down("this server has no apply worker left for it".to_owned())
                .at(Side::Here)
                .fixed_by(
                    "raise max_logical_replication_workers (and max_worker_processes, which bounds it) in \
                     the server's settings and restart the server, or drop subscriptions that are not needed",
                )
                .into();
        }
        down(match note.map_or(0, |note| note.failures) {
            0 => "its apply worker has no connection to the peer's store".to_owned(),
            failures => failing(failures),
        })
        .fixed_by("see the log of this node's server: it says why the worker does not start or does not connect")
        .into()
    }

    /// Why a link that streams brings less than its publisher has.
    fn behind(&self, name: &LinkName, note: Option<&InNote>, lag: Duration) -> Reason {
        let seconds = lag.as_secs();
        let failures = note.map_or(0, |note| note.failures);
        let hindrance = self.ledger.hindrances.get(name).cloned();
        // Of a worker that fails again and again, the errors say more than what it waits for in between.
        let why = match hindrance {
            Some(reason) if failures == 0 => reason,
            _ if failures > 0 => {
                Reason::new(LinkState::Streaming, failing(failures)).at(Side::Here)
            }
            _ => Reason::new(LinkState::Streaming, "it is being looked into"),
        };
        Reason {
            text: format!("{seconds} s behind the peer: {}", why.text),
            ..why
        }
    }

    fn outbound(&self, name: &LinkName, link: &Outgoing) -> LinkStatus {
        let note = self.ledger.outgoing.get(name);
        let behind = note.map(|note| self.now.saturating_sub(note.last_level).as_secs_f64());
        LinkStatus {
            site: name.site.get(),
            lag_bytes: link.slot.map(|slot| slot.lag_bytes),
            lag_seconds: behind,
            slot: name.to_string(),
            ..status(
                link.peer.as_ref(),
                Direction::Out,
                self.giving(name, link, note),
            )
        }
    }

    fn giving(&self, name: &LinkName, link: &Outgoing, note: Option<&OutNote>) -> Told {
        let down = |text: &str| Told::from(Reason::new(LinkState::Down, text));
        // Its subscriber is catching up.
        let is_new = note.is_some_and(|note| self.now < note.first_seen + STALL);
        // Before the slot is looked at: while it is made there is none, or one that nobody streams from.
        if let Some(pending) = self.ledger.opening.get(name) {
            return Told(LinkState::Opening, pending.waits.clone());
        }
        if self.ledger.busy.contains(&Key::Out(*name)) {
            return Told(LinkState::Closing, None);
        }
        match link.slot {
            // It is active as well, but what streams is not the link.
            Some(slot) if slot.taken => {
                down("another role streams from its slot; it will be made anew")
            }
            Some(slot) if slot.active => Told(LinkState::Streaming, None),
            Some(slot) if slot.lost => down(
                "the server has let the WAL go that the link needs \
                 (max_slot_wal_keep_size); it will be made anew",
            ),
            Some(_) if is_new => Told(LinkState::Opening, None),
            Some(_) => Reason::new(LinkState::Down, "the peer's store does not stream from it")
                .at(Side::Peer)
                .into(),
            None => down("its slot is gone; it will be made anew"),
        }
    }
}

/// Of a link that the peer has not asked for: what it does about it, it tells itself.
const ASK_THE_PEER: &str = "`starling links` on the peer says why it does not";

fn failing(failures: i64) -> String {
    format!(
        "its apply worker has failed {failures} times within a minute: the server's log says why"
    )
}

/// A link about whose lag and slot nothing is known.
fn status(peer: Option<&NodeId>, direction: Direction, told: Told) -> LinkStatus {
    let Told(state, reason) = told;
    LinkStatus {
        peer_id: peer.map(ToString::to_string).unwrap_or_default(),
        site: 0,
        direction,
        state,
        since: String::new(),
        side: reason.as_ref().and_then(|reason| reason.side),
        fix: reason.as_ref().and_then(|reason| reason.fix.clone()),
        reason: reason.map(|reason| reason.text),
        overdue: false,
        lag_bytes: None,
        lag_seconds: None,
        slot: String::new(),
    }
}

/// The links that were seen last, while our store cannot be asked.
pub(crate) fn out_of_sight(mut links: Vec<LinkStatus>, why: Option<&Reason>) -> Vec<LinkStatus> {
    for link in &mut links {
        link.state = LinkState::Down;
        link.reason = why.map(|why| why.text.clone());
        link.side = Some(Side::Here);
        link.fix = None;
        link.lag_bytes = None;
    }
    links
}

/// Since when links have been what they are.
#[derive(Debug, Default)]
pub(crate) struct Standings {
    states: BTreeMap<(Direction, String, String), (LinkState, String)>,
    /// Peers of which, in a direction, nothing has flowed since.
    idle: BTreeMap<(Direction, String), Duration>,
}

impl Standings {
    /// Enters into each link since when it has been as it is, and whether it should flow by now.
    pub(crate) fn date(&mut self, links: &mut [LinkStatus], now: Duration, grace: Duration) {
        let wall = timestamp(SystemTime::now());
        let mut states = BTreeMap::new();
        for link in &mut *links {
            let key = (link.direction, link.peer_id.clone(), link.slot.clone());
            let since = match self.states.remove(&key) {
                Some((state, since)) if state == link.state => since,
                _ => wall.clone(),
            };
            link.since.clone_from(&since);
            states.insert(key, (link.state, since));
        }
        self.states = states;
        // A catch-up carries rows, for hours if there are many.
        let flows = |state| {
            // Nothing is to flow over one that is lazy.
            matches!(
                state,
                LinkState::Streaming | LinkState::CatchingUp | LinkState::Lazy
            )
        };
        let of = |link: &LinkStatus| (link.direction, link.peer_id.clone());
        // By peer, not by link: one that is made anew again and again carries nothing, under many names.
        let flowing: Vec<_> = links.iter().filter(|l| flows(l.state)).map(of).collect();
        let idle: Vec<_> = links
            .iter()
            .map(of)
            .filter(|of| !flowing.contains(of))
            .collect();
        self.idle.retain(|of, _| idle.contains(of));
        for of in idle {
            self.idle.entry(of).or_insert(now);
        }
        for link in links {
            let since = self.idle.get(&of(link));
            link.overdue = since.is_some_and(|since| now >= *since + grace);
            // While a link may still come by itself there is nothing to mend.
            if !link.overdue && link.fix.as_deref() == Some(ASK_THE_PEER) {
                link.fix = None;
            }
        }
    }
}
