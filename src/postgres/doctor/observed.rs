//! What a server says of itself. Reads only, and only what every role may read.

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime},
};

use tokio_postgres::{Client, Error};

use super::{names::Names, role::Role, store::StoreState};
use crate::{
    postgres::{quote::identifier, version::Version},
    unix_time,
};

/// What makes a server read its files again.
pub(super) const RELOAD: &str = "select pg_reload_conf();";

/// One setting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Setting {
    /// The value, in the setting's own unit.
    pub(super) value: String,
    /// Changed in a file, but in effect only after a restart.
    pub(super) pending_restart: bool,
    /// Where the value is from, in the words of the view `pg_settings`.
    pub(super) source: String,
}

/// A replication slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) active: bool,
    pub(super) lost: bool,
    /// WAL that it keeps from being recycled.
    pub(super) retained_bytes: i64,
}

/// All that is looked at.
#[derive(Debug, Clone)]
pub(super) struct Observed {
    pub(super) version: Version,
    pub(super) settings: BTreeMap<String, Setting>,
    pub(super) role: Role,
    /// Who logged in, if that is not the role that the session acts as.
    pub(super) acts_for: Option<String>,
    pub(super) encoding: String,
    pub(super) in_recovery: bool,
    /// The schema is installed, and this is how names in the database are found.
    pub(super) names: Option<Names>,
    /// Without flaws if there is none.
    pub(super) store: StoreState,
    /// Ours only.
    pub(super) slots: Vec<Slot>,
    /// Slots, subscriptions and origins of others take from the same pools.
    pub(super) other_slots: u32,
    pub(super) other_subscriptions: u32,
    pub(super) other_origins: u32,
    pub(super) clock_skew_seconds: f64,
}

impl Observed {
    /// A setting's text; empty if the server does not know it.
    pub(super) fn text(&self, name: &str) -> &str {
        self.settings.get(name).map_or("", |setting| &setting.value)
    }

    /// A setting's number; `None` if the server does not know it.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.settings.get(name)?.value.parse().ok()
    }

    /// A boolean setting.
    pub(super) fn is_on(&self, name: &str) -> bool {
        self.text(name) == "on"
    }
}

impl Observed {
    fn source(&self, name: &str) -> &str {
        self.settings
            .get(name)
            .map_or("", |setting| &setting.source)
    }

    /// What gives a setting this value: where it is set for a database or role, that goes, so that the
    /// server's own counts. `effect` makes the server take it up.
    pub(super) fn set(&self, name: &str, value: &str, effect: &str) -> String {
        let (role, database) = (identifier(&self.role.name), identifier(&self.role.database));
        match self.source(name) {
            "command line" => {
                format!(
                    "start the server with -c {name}='{value}': its command line wins over files"
                )
            }
            "database" => format!("alter database {database} reset {name};"),
            "user" => format!("alter role {role} reset {name};"),
            "database user" => format!("alter role {role} in database {database} reset {name};"),
            _ => format!("alter system set {name} = '{value}'; {effect}"),
        }
    }
}

/// Asks for everything.
pub(super) async fn observe(client: &Client) -> Result<Observed, Error> {
    let version = version(client).await?;
    let database = client
        .query_one(
            "select pg_catalog.pg_encoding_to_char(d.encoding)::text, \
             pg_catalog.pg_is_in_recovery(), \
             exists (select from pg_catalog.pg_namespace where nspname = 'crdv'), \
             (select count(*) from pg_catalog.pg_subscription \
              where subname not like 'starling\\_%'), \
             nullif(session_user, current_user)::text, \
             (select count(*) from pg_catalog.pg_replication_origin o where not exists \
              (select from pg_catalog.pg_subscription s where s.subname like 'starling\\_%' \
               and (o.roname = 'pg_' || s.oid or pg_catalog.starts_with(o.roname, 'pg_' || s.oid || '_')))) \
             from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()",
            &[],
        )
        .await?;
    let names = match database.get(2) {
        true => Some(Names::observe(client).await?),
        false => None,
    };
    let (slots, other_slots) = slots(client).await?;
    let count = |column: usize| u32::try_from(database.get::<_, i64>(column)).unwrap_or(u32::MAX);
    Ok(Observed {
        version,
        settings: settings(client).await?,
        role: Role::observe(client, version).await?,
        acts_for: database.get(4),
        encoding: database.get(0),
        in_recovery: database.get(1),
        names,
        store: StoreState::observe(client).await?,
        slots,
        other_slots,
        other_subscriptions: count(3),
        other_origins: count(5),
        clock_skew_seconds: clock_skew(client).await?,
    })
}

/// Asks for the version alone.
pub(super) async fn version(client: &Client) -> Result<Version, Error> {
    let row = client
        .query_one(
            "select pg_catalog.current_setting('server_version_num')::int8",
            &[],
        )
        .await?;
    Ok(Version::from_number(
        u32::try_from(row.get::<_, i64>(0)).unwrap_or(0),
    ))
}

async fn settings(client: &Client) -> Result<BTreeMap<String, Setting>, Error> {
    let rows = client
        .query(
            "select name, setting, pending_restart, source from pg_catalog.pg_settings",
            &[],
        )
        .await?;
    let named = rows.iter().map(|row| {
        let value = row.get::<_, Option<String>>(1).unwrap_or_default();
        (
            row.get(0),
            Setting {
                value,
                pending_restart: row.get(2),
                source: row.get(3),
            },
        )
    });
    Ok(named.collect())
}

/// Our slots, and the number of others.
async fn slots(client: &Client) -> Result<(Vec<Slot>, u32), Error> {
    // A standby has no position of its own to compare with: to ask for it is an error there.
    let rows = client
        .query(
            "select slot_name::text, active, coalesce(wal_status in ('unreserved', 'lost'), false), \
             coalesce(case when pg_catalog.pg_is_in_recovery() then 0 else \
             pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_lsn(), restart_lsn) end, 0)::int8 \
             from pg_catalog.pg_replication_slots order by slot_name",
            &[],
        )
        .await?;
    let (ours, others): (Vec<Slot>, Vec<Slot>) = rows
        .iter()
        .map(|row| Slot {
            name: row.get(0),
            active: row.get(1),
            lost: row.get(2),
            retained_bytes: row.get(3),
        })
        .partition(|slot| slot.name.starts_with("starling_"));
    Ok((ours, u32::try_from(others.len()).unwrap_or(u32::MAX)))
}

/// How far the server's clock is ahead of ours, as exact as half a round trip.
async fn clock_skew(client: &Client) -> Result<f64, Error> {
    let asked = Instant::now();
    let ours = SystemTime::now();
    let row = client
        .query_one(
            "select extract(epoch from pg_catalog.clock_timestamp())::float8",
            &[],
        )
        .await?;
    // Its answer is taken to be of the middle: the way there and the way back are not told apart.
    let middle = unix_time::of(ours + asked.elapsed() / 2);
    Ok(row.get::<_, f64>(0) - middle.as_secs_f64())
}
