//! What became of broadcasts over the tree, as numbers.

use std::{collections::BTreeMap, time::Duration};

use plumtree::MessageId;

use super::node_set::NodeSet;
use crate::{Cause, News, NodeId, report::Row};

/// What became of one message.
#[derive(Debug, Clone, Default)]
pub(super) struct MessageStats {
    /// When it was sent, in virtual time.
    pub(super) sent: Duration,
    /// Who was there when it was sent, has not got it yet and is still there in that incarnation.
    lacking: NodeSet,
    /// How many could be reached when it was sent, its origin left out, less those that died since.
    audience: u32,
    /// How often it was delivered, also to nodes that came later.
    deliveries: u64,
    /// How often its payload was sent.
    payloads: u64,
    /// Links that the longest way to one of the audience had.
    hops: u16,
    /// From when it was sent until the last of the audience had it.
    last: Duration,
}

impl MessageStats {
    /// A message that is sent to `audience` now.
    pub(super) fn new(now: Duration, audience: impl Iterator<Item = NodeId>) -> Self {
        let mut stats = Self {
            sent: now,
            ..Self::default()
        };
        for node in audience {
            stats.lacking.insert(node);
        }
        stats.audience = stats.lacking.len();
        stats
    }
}

/// What became of all messages since counting began.
#[derive(Debug, Clone, Default)]
pub(super) struct BroadcastStats {
    pub(super) messages: BTreeMap<MessageId<NodeId>, MessageStats>,
    /// Microseconds to each delivery.
    delays: Vec<u32>,
    /// Payloads that came again, by why.
    again: BTreeMap<Cause, u64>,
    /// Messages that are no payloads.
    control: u64,
    control_bytes: u64,
    /// How often no announcer sent a message.
    missing: u64,
    /// When counting began.
    since: Duration,
}

impl BroadcastStats {
    /// Nothing is counted yet.
    pub(super) fn since(now: Duration) -> Self {
        Self {
            since: now,
            ..Self::default()
        }
    }

    /// A node tells what happened to a message. One that is not followed is left out.
    pub(super) fn hear(&mut self, now: Duration, node: NodeId, news: News) {
        match news {
            News::Delivered { id, hops } => {
                let Some(message) = self.messages.get_mut(&id) else {
                    return;
                };
                // Also to those who came later: their payloads are counted, so their deliveries must be.
                message.deliveries += 1;
                if message.lacking.contains(node) {
                    message.lacking.remove(node);
                    message.hops = message.hops.max(hops);
                    message.last = now - message.sent;
                    let micros = (now - message.sent).as_micros();
                    self.delays.push(u32::try_from(micros).unwrap_or(u32::MAX));
                }
            }
            News::Sent(id) => {
                if let Some(message) = self.messages.get_mut(&id) {
                    message.payloads += 1;
                }
            }
            News::Again(id, cause) => {
                // Messages of the warm-up are not followed.
                if self.messages.contains_key(&id) {
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
        for message in self.messages.values_mut() {
            if message.lacking.contains(node) {
                message.lacking.remove(node);
                // Reliability is that of those who are there when counting ends.
                message.audience -= 1;
            }
        }
    }

    /// What was measured until `now`, among `nodes` nodes.
    pub(super) fn row(&mut self, label: &str, now: Duration, nodes: usize) -> Row {
        let mut row = Row::new(label, now);
        let messages = || self.messages.values();
        let payloads: u64 = messages().map(|message| message.payloads).sum();
        let deliveries: u64 = messages().map(|message| message.deliveries).sum();
        let audience: u64 = messages().map(|message| u64::from(message.audience)).sum();
        let lacking: u64 = messages()
            .map(|message| u64::from(message.lacking.len()))
            .sum();
        let count = self.messages.len().max(1) as f64;
        row.set("messages", self.messages.len() as f64);
        // Nothing delivered makes ratios large, not undefined.
        let each = deliveries.max(1) as f64;
        // The paper's m / (n - 1) - 1: a tree needs one payload per delivery.
        row.set("rmr", payloads as f64 / each - 1.0);
        for (cause, name) in Cause::ALL {
            let again = self.again.get(&cause).copied().unwrap_or(0);
            row.set(&format!("rmr_{name}"), again as f64 / each);
        }
        row.set("lacking", lacking as f64);
        let reliability = 1.0 - lacking as f64 / audience.max(1) as f64;
        row.set("reliability", 100.0 * reliability);
        let hops: u64 = messages().map(|message| u64::from(message.hops)).sum();
        row.set("hops_last", hops as f64 / count);
        let most = messages().map(|message| message.hops).max();
        row.set("hops_last_most", f64::from(most.unwrap_or(0)));
        let mut last: Vec<u32> = messages()
            .map(|message| u32::try_from(message.last.as_micros()).unwrap_or(u32::MAX))
            .collect();
        last.sort_unstable();
        self.delays.sort_unstable();
        for (name, list) in [("delivery", &self.delays), ("last", &last)] {
            for percent in [50, 99, 100] {
                // A value that was measured, not one between two; the last for 100.
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
        let shares = messages().map(|message| {
            100.0 - 100.0 * f64::from(message.lacking.len()) / f64::from(message.audience.max(1))
        });
        // The report lists each of these values, so there must not be many.
        if self.messages.len() <= 200 {
            row.series = shares.collect();
        }
        row
    }
}
