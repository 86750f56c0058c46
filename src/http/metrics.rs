//! `/metrics`, and the gauges that follow from the node's status.

use std::{collections::BTreeMap, fmt};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, EncodeMetric, text::encode},
    metrics::{MetricType, gauge::ConstGauge},
    registry::Unit,
};
use tokio::sync::watch;

use super::{error::ApiError, exposition, view::View};
use crate::{
    api::{Direction, LinkState, LinkStatus, NodeInfo, NodeState, Status},
    telemetry::{label, metric},
};

pub(super) async fn text(
    State(view): State<View>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut text = String::new();
    encode(&mut text, &view.metrics)
        .map_err(|error| ApiError::Internal(format!("metrics cannot be written: {error}")))?;
    let accepted = headers.get(header::ACCEPT).and_then(|a| a.to_str().ok());
    let (kind, text) = match wants_classic(accepted.unwrap_or_default()) {
        true => (exposition::CLASSIC, exposition::classic(&text)),
        false => (exposition::OPEN, text),
    };
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Whether a scraper knows the older format only. Who takes anything gets the newer one.
fn wants_classic(accepted: &str) -> bool {
    let kinds = || {
        accepted
            .split(',')
            .filter_map(|kind| kind.split(';').next())
    };
    let takes = |wanted: &str| kinds().any(|kind| kind.trim().eq_ignore_ascii_case(wanted));
    takes("text/plain") && !takes("application/openmetrics-text")
}

/// Gauges taken from the node's status and the nodes it knows, at each scrape.
#[derive(Debug)]
pub struct StatusCollector {
    status: watch::Receiver<Status>,
    nodes: watch::Receiver<Vec<NodeInfo>>,
}

impl StatusCollector {
    /// Reads these at each scrape; the same ones as in the [`View`].
    #[must_use]
    pub fn new(status: watch::Receiver<Status>, nodes: watch::Receiver<Vec<NodeInfo>>) -> Self {
        Self { status, nodes }
    }
}

/// A sample: its labels and its value.
type Sample<V> = (Vec<(&'static str, String)>, V);

impl Collector for StatusCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        // Copies, so that a slow scraper never holds up whoever feeds the channels.
        let status = self.status.borrow().clone();
        let nodes = self.nodes.borrow().clone();
        encode_node(&mut encoder, &status)?;
        encode_overlay(&mut encoder, &status)?;
        encode_links(&mut encoder, &status.links)?;

        // Both are there from the start: what is not there cannot be alerted on.
        let mut members = BTreeMap::from([("alive", 0_i64), ("gone", 0)]);
        for node in &nodes {
            let state = if node.alive { "alive" } else { "gone" };
            members.entry(state).and_modify(|count| *count += 1);
        }
        let members = members
            .into_iter()
            .map(|(state, count)| (vec![(label::STATE, state.to_owned())], count));
        gauge(&mut encoder, metric::MEMBERS, "Nodes known", None, members)?;

        let vector = status
            .vector
            .iter()
            .map(|(site, upto)| (vec![(label::SITE, site.to_string())], upto.get()));
        let help = "Everything of the site up to this number is here";
        gauge(&mut encoder, metric::CHECKPOINT, help, None, vector)
    }
}

fn encode_node(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), fmt::Error> {
    plain(encoder, metric::UP, "The process runs", 1)?;
    let states = [
        (NodeState::Starting, "starting"),
        (NodeState::Joining, "joining"),
        (NodeState::Ready, "ready"),
        (NodeState::Degraded, "degraded"),
        (NodeState::Leaving, "leaving"),
    ]
    .map(|(state, name)| {
        (
            vec![(label::STATE, name.to_owned())],
            i64::from(state == status.node.state),
        )
    });
    gauge(
        encoder,
        metric::NODE_STATE,
        "1 for the state the node is in",
        None,
        states,
    )?;
    plain(
        encoder,
        metric::STORE_READY,
        "The store serves",
        usize::from(status.store.ready),
    )
}

fn encode_overlay(encoder: &mut DescriptorEncoder<'_>, status: &Status) -> Result<(), fmt::Error> {
    let overlay = &status.overlay;
    plain(
        encoder,
        metric::ACTIVE_VIEW_SIZE,
        "Neighbours",
        overlay.active.len(),
    )?;
    plain(
        encoder,
        metric::PASSIVE_VIEW_SIZE,
        "Spare peers",
        overlay.passive,
    )?;
    // A neighbour whose clock is not known has no sample: a zero would say that it agrees.
    let offsets = overlay.active.iter().filter_map(|neighbor| {
        let peer = vec![(label::PEER, neighbor.peer_id.clone())];
        Some((peer, neighbor.clock_offset_ms? / 1_000.0))
    });
    gauge(
        encoder,
        metric::NEIGHBOR_CLOCK_OFFSET,
        "A neighbour's clock minus this store's",
        Some(&Unit::Seconds),
        offsets,
    )?;
    let ahead = status.clock.ahead_ms.map(|ahead| (vec![], ahead / 1_000.0));
    gauge(
        encoder,
        metric::CLOCK_AHEAD,
        "How far this store's clock is ahead of the median of its neighbours'",
        Some(&Unit::Seconds),
        ahead,
    )?;
    let round_trips = overlay.active.iter().filter_map(|neighbor| {
        Some((
            vec![(label::PEER, neighbor.peer_id.clone())],
            neighbor.rtt_ms? / 1_000.0,
        ))
    });
    let help = "Last round trip to a neighbour";
    gauge(
        encoder,
        metric::NEIGHBOR_ROUND_TRIP,
        help,
        Some(&Unit::Seconds),
        round_trips,
    )
}

fn encode_links(
    encoder: &mut DescriptorEncoder<'_>,
    links: &[LinkStatus],
) -> Result<(), fmt::Error> {
    const WAYS: [Direction; 2] = [Direction::In, Direction::Out];
    // A state that no link is in is a zero: what is not there cannot be alerted on.
    let states = WAYS
        .into_iter()
        .flat_map(|way| LinkState::ALL.into_iter().map(move |state| (way, state)));
    let counts = states.map(|(way, state)| {
        let labels = vec![
            (label::DIRECTION, name(way)),
            (label::STATE, state.name().to_owned()),
        ];
        let is_one = |link: &&LinkStatus| (link.direction, link.state) == (way, state);
        (labels, count(links.iter().filter(is_one).count()))
    });
    gauge(encoder, metric::LINKS, "Data links", None, counts)?;
    let overdue = WAYS.into_iter().map(|way| {
        let is_one = |link: &&LinkStatus| link.direction == way && link.overdue;
        let overdue = links.iter().filter(is_one).count();
        (vec![(label::DIRECTION, name(way))], count(overdue))
    });
    let help = "Data links that have carried nothing for longer than it takes to make one";
    gauge(encoder, metric::LINKS_OVERDUE, help, None, overdue)?;
    let bytes = largest(links, |link| link.lag_bytes);
    let help = "WAL not confirmed by the subscriber (out), or received and not processed (in)";
    gauge(
        encoder,
        metric::LINK_LAG_BYTES,
        help,
        Some(&Unit::Bytes),
        bytes,
    )?;
    let seconds = largest(links, |link| link.lag_seconds);
    let help = "Time for which the peer has had what is missing at the other end";
    gauge(
        encoder,
        metric::LINK_LAG_SECONDS,
        help,
        Some(&Unit::Seconds),
        seconds,
    )
}

fn count(links: usize) -> i64 {
    i64::try_from(links).unwrap_or(i64::MAX)
}

/// The largest value for each peer and direction: while a link takes the place of another there are two,
/// and two samples under one name are refused.
fn largest<V: PartialOrd + Copy>(
    links: &[LinkStatus],
    value: impl Fn(&LinkStatus) -> Option<V>,
) -> Vec<Sample<V>> {
    let mut values: BTreeMap<(&str, Direction), V> = BTreeMap::new();
    for link in links {
        if let Some(new) = value(link) {
            values
                .entry((&link.peer_id, link.direction))
                // Seconds are no `Ord`, so there is no `max` for both.
                .and_modify(|old| *old = if new > *old { new } else { *old })
                .or_insert(new);
        }
    }
    let ends = |peer: &str, direction| {
        vec![
            (label::PEER, peer.to_owned()),
            (label::DIRECTION, name(direction)),
        ]
    };
    values
        .into_iter()
        .map(|((peer, direction), value)| (ends(peer, direction), value))
        .collect()
}

fn name(direction: Direction) -> String {
    match direction {
        Direction::In => "in".to_owned(),
        Direction::Out => "out".to_owned(),
    }
}

/// A gauge with the constant labels only.
fn plain(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    value: usize,
) -> Result<(), fmt::Error> {
    let gauge = ConstGauge::new(value);
    gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
}

/// A gauge with labels of its own in every sample.
fn gauge<V: EncodeGaugeValue>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    samples: impl IntoIterator<Item = Sample<V>>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    for (labels, value) in samples {
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
