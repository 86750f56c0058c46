//! Where a scenario is played: a world of nodes, what makes things happen to them, and what is
//! measured of what comes of it.

mod broadcast;
mod broadcast_stats;
mod churn;
mod hostile;
mod lengths;
mod measure;
mod node_set;
mod population;
mod speech;
mod watch;

use std::time::Duration;

use rand::{SeedableRng, rngs::SmallRng, seq::SliceRandom};

use crate::{
    Flood, Graph, Network, NodeId, Subject, Wish, World,
    invariants::{self, SAMPLE, WATCHED_MAX},
    network::mix,
    report::{CaseReport, Row},
    scenario::{Case, Condition, Conditions, Step, Trouble},
    subject::Setup,
};
use watch::Watch;

/// How long what is broken at rest may still be under way, in seconds of the world.
const SETTLE_SECONDS: u32 = 5;
/// Inputs between two reports of how far the case is.
const PROGRESS_EVERY_INPUTS: u64 = 1 << 16;
/// Violations whose text is kept; further ones are only counted.
const VIOLATIONS_KEPT_MAX: usize = 10;

/// A case being played.
pub(crate) struct Stage<'a, M: Subject> {
    case: &'a Case,
    setup: &'a Setup,
    seed: u64,
    world: World<Flood<M>, Watch>,
    scenario_rng: SmallRng,
    /// Which side of the last cut each node is on.
    sides: Vec<u8>,
    /// What the address books of the dead hold.
    memory: Vec<Vec<NodeId>>,
    ailing: Vec<NodeId>,
    /// When counters were last set to zero, and what they showed.
    since: measure::Mark,
    rows: Vec<Row>,
    violations: Vec<String>,
    violation_count: usize,
    steps_looked_at: u64,
    /// Steps of the case that have been done.
    done: usize,
    tell: Tell<'a>,
}

/// Hears how far a case is: steps done, steps in all, and the world's time.
pub(crate) type Tell<'a> = &'a mut dyn FnMut(usize, usize, Duration);

/// Plays one case, and tells now and then how far it is.
pub(crate) fn play<M: Subject>(
    case: &Case,
    setup: &Setup,
    seed: u64,
    tell: Tell<'_>,
) -> CaseReport {
    let mut stage = Stage::<M>::new(case, setup, seed, tell);
    for step in &case.steps {
        stage.tell();
        stage.act(step);
        stage.done += 1;
    }
    stage.tell();
    stage.report()
}

impl<'a, M: Subject> Stage<'a, M> {
    fn new(case: &'a Case, setup: &'a Setup, seed: u64, tell: Tell<'a>) -> Self {
        let nodes = case.nodes as usize;
        Self {
            case,
            setup,
            seed,
            world: World::new(seed, network(&case.network), Watch::of(setup.adversaries)),
            // A stream of its own: what the scenario chooses does not depend on what the machines drew.
            scenario_rng: SmallRng::seed_from_u64(mix(seed ^ 2)),
            sides: vec![0; nodes],
            memory: vec![Vec::new(); nodes],
            ailing: adversaries(setup, case.nodes),
            since: measure::Mark::default(),
            rows: Vec::new(),
            violations: Vec::new(),
            violation_count: 0,
            steps_looked_at: 0,
            done: 0,
            tell,
        }
    }

    fn tell(&mut self) {
        (self.tell)(self.done, self.case.steps.len(), self.world.now());
    }

    fn act(&mut self, step: &Step) {
        match step {
            Step::Join {
                every_ms,
                one_contact,
            } => self.join(millis(*every_ms), *one_contact),
            Step::Run { seconds } => self.run(secs(*seconds)),
            Step::Crash { percent, how } => self.crash(*percent, *how),
            Step::Arrive {
                percent,
                every_ms,
                one_contact,
            } => self.arrive(*percent, millis(*every_ms), *one_contact),
            Step::Renew {
                percent,
                times,
                seconds,
            } => self.renew(*percent, *times, secs(*seconds)),
            Step::Leave { percent } => self.leave(*percent),
            Step::Return { every_ms } => self.bring_back(millis(*every_ms)),
            Step::Flap {
                percent,
                times,
                seconds,
            } => self.flap(*percent, *times, secs(*seconds)),
            Step::Cut { sides, notice } => self.cut(*sides, *notice),
            Step::Heal => self.world.heal(),
            Step::Ail { percent, with } => self.ail(*percent, *with),
            Step::Recover => self.recover(),
            Step::Network {
                loss,
                refusal,
                echoes,
            } => {
                self.world.network.loss = *loss;
                self.world.network.refusal = *refusal;
                self.world.network.echoes = *echoes;
            }
            Step::Reset => self.reset(),
            Step::Broadcast {
                label,
                messages,
                every_ms,
            } => self.broadcast(label, *messages, every_ms.map(millis)),
            Step::Speak { .. } => self.speak(step),
            Step::Churn { .. } => self.churn(step),
            Step::Tally { label } => self.end_counting(label),
            Step::Hold => self.wish_all(&Wish::Hold),
            Step::Root => self.name_root(),
            Step::Until { label, holds, most } => self.until(label, *holds, secs(*most)),
            Step::Measure { label, rest } => self.measure(label, *rest),
        }
    }

    /// Lets time pass, and looks at every input, or at a sample of them in a large network.
    fn run(&mut self, time: Duration) {
        let until = self.world.now() + time;
        let every = if self.case.nodes as usize <= WATCHED_MAX {
            1
        } else {
            SAMPLE
        };
        while let Some(node) = self.world.step(until) {
            self.steps_looked_at += 1;
            if self.steps_looked_at.is_multiple_of(every) {
                self.look_at(node);
            }
            if self.steps_looked_at.is_multiple_of(PROGRESS_EVERY_INPUTS) {
                self.tell();
            }
        }
        // The last event may be earlier than the end of this time.
        self.world.arrive(until);
    }

    fn look_at(&mut self, node: NodeId) {
        let against = |node| {
            self.setup
                .adversaries
                .is_some_and(|plan| plan.contain(node))
        };
        // A process that stands still is not to blame for what it does not do.
        let watched = !against(node) && !self.world.is_frozen(node);
        let Some(machine) = self.world.machine(node).filter(|_| watched) else {
            return;
        };
        let honest = |peer: &NodeId| !against(*peer);
        let other = |peer| {
            // What an adversary claims to hold proves nothing.
            let peer = Some(peer).filter(honest)?;
            self.world.machine(peer).map(Flood::below)
        };
        let broken = machine
            .below()
            .examine(self.setup, self.world.clock(node))
            .and_then(|()| machine.below().examine_pair(node, other))
            .err();
        if let Some(broken) = broken {
            self.complain(&broken);
        }
    }

    fn complain(&mut self, broken: &str) {
        // All are counted; the texts of a network that is broken all over would fill the report.
        self.violation_count += 1;
        if self.violations.len() < VIOLATIONS_KEPT_MAX {
            let at = self.world.now().as_secs_f64();
            self.violations.push(format!("at {at:.1} s: {broken}"));
        }
    }

    /// Random ones of the living who are well.
    fn some(&mut self, percent: f64) -> Vec<NodeId> {
        let mut all = self.well();
        all.shuffle(&mut self.scenario_rng);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a number of nodes"
        )]
        let count = (all.len() as f64 * percent / 100.0).round() as usize;
        all.truncate(count);
        all.sort_unstable();
        all
    }

    fn well(&self) -> Vec<NodeId> {
        let alive = self.world.alive().map(|(id, _)| id);
        alive.filter(|id| !self.ailing.contains(id)).collect()
    }

    fn cut(&mut self, sides: u8, notice: bool) {
        for (id, side) in (0u64..).zip(&mut self.sides) {
            // By id and not from a stream, so that the sides do not depend on what was chosen before.
            let drawn = mix(id ^ self.seed) % u64::from(sides.max(1));
            *side = u8::try_from(drawn).unwrap_or(0);
        }
        let sides = &self.sides;
        self.world.cut(|id| sides[id as usize], notice);
    }

    fn ail(&mut self, percent: f64, with: Trouble) {
        let mut chosen = self.some(percent);
        if percent == 0.0 {
            // One node, for a share of few nodes may round to none.
            chosen = self.some(100.0);
            chosen.shuffle(&mut self.scenario_rng);
            chosen.truncate(1);
        }
        for node in &chosen {
            match with {
                Trouble::Frozen => self.world.freeze(*node, true),
                Trouble::Wedged => self.world.wedge(*node, true),
                Trouble::Slow => self.world.slow_down(*node, Duration::from_millis(20)),
            }
        }
        self.ailing.extend(chosen);
    }

    fn recover(&mut self) {
        for node in std::mem::take(&mut self.ailing) {
            // Makes a node well, whatever its trouble was.
            self.world.freeze(node, false);
        }
    }

    fn until(&mut self, label: &str, holds: Condition, most: Duration) {
        let start = self.world.now();
        while !self.holds(holds) && self.world.now() - start < most {
            self.run(Duration::from_secs(1));
        }
        let took = (self.world.now() - start).as_secs_f64();
        // The loop may have ended because the time was up.
        let held = self.holds(holds);
        let mut row = Row::new(label, self.world.now());
        // Not the time that was waited: that would pass for a late success.
        row.set("seconds", if held { took } else { f64::INFINITY });
        row.set("held", f64::from(u8::from(held)));
        self.rows.push(row);
    }

    fn holds(&self, condition: Condition) -> bool {
        let graph = Graph::of(&self.world);
        let whole = || graph.components().len() <= 1 && graph.asymmetric() == 0;
        match condition {
            Condition::Whole => whole(),
            Condition::Full => whole() && measure::full(&graph, M::capacity(self.setup)) >= 0.999,
            Condition::Bridged => graph.across(|id| self.sides[id as usize]) > 0,
            Condition::Mixed => {
                measure::crossing_over_random(&graph, |id| self.sides[id as usize]) >= 0.8
            }
        }
    }

    /// Looks at what must hold of a network at rest. A switch or a Disconnect may just be under way, so what
    /// is broken must stay so for a while.
    fn at_rest(&mut self) {
        let mut broken = invariants::at_rest(&self.world, &Graph::of(&self.world));
        for _ in 0..SETTLE_SECONDS {
            if broken.is_empty() {
                return;
            }
            self.run(Duration::from_secs(1));
            broken = invariants::at_rest(&self.world, &Graph::of(&self.world));
        }
        for violation in broken {
            self.complain(&violation);
        }
    }

    fn report(self) -> CaseReport {
        let totals = self.world.totals();
        CaseReport {
            title: self.case.title.clone(),
            protocol: self.case.protocol,
            variables: self.case.variables.clone(),
            nodes: self.case.nodes,
            seed: self.seed,
            seconds: self.world.now().as_secs_f64(),
            inputs: totals.inputs,
            fingerprint: format!("{:016x}", totals.fingerprint),
            verdicts: self.rows_judged(),
            rows: self.rows,
            violations: self.violations,
            violation_count: self.violation_count,
        }
    }
}

/// Those that are not expected to take part as they should.
fn adversaries(setup: &Setup, nodes: u32) -> Vec<NodeId> {
    let plan = setup.adversaries;
    (0..nodes)
        .filter(|node| plan.is_some_and(|plan| plan.contain(*node)))
        .collect()
}

fn network(conditions: &Conditions) -> Network {
    let mut network = Network::default();
    if let Some(distances) = &conditions.distances {
        network.distances = distances.clone();
    }
    network.jitter = conditions.jitter_ms.map_or(network.jitter, millis);
    network.loss = conditions.loss.unwrap_or(0.0);
    network.refusal = conditions.refusal.unwrap_or(0.0);
    network.drift_ppm = conditions.drift_ppm.unwrap_or(0);
    network
}

fn secs(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn millis(ms: f64) -> Duration {
    secs(ms / 1000.0)
}
