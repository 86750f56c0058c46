//! How far the node is: its store is being opened, or it is served.

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

use crate::{
    api::{Finding, LeaveReport},
    http::CommandError,
    node::{
        app_roles::{AppRoles, RoleKeeper},
        data_plane::DataPlane,
        store::{
            continuity::{Trouble, Why},
            examination::Examination,
            open::{OpenStore, RecordKeeper},
        },
    },
    replication::{LeaveError, Left},
    tasks::Panicked,
};

/// How far the node is.
pub(super) enum Stage {
    /// The store is being opened: at the start, as another site, or after its server was started again.
    Opening {
        /// Why nothing that needs the store can be done, in words.
        because: &'static str,
    },
    /// The store is open, and linked with others.
    Serving(Box<Serving>),
}

/// An open store, and what looks after it.
pub(super) struct Serving {
    pub(super) store: OpenStore,
    pub(super) plane: DataPlane,
    /// Set while the node leaves.
    pub(super) leaving: Option<Leaving>,
    ready: watch::Receiver<bool>,
    record: RecordKeeper,
    examination: Examination,
    app_roles: RoleKeeper,
}

/// A leave under way: the data plane's part, and who waits for the end of it.
pub(super) struct Leaving {
    pub(super) links: JoinHandle<Result<Left, LeaveError>>,
    pub(super) reply: LeaveReply,
}

/// Where the one who asked for a leave waits for the end of it.
pub(super) type LeaveReply = oneshot::Sender<Result<LeaveReport, CommandError>>;

impl Leaving {
    /// Waits for the data plane's decision. Safe to drop and call again until it is made.
    pub(super) async fn links(&mut self) -> Result<Left, LeaveError> {
        (&mut self.links).await.unwrap_or(Err(LeaveError::Ended))
    }

    /// The store goes on as another site first.
    pub(super) fn put_off(self, why: &Why) {
        let why = format!("the store goes on as another site ({why}); leave again in a moment");
        let _ = self.reply.send(Err(CommandError::NotNow(why)));
    }
}

/// Something that has happened to the store or its links.
pub(super) enum StageEvent {
    /// It is decided whether the node leaves.
    Left(Result<Left, LeaveError>),
    /// The store is not what it was.
    Trouble(Trouble),
    /// The store's server went down, or is up.
    Ready,
    /// The store's server was examined.
    Examined(Vec<Finding>),
    /// Something of the data plane looks different.
    Plane,
    /// A task of the data plane has panicked.
    Panicked(Panicked),
}

impl Stage {
    pub(super) fn serving(&self) -> Option<&Serving> {
        match self {
            Self::Opening { .. } => None,
            Self::Serving(serving) => Some(serving),
        }
    }

    pub(super) fn plane(&self) -> Option<&DataPlane> {
        self.serving().map(|serving| &serving.plane)
    }

    /// Whether the store answers.
    pub(super) fn is_store_ready(&self) -> bool {
        self.serving()
            .is_some_and(|serving| *serving.ready.borrow())
    }

    /// What happens next; nothing while the store is being opened. Safe to drop and call again.
    pub(super) async fn next(&mut self) -> StageEvent {
        match self {
            Self::Opening { .. } => std::future::pending().await,
            Self::Serving(serving) => serving.next().await,
        }
    }
}

impl Serving {
    /// Looks after `store` from now on.
    pub(super) fn new(
        store: OpenStore,
        plane: DataPlane,
        ready: watch::Receiver<bool>,
        app_roles: &AppRoles,
    ) -> Self {
        let server = &store.server;
        Self {
            ready,
            record: store.keep_record(),
            examination: server.keep_examining(),
            app_roles: app_roles.keep(server.connection()),
            leaving: None,
            plane,
            store,
        }
    }

    /// Nothing looks after the store any more.
    pub(super) fn into_store(self) -> (OpenStore, Option<Leaving>) {
        (self.store, self.leaving)
    }

    /// The store's server is to be found where it says now.
    pub(super) fn store_moved(&self) {
        let place = self.store.server.connection();
        self.plane.handle.store_moved(place.clone());
        self.record.store_moved(place.clone());
        self.examination.store_moved(place.clone());
        self.app_roles.store_moved(place);
    }

    async fn next(&mut self) -> StageEvent {
        tokio::select! {
            biased;
            // First what ends this stage: changes that never end must not put it off.
            result = left(self.leaving.as_mut()) => StageEvent::Left(result),
            // Who leaves is not to become another site on the way out: the answer would be about the old one.
            trouble = self.record.trouble(), if self.leaving.is_none() => StageEvent::Trouble(trouble),
            Ok(()) = self.ready.changed() => StageEvent::Ready,
            findings = self.examination.changed() => StageEvent::Examined(findings),
            changed = self.plane.changed() => match changed {
                Ok(()) => StageEvent::Plane,
                Err(panicked) => StageEvent::Panicked(panicked),
            },
        }
    }
}

/// Ends when the data plane has decided whether the node leaves; never if it was not asked to.
async fn left(leaving: Option<&mut Leaving>) -> Result<Left, LeaveError> {
    match leaving {
        Some(leaving) => leaving.links().await,
        None => std::future::pending().await,
    }
}
