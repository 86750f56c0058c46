//! What the policy sees of the neighbours.

use std::time::Duration;

use super::{
    desired::Desired,
    ledger::Ledger,
    observed::Observed,
    policy::{Sight, Sights},
};
use crate::identity::NodeId;

/// Each neighbour, as far as it tells, the store shows and the ledger remembers. Of a store that cannot be asked
/// no link is level, and so none is let go.
pub(super) fn sights(
    desired: &Desired,
    observed: &Observed,
    ledger: &Ledger,
    now: Duration,
) -> Sights {
    let sight = |peer: &NodeId| Sight {
        insists: desired.insists(peer),
        is_level: is_level(observed, ledger, peer),
        is_fed: is_fed(observed, peer),
        is_ahead: ledger
            .backlogs
            .get(peer)
            .is_some_and(|backlog| backlog.is_stuck(now)),
    };
    desired
        .present()
        .map(|peer| (peer.name.clone(), sight(&peer.name)))
        .collect()
}

/// A link from `peer` streams, and has brought all that it had.
fn is_level(observed: &Observed, ledger: &Ledger, peer: &NodeId) -> bool {
    let Observed::Known(inventory) = observed else {
        return false;
    };
    let mut links = inventory.incoming_of(peer);
    links.any(|(name, link)| link.streaming && ledger.has_brought_all(name, link))
}

/// `peer` streams from us.
fn is_fed(observed: &Observed, peer: &NodeId) -> bool {
    let Observed::Known(inventory) = observed else {
        return false;
    };
    let mut links = inventory.outgoing_of(peer);
    links.any(|(_, link)| link.slot.is_some_and(|slot| slot.active))
}
