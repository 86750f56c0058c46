//! The metrics of the parts, collected when somebody asks.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter},
    registry::Registry,
};

use super::picture::Picture;
use crate::{
    config::Config,
    http::StatusCollector,
    network::{self, Counter},
    replication, telemetry,
};

/// The data plane, once there is one.
pub(super) type LatePlane = Arc<OnceLock<replication::Handle>>;

/// All metrics of a node.
pub(super) fn registry(
    config: &Config,
    picture: &Picture,
    network: network::Handle,
    plane: LatePlane,
) -> Registry {
    let mut registry = telemetry::registry(&config.node.cluster, &config.node.name);
    let status = StatusCollector::new(picture.status(), picture.nodes());
    registry.register_collector(Box::new(status));
    registry.register_collector(Box::new(Totals { network, plane }));
    registry
}

/// What the network and the data plane have counted.
#[derive(Debug)]
struct Totals {
    network: network::Handle,
    plane: LatePlane,
}

impl Collector for Totals {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for counter in Counter::ALL {
            let value = self.network.counters().get(counter);
            let name = format!("network_{}", counter.name());
            plain(&mut encoder, &name, "Counted by the network", value)?;
        }
        let Some(plane) = self.plane.get() else {
            return Ok(());
        };
        let totals = plane.totals();
        plain(
            &mut encoder,
            "catch_up_rows",
            "Rows received by catch-ups",
            totals.caught_up_rows,
        )?;
        plain(
            &mut encoder,
            "checkpoints",
            "Checkpoints written",
            totals.checkpoints,
        )?;
        let mut steps =
            encoder.encode_descriptor("link_steps", "Steps on links", None, MetricType::Counter)?;
        for ((step, outcome), count) in &totals.steps {
            let labels = [("step", *step), ("outcome", outcome.label())];
            ConstCounter::new(*count).encode(steps.encode_family(&labels)?)?;
        }
        let mut refused = encoder.encode_descriptor(
            "link_requests_refused",
            "Requests of peers about links that were refused",
            None,
            MetricType::Counter,
        )?;
        for (code, count) in &totals.refused {
            let labels = [("code", code.as_str())];
            ConstCounter::new(*count).encode(refused.encode_family(&labels)?)?;
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
