//! Whether others have what is written here: a pure judgement of what was seen.

use std::{collections::BTreeMap, time::Duration};

use super::Member;
use crate::{
    identity::NodeId,
    postgres::session::Lsn,
    replication::links::observed::{Inventory, Outgoing, Slot},
};

/// Members by name. One that is not among them is not known yet; it is a neighbour all the same.
pub(super) type Members = BTreeMap<NodeId, Member>;

/// What comes of a look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Others have everything.
    Done,
    /// How many bytes each of these peers has yet to confirm. If there are none, nobody who stays has it all.
    Waiting(BTreeMap<NodeId, u64>),
    /// The same, and nothing has become less for too long.
    Stalled(BTreeMap<NodeId, u64>),
}

/// Follows a handover.
#[derive(Debug)]
pub(super) struct Handover {
    end: Lsn,
    patience: Duration,
    /// The least that each peer ever lacked, so that one that comes and goes is no progress.
    least: BTreeMap<NodeId, u64>,
    progress_at: Duration,
}

impl Handover {
    /// All up to `end` has to be confirmed.
    pub(super) fn new(end: Lsn, patience: Duration, now: Duration) -> Self {
        Self {
            end,
            patience,
            least: BTreeMap::new(),
            progress_at: now,
        }
    }

    /// `is_held`: a member is known to have everything, by what it says of itself.
    pub(super) fn judge(
        &mut self,
        inventory: &Inventory,
        members: &Members,
        is_held: bool,
        now: Duration,
    ) -> Verdict {
        let mut is_held = is_held;
        let mut left = BTreeMap::new();
        for (peer, slot) in listeners(inventory) {
            match self.end.0.saturating_sub(slot.confirmed.0) {
                0 => is_held |= keeps(members, peer),
                lacks => {
                    left.insert(peer.clone(), lacks);
                }
            }
        }
        for (peer, lacks) in &left {
            let least = self.least.entry(peer.clone()).or_insert(u64::MAX);
            if lacks < least {
                *least = *lacks;
                self.progress_at = now;
            }
        }
        // Both: a peer that leaves, too, may confirm everything and take it along.
        if is_held && left.is_empty() {
            Verdict::Done
        } else if now >= self.progress_at + self.patience {
            Verdict::Stalled(left)
        } else {
            Verdict::Waiting(left)
        }
    }
}

/// Whether somebody streams from us who stays.
pub(super) fn is_heard(inventory: &Inventory, members: &Members) -> bool {
    listeners(inventory).any(|(peer, _)| keeps(members, peer))
}

fn listeners(inventory: &Inventory) -> impl Iterator<Item = (&NodeId, Slot)> {
    inventory
        .outgoing
        .values()
        .filter_map(|Outgoing { peer, slot, .. }| Some((peer.as_ref()?, (*slot)?)))
        .filter(|(_, slot)| slot.active)
}

fn keeps(members: &Members, peer: &NodeId) -> bool {
    members.get(peer).is_none_or(|member| member.keeps)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{Handover, Members, Verdict, is_heard};
    use crate::identity::{NodeId, Site};
    use crate::postgres::session::Lsn;
    use crate::replication::leave::Member;
    use crate::replication::links::observed::{Inventory, Outgoing, Slot};
    use crate::replication::names::{Epoch, LinkName};
    use crate::vector::Vector;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn name(peer: &str) -> NodeId {
        peer.parse::<NodeId>().unwrap()
    }

    /// Peers with what they have confirmed, and whether they stream.
    fn seen(peers: &[(&str, u64, bool)]) -> Inventory {
        let outgoing = peers
            .iter()
            .enumerate()
            .map(|(number, (peer, at, active))| {
                let site = Site::new(i64::try_from(number).unwrap() + 2).unwrap();
                let slot = Slot {
                    active: *active,
                    confirmed: Lsn(*at),
                    ..Slot::default()
                };
                let link = Outgoing {
                    peer: Some(name(peer)),
                    published: true,
                    slot: Some(slot),
                };
                (LinkName::new(site, Epoch::draw()), link)
            });
        Inventory {
            own: Site::new(1).unwrap(),
            incoming: BTreeMap::new(),
            outgoing: outgoing.collect(),
        }
    }

    fn members(keeps: &[(&str, bool)]) -> Members {
        let member = |keeps| Member {
            vector: Vector::default(),
            keeps,
        };
        keeps
            .iter()
            .map(|(peer, keeps)| (name(peer), member(*keeps)))
            .collect()
    }

    fn handover() -> Handover {
        Handover::new(Lsn(100), PATIENCE, Duration::ZERO)
    }

    fn left(peers: &[(&str, u64)]) -> BTreeMap<NodeId, u64> {
        peers.iter().map(|(peer, n)| (name(peer), *n)).collect()
    }

    #[test]
    fn who_listens_has_to_have_everything() {
        let (mut handover, here) = (handover(), members(&[("a", true), ("b", true)]));
        let mut judge = |peers: &[_]| handover.judge(&seen(peers), &here, false, Duration::ZERO);
        let behind = judge(&[("a", 100, true), ("b", 99, true)]);
        assert_eq!(behind, Verdict::Waiting(left(&[("b", 1)])));
        assert_eq!(judge(&[("a", 100, true), ("b", 120, true)]), Verdict::Done);
        assert_eq!(
            judge(&[("a", 100, true), ("b", 0, false)]),
            Verdict::Done,
            "who does not listen is not waited for"
        );
    }

    #[test]
    fn somebody_who_stays_has_to_have_it() {
        let here = members(&[("a", false)]);
        let alone = seen(&[]);
        let leaver = seen(&[("a", 100, true)]);
        let now = Duration::ZERO;
        assert_eq!(
            handover().judge(&alone, &here, false, now),
            Verdict::Waiting(left(&[]))
        );
        assert_eq!(handover().judge(&alone, &here, true, now), Verdict::Done);
        assert_eq!(
            handover().judge(&leaver, &here, false, now),
            Verdict::Waiting(left(&[])),
            "a peer that leaves as well takes it with it"
        );
        assert!(!is_heard(&leaver, &here));
        assert_eq!(
            handover().judge(&leaver, &Members::new(), false, now),
            Verdict::Done,
            "a peer that the directory has not heard of yet"
        );
    }

    #[test]
    fn it_lasts_as_long_as_somebody_makes_progress() {
        let (mut handover, here) = (handover(), members(&[("a", true)]));
        let mut at = |seconds, confirmed, active| {
            let now = Duration::from_secs(seconds);
            handover.judge(&seen(&[("a", confirmed, active)]), &here, false, now)
        };
        assert_eq!(at(0, 10, true), Verdict::Waiting(left(&[("a", 90)])));
        assert_eq!(at(29, 11, true), Verdict::Waiting(left(&[("a", 89)])));
        assert_eq!(at(58, 11, true), Verdict::Waiting(left(&[("a", 89)])));
        // Coming and going is no progress.
        assert_eq!(at(58, 11, false), Verdict::Waiting(left(&[])));
        assert_eq!(at(59, 11, true), Verdict::Stalled(left(&[("a", 89)])));
        assert_eq!(at(60, 100, true), Verdict::Done);
    }
}
