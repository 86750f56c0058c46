//! The store's identity from start to start: finds out whether it is the store that this node knew, gives
//! it another site when it is not, and keeps the record that tells.
//!
//! The order is what makes it safe: the store is looked into before anybody can write to it; what must not
//! go on is closed before anything else is done; the links of a copy are taken down before it gets its
//! new site; the record is written last. A crash in between leads to the same verdict again.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context;
use tokio::{sync::watch, task::JoinHandle};
use tracing::{debug, info, warn};

use super::record::{StoreRecord, Verdict, judge};
use crate::{
    api::Renewal,
    identity::{Lineage, NodeId, Run, Site},
    node::waiting::Waiting,
    postgres::{self, Conninfo},
    replication,
    store::{self, Doubt},
};

/// How often the record is brought up to date. What is written in between can still be told by peers.
const KEEP_INTERVAL: Duration = Duration::from_secs(2);

/// One look at the store; one that does not answer is looked for anew.
const KEEP_LIMIT: Duration = Duration::from_secs(10);

/// While the server does not answer: it may be back any moment, and its store waits for us then.
const KEEP_PAUSE: Duration = Duration::from_millis(500);

/// Why a store that nobody else knows is another site after each start of its server.
const UNCONFIRMABLE: &str = "its server was started again, and this node has never met another that could \
    tell whether the store is an older copy of itself";

/// What was noticed about a store in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) enum Trouble {
    /// It is not the one that it was. Why.
    Another(String),
    /// Its server was started again: it is closed until it was looked into.
    Restarted,
}

/// Whose store it has to be.
#[derive(Debug, Clone)]
pub(in crate::node) struct Owned {
    pub(in crate::node) me: NodeId,
    pub(in crate::node) cluster: String,
    /// This start.
    pub(in crate::node) run: Run,
    /// A store of another node is a copy of it, and may be taken over.
    pub(in crate::node) may_adopt: bool,
}

/// The record of a store, kept up to date, and what follows from it.
#[derive(Debug, Clone)]
pub(in crate::node) struct Continuity {
    owned: Owned,
    data_dir: PathBuf,
    record: Arc<Mutex<StoreRecord>>,
    waiting: Waiting,
    /// The store may be an older copy of itself, put back together with its record.
    pub(in crate::node) needs_confirmation: bool,
}

impl Continuity {
    /// Looks into the store, which must be installed and not in use by a data plane, and gives it the
    /// identity that it should have. When it has to be confirmed, it is closed to writers.
    pub(in crate::node) async fn establish(
        admin: &Conninfo,
        owned: Owned,
        data_dir: &Path,
        waiting: &Waiting,
    ) -> anyhow::Result<Self> {
        let mut client = connect(admin).await?;
        let recorded = StoreRecord::read(data_dir);
        let found = store::owner(&client).await?;
        let foreign = |owner: &store::Owner| {
            owner.cluster != owned.cluster || (owner.node != owned.me && !owned.may_adopt)
        };
        if found.as_ref().is_none_or(foreign) {
            // Draws an identity, or says why it must not.
            store::identify(&mut client, &owned.me, &owned.cluster).await?;
        }
        let owner = store::owner(&client)
            .await?
            .context("the store has no identity")?;
        let position = store::position(&client).await?;
        let mut record = recorded.clone().unwrap_or_else(|| StoreRecord {
            site: owner.site,
            position: position.clone(),
            has_met_peers: false,
            lineage: Lineage::default(),
            renewals: Vec::new(),
        });
        let verdict = match (&found, &recorded) {
            (Some(_), _) => judge(recorded.as_ref(), &owner, &owned.me, &position),
            (None, Some(before)) => {
                let why = "the store was empty: wiped, or another database";
                record.renewed(Some(before.site), owner.site, why);
                // It has just drawn this identity: no number of it was given out before.
                Verdict::Same
            }
            (None, None) => Verdict::Same,
        };
        debug!(
            ?verdict,
            ?position,
            ?recorded,
            "the store was compared with its record"
        );
        match &verdict {
            Verdict::Same if owner.is_open => {}
            // It was closed because its node left.
            Verdict::Same => store::open(&client).await?,
            // Should it be an older copy that has written nothing since, no peer will ever tell: the links
            // must not go on. Both ends of each stand where another log had got to, and would leave out
            // what lies between. The vector is true of the copy, so new links bring what is missing.
            Verdict::Unconfirmed => suspend(admin, &client, waiting).await?,
            Verdict::Unconfirmable => {
                // Nobody could tell of lost numbers, so the site is given up. What the vector says is true.
                let site = renew(admin, &client, &owned, Doubt::None, waiting).await?;
                record.renewed(Some(owner.site), site, UNCONFIRMABLE);
            }
            Verdict::Another(why) => {
                let site = renew(admin, &client, &owned, Doubt::Behind, waiting).await?;
                record.renewed(Some(owner.site), site, why);
            }
        }
        // Once more: what the verdict asked for has moved it.
        record.position = store::position(&client).await?;
        // Before anybody is told of this start: should it be cut short, the next one knows of it.
        record.lineage.started(owned.run);
        record
            .write(data_dir)
            .context("cannot write the record of the store")?;
        Ok(Self {
            owned,
            data_dir: data_dir.to_path_buf(),
            record: Arc::new(Mutex::new(record)),
            waiting: waiting.clone(),
            needs_confirmation: verdict == Verdict::Unconfirmed,
        })
    }

    /// The store's site.
    pub(in crate::node) fn site(&self) -> Site {
        self.lock().site
    }

    /// The starts with this site, this one last.
    pub(in crate::node) fn lineage(&self) -> Lineage {
        self.lock().lineage.clone()
    }

    /// The last times that the store went on as another site, oldest first.
    pub(in crate::node) fn renewals(&self) -> Vec<Renewal> {
        self.lock().renewals.clone()
    }

    /// Whether the node has ever had a neighbour with this store.
    pub(in crate::node) fn has_met_peers(&self) -> bool {
        self.lock().has_met_peers
    }

    /// There is a neighbour: from now on others may know of this store.
    pub(in crate::node) fn met_a_peer(&self) {
        let mut record = self.lock();
        if !record.has_met_peers {
            record.has_met_peers = true;
            self.save(&record);
        }
    }

    /// Goes on in a new run of the server that began with us: nobody else could reach it since it was
    /// looked into.
    pub(in crate::node) async fn follow(&self, admin: &Conninfo) -> anyhow::Result<()> {
        let client = connect(admin).await?;
        let position = store::position(&client).await?;
        let recorded = self.lock().position.clone();
        // It was not started again to be found: nothing has changed.
        if position.started == recorded.started {
            return Ok(());
        }
        if let Some(found) = position.departs_from(&recorded) {
            anyhow::bail!("the store changed while its server was started again: {found}");
        }
        // One that has to be confirmed stays closed until its peers have done so.
        if !self.needs_confirmation {
            store::open(&client).await?;
        }
        let mut record = self.lock();
        record.position = position;
        record
            .write(&self.data_dir)
            .context("cannot write the record of the store")
    }

    /// Looks into the store anew, because its server was started again.
    pub(in crate::node) async fn again(&self, admin: &Conninfo) -> anyhow::Result<Self> {
        Self::establish(admin, self.owned.clone(), &self.data_dir, &self.waiting).await
    }

    /// Gives the store another site. All that used the old one must have ended.
    pub(in crate::node) async fn renew(
        &mut self,
        admin: &Conninfo,
        why: &Why,
    ) -> anyhow::Result<()> {
        let client = connect(admin).await?;
        let owner = store::owner(&client)
            .await?
            .context("the store has no identity")?;
        // Evicted while nobody had confirmed it: it may be an older copy as well.
        let doubt = match why.doubt() {
            Doubt::None if self.needs_confirmation && owner.is_in_doubt => Doubt::Behind,
            doubt => doubt,
        };
        let site = renew(admin, &client, &self.owned, doubt, &self.waiting).await?;
        let position = store::position(&client).await?;
        let mut record = self.lock();
        record.renewed(Some(owner.site), site, &why.to_string());
        record.lineage.started(self.owned.run);
        record.position = position;
        self.save(&record);
        drop(record);
        // The doubt was about the former site.
        self.needs_confirmation = false;
        Ok(())
    }

    /// Keeps the record up to date until the task is aborted; the answer says what is wrong, should
    /// the server be started again, or somebody put an older copy in its place, while the node runs.
    pub(in crate::node) fn keep(
        &self,
        mut admin: watch::Receiver<Conninfo>,
    ) -> (JoinHandle<()>, watch::Receiver<Option<Trouble>>) {
        let (sender, trouble) = watch::channel(None);
        let keeper = self.clone();
        let task = tokio::spawn(async move {
            let mut client = None;
            loop {
                let config = admin.borrow_and_update().clone();
                let look = tokio::time::timeout(KEEP_LIMIT, keeper.look(&config, &mut client));
                let pause = match look.await {
                    Ok(Ok(None)) => KEEP_INTERVAL,
                    Ok(Ok(Some(trouble))) => {
                        sender.send_replace(Some(trouble));
                        return;
                    }
                    Ok(Err(error)) => {
                        debug!(error = format!("{error:#}"), "the store was not looked at");
                        client = None;
                        KEEP_PAUSE
                    }
                    Err(_) => {
                        client = None;
                        KEEP_PAUSE
                    }
                };
                // At once when the store is to be found elsewhere, or has just come back.
                if let Ok(Err(_)) = tokio::time::timeout(pause, admin.changed()).await {
                    return;
                }
            }
        });
        (task, trouble)
    }

    /// The last entry before the store is let go.
    pub(in crate::node) async fn close(&self, admin: &Conninfo) {
        let mut client = None;
        let look = tokio::time::timeout(KEEP_LIMIT, self.look(admin, &mut client));
        if let Ok(Err(error)) = look.await {
            debug!(
                error = format!("{error:#}"),
                "the store was not looked at once more"
            );
        }
    }

    /// One look: brings the record up to date, or says what is wrong.
    async fn look(
        &self,
        admin: &Conninfo,
        client: &mut Option<tokio_postgres::Client>,
    ) -> anyhow::Result<Option<Trouble>> {
        // Taken out: a session on which something fails is not used again.
        let open = match client.take() {
            Some(open) => open,
            None => connect(admin).await?,
        };
        let position = store::position(&open).await?;
        *client = Some(open);
        let mut record = self.lock();
        if let Some(found) = position.departs_from(&record.position) {
            return Ok(Some(Trouble::Another(found.to_string())));
        }
        if position.started != record.position.started {
            return Ok(Some(Trouble::Restarted));
        }
        if record.position != position {
            record.position = position;
            self.save(&record);
        }
        Ok(None)
    }

    fn save(&self, record: &StoreRecord) {
        if let Err(error) = record.write(&self.data_dir) {
            warn!(%error, "cannot write the record of the store");
        }
    }

    /// A record is worth reading even after a panic elsewhere: it is replaced field by field.
    fn lock(&self) -> MutexGuard<'_, StoreRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a store in use must go on as another site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) enum Why {
    /// It is an older copy of itself, or may be.
    Behind(String),
    /// The cluster has given the site up.
    Evicted,
    /// Another process has the node's key, and perhaps a copy of its store.
    Twin,
    /// The same, as a peer says.
    Shared(String),
}

impl Why {
    /// What may be wrong with the store. An evicted one is whole.
    fn doubt(&self) -> Doubt {
        match self {
            Self::Behind(_) => Doubt::Behind,
            Self::Evicted => Doubt::None,
            Self::Twin | Self::Shared(_) => Doubt::Twin { trusted: None },
        }
    }
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Behind(why) | Self::Shared(why) => f.write_str(why),
            Self::Evicted => f.write_str("the cluster evicted the node while it was away"),
            Self::Twin => f.write_str("another process runs with a copy of this node's key"),
        }
    }
}

async fn connect(admin: &Conninfo) -> anyhow::Result<tokio_postgres::Client> {
    postgres::open(admin)
        .await
        .context("cannot connect to the store")
}

/// Closes a store until it is known what it is.
async fn suspend(
    admin: &Conninfo,
    client: &tokio_postgres::Client,
    waiting: &Waiting,
) -> anyhow::Result<()> {
    store::close_in_doubt(client).await?;
    clear(admin).await?;
    // A transaction that nobody can end here may go on: if a peer knows of its number, this is
    // an older copy, and gets no new site before it has ended.
    let settled = settle(client, waiting).await?;
    if !settled.left.is_empty() {
        let left = store::list(&settled.left);
        warn!(
            left,
            "transactions that write go on in a store that is in doubt"
        );
    }
    Ok(())
}

/// Closed first, so that nothing is written under the old site any more; links go before the new one.
async fn renew(
    admin: &Conninfo,
    client: &tokio_postgres::Client,
    owned: &Owned,
    doubt: Doubt,
    waiting: &Waiting,
) -> anyhow::Result<Site> {
    store::close_in_doubt(client).await?;
    clear(admin).await?;
    let settled = settle(client, waiting).await?;
    if let Some(first) = settled.left.first() {
        anyhow::bail!(
            "transactions that wrote under the former site go on: {}; end them, for example by: {}",
            store::list(&settled.left),
            first.cure()
        );
    }
    Ok(store::renew(client, &owned.me, &owned.cluster, doubt).await?)
}

async fn settle(
    client: &tokio_postgres::Client,
    waiting: &Waiting,
) -> anyhow::Result<store::Settled> {
    let settled = store::settle(client, store::PATIENCE, |writers| {
        let who = store::list(writers);
        waiting.set(format!("transactions that write to end: {who}"));
    })
    .await;
    waiting.over();
    Ok(settled?)
}

async fn clear(admin: &Conninfo) -> anyhow::Result<()> {
    let links = replication::clear(admin.clone())
        .await
        .context("cannot take down the store's old links")?;
    info!(links, "old links are taken down");
    Ok(())
}
