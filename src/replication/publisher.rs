//! The publisher's end of links: serves the requests of subscribers.

use std::{
    collections::BTreeMap,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_postgres::types::PgLsn;
use tracing::debug;

use super::{
    challenge::Challenge,
    context::Context,
    database::refused,
    error::Error,
    failpoint::Failpoint,
    holders,
    limits::OPEN_REPLY_LIMIT,
    links::{
        desired::Desired,
        observed::{Inventory, Observer, Outgoing, Slot},
    },
    names::{Epoch, LinkName},
    protocol::{Offer, Reply, code},
    reason::Reason,
    subscriber::is_ours,
};
use crate::{
    identity::{NodeId, Site},
    postgres::{
        quote::{identifier, literal},
        session::{Lsn, Session},
        visibility::await_visibility,
    },
};

pub(super) mod credentials;
mod slot;

use slot::{drop_slot, end_orphan};

/// Making a slot waits for every transaction that writes; longer than this is hardly worth it.
const SLOT_LIMIT: Duration = Duration::from_secs(600);

/// How often the transactions that the making of a slot waits for are looked up.
const WAIT_LOOK: Duration = Duration::from_millis(500);

/// A dropped walsender is gone in milliseconds unless its server is drowned.
const DROP_LIMIT: Duration = Duration::from_secs(15);

/// Serves the publisher's ends of all links of this store.
#[derive(Debug)]
pub(crate) struct Publisher {
    context: Arc<Context>,
    desired: watch::Receiver<Desired>,
    /// Asks for a look at the store.
    wake: Arc<Notify>,
    /// One opening per peer at a time.
    openings: Mutex<BTreeMap<NodeId, Arc<tokio::sync::Mutex<Option<Opening>>>>>,
    /// Links that are being made right now, so that nobody takes them for debris.
    making: Mutex<BTreeMap<LinkName, Pending>>,
    /// Told when it has been found out what one of them waits for.
    named: Notify,
    /// Where each slot stood when its link's own sender was last seen to stream from it.
    left_at: Mutex<BTreeMap<LinkName, Lsn>>,
}

/// A link whose end is being made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pending {
    peer: NodeId,
    /// What that waits for, if it takes long.
    pub(crate) waits: Option<Reason>,
}

impl Pending {
    pub(crate) fn of(peer: NodeId) -> Self {
        Self { peer, waits: None }
    }
}

/// The making of one end, which outlives the request that began it.
#[derive(Debug)]
struct Opening {
    site: Site,
    challenge: Challenge,
    task: JoinHandle<Result<Offer, Error>>,
    /// What it waits for, as the peer was told before.
    told: Option<String>,
}

impl Publisher {
    pub(crate) fn new(
        context: Arc<Context>,
        desired: watch::Receiver<Desired>,
        wake: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self {
            context,
            desired,
            wake,
            openings: Mutex::default(),
            making: Mutex::default(),
            named: Notify::new(),
            left_at: Mutex::default(),
        })
    }

    /// Takes note of a look: who moves a slot cannot be found out afterwards.
    pub(crate) fn note(&self, inventory: &Inventory) {
        let mut left_at = self.left_at();
        left_at.retain(|link, _| inventory.outgoing.contains_key(link));
        for (link, end) in &inventory.outgoing {
            match end.slot {
                // What another role has confirmed need not have reached the subscriber.
                Some(slot) if slot.taken => {
                    left_at.remove(link);
                }
                Some(slot) if slot.active => {
                    left_at.insert(*link, slot.confirmed);
                }
                // Nobody streams: as far as we have seen, it stands where its own sender left it.
                _ => {}
            }
        }
    }

    fn left_at(&self) -> MutexGuard<'_, BTreeMap<LinkName, Lsn>> {
        // Each entry is a number, so they are sound even after a panic elsewhere.
        self.left_at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Links that are being made right now.
    pub(crate) fn making(&self) -> BTreeMap<LinkName, Pending> {
        self.pending().clone()
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<LinkName, Pending>> {
        // Each is replaced as a whole, so they are sound even after a panic elsewhere.
        self.making.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an end for `peer`, or waits for the one that is being opened for it.
    /// `challenge` is what its store will show.
    pub(crate) async fn open(
        self: &Arc<Self>,
        peer: &NodeId,
        site: Site,
        challenge: Challenge,
    ) -> Reply {
        let entry = {
            let mut openings = self.openings.lock().unwrap_or_else(PoisonError::into_inner);
            // Or the list would grow with each peer that ever asked.
            openings.retain(|_, entry| Arc::strong_count(entry) > 1 || !is_idle(entry));
            Arc::clone(openings.entry(peer.clone()).or_default())
        };
        let Ok(mut pending) = entry.try_lock() else {
            return Reply::refused(code::BUSY, "another request of yours is being served");
        };
        let mut opening = match pending.take() {
            Some(opening) if opening.site == site && opening.challenge == challenge => opening,
            other => {
                // Its site or its challenge is another one: nobody comes back for what the former request began.
                if let Some(stale) = other {
                    stale.task.abort();
                }
                self.begin(peer, site, challenge)
            }
        };
        tokio::select! {
            // An offer that is ready goes out, whatever there is to be told of its making.
            biased;
            made = &mut opening.task => match made {
                Ok(Ok(offer)) => Reply::Opened(offer),
                Ok(Err(error)) => refusal(&error),
                Err(_) => refusal(&Error::Stopping),
            },
            () = self.news(peer, opening.told.as_deref()) => {
                opening.told = self.waiting_for(peer);
                let text = opening.told.as_deref();
                let reply = Reply::refused(code::BUSY, text.unwrap_or("waiting for transactions that write"));
                // The making goes on, and the next request of the peer finds it here.
                *pending = Some(opening);
                reply
            }
        }
    }

    /// Waits until there is something to say to `peer` that it was not told, but not for long.
    async fn news(&self, peer: &NodeId, told: Option<&str>) {
        let named = async {
            loop {
                // Before the look: what is named between the two would be missed otherwise.
                let named = self.named.notified();
                if self
                    .waiting_for(peer)
                    .is_some_and(|text| told != Some(&text))
                {
                    return;
                }
                named.await;
            }
        };
        let _ = timeout(OPEN_REPLY_LIMIT, named).await;
    }

    /// What the end that is being made for `peer` waits for, as far as that is known.
    fn waiting_for(&self, peer: &NodeId) -> Option<String> {
        let pending = self.pending();
        let mut own = pending.values().filter(|pending| pending.peer == *peer);
        own.find_map(|pending| Some(pending.waits.as_ref()?.text.clone()))
    }

    /// Does `work`, which waits for others' transactions, and finds out meanwhile for which.
    async fn while_naming<T>(&self, link: LinkName, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = sleep(WAIT_LOOK) => {}
            }
            // In a session of its own: that of the work is busy with the statement that waits.
            let named = async { holders::writers(&self.context.database.session().await?).await };
            match named.await {
                Ok(waits) => {
                    if let Some(pending) = self.pending().get_mut(&link) {
                        pending.waits = waits;
                        self.named.notify_waiters();
                    }
                }
                Err(error) => debug!(%error, "nobody can be named"),
            }
        }
    }

    fn begin(self: &Arc<Self>, peer: &NodeId, site: Site, challenge: Challenge) -> Opening {
        let (publisher, peer) = (Arc::clone(self), peer.clone());
        let comment = challenge.comment(&peer);
        let stopped = self.context.cancel.clone();
        let task = tokio::spawn(async move {
            tokio::select! {
                // It outlives the request that began it, but not the data plane.
                () = stopped.cancelled() => Err(Error::Stopping),
                made = publisher.make(&peer, site, &comment) => made,
            }
        });
        Opening {
            site,
            challenge,
            task,
            told: None,
        }
    }

    /// Role and publication, then slot: decoding looks the publication up in the catalogue of the
    /// moment that it decodes.
    async fn make(&self, peer: &NodeId, site: Site, comment: &str) -> Result<Offer, Error> {
        self.drop_abandoned(peer).await?;
        let link = LinkName::new(site, Epoch::draw());
        // Before anything of it is on the server, where a look would take it for debris.
        let _making = Making::new(self, link, peer);
        let session = self.context.database.patient(SLOT_LIMIT).await?;
        self.is_reachable(&session, peer).await?;
        let publisher = super::links::observed::own_site(&session).await?;
        credentials::ensure_group(&session).await?;
        let password = credentials::password();
        // Inserts only: what an operation covers is deleted by the subscriber's trigger. Nothing is sent back to the
        // site that it came from. `has_published` goes with the publication: a renewal in doubt has to know whether
        // others may have got operations.
        session
            .batch_execute(&format!(
                "begin; {role}
                 update crdv.self set has_published = true where not has_published;
                 create publication {name} for table crdv.element where (via <> {site})
                   with (publish = 'insert');
                 comment on publication {name} is {comment};
                 commit",
                role = credentials::create_role(&link, &password, &self.context.database.name()),
                name = identifier(&link.to_string()),
                comment = literal(comment),
            ))
            .await
            .map_err(refused("create a publication"))?;
        self.context.pass(Failpoint::Published).await;
        match self.make_slot(&session, link, publisher, password).await {
            Ok(offer) => Ok(offer),
            Err(error) => {
                // The reconciler finds what is half-made as well, only later.
                if let Err(error) = self.unpublish(link).await {
                    debug!(%link, %error, "half-made link left for later");
                }
                Err(error)
            }
        }
    }

    async fn make_slot(
        &self,
        session: &Session,
        link: LinkName,
        publisher: Site,
        password: String,
    ) -> Result<Offer, Error> {
        let name = link.to_string();
        // It waits for others' transactions as for a lock.
        session
            .batch_execute("set lock_timeout = 0")
            .await
            .map_err(refused("lift a time limit"))?;
        let made = async {
            let row = session
                .query_one(
                    "select lsn, current_setting('listen_addresses'), current_setting('port')::int
                       from pg_create_logical_replication_slot($1, 'pgoutput')",
                    &[&name],
                )
                .await
                .map_err(refused("create a slot"))?;
            self.context.pass(Failpoint::SlotCreated).await;
            // What committed before the slot is not streamed, so a catch-up has to see it.
            await_visibility(session)
                .await
                .map_err(refused("read a snapshot"))?;
            Ok::<_, Error>(row)
        };
        let row = self.while_naming(link, made).await?;
        let advertise = &self.context.settings.advertise;
        Ok(Offer {
            publisher,
            epoch: link.epoch,
            start: Lsn::from(row.get::<_, PgLsn>(0)).0,
            host: advertise.host.clone(),
            port: if advertise.port == 0 {
                own_port(row.get(2))
            } else {
                advertise.port
            },
            loopback_only: advertise.host.is_none() && is_loopback(row.get(1)),
            database: self.context.database.name(),
            user: name,
            password,
        })
    }

    /// Makes nothing for a peer on another machine that could not get at it.
    async fn is_reachable(&self, session: &Session, peer: &NodeId) -> Result<(), Error> {
        // The operator has named a host, and answers for the way that leads from there.
        if self.context.settings.advertise.host.is_some() {
            return Ok(());
        }
        let row = session
            .query_one("select current_setting('listen_addresses')", &[])
            .await
            .map_err(refused("read where it listens"))?;
        let hosts = self
            .desired
            .borrow()
            .neighbor(peer)
            .map(|(n, _)| n.hosts.clone());
        let hosts = hosts.unwrap_or_default();
        match hosts.first() {
            Some(host) if is_loopback(row.get(0)) && !hosts.iter().any(is_ours) => {
                Err(Error::Secluded { host: *host })
            }
            _ => Ok(()),
        }
    }

    /// A peer that opens a link has given up those of its others that it does not stream from.
    async fn drop_abandoned(&self, peer: &NodeId) -> Result<(), Error> {
        let inventory = Observer::open(&self.context.database).await?.look().await?;
        let making = self.making();
        // What streams goes on until the new link does; then its subscriber closes it.
        let idle = |link: &Outgoing| !link.slot.is_some_and(|slot| slot.active);
        for (name, link) in inventory.outgoing_of(peer) {
            if idle(link) && !making.contains_key(name) {
                self.unpublish(*name).await?;
            }
        }
        Ok(())
    }

    /// Says how a link stands, and frees its slot from a sender that is older than `down`.
    pub(crate) async fn resume(
        &self,
        peer: &NodeId,
        link: LinkName,
        publisher: Site,
        down: Option<Duration>,
    ) -> Reply {
        self.find(peer, link, publisher, down)
            .await
            .unwrap_or_else(|error| refusal(&error))
    }

    async fn find(
        &self,
        peer: &NodeId,
        name: LinkName,
        publisher: Site,
        down: Option<Duration>,
    ) -> Result<Reply, Error> {
        let inventory = Observer::open(&self.context.database).await?.look().await?;
        self.note(&inventory);
        let Some(link) = inventory
            .outgoing
            .get(&name)
            // The name of the subscription says by whose site its rows come in: under another site it is wrong.
            .filter(|_| inventory.own == publisher)
        else {
            return Ok(Reply::refused(code::NO_SUCH_LINK, "no such link"));
        };
        if link.peer.as_ref() != Some(peer) {
            return Ok(Reply::refused(
                code::NOT_YOURS,
                "the link belongs to another peer",
            ));
        }
        // The subscriber has no stream, and yet somebody holds its slot.
        if let (Some(down), Some(Slot { active: true, .. })) = (down, link.slot) {
            let session = self.context.database.session().await?;
            end_orphan(&session, name, down).await?;
        }
        Ok(
            match link
                .slot
                .filter(|slot| link.published && !slot.lost && !slot.taken)
            {
                Some(slot) => Reply::Resumed {
                    confirmed: slot.confirmed.0,
                    active: slot.active,
                    end: slot.confirmed.0.saturating_add_signed(slot.lag_bytes),
                    is_own: self.left_at().get(&name) == Some(&slot.confirmed),
                },
                None => Reply::refused(code::NO_SUCH_LINK, "the link is not whole"),
            },
        )
    }

    /// Drops an end whose subscriber has dropped its own.
    pub(crate) async fn close(&self, peer: &NodeId, link: LinkName) -> Reply {
        self.close_own(peer, link)
            .await
            .unwrap_or_else(|error| refusal(&error))
    }

    async fn close_own(&self, peer: &NodeId, name: LinkName) -> Result<Reply, Error> {
        let inventory = Observer::open(&self.context.database).await?.look().await?;
        match inventory.outgoing.get(&name) {
            None => Ok(Reply::Closed),
            // A slot without its publication has no owner's name on it; the reconciler drops it.
            Some(link) if link.peer.as_ref() != Some(peer) => Ok(Reply::refused(
                code::NOT_YOURS,
                "the link belongs to another peer",
            )),
            Some(_) => {
                self.unpublish(name).await?;
                // Whoever waits for the links of a peer to be gone waits for a look.
                self.wake.notify_one();
                Ok(Reply::Closed)
            }
        }
    }

    /// Drops slot, publication and role, whatever of them is there.
    pub(crate) async fn unpublish(&self, link: LinkName) -> Result<(), Error> {
        let session = self.context.database.session().await?;
        // The publication last: its comment names the owner, who may still close the rest if we are killed here.
        drop_slot_in_time(&session, link).await?;
        self.context.pass(Failpoint::SlotDropped).await;
        drop_publication(&session, link).await?;
        self.context.pass(Failpoint::Unpublished).await;
        Ok(())
    }
}

/// Drops slot, publication and role of a link, whatever of them is there.
pub(crate) async fn drop_end(session: &Session, link: LinkName) -> Result<(), Error> {
    drop_slot_in_time(session, link).await?;
    drop_publication(session, link).await
}

async fn drop_slot_in_time(session: &Session, link: LinkName) -> Result<(), Error> {
    timeout(DROP_LIMIT, drop_slot(session, &link.to_string()))
        .await
        .map_err(|_| Error::Timeout("dropping a slot in use"))?
}

async fn drop_publication(session: &Session, link: LinkName) -> Result<(), Error> {
    let name = identifier(&link.to_string());
    session
        .batch_execute(&format!(
            "begin; drop publication if exists {name}; {} commit",
            credentials::drop_role(&link)
        ))
        .await
        .map_err(refused("drop a publication"))
}

/// Marks a link as being made for as long as it lives.
struct Making<'a> {
    publisher: &'a Publisher,
    link: LinkName,
}

impl<'a> Making<'a> {
    fn new(publisher: &'a Publisher, link: LinkName, peer: &NodeId) -> Self {
        publisher.pending().insert(link, Pending::of(peer.clone()));
        Self { publisher, link }
    }
}

impl Drop for Making<'_> {
    fn drop(&mut self) {
        self.publisher.pending().remove(&self.link);
    }
}

fn is_idle(entry: &tokio::sync::Mutex<Option<Opening>>) -> bool {
    entry.try_lock().is_ok_and(|opening| opening.is_none())
}

/// The server has checked it already.
fn own_port(port: i32) -> u16 {
    u16::try_from(port).unwrap_or_default()
}

/// Whether a server with these `listen_addresses` hears its own machine only.
fn is_loopback(listen_addresses: &str) -> bool {
    let local = |address: &str| {
        address == "localhost"
            || address
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    };
    // An empty list is that of a server that listens on its socket only.
    listen_addresses
        .split(',')
        .map(str::trim)
        .filter(|a| !a.is_empty())
        .all(local)
}

fn refusal(error: &Error) -> Reply {
    let code = match error {
        Error::StoreUnreachable(_) | Error::StoreNotReady(_) => code::STORE_DOWN,
        // Unlike a refusal it needs nobody to act: the peer is to ask again soon.
        Error::Timeout(_) => code::BUSY,
        Error::Stopping => code::STOPPING,
        Error::Secluded { .. } => code::LOOPBACK_ONLY,
        Error::Store { .. }
        | Error::Publisher { .. }
        | Error::PublisherUnreachable { .. }
        | Error::LoopbackOnly { .. }
        | Error::HostRefused { .. }
        | Error::Imposter { .. }
        | Error::TurnedAway { .. }
        | Error::Transport(_)
        | Error::Refused { .. }
        | Error::UnexpectedReply
        | Error::Behind(_)
        | Error::Panicked(_) => code::STORE_REFUSED,
    };
    Reply::Refused {
        code: code.to_owned(),
        message: error.to_string(),
        fix: error.cure(),
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn loopback_is_recognised() {
        for local in ["localhost", "127.0.0.1", "::1", "127.0.0.1, ::1", ""] {
            assert!(is_loopback(local), "{local:?}");
        }
        for public in [
            "*",
            "0.0.0.0",
            "::",
            "localhost, 10.0.0.1",
            "db.example.org",
        ] {
            assert!(!is_loopback(public), "{public:?}");
        }
    }
}
