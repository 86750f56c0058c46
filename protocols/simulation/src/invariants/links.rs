//! At rest, neighbours have each other, and a connection between them (R2, R4).

use crate::{Graph, Membership, NodeId, Observer, World};

pub(super) fn check<P: Membership, O: Observer<P>>(
    world: &World<P, O>,
    graph: &Graph,
) -> Result<(), String> {
    let crooked = graph.asymmetric();
    if crooked > 0 {
        return Err(format!("links: {crooked} are held by one end only"));
    }
    let mut peers: Vec<NodeId> = Vec::new();
    for (id, machine) in world.alive() {
        peers.clear();
        machine.neighbors(&mut peers);
        if let Some(peer) = peers.iter().find(|peer| !world.connected(id, **peer)) {
            return Err(format!("links: {id} and {peer} have no connection"));
        }
    }
    Ok(())
}
