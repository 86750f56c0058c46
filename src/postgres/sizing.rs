//! How many slots, senders, workers and origins a number of links takes.

/// Links that may exist beyond the planned number for a moment: make-before-break opens the new
/// link while the old one still streams, and a backup or a person with psql takes a slot too.
const SPARE: u32 = 8;

/// Background workers besides apply workers: the logical replication launcher, parallel queries,
/// an extension or two.
const OTHER_WORKERS: u32 = 8;

/// Links beyond two for each neighbour: each neighbour may be replaced while the link to the one before
/// it is kept for its grace, and a burst of changes replaces some of them twice.
const ROOM: u16 = 22;

/// The most links in each direction that a node which keeps `neighbors` is sized for: 32 for five.
#[must_use]
pub const fn links_max(neighbors: u16) -> u16 {
    neighbors.saturating_mul(2).saturating_add(ROOM)
}

/// What a server must be given for a number of links. All of it takes effect at a restart only, so
/// it is sized for the most links a node will ever have, not for those of today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizing {
    /// `max_replication_slots`: one per outgoing link; up to version 17 also one origin per
    /// incoming link.
    pub slots: u32,
    /// `max_wal_senders`: one per outgoing link.
    pub senders: u32,
    /// `max_logical_replication_workers`: one apply worker per incoming link. Links never copy
    /// tables, so table-sync workers need none.
    pub workers: u32,
    /// `max_worker_processes`: the workers and everything else in the background.
    pub processes: u32,
    /// `max_active_replication_origins` (from version 18): one per incoming link.
    pub origins: u32,
}

impl Sizing {
    /// For up to `links` links in each direction.
    #[must_use]
    pub fn for_links(links: u16) -> Self {
        let links = u32::from(links) + SPARE;
        Self {
            slots: links,
            senders: links + SPARE,
            workers: links,
            processes: links + OTHER_WORKERS,
            origins: links,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sizing, links_max};

    #[test]
    fn every_active_view_finds_room_for_its_links_twice_over() {
        assert_eq!(links_max(5), 32);
        for neighbors in 1..=64 {
            let sizing = Sizing::for_links(links_max(neighbors));
            let twice = u32::from(neighbors) * 2;
            for given in [sizing.slots, sizing.senders, sizing.workers, sizing.origins] {
                assert!(given > twice, "{neighbors}: {given}");
            }
            assert!(sizing.processes > sizing.workers, "{neighbors}");
        }
    }
}
