//! The addresses that the node was given to join through.
//!
//! Each is tried until it has led to a peer of the cluster, and again whenever the node is
//! alone; with back-off while nobody answers, slowly when only an operator can mend it. A name is
//! resolved at every attempt, because what it stands for changes. No I/O: [`Bootstrap::due`]
//! names what to try, and what came of it is reported back.

use std::time::Duration;

use libp2p::{Multiaddr, PeerId};
use rand::{Rng, RngExt};

use super::{
    address,
    backoff::{Backoff, jittered},
    cause::{Cause, Kind},
};

/// First delay after an attempt in vain. A cluster that starts all at once is up within
/// seconds; this is soon enough not to be noticed.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// Longest delay. A dial in half a minute costs nothing, and half a minute is soon enough after a
/// long absence of everybody.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// Delay when only an operator can mend the cause.
const SLOW_RETRY: Duration = Duration::from_secs(60);
/// This many connections in a row that close during the handshake are no coincidence: somebody without our
/// swarm key does nothing else, somebody who stops or is drowned does it once.
const CLOSED_MAX: u32 = 3;
/// When all nodes lose each other at once they shall not come back in one instant.
const SPREAD: Duration = Duration::from_millis(250);

/// Which of the configured addresses.
pub type Index = usize;

/// The configured addresses and how each fares.
#[derive(Debug)]
pub struct Bootstrap {
    contacts: Vec<Contact>,
    changed: bool,
}

/// How a configured address fares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The address.
    pub address: Multiaddr,
    /// It is our own.
    pub is_ours: bool,
    /// Who was found there last.
    pub reached: Option<PeerId>,
    /// Why it leads nowhere, if so.
    pub failure: Option<Failure>,
    /// When it is tried next.
    pub next: Duration,
}

/// Attempts in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Why the last one failed.
    pub cause: Cause,
    /// When the first one did.
    pub since: Duration,
    /// How many there were.
    pub attempts: u32,
}

#[derive(Debug)]
struct Contact {
    address: Multiaddr,
    phase: Phase,
    /// Who was found there last, if it was a peer of the cluster.
    reached: Option<PeerId>,
    backoff: Backoff,
    due: Duration,
    /// Attempts in vain since it last led to a peer of the cluster. A kind of cause is told once.
    failure: Option<Failure>,
    /// Connections that closed during the handshake, in a row.
    closed: u32,
}

#[derive(Debug, PartialEq)]
enum Phase {
    /// Waits until it is due.
    Waiting,
    /// The name is being resolved.
    Resolving,
    /// How many dials are under way, and what came of those that ended.
    Dialing { pending: usize, outcome: Outcome },
    /// It is our own address: never tried again.
    Ourselves,
}

/// What the dials of one attempt came to.
#[derive(Debug, Clone, PartialEq)]
enum Outcome {
    /// None has ended.
    Open,
    /// All so far failed; the cause that says most.
    Failed(Cause),
    /// At least one did not fail.
    Fine,
}

impl Bootstrap {
    /// All addresses are due at once.
    #[must_use]
    pub fn new(me: &PeerId, addresses: Vec<Multiaddr>) -> Self {
        let contacts = addresses
            .into_iter()
            .map(|address| Contact {
                phase: match address::split_peer(&address) {
                    // One list for all nodes names this one as well.
                    (_, Some(peer)) if peer == *me => Phase::Ourselves,
                    _ => Phase::Waiting,
                },
                address,
                reached: None,
                backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
                due: Duration::ZERO,
                failure: None,
                closed: 0,
            })
            .collect();
        Self {
            contacts,
            changed: true,
        }
    }

    /// How all fare, if that changed since it was asked last.
    pub fn reports(&mut self) -> Option<Vec<Report>> {
        let report = |contact: &Contact| Report {
            address: contact.address.clone(),
            is_ours: contact.phase == Phase::Ourselves,
            reached: contact.reached,
            failure: contact.failure.clone(),
            next: contact.due,
        };
        std::mem::take(&mut self.changed).then(|| self.contacts.iter().map(report).collect())
    }

    /// The configured address.
    #[must_use]
    pub fn address(&self, index: Index) -> &Multiaddr {
        &self.contacts[index].address
    }

    /// What is to be tried now: each is to be resolved and reported by
    /// [`resolved`](Self::resolved).
    pub fn due(&mut self, now: Duration, alone: bool) -> Vec<(Index, Multiaddr)> {
        let mut due = Vec::new();
        for (index, contact) in self.contacts.iter_mut().enumerate() {
            if contact.wanted(alone) && contact.due <= now {
                contact.phase = Phase::Resolving;
                due.push((index, contact.address.clone()));
            }
        }
        due
    }

    /// When [`due`](Self::due) is to be asked again.
    #[must_use]
    pub fn wake(&self, alone: bool) -> Option<Duration> {
        self.contacts
            .iter()
            .filter(|contact| contact.wanted(alone))
            .map(|it| it.due)
            .min()
    }

    /// We lost our last neighbour: all addresses are due, with a little spread.
    pub fn alone(&mut self, now: Duration, rng: &mut impl Rng) {
        self.changed = true;
        for contact in &mut self.contacts {
            contact.backoff.reset();
            contact.due = now + SPREAD.mul_f64(rng.random_range(0.0..1.0));
        }
    }

    /// The address stands for `dials` others, each of which is dialled now.
    pub fn resolved(&mut self, index: Index, dials: usize) {
        debug_assert!(dials > 0, "an address without any is a failure");
        self.contacts[index].phase = Phase::Dialing {
            pending: dials,
            outcome: Outcome::Open,
        };
    }

    /// The name did not resolve. `true` if this is news.
    pub fn unresolved(
        &mut self,
        index: Index,
        cause: &Cause,
        now: Duration,
        rng: &mut impl Rng,
    ) -> bool {
        self.changed = true;
        self.contacts[index].fail(cause.clone(), now, rng).is_some()
    }

    /// One dial found a peer. `true` if this is news.
    pub fn reached(
        &mut self,
        index: Index,
        peer: PeerId,
        now: Duration,
        rng: &mut impl Rng,
    ) -> bool {
        self.changed = true;
        let contact = &mut self.contacts[index];
        let before = contact.reached.replace(peer);
        // The connection came about: those that closed before were no matter of keys.
        contact.closed = 0;
        // Whether it still is of another cluster only shows once it has spoken.
        let suspected = contact.told() == Some(Kind::OtherCluster);
        let news = !suspected && (before != Some(peer) || contact.failure.is_some());
        if !suspected {
            contact.failure = None;
        }
        contact.dial_ended(None, now, rng);
        news
    }

    /// One dial failed. The cause of the whole attempt if all its dials have failed and the kind
    /// of the failure is news.
    pub fn failed(
        &mut self,
        index: Index,
        cause: Cause,
        now: Duration,
        rng: &mut impl Rng,
    ) -> Option<Cause> {
        self.changed = true;
        self.contacts[index].dial_ended(Some(cause), now, rng)
    }

    /// One dial found ourselves.
    pub fn ourselves(&mut self, index: Index, now: Duration, rng: &mut impl Rng) {
        self.changed = true;
        let contact = &mut self.contacts[index];
        if address::ip(&contact.address).is_some() {
            contact.phase = Phase::Ourselves;
        } else {
            // A name may stand for others as well, sooner or later.
            contact.dial_ended(None, now, rng);
        }
    }

    /// `peer` turned out to be of our cluster. The addresses that led to it, where this is news: they had
    /// led to one of another.
    pub fn belongs(&mut self, peer: &PeerId) -> Vec<Multiaddr> {
        let mut news = Vec::new();
        for contact in &mut self.contacts {
            if contact.reached.as_ref() == Some(peer) && contact.failure.take().is_some() {
                self.changed = true;
                news.push(contact.address.clone());
            }
        }
        news
    }

    /// `peer` turned out to be of another cluster. The addresses that led to it, where this is
    /// news.
    pub fn stranger(
        &mut self,
        peer: &PeerId,
        cause: &Cause,
        now: Duration,
        rng: &mut impl Rng,
    ) -> Vec<Multiaddr> {
        let mut news = Vec::new();
        for contact in &mut self.contacts {
            if contact.reached.as_ref() == Some(peer) {
                contact.reached = None;
                self.changed = true;
                if contact.fail(cause.clone(), now, rng).is_some() {
                    news.push(contact.address.clone());
                }
            }
        }
        news
    }
}

impl Contact {
    /// Whether it is to be tried at all as things are.
    fn wanted(&self, alone: bool) -> bool {
        self.phase == Phase::Waiting && (alone || self.reached.is_none())
    }

    fn dial_ended(
        &mut self,
        failure: Option<Cause>,
        now: Duration,
        rng: &mut impl Rng,
    ) -> Option<Cause> {
        // The attempt may be over: an address that led to a stranger has failed, whatever its other dials do.
        let Phase::Dialing { pending, outcome } = &mut self.phase else {
            return None;
        };
        *pending -= 1;
        match (&*outcome, failure) {
            (_, None) => *outcome = Outcome::Fine,
            // A name may stand for several addresses; one that leads somewhere is enough.
            (Outcome::Fine, Some(_)) => {}
            // That somebody answered says more than silence at another address.
            (Outcome::Failed(worst), Some(_)) if worst.is_answered() => {}
            (Outcome::Open | Outcome::Failed(_), Some(cause)) => *outcome = Outcome::Failed(cause),
        }
        if *pending > 0 {
            return None;
        }
        match std::mem::replace(outcome, Outcome::Open) {
            Outcome::Failed(cause) => self.fail(cause, now, rng),
            Outcome::Open | Outcome::Fine => {
                // Joining takes a moment; if we are still alone after it, once more.
                self.phase = Phase::Waiting;
                self.due = now + self.backoff.next(rng);
                None
            }
        }
    }

    fn told(&self) -> Option<Kind> {
        self.failure.as_ref().map(|failure| failure.cause.kind())
    }

    /// An attempt was in vain. The cause, if its kind is news.
    fn fail(&mut self, cause: Cause, now: Duration, rng: &mut impl Rng) -> Option<Cause> {
        let cause = self.judge(cause);
        self.phase = Phase::Waiting;
        let delay = if cause.needs_operator() {
            jittered(SLOW_RETRY, rng)
        } else {
            self.backoff.next(rng)
        };
        self.due = now + delay;
        let told = self.told();
        let failure = self.failure.get_or_insert_with(|| Failure {
            cause: cause.clone(),
            since: now,
            attempts: 0,
        });
        failure.attempts = failure.attempts.saturating_add(1);
        failure.cause = cause.clone();
        // The words may differ each time; the kind is the same for every occurrence.
        (told != Some(cause.kind())).then_some(cause)
    }

    /// What closes again and again is a handshake that fails.
    fn judge(&mut self, cause: Cause) -> Cause {
        match cause {
            Cause::Closed(what) => {
                self.closed = self.closed.saturating_add(1);
                if self.closed < CLOSED_MAX {
                    Cause::Closed(what)
                } else {
                    Cause::Handshake(what)
                }
            }
            other => {
                self.closed = 0;
                other
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libp2p::{Multiaddr, PeerId};
    use rand::{SeedableRng, rngs::SmallRng};

    use super::{Bootstrap, Cause, SLOW_RETRY};

    const NOW: Duration = Duration::from_secs(10);

    fn address(port: u16) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().unwrap()
    }

    fn machine(count: u16) -> (Bootstrap, SmallRng) {
        let addresses = (1..=count).map(address).collect();
        (
            Bootstrap::new(&PeerId::random(), addresses),
            SmallRng::seed_from_u64(1),
        )
    }

    fn silence() -> Cause {
        Cause::Unreachable("connection refused".to_owned())
    }

    #[test]
    fn all_addresses_are_tried_at_once_and_not_twice_at_a_time() {
        let (mut bootstrap, _) = machine(2);
        assert_eq!(bootstrap.due(NOW, true), [(0, address(1)), (1, address(2))]);
        assert_eq!(bootstrap.due(NOW, true), []);
        assert_eq!(bootstrap.wake(true), None);
    }

    #[test]
    fn silence_is_retried_with_growing_delays_and_told_once() {
        let (mut bootstrap, mut rng) = machine(1);
        let mut now = NOW;
        let mut delays = Vec::new();
        for attempt in 0..8 {
            assert_eq!(bootstrap.due(now, true).len(), 1);
            bootstrap.resolved(0, 1);
            let news = bootstrap.failed(0, silence(), now, &mut rng);
            assert_eq!(news.is_some(), attempt == 0);
            let due = bootstrap.wake(true).unwrap();
            delays.push(due - now);
            assert!(
                bootstrap
                    .due(due - Duration::from_millis(1), true)
                    .is_empty()
            );
            now = due;
        }
        assert!(delays[0] <= Duration::from_millis(625));
        assert!(delays[3] > delays[0] * 3);
        assert!(*delays.last().unwrap() <= Duration::from_millis(37_500));
    }

    #[test]
    fn what_needs_an_operator_is_retried_slowly_and_another_cause_is_news() {
        let (mut bootstrap, mut rng) = machine(1);
        bootstrap.due(NOW, true);
        bootstrap.resolved(0, 1);
        let wrong = Cause::WrongPeer {
            found: PeerId::random(),
        };
        assert_eq!(
            bootstrap.failed(0, wrong.clone(), NOW, &mut rng),
            Some(wrong)
        );
        let due = bootstrap.wake(true).unwrap();
        assert!(due - NOW >= SLOW_RETRY.mul_f64(0.75));
        bootstrap.due(due, true);
        bootstrap.resolved(0, 1);
        assert_eq!(
            bootstrap.failed(0, silence(), due, &mut rng),
            Some(silence())
        );
    }

    #[test]
    fn a_reached_address_rests_until_we_are_alone_again() {
        let (mut bootstrap, mut rng) = machine(1);
        bootstrap.due(NOW, true);
        bootstrap.resolved(0, 1);
        assert!(bootstrap.reached(0, PeerId::random(), NOW, &mut rng));
        assert_eq!(bootstrap.wake(false), None);
        let later = NOW + Duration::from_secs(3600);
        assert!(bootstrap.due(later, false).is_empty());
        bootstrap.alone(later, &mut rng);
        assert_eq!(
            bootstrap
                .due(later + Duration::from_millis(250), true)
                .len(),
            1
        );
    }

    #[test]
    fn an_address_never_reached_is_tried_though_we_have_neighbours() {
        let (mut bootstrap, mut rng) = machine(1);
        bootstrap.due(NOW, false);
        bootstrap.resolved(0, 1);
        bootstrap.failed(0, silence(), NOW, &mut rng);
        assert!(bootstrap.wake(false).is_some());
    }

    #[test]
    fn a_name_for_several_succeeds_with_one_and_fails_with_the_cause_that_says_most() {
        let (mut bootstrap, mut rng) = machine(1);
        bootstrap.due(NOW, true);
        bootstrap.resolved(0, 3);
        assert_eq!(bootstrap.failed(0, silence(), NOW, &mut rng), None);
        bootstrap.reached(0, PeerId::random(), NOW, &mut rng);
        assert_eq!(bootstrap.failed(0, silence(), NOW, &mut rng), None);
        let due = bootstrap.wake(true).unwrap();

        let broken = Cause::Handshake("reset".to_owned());
        bootstrap.due(due, true);
        bootstrap.resolved(0, 3);
        assert_eq!(bootstrap.failed(0, silence(), due, &mut rng), None);
        assert_eq!(bootstrap.failed(0, broken.clone(), due, &mut rng), None);
        assert_eq!(bootstrap.failed(0, silence(), due, &mut rng), Some(broken));
    }

    #[test]
    fn our_own_address_is_never_tried_again() {
        let me = PeerId::random();
        let named = address(1).with_p2p(me).unwrap();
        let mut bootstrap = Bootstrap::new(&me, vec![named, address(2)]);
        let mut rng = SmallRng::seed_from_u64(1);
        assert_eq!(bootstrap.due(NOW, true), [(1, address(2))]);
        bootstrap.resolved(1, 1);
        bootstrap.ourselves(1, NOW, &mut rng);
        assert_eq!(bootstrap.wake(true), None);
        bootstrap.alone(NOW, &mut rng);
        assert_eq!(bootstrap.wake(true), None);
    }

    #[test]
    fn a_peer_of_another_cluster_makes_its_address_fail_slowly() {
        let (mut bootstrap, mut rng) = machine(2);
        let peer = PeerId::random();
        bootstrap.due(NOW, true);
        bootstrap.resolved(0, 1);
        bootstrap.resolved(1, 1);
        bootstrap.reached(0, peer, NOW, &mut rng);
        bootstrap.reached(1, PeerId::random(), NOW, &mut rng);
        let cause = Cause::OtherCluster("/starling/other".to_owned());
        assert_eq!(
            bootstrap.stranger(&peer, &cause, NOW, &mut rng),
            [address(1)]
        );
        assert!(bootstrap.wake(false).unwrap() - NOW >= SLOW_RETRY.mul_f64(0.75));
        let due = bootstrap.wake(false).unwrap();
        bootstrap.due(due, false);
        bootstrap.resolved(0, 1);
        bootstrap.reached(0, peer, due, &mut rng);
        assert!(
            bootstrap.stranger(&peer, &cause, due, &mut rng).is_empty(),
            "told before"
        );
        // It was given the right cluster's name.
        let due = bootstrap.wake(false).unwrap();
        bootstrap.due(due, false);
        bootstrap.resolved(0, 1);
        assert!(
            !bootstrap.reached(0, peer, due, &mut rng),
            "it may be as before"
        );
        assert_eq!(bootstrap.belongs(&peer), [address(1)]);
        assert!(bootstrap.belongs(&peer).is_empty(), "told before");
    }

    #[test]
    fn a_connection_that_closes_once_says_nothing_of_keys_and_one_that_always_does_so_does() {
        let (mut bootstrap, mut rng) = machine(1);
        let closed = || Cause::Closed("broken pipe".to_owned());
        let mut now = NOW;
        let mut attempt = |bootstrap: &mut Bootstrap, cause| {
            assert_eq!(bootstrap.due(now, true).len(), 1);
            bootstrap.resolved(0, 1);
            let news = bootstrap.failed(0, cause, now, &mut rng);
            now = bootstrap.wake(true).unwrap();
            news
        };
        assert_eq!(attempt(&mut bootstrap, closed()), Some(closed()));
        assert_eq!(attempt(&mut bootstrap, closed()), None);
        assert_eq!(attempt(&mut bootstrap, silence()), Some(silence()));
        for _ in 0..2 {
            attempt(&mut bootstrap, closed());
        }
        let handshake = Cause::Handshake("broken pipe".to_owned());
        assert_eq!(attempt(&mut bootstrap, closed()), Some(handshake.clone()));
        let report = bootstrap.reports().unwrap().remove(0);
        let failure = report.failure.unwrap();
        assert_eq!(
            (failure.cause, failure.since, failure.attempts),
            (handshake, NOW, 6)
        );
        assert_eq!(bootstrap.reports(), None, "nothing is new");
    }

    #[test]
    fn what_fails_is_reported_until_it_leads_to_a_peer() {
        let (mut bootstrap, mut rng) = machine(1);
        bootstrap.due(NOW, true);
        bootstrap.resolved(0, 1);
        bootstrap.failed(0, silence(), NOW, &mut rng);
        let report = bootstrap.reports().unwrap().remove(0);
        assert_eq!(report.failure.unwrap().cause, silence());
        let due = bootstrap.wake(true).unwrap();
        assert_eq!(report.next, due);
        bootstrap.due(due, true);
        bootstrap.resolved(0, 1);
        let peer = PeerId::random();
        bootstrap.reached(0, peer, due, &mut rng);
        let report = bootstrap.reports().unwrap().remove(0);
        assert_eq!((report.failure, report.reached), (None, Some(peer)));
        let cause = Cause::OtherCluster("cluster x".to_owned());
        bootstrap.stranger(&peer, &cause, due, &mut rng);
        let report = bootstrap.reports().unwrap().remove(0);
        assert_eq!(report.failure.unwrap().cause, cause);
    }
}
