//! What is there: the links as the local store shows them.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;
use tokio_postgres::{Row, Statement, error::SqlState, types::PgLsn};

use crate::{
    identity::{NodeId, Site},
    postgres::session::{Lsn, Session},
    replication::{
        challenge,
        database::{Database, refused},
        error::Error,
        names::{LINK_PATTERN, LinkName},
    },
};

/// What we believe about the links of the local store.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Observed {
    /// Nothing: the store could not be asked. Certainly not "no links".
    Unknown,
    /// This, a moment ago.
    Known(Inventory),
}

/// All links of a store, and half-made ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inventory {
    /// The store's own site.
    pub(crate) own: Site,
    /// Subscriptions.
    pub(crate) incoming: BTreeMap<LinkName, Incoming>,
    /// Publications and slots, joined by name.
    pub(crate) outgoing: BTreeMap<LinkName, Outgoing>,
}

/// A subscription of ours.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Incoming {
    /// Who publishes, as noted when it was made.
    pub(crate) peer: Option<NodeId>,
    /// Disabled ones are half-made: we enable last and drop in one transaction.
    pub(crate) enabled: bool,
    /// It is for a table that is not there any more, and drops without a word what comes for the
    /// present one.
    pub(crate) is_stale: bool,
    /// The slot it reads from, which names the site that we had then.
    pub(crate) slot: Option<LinkName>,
    /// Its apply worker is connected and has heard from the publisher.
    pub(crate) streaming: bool,
    /// It has no apply worker, and the server starts no more of them.
    pub(crate) lacks_worker: bool,
    /// How far the publisher's WAL is applied and durable here, by the origin.
    pub(crate) remote_lsn: Lsn,
    /// How far it has arrived.
    pub(crate) received_lsn: Lsn,
    /// How far it is processed, as told to the publisher by the running worker.
    pub(crate) latest_end_lsn: Lsn,
    /// Errors of its apply workers so far.
    pub(crate) errors: i64,
}

/// The publisher's end of a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outgoing {
    /// Who subscribes, as noted when it was made.
    pub(crate) peer: Option<NodeId>,
    /// The publication exists, and with it the link's role. One that lost its table, because that was
    /// dropped or restored, publishes nothing.
    pub(crate) published: bool,
    /// The slot, if it exists.
    pub(crate) slot: Option<Slot>,
}

/// A replication slot of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Slot {
    /// A walsender streams from it.
    pub(crate) active: bool,
    /// The server has given up the WAL it needs.
    pub(crate) lost: bool,
    /// Who streams from it is not the link's role, so what it confirms need not have arrived at the subscriber.
    pub(crate) taken: bool,
    /// Where it would go on.
    pub(crate) confirmed: Lsn,
    /// WAL that the subscriber has not confirmed.
    pub(crate) lag_bytes: i64,
    /// WAL that the server keeps for it.
    pub(crate) retained_bytes: i64,
}

impl Inventory {
    pub(crate) fn incoming_of<'a>(
        &'a self,
        peer: &'a NodeId,
    ) -> impl Iterator<Item = (&'a LinkName, &'a Incoming)> {
        self.incoming
            .iter()
            .filter(move |(_, link)| link.peer.as_ref() == Some(peer))
    }

    pub(crate) fn outgoing_of<'a>(
        &'a self,
        peer: &'a NodeId,
    ) -> impl Iterator<Item = (&'a LinkName, &'a Outgoing)> {
        self.outgoing
            .iter()
            .filter(move |(_, link)| link.peer.as_ref() == Some(peer))
    }

    /// Nothing is left of any link with `peer`.
    pub(crate) fn is_free_of(&self, peer: &NodeId) -> bool {
        self.incoming_of(peer).next().is_none() && self.outgoing_of(peer).next().is_none()
    }

    /// There are no links at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.incoming.is_empty() && self.outgoing.is_empty()
    }
}

/// A worker drops what comes for a table that its subscription does not know. The comment of a subscription
/// or publication names the peer. An apply worker has no `relid`, one that copies a table has; `leader_pid`
/// of later versions is only set with parallel streaming, which we switch off.
const INCOMING: &str = "\
select s.subname::text, obj_description(s.oid, 'pg_subscription'), s.subenabled,
       s.subslotname::text, w.pid is not null and w.received_lsn is not null and r.srsubid is not null,
       o.remote_lsn, w.received_lsn, w.latest_end_lsn, coalesce(e.apply_error_count, 0),
       r.srsubid is not null,
       s.subenabled and w.pid is null
       and (select count(g.pid) from pg_stat_get_subscription(null) g)
           >= current_setting('max_logical_replication_workers')::int
  from pg_subscription s
  left join pg_subscription_rel r on r.srsubid = s.oid and r.srrelid = to_regclass('crdv.element')
  left join pg_stat_subscription w on w.subid = s.oid and w.relid is null
  left join pg_stat_subscription_stats e on e.subid = s.oid
  left join pg_replication_origin_status o on o.external_id = 'pg_' || s.oid
 where s.subname ~ $1
   and s.subdbid = (select oid from pg_database where datname = current_database())";

/// We make slots ourselves, by a function; everybody else than the link's role has no business with one.
const OUTGOING: &str = "\
select coalesce(p.pubname, s.slot_name)::text, obj_description(p.oid, 'pg_publication'),
       p.oid is not null and exists (
         select from pg_publication_rel r
          where r.prpubid = p.oid and r.prrelid = to_regclass('crdv.element')),
       s.slot_name is not null, coalesce(s.active, false),
       coalesce(s.wal_status = 'lost', false), s.confirmed_flush_lsn,
       (pg_current_wal_lsn() - s.confirmed_flush_lsn)::bigint,
       (pg_current_wal_lsn() - s.restart_lsn)::bigint,
       coalesce(a.usename <> s.slot_name and (a.backend_type = 'walsender' or a.usename <> current_user), false)
  from (select oid, pubname from pg_publication where pubname ~ $1) p
  full join (select * from pg_replication_slots
              where slot_name ~ $1 and database = current_database()) s
    on s.slot_name = p.pubname
  left join pg_stat_activity a on a.pid = s.active_pid";

/// A session that looks again and again, with its statements prepared.
#[derive(Debug)]
pub(crate) struct Observer {
    session: Session,
    own: Statement,
    incoming: Statement,
    outgoing: Statement,
}

impl Observer {
    pub(crate) async fn open(database: &Database) -> Result<Self, Error> {
        let session = database.session().await?;
        // First, because it is the one that fails while nothing is installed.
        let own = session.prepare(OWN_SITE).await.map_err(site_unknown)?;
        let prepare = async |sql| {
            session
                .prepare(sql)
                .await
                .map_err(refused("prepare a statement"))
        };
        let (incoming, outgoing) = (prepare(INCOMING).await?, prepare(OUTGOING).await?);
        Ok(Self {
            session,
            own,
            incoming,
            outgoing,
        })
    }

    /// For what is asked now and then only.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Looks: three statements in one round trip.
    pub(crate) async fn look(&self) -> Result<Inventory, Error> {
        let own = async {
            let row = self.session.query_opt(&self.own, &[]).await;
            site(row.map_err(site_unknown)?)
        };
        let (own, subscriptions, slots) = tokio::try_join!(
            own,
            self.list(&self.incoming, "list its subscriptions"),
            self.list(&self.outgoing, "list its slots"),
        )?;
        Ok(Inventory {
            own,
            incoming: subscriptions.iter().filter_map(incoming).collect(),
            outgoing: slots.iter().filter_map(outgoing).collect(),
        })
    }

    async fn list(&self, statement: &Statement, what: &'static str) -> Result<Vec<Row>, Error> {
        self.session
            .query(statement, &[&LINK_PATTERN])
            .await
            .map_err(refused(what))
    }
}

const OWN_SITE: &str = "select site from crdv.self";

/// The site of the store at the other end of `session`.
pub(crate) async fn own_site(session: &Session) -> Result<Site, Error> {
    let row = session.query_opt(OWN_SITE, &[]).await;
    site(row.map_err(site_unknown)?)
}

fn site(row: Option<Row>) -> Result<Site, Error> {
    row.and_then(|row| Site::new(row.get(0)))
        .ok_or_else(|| Error::StoreNotReady("the store has no site yet".to_owned()))
}

fn site_unknown(error: tokio_postgres::Error) -> Error {
    let is_missing = error.code().is_some_and(|code| {
        *code == SqlState::UNDEFINED_TABLE || *code == SqlState::INVALID_SCHEMA_NAME
    });
    if is_missing {
        Error::StoreNotReady("the schema is not installed".to_owned())
    } else {
        refused("read its site")(error)
    }
}

fn incoming(row: &Row) -> Option<(LinkName, Incoming)> {
    let name = row.get::<_, &str>(0).parse().ok()?;
    // Without a slot, or with one that is none of ours, it is no link that could go on.
    let slot = row
        .get::<_, Option<&str>>(3)
        .and_then(|slot| slot.parse().ok());
    let link = Incoming {
        peer: peer(row, 1),
        enabled: row.get(2),
        slot,
        streaming: row.get(4),
        remote_lsn: lsn(row, 5),
        received_lsn: lsn(row, 6),
        latest_end_lsn: lsn(row, 7),
        errors: row.get(8),
        is_stale: !row.get::<_, bool>(9),
        lacks_worker: row.get(10),
    };
    Some((name, link))
}

fn outgoing(row: &Row) -> Option<(LinkName, Outgoing)> {
    let name = row.get::<_, &str>(0).parse().ok()?;
    let slot = row.get::<_, bool>(3).then(|| Slot {
        active: row.get(4),
        lost: row.get(5),
        taken: row.get(9),
        confirmed: lsn(row, 6),
        lag_bytes: row.get::<_, Option<i64>>(7).unwrap_or_default(),
        retained_bytes: row.get::<_, Option<i64>>(8).unwrap_or_default(),
    });
    Some((
        name,
        Outgoing {
            peer: row.get::<_, Option<&str>>(1).and_then(challenge::peer_of),
            published: row.get(2),
            slot,
        },
    ))
}

fn peer(row: &Row, column: usize) -> Option<NodeId> {
    row.get::<_, Option<&str>>(column)?.parse().ok()
}

fn lsn(row: &Row, column: usize) -> Lsn {
    row.get::<_, Option<PgLsn>>(column)
        .map(Lsn::from)
        .unwrap_or_default()
}
/// Returns once a look at the store showed what `fits` wants.
///
/// # Errors
///
/// Nobody looks any more: the data plane has ended.
pub(crate) async fn until(
    observed: &watch::Receiver<Arc<Observed>>,
    mut fits: impl FnMut(&Observed) -> bool,
) -> Result<(), watch::error::RecvError> {
    let mut observed = observed.clone();
    observed.wait_for(|observed| fits(observed)).await.map(drop)
}
