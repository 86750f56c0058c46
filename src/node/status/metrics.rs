//! The metrics of the parts, collected when somebody asks.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
    registry::Registry,
};
use tokio::sync::watch;

use super::board::StatusBoard;
use crate::{
    api::Status,
    config::Config,
    http::StatusCollector,
    network::{self, Counter},
    replication,
    telemetry::{self, label, metric},
};

/// The data plane, while there is one.
pub(in crate::node) type SharedDataPlane = Arc<Mutex<Option<replication::Handle>>>;

/// All metrics of a node.
pub(in crate::node) fn registry(
    config: &Config,
    board: &StatusBoard,
    network: network::Handle,
    plane: SharedDataPlane,
) -> Registry {
    let mut registry = telemetry::registry(&config.node.cluster, &config.node.name);
    let status = StatusCollector::new(board.status(), board.nodes());
    registry.register_collector(Box::new(status));
    let status = board.status();
    registry.register_collector(Box::new(Totals {
        network,
        plane,
        status,
    }));
    registry
}

/// What the network and the data plane have counted.
#[derive(Debug)]
struct Totals {
    network: network::Handle,
    plane: SharedDataPlane,
    status: watch::Receiver<Status>,
}

impl Collector for Totals {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode_network(&mut encoder)?;
        let renewals = self.status.borrow().store.renewals.len();
        plain(
            &mut encoder,
            metric::STORE_RENEWALS,
            "Times that the store went on as another site, of those on record (16 at most)",
            u64::try_from(renewals).unwrap_or(u64::MAX),
        )?;
        let mut messages = encoder.encode_descriptor(
            metric::LOG_MESSAGES,
            "Warnings and errors in the log",
            None,
            MetricType::Counter,
        )?;
        for (level, count) in telemetry::totals() {
            let labels = [(label::LEVEL, level.name())];
            ConstCounter::new(count).encode(messages.encode_family(&labels)?)?;
        }
        // A handle is whole even after a panic elsewhere.
        let plane = self
            .plane
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(plane) = plane else {
            return Ok(());
        };
        let counters = plane.counters();
        plain(
            &mut encoder,
            "catch_up_rows",
            "Rows received by catch-ups",
            counters.caught_up_rows,
        )?;
        plain(
            &mut encoder,
            "checkpoints",
            "Checkpoints written",
            counters.checkpoints,
        )?;
        plain(
            &mut encoder,
            "clock_refusals",
            "Times that nothing more was taken from a peer because its clock was ahead",
            counters.mistrusted,
        )?;
        let mut steps =
            encoder.encode_descriptor("link_steps", "Steps on links", None, MetricType::Counter)?;
        for ((step, outcome), count) in &counters.steps {
            let labels = [("step", *step), ("outcome", outcome.label())];
            ConstCounter::new(*count).encode(steps.encode_family(&labels)?)?;
        }
        let mut refused = encoder.encode_descriptor(
            "link_requests_refused",
            "Requests of peers about links that were refused",
            None,
            MetricType::Counter,
        )?;
        for (code, count) in &counters.refused {
            let labels = [("code", code.as_str())];
            ConstCounter::new(*count).encode(refused.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl Totals {
    fn encode_network(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for counter in Counter::ALL {
            let value = self.network.counters().get(counter);
            let name = format!("network_{}", counter.name());
            plain(encoder, &name, "Counted by the network", value)?;
        }
        let protocols = self.network.protocol_counters();
        for (name, value) in protocols.overlay.named() {
            let help = "Counted by the overlay's protocol, HyParView";
            plain(encoder, &format!("overlay_{name}"), help, value)?;
        }
        for (name, value) in protocols.broadcast.named() {
            let help = "Counted by the broadcast's protocol, Plumtree";
            plain(encoder, &format!("broadcast_{name}"), help, value)?;
        }
        Ok(())
    }
}

fn plain(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: u64,
) -> Result<(), fmt::Error> {
    let metric = ConstCounter::new(value);
    let encoder = encoder.encode_descriptor(name, help, None, metric.metric_type())?;
    metric.encode(encoder)
}
