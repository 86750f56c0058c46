//! Writes this site's checkpoints, drops what was covered before it was visible, and tells the vector of
//! all sites.
//!
//! Costs three short queries every two seconds while nothing is written anywhere, and no WAL.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_postgres::Statement;
use tracing::debug;

use super::{
    confirm::ConfirmationState,
    context::Context,
    database::refused,
    error::{BEHIND, Error},
    vectors,
};
use crate::{postgres::session::Session, vector::Vector, watched};

/// The longest pause while nothing happens: a bound on how stale the vector of a quiet cluster is.
const IDLE_PAUSE: Duration = Duration::from_secs(2);

/// Statements here wait for nothing; a server that does not answer is looked for anew.
const ROUND_LIMIT: Duration = Duration::from_secs(10);

/// Transactions that a checkpoint must wait for mostly end at once.
const FIRST_WAIT: Duration = Duration::from_millis(5);

/// What the task reads and changes that makes checkpoints.
pub(crate) struct Checkpoints {
    pub(crate) context: Arc<Context>,
    pub(crate) confirmation: Arc<ConfirmationState>,
    /// The vector of our store, as it was last read.
    pub(crate) vector: watch::Sender<Vector>,
}

impl Checkpoints {
    /// Runs until the data plane ends.
    pub(crate) async fn run(self) {
        let stopped = self.context.cancel.clone();
        let work = async {
            // A checkpoint takes a number, and until then none may be given out.
            self.confirmation.confirmed().await;
            loop {
                match self.make().await {
                    Err(Error::Behind(why)) => self.confirmation.mark_behind(why),
                    Err(error) => debug!(%error, "no checkpoint"),
                    Ok(()) => {}
                }
                sleep(IDLE_PAUSE).await;
            }
        };
        tokio::select! {
            () = stopped.cancelled() => {}
            () = work => {}
        }
    }

    /// Makes checkpoints until something goes wrong.
    async fn make(&self) -> Result<(), Error> {
        let checkpointer = Checkpointer::open(self).await?;
        let interval = self.context.settings.checkpoint_interval;
        let mut pause = interval;
        loop {
            let is_news = timeout(ROUND_LIMIT, checkpointer.round())
                .await
                .map_err(|_| Error::Timeout("a checkpoint"))??;
            pause = if is_news {
                interval
            } else {
                (pause * 2).min(IDLE_PAUSE)
            };
            sleep(pause).await;
        }
    }
}

/// What `checkpoint_begin` said.
#[derive(Debug, Clone, Copy)]
struct Pending {
    upto: i64,
    horizon: i64,
}

struct Checkpointer<'a> {
    context: &'a Context,
    told: &'a watch::Sender<Vector>,
    session: Session,
    begin: Statement,
    finish: Statement,
    drop_covered: Statement,
    vector: Statement,
}

/// The store knows that it gives out numbers for a second time.
fn beginning(error: tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(told) if told.code().code() == BEHIND => Error::Behind(told.message().to_owned()),
        _ => refused("begin a checkpoint")(error),
    }
}

impl<'a> Checkpointer<'a> {
    async fn open(task: &'a Checkpoints) -> Result<Self, Error> {
        let context = &*task.context;
        let session = context.database.session().await?;
        // First, because it says in words that nothing is installed yet.
        super::links::observed::own_site(&session).await?;
        let prepare = async |sql: &str| {
            session
                .prepare(sql)
                .await
                .map_err(refused("prepare a statement"))
        };
        let begin = prepare("select upto, horizon from crdv.checkpoint_begin()").await?;
        let finish = prepare("select crdv.checkpoint_finish($1, $2)").await?;
        let drop_covered = prepare("select crdv.drop_covered()").await?;
        let vector = prepare(&vectors::query("crdv.vector")).await?;
        Ok(Self {
            context,
            told: &task.vector,
            session,
            begin,
            finish,
            drop_covered,
            vector,
        })
    }

    /// One checkpoint if there is something new, and the vector; whether anything was news.
    async fn round(&self) -> Result<bool, Error> {
        let pending = self
            .session
            .query_opt(&self.begin, &[])
            .await
            .map_err(beginning)?
            .map(|row| Pending {
                upto: row.get(0),
                horizon: row.get(1),
            });
        if let Some(pending) = pending {
            self.finish(pending).await?;
        }
        // After the checkpoint: what it vouches for is visible by now, and can be dropped if it is covered.
        let is_covered = self.drop_covered().await?;
        // Also without a checkpoint of ours: those of other sites come in over links.
        // First of the three, because it is to run whatever the others say.
        Ok(self.tell().await? || is_covered || pending.is_some())
    }

    /// Also without a new checkpoint: an answer may be visible here only after the checkpoint that vouches
    /// for what it covers.
    async fn drop_covered(&self) -> Result<bool, Error> {
        let row = self
            .session
            .query_one(&self.drop_covered, &[])
            .await
            .map_err(refused("drop what is covered"))?;
        Ok(row.get(0))
    }

    /// A long transaction holds checkpoints up for as long as it runs; the vector is told meanwhile.
    async fn finish(&self, pending: Pending) -> Result<(), Error> {
        // Well within a round, however far apart checkpoints are wanted.
        let patience = (self.context.settings.checkpoint_interval * 2).min(ROUND_LIMIT / 4);
        let mut wait = FIRST_WAIT;
        while wait < patience {
            let done: bool = self
                .session
                .query_one(&self.finish, &[&pending.upto, &pending.horizon])
                .await
                .map_err(refused("finish a checkpoint"))?
                .get(0);
            if done {
                self.context.counters.checkpoint();
                return Ok(());
            }
            sleep(wait).await;
            wait *= 2;
        }
        Ok(())
    }

    async fn tell(&self) -> Result<bool, Error> {
        let rows = self
            .session
            .query(&self.vector, &[])
            .await
            .map_err(refused("read the vector"))?;
        Ok(watched::set(self.told, vectors::decode(&rows)))
    }
}
