//! What the node learns of other members: rounds of gossip, who has departed, which starts wrote as which
//! site, who has our key.

pub(super) mod departed;
pub(super) mod rounds;
pub(super) mod starts;
pub(super) mod twins;
