//! Tests of the tree over the real membership.

use super::*;
use crate::{Member, Network, Observer, World, contact};

type Node = Tree<Member>;

/// How often each message was delivered and sent.
#[derive(Default)]
struct Watch(BTreeMap<MessageId<NodeId>, (usize, usize)>);

impl Observer<Node> for Watch {
    fn on_event(&mut self, _: Duration, _: NodeId, event: &<Node as Protocol>::Event) {
        match event {
            Reported::Tree(News::Delivered { id, .. }) => {
                self.0.entry(*id).or_default().0 += 1;
            }
            Reported::Tree(News::Sent(id)) => self.0.entry(*id).or_default().1 += 1,
            _ => {}
        }
    }
}

/// Who lacks a message because its parent has died unnoticed asks for it as soon as the wires allow.
#[test]
fn time_outs_are_as_short_as_the_wires() {
    #[derive(Default)]
    struct Times(Vec<Duration>);
    impl Observer<Node> for Times {
        fn on_event(&mut self, now: Duration, _: NodeId, event: &<Node as Protocol>::Event) {
            if matches!(event, Reported::Tree(News::Delivered { .. })) {
                self.0.push(now);
            }
        }
    }
    let network = Network {
        distances: crate::Distances::Range {
            least_ms: 0.1,
            most_ms: 0.3,
        },
        jitter: Duration::ZERO,
        ..Network::default()
    };
    let second = Duration::from_secs(1);
    let mut world = World::new(1, network, Times::default());
    settle(&mut world, 60);
    for _ in 0..5 {
        world.command(0, Wish::Broadcast(100));
        world.run(second);
    }
    for id in (1..60).filter(|id| id % 3 == 0) {
        world.crash(id, crate::Crash::Quiet);
    }
    world.observer.0.clear();
    let sent = world.now();
    world.command(0, Wish::Broadcast(100));
    world.run(second);
    let config = plumtree::Config::default();
    // Whoever has asked: pushing takes a few milliseconds.
    let asked = sent + config.graft_delay_min();
    let first = world.observer.0.iter().find(|at| **at >= asked);
    let first = *first.expect("somebody had to ask") - sent;
    let most = config.graft_delay_min() + config.flush_interval() + second / 100;
    assert!(first < most, "{first:?}");
}

/// Lets `nodes` nodes join one by one, and come to rest.
fn settle<O: Observer<Node>>(world: &mut World<Node, O>, nodes: u32) {
    let second = Duration::from_secs(1);
    for id in 0..nodes {
        let below = Member::new(id, hyparview::Config::default(), 1);
        world.start(id, Tree::new(id, below, plumtree::Config::default(), 1));
        if id > 0 {
            let command = hyparview::Command::Join(contact(id / 2));
            world.command(id, Wish::Below(command));
        }
        world.run(second / 10);
    }
    // Until each link that was made in the crowd has been exchanged.
    world.run(second * 400);
}

#[test]
fn over_the_real_membership_everybody_hears_everything_and_soon_nothing_is_sent_twice() {
    let second = Duration::from_secs(1);
    let mut world = World::new(3, Network::default(), Watch::default());
    settle(&mut world, 60);
    for seq in 1..=3 {
        for origin in [0, 20, 40] {
            world.command(origin, Wish::Broadcast(100));
            world.run(second);
            let id = MessageId {
                origin,
                incarnation: 1,
                seq,
            };
            let (delivered, sent) = world.observer.0[&id];
            assert_eq!(delivered, 59, "{id:?}");
            assert!(seq < 3 || sent <= 61, "{id:?} was sent {sent} times");
        }
    }
    for (id, node) in world.alive() {
        assert_eq!(node.state().check(), Ok(()), "{id}");
    }
}
