//! What the networks go through.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use simulation::{Graph, NodeId};

use super::{
    Measures, Net, Tag,
    measures::{self, Spent},
};

const SECOND: Duration = Duration::from_secs(1);
/// How often it is looked whether something has come about.
const LOOK: Duration = Duration::from_millis(5);
/// Who hears a broadcast later than this after others were killed does not count.
const HEALED: Duration = Duration::from_secs(4);
/// A network with fewer full views than this share has not settled.
const FULL: f64 = 0.95;

/// How the story goes.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// How many nodes.
    pub(crate) nodes: NodeId,
    /// What their overlay is told.
    pub(crate) overlay: hyparview::Config,
    /// Pause between two starts.
    pace: Duration,
    /// From the last start until the overlay is looked at; what it sends is counted over the second half.
    settle: Duration,
    /// How many broadcasts one node sends, and the pause after each.
    singles: u32,
    single_pause: Duration,
    /// How often every node sends one, and the pause after each node: longer than what the broadcast
    /// gathers announcements for, or it would be chance how many share a message.
    rounds: u32,
    round_pause: Duration,
    /// How long some stand still.
    frozen: Duration,
    /// How long the network rests after some were killed or came back.
    rest: Duration,
    /// What has not come about by then will not.
    patience: Duration,
}

impl Plan {
    /// The story in full for `nodes` nodes: four minutes.
    pub(crate) fn of(nodes: NodeId) -> Self {
        Self {
            nodes,
            overlay: hyparview::Config::default(),
            pace: SECOND / 10,
            settle: SECOND * 100,
            singles: 10,
            single_pause: SECOND,
            rounds: 3,
            round_pause: SECOND / 5,
            frozen: SECOND * 10,
            rest: SECOND * 15,
            patience: SECOND * 30,
        }
    }

    /// The story in short: half a minute. Links of the crowd are exchanged sooner than by default, else
    /// they would not be at all.
    pub(crate) fn short(nodes: NodeId) -> Self {
        Self {
            overlay: hyparview::Config::default().with_settle_time(SECOND * 3),
            pace: SECOND / 20,
            settle: SECOND * 10,
            singles: 4,
            single_pause: SECOND / 2,
            rounds: 2,
            frozen: SECOND * 6,
            rest: SECOND * 3,
            patience: SECOND * 5,
            ..Self::of(nodes)
        }
    }

    /// In a sentence.
    pub(crate) fn story(&self) -> String {
        let Self {
            nodes,
            pace,
            settle,
            ..
        } = self;
        format!(
            "{nodes} nodes join, one every {} ms, through up to three contacts, and settle for {} s; one node \
             broadcasts {} times, all do {} times; a tenth stands still for {} s; 30 % are killed and come back",
            pace.as_millis(),
            settle.as_secs(),
            self.singles,
            self.rounds,
            self.frozen.as_secs()
        )
    }

    fn contacts(node: NodeId) -> Vec<NodeId> {
        let all = BTreeSet::from([0, node / 2, node.saturating_sub(1)]);
        all.into_iter().filter(|one| *one < node).collect()
    }

    /// Every `nth` but for the first, which broadcasts, and the others that all join through.
    fn every(&self, nth: NodeId, offset: NodeId) -> BTreeSet<NodeId> {
        (1..self.nodes).filter(|id| id % nth == offset).collect()
    }

    fn capacity(&self) -> usize {
        self.overlay.active_capacity()
    }
}

/// A part of the story.
type Chapter<'a, N> = (&'static str, fn(&mut Told<'a, N>));

/// Tells `net` the story. `tell` hears which chapter ended, and when.
pub(crate) fn play<'a, N: Net>(
    plan: &'a Plan,
    net: &'a mut N,
    tell: &mut dyn FnMut(&str, Duration),
) -> Measures {
    let mut told = Told {
        plan,
        net,
        measures: Measures::default(),
    };
    let chapters: [Chapter<'a, N>; 6] = [
        ("they gather", Told::gather),
        ("one speaks", Told::one_speaks),
        ("all speak", Told::all_speak),
        ("some stand still", Told::some_stand_still),
        ("some die", Told::some_die),
        ("they come back", Told::they_come_back),
    ];
    for (title, chapter) in chapters {
        chapter(&mut told);
        tell(title, told.net.now());
    }
    told.measures
}

struct Told<'a, N> {
    plan: &'a Plan,
    net: &'a mut N,
    measures: Measures,
}

impl<N: Net> Told<'_, N> {
    fn gather(&mut self) {
        for node in 0..self.plan.nodes {
            self.net.start(node, &Plan::contacts(node));
            self.net.run(self.plan.pace);
        }
        self.net.run(self.plan.settle / 2);
        let before = self.net.counts();
        self.net.run(self.plan.settle / 2);
        let after = self.net.counts();
        let graph = self.symmetric();
        let made = Spent::new(BTreeMap::new(), after.clone());
        let sent = Spent::new(before, after);
        let capacity = self.plan.capacity();
        self.measures.shape("settled", &graph, capacity);
        self.measures.links("settled", &made);
        self.measures.set(
            "settled: connections per node",
            made.per_node(|c| c.connections),
        );
        let rate = sent.per_node(|c| c.messages) / (self.plan.settle / 2).as_secs_f64();
        self.measures
            .set("settled: messages per node and second", rate);
    }

    fn one_speaks(&mut self) {
        let half = self.plan.singles / 2;
        for (when, count) in [
            ("one speaks", half),
            ("one goes on", self.plan.singles - half),
        ] {
            let senders = vec![0; count as usize];
            self.speak(when, &senders, self.plan.single_pause);
        }
    }

    fn all_speak(&mut self) {
        let everybody: Vec<NodeId> = (0..self.plan.nodes).collect();
        for round in 1..=self.plan.rounds {
            let when = match round {
                1 => "all speak",
                last if last == self.plan.rounds => "all go on",
                _ => "",
            };
            self.speak(when, &everybody, self.plan.round_pause);
        }
    }

    /// Each of `senders` sends a broadcast; what came of them is measured if it has a name.
    fn speak(&mut self, when: &str, senders: &[NodeId], pause: Duration) {
        let before = self.net.counts();
        let mut tags = Vec::new();
        for sender in senders {
            tags.push(self.net.say(*sender));
            self.net.run(pause);
        }
        self.net.run(SECOND);
        if when.is_empty() {
            return;
        }
        let after = self.net.counts();
        let heard: Vec<_> = tags.iter().map(|tag| self.net.heard(*tag)).collect();
        let audience = self.net.graph().len() - 1;
        let spent = Spent::new(before, after);
        self.measures.broadcasts(when, &heard, audience, &spent);
        self.measures.set(
            format!("{when}: control messages per node and broadcast"),
            spent.per_node(|c| c.control) / tags.len().max(1) as f64,
        );
    }

    fn some_stand_still(&mut self) {
        let before = self.net.counts();
        let stiff = self.plan.every(10, 3);
        self.net.freeze(&stiff, true);
        let kept = |graph: &Graph| links_to(graph, &stiff);
        let dropped = self.until(|graph| kept(graph) == 0);
        self.measures
            .set("frozen: s until nobody keeps one", dropped.as_secs_f64());
        self.net.run(self.plan.frozen.saturating_sub(dropped));
        self.net.freeze(&stiff, false);
        let whole = self.until(|graph| whole(graph) && links_to(graph, &stiff) > 0);
        self.measures
            .set("thawed: s until all are joined", whole.as_secs_f64());
        self.net.run(self.plan.rest);
        let after = self.net.counts();
        let (graph, capacity) = (self.symmetric(), self.plan.capacity());
        self.measures.shape("thawed", &graph, capacity);
        self.measures
            .links("frozen and thawed", &Spent::new(before, after));
    }

    fn some_die(&mut self) {
        let before = self.net.counts();
        let dead: BTreeSet<NodeId> = [2, 5, 8]
            .into_iter()
            .flat_map(|digit| self.plan.every(10, digit))
            .collect();
        let start = self.net.now();
        self.net.kill(&dead);
        let first = self.net.say(0);
        let capacity = self.plan.capacity();
        let forgotten = self.until_since(start, |graph| graph.dangling() == 0);
        let joined = self.until_since(start, |graph| whole(graph) && graph.dangling() == 0);
        let full = self.until_since(start, |graph| {
            whole(graph) && graph.dangling() == 0 && measures::full(graph, capacity) >= FULL
        });
        let since = self.net.now() - start;
        self.net.run(HEALED.saturating_sub(since));
        for (what, took) in [
            ("no dead neighbours", forgotten),
            ("one component", joined),
            ("95 % of views full", full),
        ] {
            self.measures
                .set(format!("killed: s until {what}"), took.as_secs_f64());
        }
        self.first_message(first, start);
        let survivors = vec![0; 3];
        self.speak("killed", &survivors, self.plan.single_pause);
        self.net.run(self.plan.rest);
        let after = self.net.counts();
        self.measures.links("killed", &Spent::new(before, after));
        let graph = self.symmetric();
        self.measures.shape("killed", &graph, capacity);
    }

    fn first_message(&mut self, first: Tag, start: Duration) {
        let mut heard = self.net.heard(first);
        heard.retain(|one| one.at.saturating_sub(start) <= HEALED);
        let survivors = self.net.graph().len() - 1;
        self.measures.set(
            "killed: first message reached, %",
            100.0 * heard.len() as f64 / survivors.max(1) as f64,
        );
        let last = heard.iter().map(|one| one.at).max().unwrap_or(start);
        self.measures.set(
            "killed: s until the last had it",
            last.saturating_sub(start).as_secs_f64(),
        );
    }

    fn they_come_back(&mut self) {
        let alive: BTreeSet<NodeId> = {
            let graph = self.net.graph();
            (0..).take(graph.len()).map(|at| graph.name(at)).collect()
        };
        let gone = (0..self.plan.nodes).filter(|id| !alive.contains(id));
        for node in gone.collect::<Vec<_>>() {
            self.net.start(node, &Plan::contacts(node));
            self.net.run(self.plan.pace);
        }
        let (capacity, nodes) = (self.plan.capacity(), self.plan.nodes as usize);
        let took = self.until(|graph| {
            graph.len() == nodes && whole(graph) && measures::full(graph, capacity) >= FULL
        });
        self.measures
            .set("back: s until 95 % of views full", took.as_secs_f64());
        self.net.run(self.plan.rest);
        let graph = self.symmetric();
        self.measures.shape("back", &graph, capacity);
        self.speak("back", &[0, 0], self.plan.single_pause);
    }

    /// The graph once no link is just being made or given up, which leaves it one-sided for an instant.
    fn symmetric(&mut self) -> Graph {
        self.until(|graph| graph.asymmetric() == 0);
        self.net.graph()
    }

    fn until(&mut self, holds: impl Fn(&Graph) -> bool) -> Duration {
        self.until_since(self.net.now(), holds)
    }

    /// How long after `start` something holds.
    fn until_since(&mut self, start: Duration, holds: impl Fn(&Graph) -> bool) -> Duration {
        loop {
            let took = self.net.now().saturating_sub(start);
            if took >= self.plan.patience || holds(&self.net.graph()) {
                return took;
            }
            self.net.run(LOOK);
        }
    }
}

fn whole(graph: &Graph) -> bool {
    graph.components().len() == 1
}

/// How many links lead from other nodes to `some`.
fn links_to(graph: &Graph, some: &BTreeSet<NodeId>) -> usize {
    let is_in = |at: u32| some.contains(&graph.name(at));
    let well = (0..).take(graph.len()).filter(|at| !is_in(*at));
    well.flat_map(|at| graph.peers(at))
        .filter(|peer| is_in(**peer))
        .count()
}
