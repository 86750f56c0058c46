use std::{collections::BTreeMap, time::Duration};

use hyparview::DownReason;

use super::Members;
use crate::{
    api::{NodeState, Presence},
    directory::{Announcement, Directory, Relay, Settings},
    http::CommandError,
    identity::{Incarnation, Lineage, NodeId, Run, Site},
    network::Other,
    node::{
        part::{Context, Effect, Event, Part, testing::overlay},
        peer_protocol,
    },
    replication::{Departure, Request, protocol::code},
    vector::{Seq, Vector},
};

fn name(number: usize) -> NodeId {
    format!("node{number}").parse().unwrap()
}

fn run(number: u64) -> Run {
    Run::new(number).unwrap()
}

fn site(number: i64) -> Site {
    Site::new(number).unwrap()
}

fn members() -> Members {
    Members::new(name(0), Incarnation::new(1000), run(100))
}

/// The directory of another node, which has said something of itself.
fn directory(number: usize, state: NodeState) -> Directory {
    let mut directory = Directory::new(
        name(number),
        Incarnation::new(1000),
        run(number as u64),
        Settings::default(),
    );
    directory.announce(announcement(number, state));
    directory
}

fn announcement(number: usize, state: NodeState) -> Announcement {
    let number = number as i64;
    Announcement {
        name: format!("name{number}"),
        site: Some(site(number)),
        generation: 1,
        state,
        store: String::new(),
        vector: Vector::from_iter([(site(number), Seq::new(7))]),
        neighbors: Vec::new(),
        version: String::new(),
        started: 0,
        relay: Relay::Normal,
        follows: None,
    }
}

fn on(members: &mut Members, event: &Event) -> Vec<Effect> {
    let context = Context {
        now: Duration::from_secs(1),
        overlay: &overlay(&[name(1)]),
    };
    members.on(event, &context)
}

fn gossip(members: &mut Members, number: usize, state: NodeState) -> Vec<Effect> {
    let gossip = directory(number, state).gossip_for(&name(0), Duration::ZERO);
    on(members, &Event::Gossip(name(number), gossip))
}

#[test]
fn each_event_has_the_effects_that_it_should() {
    let mut members = members();
    for (event, effects) in [
        (Event::NeighborUp(name(1)), vec![Effect::ExchangeSoon]),
        (
            Event::NeighborDown(name(1), Departure::Lost),
            vec![Effect::SpeakSoon],
        ),
        (Event::Met(name(2)), vec![Effect::AskPresence(name(2))]),
        (
            Event::Heartbeat {
                exchange: false,
                is_round: false,
            },
            vec![Effect::AskAllPresence],
        ),
        (Event::Seen(name(1), None), vec![]),
        (Event::Roles(name(1), Vec::new()), vec![]),
    ] {
        assert_eq!(on(&mut members, &event), effects, "{event:?}");
    }
}

#[test]
fn news_of_others_are_passed_on_and_old_ones_are_not() {
    let mut members = members();
    assert_eq!(
        gossip(&mut members, 1, NodeState::Ready),
        [Effect::ExchangeSoon]
    );
    assert_eq!(gossip(&mut members, 1, NodeState::Ready), []);
    // Everybody has heard a broadcast.
    let rumor = directory(2, NodeState::Ready).status();
    assert_eq!(on(&mut members, &Event::Status(name(2), rumor)), []);
    assert!(members.directory.record(&name(2)).is_some());
}

#[test]
fn a_member_that_leaves_is_forgotten_once_and_readmitted_when_it_is_back() {
    let mut members = members();
    let mut other = directory(1, NodeState::Ready);
    let tell = |members: &mut Members, other: &mut Directory| {
        let gossip = other.gossip_for(&name(0), Duration::ZERO);
        let mut effects = on(members, &Event::Gossip(name(1), gossip));
        effects.retain(|effect| *effect != Effect::ExchangeSoon);
        effects
    };
    assert_eq!(tell(&mut members, &mut other), []);
    other.leave();
    assert_eq!(tell(&mut members, &mut other), [Effect::Forget(name(1))]);
    assert_eq!(tell(&mut members, &mut other), []);
    let mut back = Directory::new(
        name(1),
        Incarnation::new(2000),
        run(11),
        Settings::default(),
    );
    back.announce(announcement(1, NodeState::Ready));
    assert_eq!(tell(&mut members, &mut back), [Effect::Readmit(name(1))]);
}

#[test]
fn only_a_member_that_is_gone_can_be_evicted() {
    let mut members = members();
    gossip(&mut members, 1, NodeState::Ready);
    gossip(&mut members, 2, NodeState::Ready);
    let neighbors = overlay(&[name(1)]);
    let at = |second| Context {
        now: Duration::from_secs(second),
        overlay: &neighbors,
    };
    let late = at(100);
    for (peer, context, error) in [
        (0, late, Some(CommandError::Myself(name(0)))),
        (3, late, Some(CommandError::UnknownPeer(name(3)))),
        (1, late, Some(CommandError::Alive(name(1)))),
        (2, at(2), Some(CommandError::Alive(name(2)))),
        (2, late, None),
    ] {
        let evicted = members.evict(&name(peer), &context);
        assert_eq!(
            evicted.as_ref().err().map(ToString::to_string),
            error.map(|error| error.to_string())
        );
        if let Ok(effects) = evicted {
            let forget = Effect::Forget(name(peer));
            assert_eq!(effects, [Effect::ExchangeSoon, forget]);
        }
    }
}

#[test]
fn who_leaves_counts_on_those_that_stay() {
    let mut members = members();
    gossip(&mut members, 1, NodeState::Ready);
    gossip(&mut members, 2, NodeState::Leaving);
    let mut stopped = directory(3, NodeState::Ready);
    stopped.stop();
    let words = stopped.gossip_for(&name(0), Duration::ZERO);
    on(&mut members, &Event::Gossip(name(3), words));
    let mut gone = directory(4, NodeState::Ready);
    gone.leave();
    let words = gone.gossip_for(&name(0), Duration::ZERO);
    on(&mut members, &Event::Gossip(name(4), words));
    let keeps = |now| {
        let holders = members.holders(Duration::from_secs(now));
        let keeps = holders
            .into_iter()
            .map(|(node, member)| (node, member.keeps));
        keeps.collect::<BTreeMap<_, _>>()
    };
    let all = |first| BTreeMap::from([(name(1), first), (name(2), false), (name(3), true)]);
    assert_eq!(keeps(2), all(true));
    assert_eq!(keeps(100), all(false), "one that is silent may be gone");
    assert_eq!(
        members
            .directory
            .others(Duration::from_secs(2))
            .last()
            .map(|it| it.1),
        Some(Presence::Left)
    );
}

#[test]
fn those_that_have_a_store_and_live_are_asked_to_confirm_ours() {
    let mut members = members();
    let ask = |members: &Members| members.confirmers(site(1), Duration::from_secs(2));
    assert!(!ask(&members).is_known);
    gossip(&mut members, 1, NodeState::Ready);
    let mut storeless = Directory::new(name(2), Incarnation::new(1), run(2), Settings::default());
    storeless.announce(Announcement {
        site: None,
        ..announcement(2, NodeState::Starting)
    });
    let words = storeless.gossip_for(&name(0), Duration::ZERO);
    on(&mut members, &Event::Gossip(name(2), words));
    let asked = ask(&members);
    assert!(asked.is_known);
    assert_eq!(asked.alive, [name(1), name(2)].into());
    assert_eq!(asked.storeless, [name(2)].into());
    assert_eq!(asked.vouched, Some((Seq::new(7), name(1))));
}

/// A question of node 1's run about site 1, after the starts of `runs`.
fn question(runs: &[u64], is_confirmed: bool) -> Request {
    let mut lineage = Lineage::default();
    for number in runs {
        lineage.started(run(*number));
    }
    Request::Confirm {
        site: site(1),
        upto: Seq::NONE,
        below: Seq::NONE,
        lineage: Some(lineage),
        is_confirmed,
    }
}

#[test]
fn a_copy_of_a_store_in_use_is_denied_and_its_original_is_not() {
    let mut members = members();
    // Run 1 has written as site 1.
    gossip(&mut members, 1, NodeState::Ready);
    let code_of = |members: &mut Members, request: &Request, others: Vec<Other>| {
        let objection = members.objection(&name(1), request, |_| others);
        objection.map(|reply| match reply {
            crate::replication::Reply::Refused { code, .. } => code,
            other => panic!("{other:?}"),
        })
    };
    let rival = |is_proven| Other {
        run: run(1),
        address: "there".to_owned(),
        is_proven,
    };
    assert_eq!(
        code_of(&mut members, &question(&[1, 9], false), vec![]),
        None
    );
    assert_eq!(
        code_of(&mut members, &question(&[1, 9], false), vec![rival(true)]),
        Some(code::ANOTHER_SITE.to_owned())
    );
    assert_eq!(
        code_of(&mut members, &question(&[1, 9], false), vec![rival(false)]),
        Some(code::BUSY.to_owned())
    );
    assert_eq!(
        code_of(&mut members, &Request::Leave, vec![rival(true)]),
        None
    );
}

#[test]
fn another_process_with_ones_key_is_seen_where_it_is() {
    let mut members = members();
    gossip(&mut members, 1, NodeState::Ready);
    let asker = peer_protocol::Presence {
        run: run(9),
        site: None,
        generation: 0,
    };
    let other = |is_proven| Other {
        run: run(1),
        address: "there".to_owned(),
        is_proven,
    };
    assert_eq!(members.see(&name(1), asker, vec![other(false)]), None);
    let seen = members.see(&name(1), asker, vec![other(true)]).unwrap();
    assert_eq!((seen.run, seen.site), (run(1), Some(site(1))));
    assert_eq!(seen.address, "there");
    // And what a peer has seen of us is told, and changes our site if it writes as that.
    let now = Duration::from_secs(2);
    assert_eq!(members.twin(now), None);
    on(&mut members, &Event::Seen(name(1), Some(seen)));
    assert_eq!(members.twin(now).unwrap(), "at there by node1");
    let lineage = Lineage::default();
    assert!(members.shares_site(site(1), &lineage, now));
    assert!(!members.shares_site(site(2), &lineage, now));
}

#[test]
fn a_relation_that_broke_makes_a_member_silent_and_one_that_was_ended_does_not() {
    for (reason, departure, is_alive) in [
        (DownReason::Silent, Departure::Lost, false),
        (DownReason::Dropped, Departure::Deliberate, true),
    ] {
        let mut members = members();
        gossip(&mut members, 1, NodeState::Ready);
        assert_eq!(crate::node::data_plane::departure(reason), departure);
        on(&mut members, &Event::NeighborDown(name(1), departure));
        let now = Duration::from_secs(1);
        assert_eq!(members.directory.is_alive(&name(1), now), is_alive);
    }
}
