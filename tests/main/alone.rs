//! What a node tells that has nobody to talk to.

use std::os::unix::fs::PermissionsExt;

use starling::api::LinkState;

use crate::process::{Node, eventually};

/// Free ports, and no discovery but the bootstrap address.
const LOCAL: &[&str] = &[
    "--listen",
    "/ip4/127.0.0.1/tcp/0",
    "--pg-listen",
    "127.0.0.1:0",
    "--mdns",
    "off",
];

#[tokio::test]
async fn a_node_that_lost_its_only_neighbour_warns_until_it_is_gone_for_good() {
    let root = tempfile::Builder::new()
        .prefix("starling-test-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap();
    let kept = Node::start(&root.path().join("kept"), LOCAL);
    let (code, text, _) = kept.run(&["status"]);
    assert_eq!(code, 0, "alone by choice: {text}");

    let contact = kept.bootstrap();
    let join = [LOCAL, &["--bootstrap", contact.as_str()]].concat();
    let mut lost = Node::start(&root.path().join("lost"), &join);
    let peer = lost.runtime().peer_id.clone();
    eventually("the two are linked", async || {
        let streams = |node: &Node| {
            node.status().is_some_and(|status| {
                status.links.len() == 2
                    && status.links.iter().all(|l| l.state == LinkState::Streaming)
            })
        };
        streams(&kept) && streams(&lost)
    })
    .await;
    lost.kill();
    eventually("the loss is a warning", async || {
        let (_, text, _) = kept.run(&["status"]);
        text.contains("remembered from earlier and being tried: 1")
    })
    .await;

    eventually("it can be evicted", async || {
        kept.run(&["evict", &peer]).0 == 0
    })
    .await;
    eventually("nobody is missed any more", async || {
        kept.run(&["status"]).0 == 0
    })
    .await;
}
