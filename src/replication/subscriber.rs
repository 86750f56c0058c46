//! The subscriber's end of links: drives their set-up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};
use tokio_postgres::types::PgLsn;
use tracing::{debug, info};

use super::{
    Transport,
    challenge::Challenger,
    confirm::{self, ConfirmationState},
    context::Context,
    database::refused,
    error::{Error, TransportError},
    failpoint::Failpoint,
    limits::REQUEST_LIMIT,
    links::{
        desired::Neighbor,
        observed::{Incoming, own_site},
    },
    names::LinkName,
    protocol::{Offer, Reply, Request, code},
};
use crate::{
    identity::{NodeId, Site},
    postgres::{
        quote::identifier,
        session::{Lsn, Session},
    },
    vector::Seq,
};

mod catch_up;
mod reach;
mod subscription;

pub use catch_up::Progress;
use catch_up::{CatchUp, CaughtUp};
pub(crate) use reach::is_ours;
use reach::{Expected, candidates, reach};
pub(crate) use subscription::drop_subscription;
use subscription::{await_streaming, create_subscription, silence_statement_log};

/// Telling a peer that may be gone is a courtesy.
const COURTESY_LIMIT: Duration = Duration::from_secs(4);

/// A catch-up stops waiting for another one that has made no progress for this long.
const GATE_PATIENCE: Duration = Duration::from_secs(3);

/// How often a long catch-up is logged.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// How a link that we found in our store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumption {
    /// It goes on where it was. Once all up to `end` has arrived, we are level.
    Whole { end: Lsn },
    /// It is gone, or would go on with a hole.
    Broken,
}

/// What we remember of a link that we found in our store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Past {
    /// It has streamed in this run of the server.
    pub(crate) has_streamed: bool,
    /// How far it had got in this run of the server when it was last looked at.
    pub(crate) latest_end_lsn: Lsn,
    /// How long it has not streamed; `None` if it streams, or stopped a moment ago.
    pub(crate) down: Option<Duration>,
}

/// Makes, checks and drops our subscriptions.
#[derive(Debug)]
pub(crate) struct Subscriber<T> {
    context: Arc<Context>,
    confirmation: Arc<ConfirmationState>,
    /// Catch-ups that are going on.
    progress: watch::Sender<BTreeMap<NodeId, Progress>>,
    transport: T,
    challenger: Challenger,
    /// Two catch-ups at once would mostly copy the same rows.
    gate: Semaphore,
}

impl<T: Transport> Subscriber<T> {
    pub(crate) fn new(
        context: Arc<Context>,
        confirmation: Arc<ConfirmationState>,
        progress: watch::Sender<BTreeMap<NodeId, Progress>>,
        transport: T,
    ) -> Arc<Self> {
        Arc::new(Self {
            context,
            confirmation,
            progress,
            transport,
            challenger: Challenger::new(),
            gate: Semaphore::new(1),
        })
    }

    /// Makes a new link from `neighbor`.
    pub(crate) async fn open(&self, neighbor: &Neighbor) -> Result<LinkName, Error> {
        // Before the peer makes anything: an older copy of ourselves must get no link under its site.
        self.ask_to_confirm(&neighbor.name).await?;
        let session = self.context.database.session().await?;
        let own = own_site(&session).await?;
        let challenge = self.challenger.to(&neighbor.name);
        let request = Request::Open {
            site: own,
            challenge,
        };
        let offer = match self.ask(&neighbor.name, request).await? {
            Reply::Opened(offer) => offer,
            other => return Err(unexpected(other)),
        };
        self.context.pass(Failpoint::OfferReceived).await;
        let joined = self.join(&session, own, neighbor, &offer).await;
        // The end of the publisher is whole: not told, it would keep WAL for us until somebody finds it idle.
        if joined.is_err() {
            self.tell_closed(&neighbor.name, own, offer.subscription())
                .await;
        }
        joined.map(|()| offer.subscription())
    }

    /// Asks `peer` what it has of our site, and makes sure that it is ours. [`Error::Behind`] if not.
    pub(crate) async fn ask_to_confirm(&self, peer: &NodeId) -> Result<(), Error> {
        let confirm::Claim { site, upto } = confirm::claim(&self.context.database).await?;
        let mut below = Seq::MAX;
        for _ in 0..confirm::ANSWERS_MAX {
            let lineage = &self.context.settings.lineage;
            let question = Request::Confirm {
                site,
                upto,
                below,
                lineage: lineage.last().map(|_| lineage.clone()),
                is_confirmed: self.confirmation.is_confirmed(),
            };
            let (known, more) = match self.ask(peer, question).await? {
                Reply::Known { known, more } => (known, more),
                Reply::Refused { code, message, .. } if code == code::ANOTHER_SITE => {
                    let why = format!("peer {peer} says: {message}");
                    self.confirmation.mark_shared(why.clone());
                    return Err(Error::Behind(why));
                }
                other => return Err(unexpected(other)),
            };
            let count = confirm::unknown(&self.context.database, site, &known).await?;
            if count > 0 {
                let newest = known.first().map_or(Seq::NONE, |known| known.seq);
                let why = format!(
                    "peer {peer} has {count} operations of site {site} up to {newest} that this \
                     store does not know"
                );
                self.confirmation.mark_behind(why.clone());
                return Err(Error::Behind(why));
            }
            // A peer that repeats itself is not followed for ever.
            match known.last() {
                Some(last) if more && last.seq < below => below = last.seq,
                _ => break,
            }
        }
        self.confirmation.note_confirmed_by(peer);
        Ok(())
    }

    async fn join(
        &self,
        session: &Session,
        own: Site,
        neighbor: &Neighbor,
        offer: &Offer,
    ) -> Result<(), Error> {
        let settings = &self.context.settings;
        let expected = Expected {
            node: &neighbor.name,
            cluster: &settings.cluster,
            link: offer.slot(own),
            comment: self.challenger.to(&neighbor.name).comment(&settings.node),
        };
        let hosts = candidates(neighbor, offer, &settings.store_hosts, is_ours)?;
        let (host, remote) = reach(neighbor, offer, &hosts, &expected).await?;
        // Committed before the subscription is made: a stream begins where the subscriber has all that the
        // publisher had.
        let caught_up = self.catch_up(own, &neighbor.name, offer, &remote).await?;
        drop(remote);
        self.context.pass(Failpoint::CaughtUp).await;
        self.context.counters.caught_up(caught_up.rows);
        info!(
            peer = %neighbor.name, link = %offer.subscription(), rows = caught_up.rows,
            kept = caught_up.kept, "caught up"
        );
        self.subscribe(session, own, neighbor, offer, &host).await?;
        await_streaming(session, &offer.subscription()).await
    }

    async fn catch_up(
        &self,
        own: Site,
        peer: &NodeId,
        offer: &Offer,
        remote: &Session,
    ) -> Result<CaughtUp, Error> {
        let _turn = self.turn().await;
        let _reported = Reported {
            progress: &self.progress,
            peer,
        };
        // Without a statement limit: rows may come for hours, and each has its own limit.
        let local = self.context.database.patient(Duration::ZERO).await?;
        let catch_up = CatchUp {
            local: &local,
            remote,
            own,
            publisher: offer.publisher,
        };
        let mut logged = Instant::now();
        let rows = catch_up
            .copy(|progress| {
                self.report(peer, progress);
                if logged.elapsed() > REPORT_INTERVAL {
                    logged = Instant::now();
                    let Progress { rows, estimate, .. } = progress;
                    info!(%peer, rows, estimate, "catching up");
                }
            })
            .await?;
        self.context.pass(Failpoint::RowsCopied).await;
        let applied = catch_up.apply(rows).await;
        if let Err(Error::Behind(why)) = &applied {
            self.confirmation.mark_behind(why.clone());
        }
        applied
    }

    /// Every thousandth row is told: a watch is cheap, but not free.
    fn report(&self, peer: &NodeId, progress: Progress) {
        if progress.rows.is_multiple_of(1_000) || progress.applying {
            self.progress.send_modify(|all| {
                all.insert(peer.clone(), progress);
            });
        }
    }

    /// Waits for its turn to catch up, as long as whoever has it gets on.
    async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let mut seen = self.progress.borrow().clone();
        loop {
            match timeout(GATE_PATIENCE, self.gate.acquire()).await {
                Ok(permit) => return permit.ok(),
                Err(_) => {
                    let now = self.progress.borrow().clone();
                    // An applying transaction shows no progress; it ends within its own limit.
                    let is_applying = now.values().any(|progress| progress.applying);
                    // Whoever has the turn stands still. Copying rows twice costs less than waiting for it.
                    if now == seen && !is_applying {
                        return None;
                    }
                    seen = now;
                }
            }
        }
    }

    /// Creates the subscription disabled, puts its origin where the slot starts, and lets it run.
    ///
    /// With the origin in place even a link that never carried anything can be judged after a
    /// restart; a disabled subscription is one that was never finished.
    async fn subscribe(
        &self,
        session: &Session,
        own: Site,
        neighbor: &Neighbor,
        offer: &Offer,
        host: &str,
    ) -> Result<(), Error> {
        let name = offer.subscription().to_string();
        silence_statement_log(session).await;
        session
            .batch_execute(&create_subscription(own, neighbor, offer, host))
            .await
            .map_err(refused("create a subscription"))?;
        self.context.pass(Failpoint::Subscribed).await;
        session
            .query_one(
                "select pg_replication_origin_advance('pg_' || oid, $2) from pg_subscription
                  where subname = $1
                    and subdbid = (select oid from pg_database where datname = current_database())",
                &[&name, &PgLsn::from(offer.start)],
            )
            .await
            .map_err(refused("place an origin"))?;
        self.context.pass(Failpoint::Positioned).await;
        session
            .batch_execute(&format!("alter subscription {} enable", identifier(&name)))
            .await
            .map_err(refused("enable a subscription"))?;
        self.context.pass(Failpoint::Enabled).await;
        Ok(())
    }

    /// Asks the publisher how a link stands that we found in our store.
    pub(crate) async fn resume(
        &self,
        peer: &NodeId,
        name: LinkName,
        link: &Incoming,
        past: Past,
    ) -> Result<Resumption, Error> {
        let Some(slot) = link.slot else {
            return Ok(Resumption::Broken);
        };
        // As before a new link: the peer may know numbers of our site that this store has lost.
        if !self.confirmation.is_confirmed_by(peer) {
            self.ask_to_confirm(peer).await?;
        }
        let request = Request::Resume {
            site: slot.site,
            publisher: name.site,
            epoch: name.epoch,
            down_ms: past
                .down
                .map(|down| u64::try_from(down.as_millis()).unwrap_or(u64::MAX)),
        };
        match self.ask(peer, request).await? {
            Reply::Resumed {
                confirmed,
                active,
                end,
                is_own,
            } => {
                let found = Found {
                    confirmed: Lsn(confirmed),
                    active,
                    end: Lsn(end),
                    is_own,
                };
                Ok(judge(link, past, found))
            }
            Reply::Refused { code, .. }
                if code == code::NO_SUCH_LINK || code == code::NOT_YOURS =>
            {
                Ok(Resumption::Broken)
            }
            other => Err(unexpected(other)),
        }
    }

    /// Drops a subscription, then tells the publisher if there is somebody to tell.
    pub(crate) async fn unsubscribe(
        &self,
        peer: Option<&NodeId>,
        link: LinkName,
    ) -> Result<(), Error> {
        // Ours first, whoever answers: the peer may be gone, and drops a slot that nobody reads by itself.
        let session = self.context.database.session().await?;
        let slot = drop_subscription(&session, &link.to_string()).await?;
        self.context.pass(Failpoint::Unsubscribed).await;
        let own = slot.and_then(|slot| slot.parse::<LinkName>().ok());
        if let (Some(peer), Some(own)) = (peer, own) {
            self.tell_closed(peer, own.site, link).await;
        }
        Ok(())
    }

    /// A publisher that does not hear it finds an idle slot and drops it by itself.
    async fn tell_closed(&self, peer: &NodeId, own: Site, link: LinkName) {
        let close = Request::Close {
            site: own,
            epoch: link.epoch,
        };
        match timeout(COURTESY_LIMIT, self.ask(peer, close)).await {
            Ok(Ok(Reply::Closed)) => {}
            Ok(Ok(reply)) => debug!(%peer, %link, ?reply, "publisher did not close"),
            Ok(Err(error)) => debug!(%peer, %link, %error, "publisher not told"),
            Err(_) => debug!(%peer, %link, "publisher not told in time"),
        }
    }

    /// The farewell of one who leaves for good.
    pub(crate) async fn announce_leave(&self, peer: &NodeId) -> Result<(), Error> {
        match self.ask(peer, Request::Leave).await? {
            Reply::Left => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn ask(&self, peer: &NodeId, request: Request) -> Result<Reply, Error> {
        timeout(REQUEST_LIMIT, self.transport.request(peer, request))
            .await
            .map_err(|_| TransportError::Timeout)?
            .map_err(Error::from)
    }
}

/// Takes a peer's progress off the list when its catch-up ends, however it ends.
struct Reported<'a> {
    progress: &'a watch::Sender<BTreeMap<NodeId, Progress>>,
    peer: &'a NodeId,
}

impl Drop for Reported<'_> {
    fn drop(&mut self) {
        self.progress.send_modify(|all| {
            all.remove(self.peer);
        });
    }
}

fn unexpected(reply: Reply) -> Error {
    match reply {
        Reply::Refused { code, message, fix } => Error::Refused { code, message, fix },
        Reply::Opened(_)
        | Reply::Resumed { .. }
        | Reply::Known { .. }
        | Reply::Closed
        | Reply::Left => Error::UnexpectedReply,
    }
}

/// How the publisher found a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Found {
    /// Where it would go on.
    confirmed: Lsn,
    /// A sender streams from it.
    active: bool,
    /// The end of the publisher's WAL.
    end: Lsn,
    /// The link's own sender left it at `confirmed`.
    is_own: bool,
}

/// A walsender goes on at the later of the slot's position and what the subscriber asks for, and says
/// nothing of what it skips. So a slot that stands beyond all we have processed has a hole before it;
/// and a WAL that ends before what we have applied is another history.
///
/// What a worker has processed without applying anything is nowhere once it ends, and what we last saw
/// of it is older. But it tells its publisher of nothing that is not safe here. So what the link's own
/// sender confirmed has been processed, provided that this is the store that the worker ran in: one that
/// was put back has been restarted, and has not streamed since.
fn judge(link: &Incoming, past: Past, found: Found) -> Resumption {
    let processed = link.remote_lsn.max(past.latest_end_lsn);
    // A slot in use moves from one look to the next: while both ends run, the servers have agreed on it.
    let is_running = link.streaming && found.active;
    let is_told_by_us = past.has_streamed && found.is_own;
    let has_hole = found.confirmed > processed && !is_running && !is_told_by_us;
    if found.end < link.remote_lsn || has_hole {
        Resumption::Broken
    } else {
        Resumption::Whole { end: found.end }
    }
}

#[cfg(test)]
mod tests;
