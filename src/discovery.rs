//! How a node finds its cluster, and finds it again.
//!
//! Four sources of peers: configured addresses ([`bootstrap`]), the local network ([`mdns`]),
//! peers known from earlier ([`address_book`]), and what connected peers tell ([`identify`]).
//! While the node has a neighbour, they are only told to HyParView: the peers of the address book when it has asked
//! everybody whom it knows in vain. For all its neighbours may have lost everybody else, as on an island that a
//! crash of nearly all nodes has left. While the node has none, all sources are tried in rounds with
//! back-off, for as long as it lasts.
//!
//! [`Discovery`] decides and does no I/O: it is told what happens, and hands out [`Action`]s.

pub(crate) mod address;
pub mod address_book;
mod backoff;
pub mod bootstrap;
pub mod cause;
pub mod identify;
pub mod mdns;
pub mod resolve;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId, swarm::ConnectionId};
use rand::Rng;

use address_book::AddressBook;
use backoff::Backoff;
use bootstrap::Bootstrap;
use cause::Cause;
use identify::{Observed, Strangers};
use mdns::Mdns;

/// First pause between two rounds of trying known peers while we are alone.
const FIRST_ROUND: Duration = Duration::from_secs(1);
/// Longest such pause.
const LAST_ROUND: Duration = Duration::from_secs(30);
/// A stranger is cut off this long after it was recognised, so that it can recognise us and say
/// so in its own log.
const REFUSAL_DELAY: Duration = Duration::from_secs(1);
/// Most strangers to be cut off at a time; more are cut off by the limit for idle connections.
const REFUSALS_MAX: usize = 256;
/// Peers of the address book that one round joins through. The paper's join needs one; several
/// at once make up for those that are gone.
const BOOK_PER_ROUND: usize = 3;
/// Peers found on the local network that one round joins through.
const MDNS_PER_ROUND: usize = 2;
/// Peers of the address book that HyParView is told of when it wants more.
const LEARNT_WHEN_WANTING: usize = 10;
/// First pause between two such times.
const FIRST_LESSON: Duration = Duration::from_secs(5);
/// Longest such pause. In a small cluster something is always wanting, and who has gone for good is dialled no more often
/// than HyParView itself dials whom it has lost.
const LAST_LESSON: Duration = Duration::from_secs(120);
/// Peers of the address book that HyParView is told of at start: as many as its reserve holds.
const LEARNT_AT_START: usize = 30;

/// What discovery wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Resolve the configured address and tell [`Discovery::resolved`].
    Resolve(bootstrap::Index, Multiaddr),
    /// Join the overlay through this peer.
    Join(PeerId, Vec<Multiaddr>),
    /// Tell the overlay of this peer; `true`: never to be forgotten.
    Learn(PeerId, Vec<Multiaddr>, bool),
    /// Close all connections to this peer: it does not belong to us.
    Refuse(PeerId),
    /// Others can reach us at this address.
    Advertise(Multiaddr),
    /// Others can no longer reach us at this address.
    Withdraw(Multiaddr),
}

/// Something worth a log line and a count. Kept apart from [`Action`], so that what is told once
/// is decided where it is known, and tested.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// A configured address leads to a peer of the cluster.
    Reached(Multiaddr, PeerId),
    /// A configured address does not, and the reason is another than before.
    Failing(Multiaddr, Cause),
    /// A configured address is our own.
    Ourselves(Multiaddr),
    /// A peer of another cluster was met for the first time.
    Stranger(PeerId, String),
    /// A peer that was told to be a stranger is of the cluster now.
    Admitted(PeerId),
}

/// Finds the cluster.
#[derive(Debug)]
pub struct Discovery {
    /// All our cluster's protocols begin with it.
    prefix: String,
    bootstrap: Bootstrap,
    /// Dials of ours to configured addresses.
    dials: BTreeMap<ConnectionId, bootstrap::Index>,
    /// Whom they found, and where: joined through once it has said that it is one of us.
    found: BTreeMap<PeerId, Vec<Multiaddr>>,
    mdns: Mdns,
    book: AddressBook,
    strangers: Strangers,
    observed: Observed,
    neighbors: BTreeSet<PeerId>,
    /// Strangers that are connected, and when they are to be cut off.
    refusals: VecDeque<(Duration, PeerId)>,
    rounds: Backoff,
    next_round: Duration,
    lessons: Backoff,
    next_lesson: Duration,
    /// We leave for good: nothing is tried any more.
    stopped: bool,
    actions: VecDeque<Action>,
    news: VecDeque<News>,
}

impl Discovery {
    /// Ready to start: everything is due at once.
    #[must_use]
    pub fn new(me: &PeerId, cluster: &str, bootstrap: Vec<Multiaddr>, book: AddressBook) -> Self {
        let actions = book
            .peers()
            .into_iter()
            .take(LEARNT_AT_START)
            .map(|(peer, addresses)| Action::Learn(peer, addresses, false))
            .collect();
        Self {
            // With the slash: another cluster's name may begin like ours.
            prefix: format!("/starling/{cluster}/"),
            bootstrap: Bootstrap::new(me, bootstrap),
            dials: BTreeMap::new(),
            found: BTreeMap::new(),
            mdns: Mdns::default(),
            book,
            strangers: Strangers::default(),
            observed: Observed::default(),
            neighbors: BTreeSet::new(),
            refusals: VecDeque::new(),
            rounds: Backoff::new(FIRST_ROUND, LAST_ROUND),
            next_round: Duration::ZERO,
            lessons: Backoff::new(FIRST_LESSON, LAST_LESSON),
            next_lesson: Duration::ZERO,
            stopped: false,
            actions,
            news: VecDeque::new(),
        }
    }

    /// What to do next.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What to tell next.
    pub fn next_news(&mut self) -> Option<News> {
        self.news.pop_front()
    }

    /// When [`tick`](Self::tick) is due.
    #[must_use]
    pub fn wake(&self) -> Option<Duration> {
        let refusal = self.refusals.front().map(|(due, _)| *due);
        if self.stopped {
            return refusal;
        }
        // Lessons are not waited for: it is the overlay that comes for one.
        let round = self.alone().then_some(self.next_round);
        let bootstrap = self.bootstrap.wake(self.alone());
        [refusal, round, bootstrap].into_iter().flatten().min()
    }

    /// Tries what is due.
    pub fn tick(&mut self, now: Duration, rng: &mut impl Rng) {
        while let Some((_, peer)) = self.refusals.pop_front_if(|(due, _)| *due <= now) {
            // Unless it has turned out to be one of us meanwhile.
            if self.strangers.shun(&peer, now) {
                self.actions.push_back(Action::Refuse(peer));
            }
        }
        if self.stopped {
            return;
        }
        let due = self.bootstrap.due(now, self.alone());
        self.actions.extend(
            due.into_iter()
                .map(|(index, it)| Action::Resolve(index, it)),
        );
        if self.alone() && now >= self.next_round {
            self.next_round = now + self.rounds.next(rng);
            let strangers = &self.strangers;
            let local = self
                .mdns
                .candidates(MDNS_PER_ROUND, |peer| !strangers.shun(peer, now));
            // Strangers are forgotten by the book when they are met; they need no filter here.
            let known = self.book.candidates(BOOK_PER_ROUND, |_| true);
            let all = local.into_iter().chain(known);
            self.actions
                .extend(all.map(|(peer, addresses)| Action::Join(peer, addresses)));
        }
    }

    /// A configured address stands for `addresses`. Each is to be dialled, and told to
    /// [`dialing`](Self::dialing), by the caller.
    pub fn resolved(
        &mut self,
        index: bootstrap::Index,
        addresses: std::io::Result<Vec<Multiaddr>>,
        now: Duration,
        rng: &mut impl Rng,
    ) -> Vec<Multiaddr> {
        match addresses {
            Ok(addresses) => {
                self.bootstrap.resolved(index, addresses.len());
                addresses
            }
            Err(error) => {
                let cause = Cause::Unresolved(error.to_string());
                if self.bootstrap.unresolved(index, &cause, now, rng) {
                    let address = self.bootstrap.address(index).clone();
                    self.news.push_back(News::Failing(address, cause));
                }
                Vec::new()
            }
        }
    }

    /// The dial of a configured address has begun.
    pub fn dialing(&mut self, index: bootstrap::Index, connection: ConnectionId) {
        self.dials.insert(connection, index);
    }

    /// A connection came about at `address`.
    pub fn connected(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        now: Duration,
        rng: &mut impl Rng,
    ) {
        let Some(index) = self.dials.remove(&connection) else {
            return;
        };
        if self.bootstrap.reached(index, peer, now, rng) {
            let configured = self.bootstrap.address(index).clone();
            self.news.push_back(News::Reached(configured, peer));
        }
        let (address, _) = address::split_peer(address);
        self.found.entry(peer).or_default().push(address);
    }

    /// The last connection with `peer` closed.
    pub fn disconnected(&mut self, peer: &PeerId) {
        self.found.remove(peer);
    }

    /// A dial failed; `None`: it found ourselves.
    pub fn dial_failed(
        &mut self,
        connection: ConnectionId,
        cause: Option<Cause>,
        now: Duration,
        rng: &mut impl Rng,
    ) {
        let Some(index) = self.dials.remove(&connection) else {
            return;
        };
        let address = self.bootstrap.address(index).clone();
        let Some(cause) = cause else {
            self.bootstrap.ourselves(index, now, rng);
            self.news.push_back(News::Ourselves(address));
            return;
        };
        if let Some(cause) = self.bootstrap.failed(index, cause, now, rng) {
            self.news.push_back(News::Failing(address, cause));
        }
    }

    /// The local network has these peers. Alone, we join through some of the new ones at once.
    pub fn discovered(&mut self, found: Vec<(PeerId, Multiaddr)>, now: Duration) {
        // With a neighbour the overlay decides for itself whom it asks.
        let mut joins = if self.alone() { MDNS_PER_ROUND } else { 0 };
        for peer in self.mdns.discovered(found) {
            // Multicast reaches nodes of other clusters, too.
            if self.stopped || self.strangers.shun(&peer, now) {
                continue;
            }
            let addresses = self.mdns.addresses(&peer);
            if joins > 0 {
                joins -= 1;
                self.actions.push_back(Action::Join(peer, addresses));
            } else {
                self.actions
                    .push_back(Action::Learn(peer, addresses, false));
            }
        }
    }

    /// The local network no longer has these.
    pub fn expired(&mut self, gone: Vec<(PeerId, Multiaddr)>) {
        self.mdns.expired(gone);
    }

    /// A connected peer said what it speaks. `describes` is how it calls itself. If it is one of
    /// us, which is returned, and found at a configured address, we join through it.
    pub fn identified<'a>(
        &mut self,
        peer: PeerId,
        protocols: impl IntoIterator<Item = &'a str>,
        describes: &str,
        now: Duration,
        rng: &mut impl Rng,
    ) -> bool {
        let found = self.found.remove(&peer);
        if protocols
            .into_iter()
            .any(|protocol| protocol.starts_with(&self.prefix))
        {
            if self.strangers.clear(&peer) {
                self.news.push_back(News::Admitted(peer));
            }
            for address in self.bootstrap.belongs(&peer) {
                self.news.push_back(News::Reached(address, peer));
            }
            if let Some(addresses) = found.filter(|_| !self.stopped) {
                // Learnt as well: it was configured, and is never to be forgotten.
                self.actions
                    .push_back(Action::Learn(peer, addresses.clone(), true));
                self.actions.push_back(Action::Join(peer, addresses));
            }
            return true;
        }
        let cluster = self.prefix.trim_start_matches("/starling/");
        let ours = cluster.trim_end_matches('/');
        let cause = Cause::OtherCluster(format!("{describes}; ours is cluster {ours}"));
        for address in self.bootstrap.stranger(&peer, &cause, now, rng) {
            self.news.push_back(News::Failing(address, cause.clone()));
        }
        if self.strangers.met(peer, now) {
            self.news
                .push_back(News::Stranger(peer, describes.to_owned()));
        }
        // Or it would be dialled again at the next start, which knows no strangers yet.
        self.book.forget(&peer, now);
        if self.refusals.len() < REFUSALS_MAX {
            self.refusals.push_back((now + REFUSAL_DELAY, peer));
        }
        false
    }

    /// `observer` sees us at `seen` while we listen on `listen`.
    pub fn seen_by(&mut self, observer: PeerId, seen: &Multiaddr, listen: &[Multiaddr]) {
        let (fresh, stale) = self.observed.seen_by(observer, seen, listen);
        self.actions
            .extend(fresh.into_iter().map(Action::Advertise));
        self.actions.extend(stale.into_iter().map(Action::Withdraw));
    }

    /// `peer` became a neighbour.
    pub fn neighbor_up(&mut self, peer: PeerId, addresses: &[Multiaddr], unix: u64, now: Duration) {
        self.neighbors.insert(peer);
        // The next time that we are alone begins with short pauses.
        self.rounds.reset();
        self.book.met(peer, addresses.to_vec(), unix, now);
    }

    /// `peer` is no neighbour any more. The last one lost makes everything due.
    pub fn neighbor_down(&mut self, peer: &PeerId, now: Duration, rng: &mut impl Rng) {
        if !self.neighbors.remove(peer) {
            return;
        }
        // What is wanting from now on has another cause: it is asked for with short pauses again.
        self.lessons.reset();
        if self.alone() {
            self.bootstrap.alone(now, rng);
            self.next_round = now;
        }
    }

    /// The overlay has nobody left to try.
    pub fn isolated(&mut self, now: Duration) {
        // Its own back-off paces these; ours is kept, so that together they do not hurry.
        self.next_round = self.next_round.min(now + FIRST_ROUND);
    }

    /// The overlay has asked everybody whom it knows in vain: it is told of others, all of the book in turn. It asks
    /// them as it asks anybody, so that nobody loses a neighbour to one who has some.
    pub fn wanting(&mut self, now: Duration, rng: &mut impl Rng) {
        if self.stopped || now < self.next_lesson {
            return;
        }
        self.next_lesson = now + self.lessons.next(rng);
        let neighbors = &self.neighbors;
        let others = self
            .book
            .candidates(LEARNT_WHEN_WANTING, |peer| !neighbors.contains(peer));
        let others = others.into_iter();
        self.actions
            .extend(others.map(|(peer, addresses)| Action::Learn(peer, addresses, false)));
    }

    /// A dial to `peer` met somebody else at `address`.
    pub fn strayed(&mut self, peer: &PeerId, address: &Multiaddr, now: Duration) {
        self.book.strayed(peer, address, now);
    }

    /// `peer` left for good.
    pub fn left(&mut self, peer: &PeerId, now: Duration) {
        self.book.forget(peer, now);
    }

    /// We leave for good.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Peers that the overlay knows of, to be remembered.
    pub fn remember(&mut self, known: Vec<(PeerId, Vec<Multiaddr>)>, unix: u64, now: Duration) {
        for (peer, addresses) in known {
            if self.neighbors.contains(&peer) {
                // The order that the book has is the better one.
                let mut known = self.book.addresses(&peer);
                known.extend(addresses);
                self.book.met(peer, known, unix, now);
            } else if !self.strangers.shun(&peer, now) {
                self.book.heard_of(peer, addresses, now);
            }
        }
    }

    /// When the address book is to be written, if it has changed.
    #[must_use]
    pub fn book_due(&self) -> Option<Duration> {
        self.book.write_due()
    }

    /// The address book.
    pub fn book(&mut self) -> &mut AddressBook {
        &mut self.book
    }

    /// How the configured addresses fare, if that changed since it was asked last.
    pub fn reports(&mut self) -> Option<Vec<bootstrap::Report>> {
        self.bootstrap.reports()
    }

    /// Everyone in the address book.
    pub fn remembered(&self) -> impl Iterator<Item = &PeerId> {
        self.book.everyone()
    }

    /// No neighbour at all.
    #[must_use]
    pub fn alone(&self) -> bool {
        self.neighbors.is_empty()
    }
}

#[cfg(test)]
mod tests;
