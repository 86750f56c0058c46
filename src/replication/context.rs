//! What every task of a data plane uses and none of them changes.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{counters::Counters, database::Database, failpoint::Failpoint, settings::Settings};

/// The surroundings of the tasks. What they tell each other goes over channels, which each is given for
/// itself: see [`start`](super::start).
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) database: Database,
    pub(crate) counters: Counters,
    /// Ends all tasks at their next await, whatever they are doing.
    pub(crate) cancel: CancellationToken,
    started: Instant,
}

impl Context {
    pub(crate) fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self {
            database: Database::new(settings.store.clone()),
            settings,
            counters: Counters::default(),
            cancel: CancellationToken::new(),
            started: Instant::now(),
        })
    }

    /// Time since this data plane began: the only clock of the planner.
    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    pub(crate) async fn pass(&self, failpoint: Failpoint) {
        self.settings.failpoints.pass(failpoint).await;
    }
}
