//! Peers that break the protocol. Each is refused and counted; the others notice nothing.

use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt};
use hyparview::{
    CONTACTS_MAX, Config, Contact, DisconnectReason, DownReason, Event, FRAME_BYTES_MAX, Message,
    Priority, RecordError, Refusal, Settings, message,
};
use libp2p::{PeerId, identity::Keypair};
use tokio::time::timeout;

use crate::{
    cluster::{Cluster, NEVER, PATIENCE, patient, settings},
    raw::{
        Bytes, Hostile, RawMessage, broken_record, encode, frame, invented_contact, stolen_record,
    },
};

/// Three honest nodes, everybody's neighbours, and a hostile peer at node 0.
async fn triangle() -> (Cluster, Hostile) {
    meet(Cluster::of(3, patient()).await).await
}

/// The first three nodes become everybody's neighbours, and a hostile peer connects with node 0.
async fn meet(mut cluster: Cluster) -> (Cluster, Hostile) {
    cluster.join(1, 0);
    cluster.join(2, 0);
    cluster.until("a triangle", honest_links_are_up).await;
    let hostile = Hostile::connect(cluster.node(0));
    let hostile = cluster.during(hostile).await;
    (cluster, hostile)
}

fn honest_links_are_up(cluster: &Cluster) -> bool {
    [(0, 1), (0, 2), (1, 2)]
        .iter()
        .all(|(a, b)| cluster.are_neighbors(*a, *b))
}

/// The honest nodes never lost sight of each other.
fn assert_others_unaffected(cluster: &Cluster) {
    assert!(honest_links_are_up(cluster));
    for node in cluster.alive() {
        for other in cluster.alive() {
            assert_eq!(node.downs(other.id()), []);
        }
    }
}

/// The hostile peer became a neighbour of node 0 by joining like anybody.
async fn befriend(cluster: &mut Cluster, hostile: &mut Hostile) {
    let join = hostile.join();
    assert!(cluster.during(hostile.tell(&join)).await);
    let id = hostile.id();
    cluster
        .until("taken in", |cluster| cluster.node(0).active().contains(&id))
        .await;
}

/// Node 0 refused what `id` said, once.
fn refusal(cluster: &Cluster, id: PeerId) -> Option<&Refusal> {
    let mut refusals = cluster
        .node(0)
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Misbehaved { peer, what } if *peer == id => Some(what),
            _ => None,
        });
    let first = refusals.next();
    assert!(refusals.next().is_none(), "said once");
    first
}

/// Says `bytes` to node 0 and expects to be thrown out as a neighbour for it.
async fn is_refused(bytes: Vec<u8>, expected: impl Fn(&Refusal) -> bool) {
    let (mut cluster, mut hostile) = triangle().await;
    befriend(&mut cluster, &mut hostile).await;
    let id = hostile.id();
    cluster.during(hostile.say(&bytes)).await;
    cluster
        .until("refused", |cluster| refusal(cluster, id).is_some())
        .await;
    let what = refusal(&cluster, id).unwrap();
    assert!(expected(what), "{what:?}");
    cluster.during(hostile.closed()).await;
    cluster
        .until("disconnected", |cluster| {
            !cluster.node(0).connected().contains(&id)
        })
        .await;
    assert_eq!(cluster.node(0).downs(id), [DownReason::Misbehaved]);
    let counters = cluster.node(0).counters();
    assert_eq!((counters.frames_refused, counters.misbehaved_peers), (1, 1));
    assert_others_unaffected(&cluster);
}

#[tokio::test]
async fn oversized_frame_is_refused() {
    let length = u32::try_from(FRAME_BYTES_MAX).unwrap() + 1;
    let announced = length.to_be_bytes().to_vec();
    is_refused(
        announced,
        |what| matches!(what, Refusal::Size(n) if *n == length),
    )
    .await;
}

#[tokio::test]
async fn garbage_is_refused() {
    is_refused(frame(&[0xff; 100]), |what| {
        matches!(what, Refusal::Malformed(_))
    })
    .await;
}

#[tokio::test]
async fn unknown_kind_of_message_is_refused() {
    // {"Teleport": {}}
    let content = [&[0xa1, 0x68][..], b"Teleport", &[0xa0]].concat();
    is_refused(frame(&content), |what| {
        matches!(what, Refusal::Malformed(_))
    })
    .await;
}

#[tokio::test]
async fn overlong_list_is_refused() {
    let contact = invented_contact();
    let list = vec![contact; CONTACTS_MAX + 1];
    let message = RawMessage::ShuffleReply(message::ShuffleReply { serial: 1, list });
    is_refused(frame(&encode(&message)), |what| {
        matches!(what, Refusal::TooManyContacts(_))
    })
    .await;
}

#[tokio::test]
async fn record_with_a_wrong_signature_is_refused() {
    let key = Keypair::generate_ed25519();
    let newcomer = Contact {
        id: key.public().to_peer_id().into(),
        record: broken_record(&key),
    };
    let message = Message::ForwardJoin(message::ForwardJoin { newcomer, ttl: 3 });
    is_refused(frame(&encode(&message)), |what| {
        matches!(what, Refusal::Record { source, .. } if matches!(**source, RecordError::Forged(_)))
    })
    .await;
}

#[tokio::test]
async fn record_of_another_peer_is_refused() {
    let newcomer = Contact {
        id: PeerId::random().into(),
        record: stolen_record(),
    };
    let message = Message::ForwardJoin(message::ForwardJoin { newcomer, ttl: 3 });
    is_refused(frame(&encode(&message)), |what| {
        matches!(
            what,
            Refusal::Record { source, .. } if matches!(**source, RecordError::OfAnotherPeer(_))
        )
    })
    .await;
}

#[tokio::test]
async fn nobody_joins_under_the_record_of_another() {
    let (mut cluster, mut hostile) = triangle().await;
    let id = hostile.id();
    let (epoch, pulse) = (hostile.epoch(), hostile.pulse());
    let join = Message::Join(message::Join {
        epoch,
        record: stolen_record(),
        pulse,
    });
    cluster.during(hostile.tell(&join)).await;
    cluster
        .until("refused", |cluster| refusal(cluster, id).is_some())
        .await;
    assert_eq!(cluster.node(0).ups(id), 0);
    assert_others_unaffected(&cluster);
}

#[tokio::test]
async fn flood_is_refused() {
    let (mut cluster, mut hostile) = triangle().await;
    befriend(&mut cluster, &mut hostile).await;
    let id = hostile.id();
    let heartbeats = frame(&encode(&hostile.heartbeat())).repeat(100);
    let flood = async {
        while hostile.say(&heartbeats).await {}
        hostile
    };
    let _hostile = cluster.during(flood).await;
    cluster
        .until("dropped", |cluster| !cluster.node(0).downs(id).is_empty())
        .await;
    assert!(matches!(refusal(&cluster, id), Some(Refusal::Flood)));
    assert_eq!(cluster.node(0).downs(id), [DownReason::Misbehaved]);
    assert_others_unaffected(&cluster);
}

#[tokio::test]
async fn frame_that_is_cut_short_is_refused_but_no_offence() {
    let (mut cluster, mut hostile) = triangle().await;
    befriend(&mut cluster, &mut hostile).await;
    let id = hostile.id();
    let whole = frame(&encode(&hostile.heartbeat()));
    let half = async {
        hostile.say(&whole[..whole.len() / 2]).await;
        hostile.stream.close().await
    };
    cluster.during(half).await.unwrap();
    cluster
        .until("dropped", |cluster| !cluster.node(0).downs(id).is_empty())
        .await;
    assert_eq!(cluster.node(0).downs(id), [DownReason::Closed]);
    let counters = cluster.node(0).counters();
    assert_eq!((counters.frames_refused, counters.misbehaved_peers), (1, 0));
    assert!(refusal(&cluster, id).is_none());
    assert_others_unaffected(&cluster);
}

#[tokio::test]
async fn endless_substreams_are_refused() {
    let (mut cluster, mut hostile) = triangle().await;
    let id = hostile.id();
    let mut held = Vec::new();
    while refusal(&cluster, id).is_none() {
        assert!(held.len() < 20, "all accepted");
        hostile.orders.send(()).await.unwrap();
        let opened = timeout(Duration::from_secs(1), hostile.opened.recv());
        held.extend(cluster.during(opened).await.ok().flatten());
    }
    assert!(matches!(
        refusal(&cluster, id),
        Some(Refusal::TooManyStreams)
    ));
    assert_others_unaffected(&cluster);
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one of each kind")]
async fn unexpected_messages_change_nothing() {
    let (mut cluster, mut hostile) = triangle().await;
    let id = hostile.id();
    let victim = cluster.id(1);
    let (epoch, pulse, record) = (hostile.epoch(), hostile.pulse(), hostile.record());
    let stolen_epoch = hyparview::Epoch {
        by: victim.into(),
        incarnation: 1,
        serial: 1,
    };
    let contact = invented_contact();
    let messages: Vec<RawMessage> = vec![
        Message::Accept(message::Accept {
            epoch: epoch.clone(),
            incarnation: 1,
            record: record.clone(),
            pulse: pulse.clone(),
            sample: vec![contact.clone()],
        }),
        Message::Refuse(message::Refuse {
            epoch: epoch.clone(),
            sample: vec![contact.clone()],
        }),
        Message::Disconnect(message::Disconnect {
            epoch: stolen_epoch.clone(),
            reason: DisconnectReason::Leaving,
            sample: vec![],
        }),
        Message::Heartbeat(message::Heartbeat {
            epoch: stolen_epoch,
            pulse: pulse.clone(),
            gauge: None,
        }),
        Message::ShuffleReply(message::ShuffleReply {
            serial: 99,
            list: vec![contact.clone()],
        }),
        Message::Moved(message::Moved {
            record: record.clone(),
        }),
        Message::ProbeReply(message::ProbeReply {
            serial: 99,
            record: record.clone(),
            pulse: pulse.clone(),
            sample: vec![],
        }),
        Message::SwitchProposal(message::SwitchProposal {
            token: 1,
            record: record.clone(),
            old: victim.into(),
            bid: None,
        }),
        Message::SwitchInvite(message::SwitchInvite {
            token: 1,
            partner: victim.into(),
            bid: None,
        }),
        Message::SwitchConsent(message::SwitchConsent { token: 1 }),
        Message::SwitchDecline(message::SwitchDecline { token: 1 }),
        Message::SwitchReady(message::SwitchReady {
            token: 1,
            partner: contact,
        }),
        Message::Neighbor(message::Neighbor {
            epoch,
            priority: Priority::Switch(1),
            record,
            pulse,
        }),
    ];
    for message in &messages {
        assert!(cluster.during(hostile.tell(message)).await, "{message:?}");
    }
    let seen = u64::try_from(messages.len()).unwrap();
    cluster
        .until("read", |cluster| {
            cluster.node(0).counters().frames_in >= seen
        })
        .await;
    cluster.for_a_while(Duration::from_millis(1200)).await;
    assert_eq!(cluster.node(0).ups(id), 0);
    assert_eq!(cluster.node(0).counters().frames_refused, 0);
    assert_others_unaffected(&cluster);
}

/// A node that has much to say: full lists, often.
fn talkative() -> Config {
    patient()
        .with_active_capacity(3)
        .with_outbound_min(0)
        .with_passive_capacity(60)
        .with_shuffle_active(3)
        .with_shuffle_passive(40)
        .with_shuffle_interval(Duration::from_millis(10))
        // Shuffles shall not use up what is there for probes.
        .with_service_rate(100_000)
}

/// Three talkative nodes, everybody's neighbours, and a hostile neighbour of node 0, which has `settings`.
async fn talkative_triangle(of_zero: Settings) -> (Cluster, Hostile) {
    let other = || settings(1).with_frame_timeout(NEVER);
    let mut cluster = Cluster::default();
    for settings in [of_zero, other(), other()] {
        cluster
            .add(Keypair::generate_ed25519(), talkative(), settings)
            .await;
    }
    let (mut cluster, mut hostile) = meet(cluster).await;
    befriend(&mut cluster, &mut hostile).await;
    (cluster, hostile)
}

#[tokio::test]
async fn peer_that_does_not_read_is_dropped_as_slow_and_holds_up_nobody() {
    // No time-out helps node 0: what it waited for would never come.
    let settings = settings(1).with_frame_timeout(NEVER);
    let (mut cluster, mut hostile) = talkative_triangle(settings).await;
    let id = hostile.id();
    wedge(&mut cluster, &mut hostile).await;
    assert_eq!(cluster.node(0).downs(id), [DownReason::Slow]);
    let counters = cluster.node(0).counters();
    assert_eq!(counters.slow_peers, 1);
    assert!(counters.frames_shed > 0);
    assert_others_unaffected(&cluster);
}

#[tokio::test]
async fn frame_that_cannot_be_written_in_time_makes_the_peer_slow() {
    let settings = settings(1)
        .with_queue_frames_max(10_000)
        // Long enough that a process which has to wait for a processor writes its frames to those who read.
        .with_frame_timeout(Duration::from_secs(5));
    let (mut cluster, mut hostile) = talkative_triangle(settings).await;
    let id = hostile.id();
    wedge(&mut cluster, &mut hostile).await;
    assert_eq!(cluster.node(0).downs(id), [DownReason::Slow]);
    assert_eq!(cluster.node(0).counters().frames_shed, 0);
    // That the others notice nothing is seen above, where they have no time-out that a busy machine could
    // exceed.
}

/// Gives node 0 much to talk about, goes on with its own heartbeats, and never reads, until it is not a
/// neighbour any more. Meanwhile others get answers from node 0, each within `PATIENCE`: with time-outs
/// beyond that, who had to wait for the wedged peer would get none.
async fn wedge(cluster: &mut Cluster, hostile: &mut Hostile) {
    let id = hostile.id();
    let origin = || Contact {
        id: Bytes::from(id),
        record: hostile.record(),
    };
    let list: Vec<_> = (0..40).map(|_| invented_contact()).collect();
    let shuffle = Message::Shuffle(message::Shuffle {
        serial: 1,
        origin: origin(),
        list,
        ttl: 0,
    });
    assert!(cluster.during(hostile.tell(&shuffle)).await);
    cluster
        .until("heard of all", |cluster| {
            cluster.node(0).swarm.behaviour().passive_len() >= 40
        })
        .await;
    let heartbeat = hostile.heartbeat();
    let begun = Instant::now();
    while cluster.node(0).downs(id).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "still a neighbour");
        let _ = cluster.during(hostile.tell(&heartbeat)).await;
        cluster.during(ask(cluster.node(0))).await;
    }
}

/// Connects to `node`, probes it and waits for the first bytes of the answer.
fn ask(node: &crate::cluster::Node) -> impl Future<Output = ()> + use<> {
    let other = Hostile::connect(node);
    async move {
        let mut other = other.await;
        let record = other.record();
        assert!(
            other
                .tell(&Message::Probe(message::Probe { serial: 1, record }))
                .await
        );
        let mut answer = other.accepted.recv().await.unwrap();
        answer.read_exact(&mut [0; 4]).await.unwrap();
    }
}
