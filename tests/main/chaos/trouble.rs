//! What befalls links, stores and controllers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use rand::{RngExt as _, rngs::StdRng};
use starling::{postgres, replication::Departure};
use tokio::time::{Instant, sleep};

use super::{Course, NODES};
use crate::harness::{data_plane::Cluster, server::set_standby};

/// Links that the cluster tends to; few of them leave no other way round.
const LINKS: usize = 6;

/// The longest that commits are stalled.
const STALL_MS: u64 = 300;

/// Makes trouble until time is up.
pub(super) struct Trouble<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) rng: StdRng,
    pub(super) course: Course,
    pub(super) links: BTreeSet<(usize, usize)>,
    pub(super) events: BTreeMap<&'static str, u32>,
}

impl Trouble<'_> {
    pub(super) async fn run(&mut self) {
        let end = Instant::now() + self.course.duration;
        while Instant::now() < end {
            let event = match self.rng.random_range(0..100) {
                0..6 => self.crash().await,
                6..12 => self.kill().await,
                12..18 => self.stall().await,
                _ => self.relink(),
            };
            *self.events.entry(event).or_default() += 1;
            sleep(Duration::from_millis(self.rng.random_range(0..300))).await;
        }
        for node in &self.cluster.nodes {
            node.await_up().await;
        }
    }

    /// Makes a link or breaks one, so that there are about as many as wanted.
    fn relink(&mut self) -> &'static str {
        let breaks = self.rng.random_range(0..LINKS * 2) < self.links.len();
        if breaks {
            let nth = self.rng.random_range(0..self.links.len());
            let (a, b) = self.links.iter().copied().nth(nth).unwrap();
            self.links.remove(&(a, b));
            let is_lost = self.rng.random_ratio(1, 4);
            let departure = if is_lost {
                Departure::Lost
            } else {
                Departure::Deliberate
            };
            self.cluster.unlink(a, b, departure);
            return if is_lost { "losses" } else { "partings" };
        }
        let a = self.rng.random_range(0..NODES);
        let b = (a + self.rng.random_range(1..NODES)) % NODES;
        self.connect(a.min(b), a.max(b));
        "links"
    }

    pub(super) fn connect(&mut self, a: usize, b: usize) {
        if self.links.insert((a, b)) {
            self.cluster.link(a, b);
        }
    }

    async fn crash(&mut self) -> &'static str {
        let node = self.rng.random_range(0..NODES);
        self.cluster.nodes[node].crash().await;
        "crashes"
    }

    async fn kill(&mut self) -> &'static str {
        let node = self.rng.random_range(0..NODES);
        self.cluster.kill_plane(node).await;
        let links: Vec<_> = self
            .links
            .iter()
            .copied()
            .filter(|(a, b)| *a == node || *b == node)
            .collect();
        for (a, b) in &links {
            self.cluster.unlink(*a, *b, Departure::Lost);
        }
        sleep(Duration::from_millis(self.rng.random_range(0..1_500))).await;
        self.cluster.start_plane(node);
        for (a, b) in links {
            self.cluster.link(a, b);
        }
        "kills"
    }

    /// Commits are in the WAL, and on their way, long before they are visible; and one link is frozen,
    /// so that they reach its subscriber by a detour, and may come back from there.
    async fn stall(&mut self) -> &'static str {
        let node = &self.cluster.nodes[self.rng.random_range(0..NODES)];
        let stalled = Duration::from_millis(self.rng.random_range(100..STALL_MS));
        // The store may be down: then nothing stalls.
        let Ok(client) = postgres::connect(&node.server.connection()).await else {
            return "stalls";
        };
        let sender = "select pid from pg_stat_replication order by random() limit 1";
        let sender = client.query_opt(sender, &[]).await.ok().flatten();
        let signal = |signal: Signal| {
            if let Some(row) = &sender {
                // It may have ended meanwhile.
                let _ = kill(Pid::from_raw(row.get(0)), signal);
            }
        };
        signal(Signal::SIGSTOP);
        set_standby(&client, "'nobody'").await;
        sleep(stalled).await;
        set_standby(&client, "default").await;
        sleep(Duration::from_millis(20)).await;
        signal(Signal::SIGCONT);
        "stalls"
    }

    /// All well again: everybody up, in a ring.
    pub(super) async fn end(&mut self) {
        for node in &self.cluster.nodes {
            node.await_up().await;
            node.run("alter system reset synchronous_standby_names")
                .await;
            node.run("select pg_reload_conf()").await;
        }
        for (a, b) in self.links.clone() {
            if (a + 1) % NODES != b && (b + 1) % NODES != a {
                self.links.remove(&(a, b));
                self.cluster.unlink(a, b, Departure::Deliberate);
            }
        }
        for a in 0..NODES {
            let b = (a + 1) % NODES;
            self.connect(a.min(b), a.max(b));
        }
    }
}
