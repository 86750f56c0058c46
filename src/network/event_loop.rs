//! The task that owns the swarm: waits for whatever comes first, and passes it on.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, core::transport::ListenerId, swarm::SwarmEvent};
use rand::rngs::SmallRng;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Counter, Counters, Event, Overlay, ProtocolCounters, Settings,
    behaviour::Behaviour,
    handle::Command,
    inbound::InboundFailures,
    neighbors::{Contact, Peers},
    requests::Requests,
    runs::Runs,
};
use crate::{
    discovery::{Discovery, address_book, bootstrap},
    files,
};

/// How often the passive view is counted and the overlay's peers are noted in the address book.
const HOUSEKEEPING: Duration = Duration::from_secs(10);
/// How long leaving may take before the neighbours are left to find out by themselves.
const LEAVE_PATIENCE: Duration = Duration::from_secs(2);
/// While leaving: how often it is looked whether all has been said.
const LEAVE_POLL: Duration = Duration::from_millis(20);
/// How long connections may take to close at the end.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// What the tasks beside the loop come back with.
pub(super) enum Done {
    Resolved(bootstrap::Index, io::Result<Vec<Multiaddr>>),
    BookWritten(io::Result<()>),
}

/// Everything the network is made of.
pub(super) struct EventLoop {
    pub(super) swarm: Swarm<Behaviour>,
    pub(super) discovery: Discovery,
    commands: mpsc::Receiver<Command>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) requests: Requests,
    pub(super) peers: Peers,
    pub(super) runs: Arc<Mutex<Runs>>,
    pub(super) counters: Arc<Counters>,
    pub(super) overlay: watch::Sender<Overlay>,
    pub(super) protocols: watch::Sender<ProtocolCounters>,
    pub(super) listening: watch::Sender<Vec<Multiaddr>>,
    pub(super) inbound_failures: InboundFailures,
    pub(super) rng: SmallRng,
    pub(super) request_timeout: Duration,
    /// Never more than one per configured address, and one for the book.
    pub(super) tasks: JoinSet<Done>,
    book_path: PathBuf,
    book_fails: bool,
    start: Instant,
    /// The wall clock then; only for what is shown.
    pub(super) wall_start: SystemTime,
    /// The configured addresses, as last told.
    pub(super) contacts: Vec<Contact>,
    housekeeping: Duration,
    leaving: Option<(Duration, oneshot::Sender<()>)>,
}

impl EventLoop {
    pub(super) fn new(
        swarm: Swarm<Behaviour>,
        discovery: Discovery,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
        counters: Arc<Counters>,
        settings: &Settings,
    ) -> Self {
        Self {
            swarm,
            discovery,
            commands,
            events,
            requests: Requests::default(),
            peers: Peers::default(),
            runs: Arc::default(),
            counters,
            overlay: watch::Sender::default(),
            protocols: watch::Sender::default(),
            listening: watch::Sender::default(),
            inbound_failures: InboundFailures::default(),
            rng: rand::make_rng::<SmallRng>(),
            request_timeout: settings.request_timeout,
            tasks: JoinSet::new(),
            book_path: settings.data_dir.join(address_book::FILE_NAME),
            book_fails: false,
            start: Instant::now(),
            wall_start: SystemTime::now(),
            contacts: Vec::new(),
            housekeeping: HOUSEKEEPING,
            leaving: None,
        }
    }

    pub(super) fn overlay(&self) -> watch::Receiver<Overlay> {
        self.overlay.subscribe()
    }

    pub(super) fn listening(&self) -> watch::Receiver<Vec<Multiaddr>> {
        self.listening.subscribe()
    }

    /// Who speaks with which key. Nobody holds it for longer than a look takes.
    pub(super) fn runs(&self) -> MutexGuard<'_, Runs> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since start: the clock of all machines.
    pub(super) fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Runs until each of `listeners` knows an address of its own, at most for `patience`.
    pub(super) async fn settle(&mut self, mut listeners: Vec<ListenerId>, patience: Duration) {
        let deadline = Instant::now() + patience;
        while !listeners.is_empty() {
            let Ok(event) = tokio::time::timeout_at(deadline, self.swarm.select_next_some()).await
            else {
                warn!("no address to listen on yet: is any network interface up?");
                return;
            };
            if let SwarmEvent::NewListenAddr { listener_id, .. } = &event {
                listeners.retain(|listener| listener != listener_id);
            }
            // Handled like any other: the swarm tells each event once.
            self.on_swarm_event(event);
        }
    }

    /// Runs until `stop`, or until no handle is left.
    pub(super) async fn run(&mut self, stop: CancellationToken) {
        loop {
            // Whatever came last may have given discovery something to do.
            self.carry_out();
            let wake = self.start + self.wake();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command),
                    None => break,
                },
                reply = self.requests.next_reply() => self.on_reply(reply),
                Some(done) = self.tasks.join_next() => self.on_done(done),
                () = tokio::time::sleep_until(wake) => self.on_wake(),
                // Last: on a busy node it always has something, and would keep all others from their turn.
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
            }
        }
        self.close().await;
    }

    fn wake(&self) -> Duration {
        let leaving = self.leaving.as_ref().map(|_| self.now() + LEAVE_POLL);
        [self.discovery.wake(), self.discovery.book_due(), leaving]
            .into_iter()
            .flatten()
            .fold(self.housekeeping, Duration::min)
    }

    fn on_wake(&mut self) {
        let now = self.now();
        self.discovery.tick(now, &mut self.rng);
        if now >= self.housekeeping {
            self.housekeeping = now + HOUSEKEEPING;
            self.keep_house();
        }
        if self.discovery.book_due().is_some_and(|due| now >= due) {
            self.write_book();
        }
        self.check_left();
    }

    fn keep_house(&mut self) {
        let known = self.swarm.behaviour().overlay.known();
        self.discovery.remember(known, unix_seconds(), self.now());
        // Passive peers come and go without an event, and connections, which say where a store is, without
        // being published.
        self.publish_overlay();
        self.tell_inbound_failures();
    }

    fn write_book(&mut self) {
        if let Some(bytes) = self.discovery.book().take_changes() {
            // Beside the loop: a slow disk must not hold up the swarm.
            let path = self.book_path.clone();
            self.tasks
                .spawn_blocking(move || Done::BookWritten(files::replace(&path, &bytes)));
        }
    }

    pub(super) fn on_book_written(&mut self, written: io::Result<()>) {
        let failed = written.is_err();
        if let Err(error) = written {
            self.counters.count(Counter::BookFailures);
            // It is tried again and again on a disk that stays full; one line is enough.
            if !self.book_fails {
                let path = self.book_path.display();
                warn!(%error, %path, "cannot save the address book; will keep trying");
            }
            // It was taken for written when it was handed out.
            let now = self.now();
            self.discovery.book().write_failed(now);
        } else if self.book_fails {
            let path = self.book_path.display();
            info!(
                %path,
                over = "cannot save the address book",
                "the address book is saved again"
            );
        }
        self.book_fails = failed;
    }

    pub(super) fn begin_leaving(&mut self, done: oneshot::Sender<()>) {
        // Or it would look for a way back in as soon as the last neighbour is gone.
        self.discovery.stop();
        self.swarm.behaviour_mut().overlay.leave();
        // A second call takes the place of the first, whose caller is told that it is done.
        self.leaving = Some((self.now() + LEAVE_PATIENCE, done));
    }

    fn check_left(&mut self) {
        let now = self.now();
        let said = self.swarm.behaviour().overlay.pending_frames() == 0;
        if let Some((_, done)) = self
            .leaving
            .take_if(|(deadline, _)| said || now >= *deadline)
        {
            // The caller may have gone.
            let _ = done.send(());
        }
    }

    /// Ends in order: connections first, so that the neighbours know at once.
    async fn close(&mut self) {
        for peer in self.swarm.connected_peers().copied().collect::<Vec<_>>() {
            // An error means that it has just closed.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let deadline = Instant::now() + CLOSE_PATIENCE;
        while self.swarm.network_info().num_peers() > 0 {
            let next = tokio::time::timeout_at(deadline, self.swarm.select_next_some());
            if next.await.is_err() {
                break;
            }
        }
        self.write_book();
        // A name that is still being resolved is not waited for.
        let mut patience = std::pin::pin!(tokio::time::sleep(CLOSE_PATIENCE));
        while let Some(done) = tokio::select! {
            done = self.tasks.join_next() => done,
            () = &mut patience => None,
        } {
            if let Ok(Done::BookWritten(written)) = done {
                self.on_book_written(written);
            }
        }
    }
}

/// The wall clock, for what outlives this process.
pub(super) fn unix_seconds() -> u64 {
    UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()
}
