//! What a broadcast costs and how long it takes, with a tree per origin, a shared tree and by flooding:
//! `cargo run --release -p starling-simulation --example broadcast -- [NODES] [EXPERIMENT or VARIANT...]`
#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use std::{collections::BTreeMap, time::Duration};

use plumtree::{Keep, MessageId, StateEvent, Trees};
use rand::{SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use simulation::{
    Crash, Distances, Member, Network, NodeId, Observer, Reported, Tree, Wish, World, contact,
};

type Node = Tree<Member>;

const SECOND: Duration = Duration::from_secs(1);
const EXPERIMENTS: [&str; 4] = ["senders", "churn", "crash", "world"];

/// What became of one message.
#[derive(Debug, Default, Clone)]
struct Spread {
    sent: Duration,
    /// Nodes with smaller names were there when it was sent.
    before: NodeId,
    got: usize,
    payloads: usize,
    hops: u16,
    last: Duration,
    delays: Vec<Duration>,
}

/// Notes what becomes of messages.
#[derive(Debug, Default)]
struct Watch {
    spreads: BTreeMap<MessageId<NodeId>, Spread>,
    control: usize,
    control_bytes: usize,
    missing: usize,
}

impl Observer<Node> for Watch {
    fn on_event(
        &mut self,
        now: Duration,
        node: NodeId,
        event: &<Node as simulation::Protocol>::Event,
    ) {
        match event {
            Reported::Broadcast(StateEvent::Deliver { id, hops, .. }) => {
                let spread = self.spreads.entry(*id).or_default();
                spread.got += 1;
                if node >= spread.before {
                    return;
                }
                spread.hops = spread.hops.max(*hops);
                spread.last = now - spread.sent;
                spread.delays.push(now - spread.sent);
            }
            Reported::Sent(id) => self.spreads.entry(*id).or_default().payloads += 1,
            Reported::Control(bytes) => {
                self.control += 1;
                self.control_bytes += bytes;
            }
            Reported::Broadcast(StateEvent::Missing { .. }) => self.missing += 1,
            _ => {}
        }
    }
}

struct Lab {
    world: World<Node, Watch>,
    config: plumtree::Config,
    dice: SmallRng,
    next: NodeId,
}

impl Lab {
    /// A network that has joined, one node after the other, and settled.
    fn settled(nodes: u32, config: plumtree::Config, network: Network) -> Self {
        let mut lab = Self {
            world: World::new(1, network, Watch::default()),
            config,
            dice: SmallRng::seed_from_u64(1),
            next: 0,
        };
        let gap = (SECOND * 20 / nodes).min(SECOND / 20);
        for _ in 0..nodes {
            lab.join();
            lab.world.run(gap);
        }
        // The overlay mixes itself anew for some minutes after a burst of joins.
        lab.world.run(SECOND * 300);
        lab
    }

    fn join(&mut self) {
        let id = self.next;
        self.next += 1;
        let below = Member::new(id, hyparview::Config::default(), 1);
        let alive: Vec<NodeId> = self.world.alive().map(|(id, _)| id).collect();
        let node = Tree::new(id, below, self.config.clone(), 1);
        self.world.start(id, node);
        if let Some(other) = alive.choose(&mut self.dice) {
            let command = hyparview::Command::Join(contact(*other));
            self.world.command(id, Wish::Below(command));
        }
    }

    fn alive(&self) -> Vec<NodeId> {
        self.world.alive().map(|(id, _)| id).collect()
    }

    fn say(&mut self, from: NodeId) -> Option<MessageId<NodeId>> {
        let id = self.world.machine(from)?.state().next_id();
        let sent = self.world.now();
        let spread = Spread {
            sent,
            before: self.next,
            ..Spread::default()
        };
        self.world.observer.spreads.insert(id, spread);
        self.world.command(from, Wish::Broadcast(200));
        Some(id)
    }

    /// Each sender speaks, `pause` apart; then all is quiet for a second.
    fn round(&mut self, senders: &[NodeId], pause: Duration) -> Vec<MessageId<NodeId>> {
        let mut ids = Vec::new();
        for sender in senders {
            ids.extend(self.say(*sender));
            self.world.run(pause);
        }
        self.world.run(SECOND);
        ids
    }

    fn report(&mut self, what: &str, ids: &[MessageId<NodeId>]) {
        let audience = self.world.alive().count() - 1;
        let watch_spreads: Vec<Spread> = ids
            .iter()
            .filter_map(|id| watch_get(&self.world.observer, id))
            .collect();
        let count = watch_spreads.len().max(1) as f64;
        let got: usize = watch_spreads.iter().map(|spread| spread.got).sum();
        let payloads: usize = watch_spreads.iter().map(|spread| spread.payloads).sum();
        let hops: f64 = watch_spreads
            .iter()
            .map(|spread| f64::from(spread.hops))
            .sum();
        let most = watch_spreads
            .iter()
            .map(|spread| spread.hops)
            .max()
            .unwrap_or(0);
        let mut last: Vec<Duration> = watch_spreads.iter().map(|spread| spread.last).collect();
        last.sort_unstable();
        let mut delays: Vec<Duration> = watch_spreads
            .iter()
            .flat_map(|spread| spread.delays.iter().copied())
            .collect();
        delays.sort_unstable();
        // Who was there when it was sent, and still is, must have it.
        let lacking: usize = ids
            .iter()
            .map(|id| {
                let before = self.world.observer.spreads[id].before;
                let lacks = |(node, machine): &(NodeId, &Node)| {
                    *node < before && machine.state().is_news(id)
                };
                self.world.alive().filter(lacks).count()
            })
            .sum();
        let at = |list: &[Duration], percent: usize| {
            let index = list.len().saturating_sub(1) * percent / 100;
            list.get(index).map_or(0, Duration::as_millis)
        };
        println!(
            "{what:44} rmr {:7.4}  ldh {:5.2} (most {most})  delivery p50 {} p99 {} ms, whole cluster p50 {} p99 {} max {} ms  lacking {lacking}  control/msg {:.0} ({:.0} B/node)  missing {}",
            payloads as f64 / got.max(1) as f64 - 1.0,
            hops / count,
            at(&delays, 50),
            at(&delays, 99),
            at(&last, 50),
            at(&last, 99),
            at(&last, 100),
            self.world.observer.control as f64 / count,
            self.world.observer.control_bytes as f64 / count / audience as f64,
            self.world.observer.missing,
        );
        let watch = &mut self.world.observer;
        watch.control = 0;
        watch.control_bytes = 0;
        watch.missing = 0;
        watch.spreads.clear();
    }
}

fn watch_get(watch: &Watch, id: &MessageId<NodeId>) -> Option<Spread> {
    watch.spreads.get(id).cloned()
}

fn config(trees: Trees) -> plumtree::Config {
    plumtree::Config::default()
        .with_trees(trees)
        .with_keep(Keep::All)
}

/// All, or those that an argument names.
fn variants() -> Vec<(&'static str, plumtree::Config, bool)> {
    let all = [
        ("flood", config(Trees::Flood), false),
        ("per origin", config(Trees::PerOrigin), false),
        (
            "per origin, not optimised",
            config(Trees::PerOrigin).with_optimise_threshold(0),
            false,
        ),
        ("shared, rooted", config(Trees::Shared), true),
        (
            "shared, threshold 7",
            config(Trees::Shared).with_optimise_threshold(7),
            false,
        ),
    ];
    let arguments: Vec<String> = std::env::args().collect();
    let named = |name: &str| arguments.iter().any(|argument| argument == name);
    let some = all.iter().any(|(name, ..)| named(name));
    all.into_iter()
        .filter(|(name, ..)| !some || named(name))
        .collect()
}

fn senders(nodes: u32) {
    for (name, config, rooted) in variants() {
        for (who, count) in [
            ("one sender", 1),
            ("20 senders", 20),
            ("100 senders at once", 100),
        ] {
            let mut lab = Lab::settled(nodes, config.clone(), Network::default());
            let pause = if count == 100 {
                Duration::ZERO
            } else {
                SECOND / 2
            };
            let list: Vec<NodeId> = (0..count).map(|n| n * 97 % nodes).collect();
            lab.say(0);
            lab.world.run(SECOND);
            if rooted {
                for id in lab.alive() {
                    lab.world.command(id, Wish::SetRoot(0));
                }
            }
            lab.world.observer = Watch::default();
            for round in 0..8 {
                if rooted {
                    lab.say(0);
                    lab.world.run(SECOND);
                }
                let ids = lab.round(&list, pause);
                if round == 0 || round == 7 {
                    lab.report(&format!("{nodes} {name}, {who}, round {}", round + 1), &ids);
                }
                lab.world.observer = Watch::default();
            }
        }
    }
}

fn churn(nodes: u32) {
    let per_cycle = (nodes / 200).max(1);
    for (name, config, _) in &variants() {
        let mut lab = Lab::settled(nodes, config.clone(), Network::default());
        lab.round(&[0, 0, 0], SECOND);
        let ids = lab.round(&[0, 0, 0], SECOND);
        lab.report(&format!("{nodes} {name}, before churn"), &ids);
        let mut ids = Vec::new();
        for _ in 0..20 {
            // A cycle of ten seconds: the nodes go and come over all of it, one message in its middle.
            for half in 0..2 {
                for _ in 0..per_cycle.div_ceil(2) {
                    let alive = lab.alive();
                    let victim = alive[1..].choose(&mut lab.dice).copied();
                    if let Some(victim) = victim {
                        lab.world.crash(victim, Crash::Reset);
                    }
                    lab.join();
                    lab.world.run(SECOND * 4 / per_cycle.div_ceil(2));
                }
                lab.world.run(SECOND / 2);
                if half == 0 {
                    ids.extend(lab.say(0));
                }
                lab.world.run(SECOND / 2);
            }
        }
        lab.world.run(SECOND * 10);
        lab.report(
            &format!("{nodes} {name}, {per_cycle} replaced per cycle"),
            &ids,
        );
        let ids = lab.round(&[0, 0, 0], SECOND);
        lab.report(&format!("{nodes} {name}, after churn"), &ids);
    }
}

fn crash(nodes: u32) {
    for percent in [30, 50, 80] {
        for (name, config, _) in &variants() {
            let mut lab = Lab::settled(nodes, config.clone(), Network::default());
            lab.round(&[0, 0, 0], SECOND);
            lab.world.observer = Watch::default();
            for id in lab.alive() {
                if id != 0 && id % 100 < percent {
                    lab.world.crash(id, Crash::Reset);
                }
            }
            let first = lab.say(0);
            lab.world.run(SECOND * 3);
            lab.report(
                &format!("{nodes} {name}, {percent} % crash, first in 3 s"),
                first.as_slice(),
            );
            for n in 2..5 {
                let next = lab.say(0);
                lab.world.run(SECOND * 3);
                lab.report(
                    &format!("{nodes} {name}, {percent} % crash, message {n}"),
                    next.as_slice(),
                );
            }
        }
    }
}

fn world(nodes: u32) {
    let network = || Network {
        distances: Distances::World,
        ..Network::default()
    };
    for (name, config, rooted) in variants() {
        let mut lab = Lab::settled(nodes, config, network());
        let list: Vec<NodeId> = (0..40).map(|n| n * 97 % nodes).collect();
        if rooted {
            for id in lab.alive() {
                lab.world.command(id, Wish::SetRoot(0));
            }
        }
        for round in 0..4 {
            lab.say(0);
            lab.world.run(SECOND);
            lab.world.observer = Watch::default();
            let ids = lab.round(&list, SECOND / 2);
            if round == 3 {
                lab.report(&format!("{nodes} {name}, 19 regions, 40 senders"), &ids);
            }
        }
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let nodes = arguments
        .next()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1000);
    let chosen: Vec<String> = arguments.collect();
    for name in EXPERIMENTS {
        let some = EXPERIMENTS
            .iter()
            .any(|name| chosen.iter().any(|one| one == name));
        if some && !chosen.iter().any(|one| one == name) {
            continue;
        }
        match name {
            "senders" => senders(nodes),
            "churn" => churn(nodes),
            "crash" => crash(nodes),
            _ => world(nodes),
        }
    }
}
