//! Carries out one step.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};
use tracing::{info, warn};

use super::step::{Step, TeardownReason};
use crate::{
    identity::NodeId,
    replication::{
        Transport,
        error::Error,
        links::{
            bounds::Excess,
            desired::{Desired, Phase, Presence},
            observed::Observed,
        },
        names::LinkName,
        publisher::Publisher,
        subscriber::{Past, Resumption, Subscriber},
    },
};

/// No step takes longer, but for a catch-up, each part of which has its own limit.
const STEP_LIMIT: Duration = Duration::from_secs(60);

/// What a step brought.
#[derive(Debug)]
pub(super) enum StepOutcome {
    Nothing,
    Opened {
        link: LinkName,
        generation: u64,
    },
    Resumed {
        link: LinkName,
        generation: u64,
        resumption: Resumption,
    },
}

/// Takes steps, by the two ends of links.
pub(super) struct Executor<T> {
    pub(super) desired: watch::Receiver<Desired>,
    pub(super) subscriber: Arc<Subscriber<T>>,
    pub(super) publisher: Arc<Publisher>,
}

impl<T> Clone for Executor<T> {
    fn clone(&self) -> Self {
        Self {
            desired: self.desired.clone(),
            subscriber: Arc::clone(&self.subscriber),
            publisher: Arc::clone(&self.publisher),
        }
    }
}

impl<T: Transport> Executor<T> {
    pub(super) fn new(
        desired: watch::Receiver<Desired>,
        subscriber: Arc<Subscriber<T>>,
        publisher: Arc<Publisher>,
    ) -> Self {
        Self {
            desired,
            subscriber,
            publisher,
        }
    }

    /// Takes `step`, which was planned from `observed`; `past` is what we remember of the link in
    /// question.
    pub(super) async fn perform(
        self,
        step: Step,
        observed: Arc<Observed>,
        past: Past,
    ) -> Result<StepOutcome, Error> {
        match step {
            Step::Inspect => Ok(StepOutcome::Nothing),
            Step::Open { peer } => self.open(&peer).await,
            Step::Resume { peer, link } => {
                timeout(STEP_LIMIT, self.resume(&observed, &peer, link, past))
                    .await
                    .map_err(|_| Error::Timeout("resuming a link"))?
            }
            Step::Unsubscribe { peer, link, why } => {
                info!(%link, peer = ?peer, %why, "dropping a subscription");
                timeout(STEP_LIMIT, self.subscriber.unsubscribe(peer.as_ref(), link))
                    .await
                    .map_err(|_| Error::Timeout("dropping a subscription"))??;
                Ok(StepOutcome::Nothing)
            }
            Step::Unpublish { link, why } => {
                // The other reasons are ordinary. This one means that a member or a tool uses what is a link's.
                if why == TeardownReason::Bounds(Excess::Taken) {
                    warn!(%link, "another role uses the slot of a link: the link is made anew");
                }
                info!(%link, %why, "dropping a publication");
                timeout(STEP_LIMIT, self.publisher.unpublish(link))
                    .await
                    .map_err(|_| Error::Timeout("dropping a publication"))??;
                Ok(StepOutcome::Nothing)
            }
        }
    }

    /// A long catch-up ends when nobody wants it any more; what it leaves is half-made, and goes.
    async fn open(&self, peer: &NodeId) -> Result<StepOutcome, Error> {
        let wanted = self
            .desired
            .borrow()
            .neighbor(peer)
            .map(|(n, g)| (n.clone(), g));
        // The plan was made a moment ago: it may be no neighbour any more.
        let Some((neighbor, generation)) = wanted else {
            return Ok(StepOutcome::Nothing);
        };
        let mut desired = self.desired.clone();
        tokio::select! {
            opened = self.subscriber.open(&neighbor) => {
                Ok(StepOutcome::Opened { link: opened?, generation })
            }
            _ = desired.wait_for(|desired| is_given_up(desired, peer)) => Ok(StepOutcome::Nothing),
        }
    }

    async fn resume(
        &self,
        observed: &Observed,
        peer: &NodeId,
        link: LinkName,
        past: Past,
    ) -> Result<StepOutcome, Error> {
        // The relation of now: should it end and begin anew meanwhile, the answer says nothing of the new one.
        let wanted = self.desired.borrow().neighbor(peer).map(|(_, g)| g);
        let (Observed::Known(inventory), Some(generation)) = (observed, wanted) else {
            return Ok(StepOutcome::Nothing);
        };
        let Some(found) = inventory.incoming.get(&link) else {
            return Ok(StepOutcome::Nothing);
        };
        let resumption = self.subscriber.resume(peer, link, found, past).await?;
        Ok(StepOutcome::Resumed {
            link,
            generation,
            resumption,
        })
    }
}

/// A lost peer may come back, and its store may be there all the while.
fn is_given_up(desired: &Desired, peer: &NodeId) -> bool {
    desired.phase != Phase::Serving
        || !matches!(
            desired.peers.get(peer),
            Some(Presence::Present { .. } | Presence::Lost { .. })
        )
}
