//! Broadcasts over the tree, and what became of them.

use std::{collections::BTreeMap, time::Duration};

use plumtree::MessageId;
use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};

use super::{Stage, millis, secs};
use crate::{Cause, News, NodeId, Order, Step, Subject, Wish, network::mix, report::Row};

/// Bytes of a message: a node's status.
const BYTES: usize = 200;

/// A set of nodes.
#[derive(Debug, Clone, Default)]
struct Crowd(Vec<u64>);

impl Crowd {
    fn place(node: NodeId) -> (usize, u64) {
        (node as usize / 64, 1 << (node % 64))
    }

    fn insert(&mut self, node: NodeId) {
        let (word, bit) = Self::place(node);
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] |= bit;
    }

    fn remove(&mut self, node: NodeId) {
        let (word, bit) = Self::place(node);
        if let Some(bits) = self.0.get_mut(word) {
            *bits &= !bit;
        }
    }

    fn contains(&self, node: NodeId) -> bool {
        let (word, bit) = Self::place(node);
        self.0.get(word).is_some_and(|bits| bits & bit != 0)
    }

    fn len(&self) -> u32 {
        self.0.iter().map(|bits| bits.count_ones()).sum()
    }
}

/// What became of one message.
#[derive(Debug, Clone, Default)]
struct Course {
    sent: Duration,
    /// Who was there when it was sent, has not got it yet and is still there in that life.
    lacking: Crowd,
    audience: u32,
    deliveries: u64,
    payloads: u64,
    hops: u16,
    last: Duration,
}

/// Counts of what is measured just now.
#[derive(Debug, Clone, Default)]
pub(super) struct Grove {
    courses: BTreeMap<MessageId<NodeId>, Course>,
    /// Microseconds to each delivery.
    delays: Vec<u32>,
    again: BTreeMap<Cause, u64>,
    control: u64,
    control_bytes: u64,
    missing: u64,
    since: Duration,
}

impl Grove {
    pub(super) fn hear(&mut self, now: Duration, node: NodeId, news: News) {
        match news {
            News::Delivered { id, hops } => {
                let Some(course) = self.courses.get_mut(&id) else {
                    return;
                };
                course.deliveries += 1;
                if course.lacking.contains(node) {
                    course.lacking.remove(node);
                    course.hops = course.hops.max(hops);
                    course.last = now - course.sent;
                    let micros = (now - course.sent).as_micros();
                    self.delays.push(u32::try_from(micros).unwrap_or(u32::MAX));
                }
            }
            News::Sent(id) => {
                if let Some(course) = self.courses.get_mut(&id) {
                    course.payloads += 1;
                }
            }
            News::Again(id, cause) => {
                if self.courses.contains_key(&id) {
                    *self.again.entry(cause).or_default() += 1;
                }
            }
            News::Missing => self.missing += 1,
            News::Control(bytes) => {
                self.control += 1;
                self.control_bytes += bytes as u64;
            }
        }
    }

    /// A node has died: nothing is expected of it any more.
    pub(super) fn died(&mut self, node: NodeId) {
        for course in self.courses.values_mut() {
            if course.lacking.contains(node) {
                course.lacking.remove(node);
                course.audience -= 1;
            }
        }
    }

    /// What was measured.
    fn row(&mut self, label: &str, now: Duration, nodes: usize) -> Row {
        let mut row = Row::new(label, now);
        let courses = || self.courses.values();
        let payloads: u64 = courses().map(|course| course.payloads).sum();
        let deliveries: u64 = courses().map(|course| course.deliveries).sum();
        let audience: u64 = courses().map(|course| u64::from(course.audience)).sum();
        let lacking: u64 = courses()
            .map(|course| u64::from(course.lacking.len()))
            .sum();
        let count = self.courses.len().max(1) as f64;
        row.set("messages", self.courses.len() as f64);
        let each = deliveries.max(1) as f64;
        row.set("rmr", payloads as f64 / each - 1.0);
        for (cause, name) in Cause::ALL {
            let again = self.again.get(&cause).copied().unwrap_or(0);
            row.set(&format!("rmr_{name}"), again as f64 / each);
        }
        row.set("lacking", lacking as f64);
        let reliability = 1.0 - lacking as f64 / audience.max(1) as f64;
        row.set("reliability", 100.0 * reliability);
        let hops: u64 = courses().map(|course| u64::from(course.hops)).sum();
        row.set("hops_last", hops as f64 / count);
        let most = courses().map(|course| course.hops).max();
        row.set("hops_last_most", f64::from(most.unwrap_or(0)));
        let mut last: Vec<u32> = courses()
            .map(|course| u32::try_from(course.last.as_micros()).unwrap_or(u32::MAX))
            .collect();
        last.sort_unstable();
        self.delays.sort_unstable();
        for (name, list) in [("delivery", &self.delays), ("last", &last)] {
            for percent in [50, 99, 100] {
                let at = list.len().saturating_sub(1) * percent / 100;
                let ms = list.get(at).copied().unwrap_or(0);
                row.set(&format!("{name}_p{percent}_ms"), f64::from(ms) / 1000.0);
            }
        }
        let span = (now - self.since).as_secs_f64() * nodes.max(1) as f64;
        row.set("control_per_node_s", self.control as f64 / span);
        row.set("control_bytes_per_node_s", self.control_bytes as f64 / span);
        row.set("control_per_delivery", self.control as f64 / each);
        row.set("asked_in_vain", self.missing as f64);
        let shares = courses().map(|course| {
            100.0 - 100.0 * f64::from(course.lacking.len()) / f64::from(course.audience.max(1))
        });
        if self.courses.len() <= 200 {
            row.series = shares.collect();
        }
        row
    }
}

impl<M: Subject> Stage<'_, M> {
    /// Those that will speak: the first of the living in an order that is the same in every step, so that who
    /// spoke before the others died speaks after it; all for 0.
    pub(super) fn speakers(&self, count: usize) -> Vec<NodeId> {
        let mut all: Vec<NodeId> = (0..self.case.nodes).collect();
        all.shuffle(&mut SmallRng::seed_from_u64(mix(self.seed ^ 3)));
        let well = self.well();
        all.retain(|node| well.binary_search(node).is_ok());
        if count > 0 {
            all.truncate(count);
        }
        all
    }

    /// All are told that who speaks first is the best connected.
    pub(super) fn name_root(&mut self) {
        if let Some(root) = self.speakers(1).first() {
            self.wish_all(&Wish::SetRoot(*root));
        }
    }

    pub(super) fn wish_all(&mut self, wish: &Wish<()>) {
        for node in self.well() {
            self.wish(node, wish);
        }
    }

    fn wish(&mut self, node: NodeId, wish: &Wish<()>) {
        if let Some(command) = M::wish(wish.clone()) {
            self.world.command(node, Order::Below(command));
        }
    }

    /// One node speaks; `measured`, what becomes of that is noted.
    pub(super) fn say(&mut self, node: NodeId, measured: bool) {
        let machine = self.world.machine(node);
        let Some(id) = machine.and_then(|machine| Some(machine.below().tree()?.next_id())) else {
            return;
        };
        if measured {
            let mut course = Course {
                sent: self.world.now(),
                ..Course::default()
            };
            for other in self.well() {
                if other != node {
                    course.lacking.insert(other);
                }
            }
            course.audience = course.lacking.len();
            self.world.observer.grove.courses.insert(id, course);
        }
        self.wish(node, &Wish::Broadcast(BYTES));
    }

    /// Counting begins anew.
    pub(super) fn grove_reset(&mut self) {
        self.world.observer.grove = Grove {
            since: self.world.now(),
            ..Grove::default()
        };
    }

    /// Counting ends.
    pub(super) fn grove_report(&mut self, label: &str) {
        let (now, nodes) = (self.world.now(), self.world.alive().count());
        let behind = self.behind();
        let mut row = self.world.observer.grove.row(label, now, nodes);
        row.set("behind", behind as f64);
        self.rows.push(row);
        self.check_trees();
        self.grove_reset();
    }

    /// How many nodes, among them those that came later, do not have the newest message of all.
    fn behind(&self) -> usize {
        let courses = self.world.observer.grove.courses.iter();
        let Some((newest, _)) = courses.max_by_key(|(_, course)| course.sent) else {
            return 0;
        };
        let alive = self.world.alive();
        alive
            .filter(|(_, machine)| {
                let tree = machine.below().tree();
                tree.is_some_and(|tree| tree.is_news(newest))
            })
            .count()
    }

    /// What must always hold of the trees; looked at now and then, for it takes its time.
    fn check_trees(&mut self) {
        let broken: Vec<String> = self
            .world
            .alive()
            .filter_map(|(id, machine)| {
                let broken = machine.below().tree()?.check().err()?;
                Some(format!("tree: {id}: {broken}"))
            })
            .collect();
        for one in broken {
            self.complain(&one);
        }
    }

    pub(super) fn speak(&mut self, step: &Step) {
        let Step::Speak {
            label,
            senders,
            warm_up,
            rounds,
            every_ms,
            drain_s,
        } = step
        else {
            return;
        };
        let senders = self.speakers(*senders);
        for round in 0..warm_up + rounds {
            if round == *warm_up {
                self.grove_reset();
            }
            for node in &senders {
                self.say(*node, round >= *warm_up);
                self.run(millis(*every_ms));
            }
        }
        self.run(secs(*drain_s));
        if let Some(label) = label {
            self.grove_report(label);
        }
    }
}
