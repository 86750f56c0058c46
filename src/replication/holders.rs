//! Who holds up a slot that is being made, or an apply worker that does not get on.

use std::collections::BTreeMap;

use tokio_postgres::Row;

use super::{database::refused, error::Error, names::LinkName, reason::Reason};
use crate::{
    api::{LinkState, Side},
    postgres::session::Session,
};

/// The most holders that are named.
const NAMED_MAX: i64 = 3;

/// A session that something waits for, in words. Nothing in them changes from look to look.
const WORDS: &str = "\
format('pid %s (%s)', a.pid, concat_ws(', ', 'user ' || a.usename, nullif(a.application_name, ''),
       'database ' || a.datname, a.state,
       'since ' || to_char(a.xact_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC',
       case when a.wait_event = 'SyncRep' then 'its commit waits for a synchronous standby' end))";

/// Since when a transaction has to run to be named: one that takes a moment is nothing to speak of.
const OLD: &str = "now() - interval '1 second'";

/// The transactions that a new slot waits for: those that write, in whatever database, and have done so
/// for a while. `None`: there is none to be seen.
pub(crate) async fn writers(session: &Session) -> Result<Option<Reason>, Error> {
    let sql = format!(
        "select pid, words from (
           select a.pid, {WORDS} as words, a.xact_start as since from pg_stat_activity a
            where a.backend_xid is not null and a.pid <> pg_backend_pid() and a.xact_start < {OLD}
           union all
           select 0, format('the prepared transaction %L (database %s, since %s UTC)', gid, database,
                            to_char(prepared at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')), prepared
             from pg_prepared_xacts where prepared < {OLD}
         ) as holder order by since limit $1"
    );
    let rows = session
        .query(&sql, &[&NAMED_MAX])
        .await
        .map_err(refused("look for transactions that write"))?;
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let names: Vec<&str> = rows.iter().map(|row| row.get(1)).collect();
    let text = format!("waiting for transactions that write: {}", names.join("; "));
    Ok(Some(
        Reason::new(LinkState::Opening, text).fixed_by(ending(first.get(0))),
    ))
}

/// The workers' subscriptions, each with whom its apply worker waits for, directly and at the end of the
/// chain.
fn chains() -> String {
    // `union` alone does not end a circle, a deadlock that its server has not found yet: `depth` does.
    format!(
        "with recursive chain (link, worker, pid, depth) as (
           select w.subname::text, w.pid, w.pid, 0 from pg_stat_subscription w
            where w.relid is null and w.pid is not null and w.subname = any ($1)
           union
           select c.link, c.worker, b.pid, c.depth + 1
             from chain c, lateral unnest(pg_blocking_pids(c.pid)) as b (pid)
            where c.pid <> 0 and c.depth < 5
         )
         select distinct on (c.link) c.link, c.worker, c.pid, c.depth, {WORDS},
                a.wait_event_type, a.wait_event
           from chain c left join pg_stat_activity a on a.pid = c.pid
          order by c.link, c.depth desc"
    )
}

/// Why the apply workers of these subscriptions do not get on, as far as their server tells.
pub(crate) async fn hindrances(
    session: &Session,
    links: &[LinkName],
) -> Result<BTreeMap<LinkName, Reason>, Error> {
    let names: Vec<String> = links.iter().map(ToString::to_string).collect();
    let rows = session
        .query(&chains(), &[&names])
        .await
        .map_err(refused("look for what holds up a link"))?;
    let named = rows
        .iter()
        .filter_map(|row| Some((row.get::<_, &str>(0).parse().ok()?, hindrance(row))));
    Ok(named.collect())
}

fn hindrance(row: &Row) -> Reason {
    let (worker, holder, depth): (i32, i32, i32) = (row.get(1), row.get(2), row.get(3));
    let streaming = |text| Reason::new(LinkState::Streaming, text);
    // The end of the chain: whoever stands in between waits as well, and ending that one may help nobody.
    if depth > 0 {
        let words = match holder {
            0 => "a prepared transaction".to_owned(),
            _ => row.get(4),
        };
        return streaming(format!("its apply worker (pid {worker}) waits for {words}"))
            .fixed_by(ending(holder))
            .at(Side::Here);
    }
    let event = |column| row.get::<_, Option<&str>>(column).unwrap_or("nothing");
    match (event(5), event(6)) {
        ("Activity", _) => streaming(format!(
            "its apply worker (pid {worker}) has done all that came: the peer's store sends nothing more"
        )),
        ("Client", "LibPQWalReceiverReceive" | "WalReceiverWaitStart") => streaming(format!(
            "its apply worker (pid {worker}) waits for the peer's store to send"
        )),
        ("nothing", _) => streaming(format!(
            "its apply worker (pid {worker}) is at work, or has been stopped by a signal"
        ))
        .at(Side::Here),
        (kind, event) => streaming(format!(
            "its apply worker (pid {worker}) does not get on (it waits for {kind}: {event})"
        ))
        .at(Side::Here),
    }
}

/// What ends the transaction of `pid`; 0 stands for a prepared one.
fn ending(pid: i32) -> String {
    match pid {
        0 => "commit prepared or rollback prepared; see pg_prepared_xacts".to_owned(),
        pid => format!(
            "let that transaction end, or end it on its server: select pg_terminate_backend({pid})"
        ),
    }
}
