//! One thing that a scenario does.

use serde::Deserialize;

use crate::Crash;

/// What ails nodes that are neither dead nor well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The process stands still.
    Frozen,
    /// It reads nothing.
    Wedged,
    /// Each thing it does takes 20 ms.
    Slow,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// One component, and every link held by both ends.
    Whole,
    /// `Whole`, and 99.9 % of the nodes have all the neighbours they may have.
    Full,
    /// There is a link between the sides of the cut.
    Bridged,
    /// There are 80 % of the links between the sides that a random graph has.
    Mixed,
}

/// One thing that a scenario does.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "do", deny_unknown_fields, rename_all = "kebab-case")]
pub enum Step {
    /// All nodes are started, one every `every-ms`.
    Join {
        /// Milliseconds from one to the next.
        #[serde(rename = "every-ms")]
        every_ms: f64,
        /// All join through node 0; otherwise each through two random ones that are there.
        #[serde(default, rename = "one-contact")]
        one_contact: bool,
    },
    /// Time passes.
    Run {
        /// Seconds.
        seconds: f64,
    },
    /// Random nodes die at one instant.
    Crash {
        /// How many of the living.
        percent: f64,
        /// How.
        how: Crash,
    },
    /// As many new nodes as this share of the living join, one every `every-ms`.
    Arrive {
        /// How many of the living.
        percent: f64,
        /// Milliseconds from one to the next.
        #[serde(rename = "every-ms")]
        every_ms: f64,
        /// All join through node 0; otherwise each through two random ones that are there.
        #[serde(default, rename = "one-contact")]
        one_contact: bool,
    },
    /// Random nodes die for good and as many new ones join, over and over.
    Renew {
        /// How many of the living.
        percent: f64,
        /// How often.
        times: u32,
        /// Seconds between.
        seconds: f64,
    },
    /// Random nodes leave in good order, and end.
    Leave {
        /// How many of the living.
        percent: f64,
    },
    /// All that have died or left start again, one every `every-ms`, with what their address books
    /// hold.
    Return {
        /// Milliseconds from one to the next.
        #[serde(rename = "every-ms")]
        every_ms: f64,
    },
    /// Random nodes die and come back, over and over.
    Flap {
        /// How many of the living.
        percent: f64,
        /// How often.
        times: u32,
        /// Seconds between.
        seconds: f64,
    },
    /// The network falls apart.
    Cut {
        /// How many sides of the same size.
        sides: u8,
        /// Both ends of a broken connection learn of it at once.
        #[serde(default)]
        notice: bool,
    },
    /// The network is whole again.
    Heal,
    /// Random nodes get into trouble; percent 0: one node.
    Ail {
        /// How many of the living.
        percent: f64,
        /// What ails them.
        with: Trouble,
    },
    /// All who were in trouble are well again.
    Recover,
    /// The network becomes worse or better.
    Network {
        /// Share of messages lost.
        loss: f64,
        /// Share of dials refused.
        refusal: f64,
        /// Share of messages that come once more, up to some seconds later.
        #[serde(default)]
        echoes: f64,
    },
    /// Counters of messages and changes start anew.
    Reset,
    /// Random healthy nodes broadcast one after the other.
    Broadcast {
        /// Names the row.
        label: String,
        /// How many.
        messages: u32,
        /// Milliseconds from one to the next; without it, each is sent when the one before and the repairs
        /// that it caused are done, as in the paper's simulator.
        #[serde(default, rename = "every-ms")]
        every_ms: Option<f64>,
    },
    /// Nodes speak in turn, over the broadcast tree: for some rounds that are not measured, in which their
    /// trees are built, and for some that are.
    Speak {
        /// Names the row; without it the account is left open until a `tally`.
        label: Option<String>,
        /// How many of the nodes, the same ones in every step; 0: all.
        senders: usize,
        /// Rounds that are not measured.
        #[serde(default, rename = "warm-up")]
        warm_up: u32,
        /// Rounds that are.
        rounds: u32,
        /// Milliseconds from one message to the next.
        #[serde(rename = "every-ms")]
        every_ms: f64,
        /// Seconds until the last message must have come.
        #[serde(default, rename = "drain-s")]
        drain_s: f64,
    },
    /// What became of all that was said since counting began.
    Tally {
        /// Names the row.
        label: String,
    },
    /// In each cycle random nodes die while the senders speak on, evenly spread over it. Senders do not die.
    Churn {
        /// Names the row.
        label: String,
        /// How many of the nodes speak.
        senders: usize,
        /// How many.
        cycles: u32,
        /// Length of one.
        seconds: f64,
        /// Share of the nodes that die in each cycle, in percent.
        percent: f64,
        /// Whether as many of the dead come back, in a new incarnation.
        #[serde(default)]
        back: bool,
        /// How many messages per cycle.
        messages: u32,
    },
    /// The broadcast's neighbours stay as they are from now on, whatever the membership does.
    Hold,
    /// All nodes are told that the first who speaks is the best connected.
    Root,
    /// Time passes until something holds, looked at every second.
    Until {
        /// Names the row.
        label: String,
        /// What is waited for.
        holds: Condition,
        /// Seconds at most.
        most: f64,
    },
    /// The graph is measured.
    Measure {
        /// Names the row.
        label: String,
        /// The network is at rest: what must hold then is looked at.
        #[serde(default)]
        rest: bool,
    },
}
