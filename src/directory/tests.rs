mod bounds;
mod bytes;
mod convergence;
mod presence;
mod spreading;
mod twins;
mod view;

use std::time::Duration;

use super::{Announcement, Directory, Gossip, NodeRecord, Relay, Rumor, Settings};
use crate::{
    api::NodeState,
    identity::{Incarnation, NodeId, Run, Site},
    vector::Vector,
};

const NOW: Duration = Duration::from_secs(100);

fn name(number: usize) -> NodeId {
    format!("node{number}").parse().unwrap()
}

fn process(number: u64) -> Run {
    Run::new(number).unwrap()
}

fn words(number: usize) -> Announcement {
    Announcement {
        name: format!("shop {number}"),
        site: Site::new(number as i64 + 1),
        generation: 0,
        state: NodeState::Ready,
        store: format!("10.0.0.{number}:7432"),
        vector: Vector::default(),
        neighbors: Vec::new(),
        version: "0.1.0".to_owned(),
        started: 0,
        relay: Relay::Normal,
        follows: None,
    }
}

fn directory(number: usize) -> Directory {
    let mut directory = Directory::new(
        name(number),
        Incarnation::new(1_000),
        process(1),
        Settings::default(),
    );
    directory.announce(words(number));
    directory
}

/// One request and its reply.
fn exchange(a: &mut Directory, b: &mut Directory, now: Duration) {
    let (na, nb) = (a.me().node.clone(), b.me().node.clone());
    let request = a.gossip_for(&nb, now);
    b.receive(&na, request, now);
    let reply = b.gossip_for(&na, now);
    a.receive(&nb, reply, now);
}

fn rumor(record: NodeRecord) -> Gossip {
    Gossip {
        run: process(1),
        upto: 1,
        holds: None,
        rumors: vec![Rumor {
            record,
            beat: 1,
            age_seconds: 0,
        }],
        pulses: Vec::new(),
    }
}
