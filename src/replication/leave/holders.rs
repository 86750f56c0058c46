//! Which member has what is written here, by what it says of itself.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::{LeaveError, Lost, Member};
use crate::{
    identity::{NodeId, Site},
    postgres::session::Session,
    replication::database::refused,
    vector::{Seq, Vector},
};

/// What this store has beyond a vector, but for what sites say about themselves.
const BEYOND: &str = "\
select m.site, count(*), min(m.seq), max(m.seq) from crdv.missing($1, $2) m
 where m.type not in ('v', 'k') group by m.site order by m.site";

/// Asks the store what members lack.
#[derive(Debug)]
pub(super) struct Holders<'a> {
    members: &'a watch::Receiver<BTreeMap<NodeId, Member>>,
    session: &'a Session,
}

impl<'a> Holders<'a> {
    pub(super) fn new(
        members: &'a watch::Receiver<BTreeMap<NodeId, Member>>,
        session: &'a Session,
    ) -> Self {
        Self { members, session }
    }

    /// Whether a member that keeps what it has lacks nothing, or there is nothing to lack.
    pub(super) async fn is_held(&self) -> Result<bool, LeaveError> {
        // Nothing at all is beyond the empty vector in a store that holds only what sites say of themselves.
        let mut vectors = vec![Vector::default()];
        let members = self.members.borrow().clone();
        vectors.extend(members.into_values().filter(|m| m.keeps).map(|m| m.vector));
        for vector in &vectors {
            if self.beyond(vector).await?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What the member that has most of it lacks, of those that keep what they have: of two that leave at once
    /// neither does the other a service.
    pub(super) async fn lost(&self) -> Result<Vec<Lost>, LeaveError> {
        let mut least = self.beyond(&Vector::default()).await?;
        let members = self.members.borrow().clone();
        for member in members.values().filter(|member| member.keeps) {
            let lost = self.beyond(&member.vector).await?;
            let count = |lost: &[Lost]| lost.iter().map(|lost| lost.operations).sum::<i64>();
            if count(&lost) < count(&least) {
                least = lost;
            }
        }
        Ok(least)
    }

    async fn beyond(&self, vector: &Vector) -> Result<Vec<Lost>, LeaveError> {
        let (sites, seqs) = vector.columns();
        let rows = self
            .session
            .query(BEYOND, &[&sites, &seqs])
            .await
            .map_err(refused("look for what members lack"))?;
        let lost = rows.iter().filter_map(|row| {
            Some(Lost {
                site: Site::new(row.get(0))?,
                operations: row.get(1),
                from: Seq::new(row.get(2)),
                upto: Seq::new(row.get(3)),
            })
        });
        Ok(lost.collect())
    }
}
