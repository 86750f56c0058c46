//! What a machine counts, for whoever exports metrics.

/// Counts since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Totals {
    /// Messages of others delivered.
    pub delivered: u64,
    /// Payloads that came again.
    pub duplicates: u64,
    /// Payloads pushed to neighbours.
    pub pushed: u64,
    /// Payloads sent because a neighbour asked.
    pub served: u64,
    /// Messages announced.
    pub announcements: u64,
    /// Batches that they went in.
    pub announcement_batches: u64,
    /// Grafts sent.
    pub grafts: u64,
    /// Prunes sent.
    pub prunes: u64,
    /// Digests sent.
    pub digests: u64,
    /// Parents exchanged for nearer ones.
    pub optimised: u64,
    /// Messages that no announcer sent, so far.
    pub missing: u64,
    /// Things left out because a bound was reached.
    pub shed: u64,
    /// Messages refused: too long, too old, from a stranger, or of one origin too many.
    pub refused: u64,
}

impl Totals {
    /// Each with its name, for metrics.
    pub(crate) fn named(self) -> [(&'static str, u64); 13] {
        // All fields, so that none is forgotten.
        let Self {
            delivered,
            duplicates,
            pushed,
            served,
            announcements,
            announcement_batches,
            grafts,
            prunes,
            digests,
            optimised,
            missing,
            shed,
            refused,
        } = self;
        [
            ("delivered", delivered),
            ("duplicates", duplicates),
            ("pushed", pushed),
            ("served", served),
            ("announcements", announcements),
            ("announcement_batches", announcement_batches),
            ("grafts", grafts),
            ("prunes", prunes),
            ("digests", digests),
            ("optimised", optimised),
            ("missing", missing),
            ("shed", shed),
            ("refused", refused),
        ]
    }
}
