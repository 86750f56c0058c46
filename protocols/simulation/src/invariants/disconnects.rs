//! A Disconnect ends a relation only if the side that said it has ended that very relation (R3).

use crate::{Member, NodeId};

pub(super) fn check<'a>(
    member: &Member,
    me: NodeId,
    other: impl Fn(NodeId) -> Option<&'a Member>,
) -> Result<(), String> {
    let Some((peer, epoch)) = member.ended() else {
        return Ok(());
    };
    let held = other(peer).and_then(|peer| peer.state().epoch(me));
    // The peer goes on with this very relation, so it cannot have ended it.
    if held == Some(epoch) {
        return Err(format!(
            "disconnects: {me} gave up {peer} over the end of another relation"
        ));
    }
    Ok(())
}
