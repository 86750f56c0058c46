//! Checks of what the role may do, and of the database.

use super::{
    observed::{Observed, RELOAD},
    role::Role,
};
use crate::{
    finding::{Finding, Severity},
    postgres::{quote::identifier, version::Version},
};

/// A right that the role lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Missing {
    /// Its name, for people.
    pub(super) name: &'static str,
    /// The command that grants it.
    grant: String,
}

/// The rights that the role lacks for carrying a store.
pub(super) fn missing(role: &Role, version: Version) -> Vec<Missing> {
    if role.superuser {
        return Vec::new();
    }
    let name = identifier(&role.name);
    let database = identifier(&role.database);
    if version.major < 16 {
        // Up to 15 only a superuser makes subscriptions.
        return vec![Missing {
            name: "superuser",
            grant: format!("alter role {name} superuser;"),
        }];
    }
    let needed = [
        (
            role.replication,
            "replication",
            format!("alter role {name} replication;"),
        ),
        (
            role.create_role,
            "createrole",
            format!("alter role {name} createrole;"),
        ),
        (
            role.create_subscription,
            "pg_create_subscription",
            format!("grant pg_create_subscription to {name};"),
        ),
        (
            role.create_in_database,
            "create on the database",
            format!("grant create on database {database} to {name};"),
        ),
        (
            // A catch-up comes in through a temporary table.
            role.temporary,
            "temporary tables in the database",
            format!("grant temporary on database {database} to {name};"),
        ),
        (
            role.admit_links,
            "to let links connect to the database",
            format!("grant connect on database {database} to {name} with grant option;"),
        ),
        (
            // The store's functions are written in it. PUBLIC has it, unless somebody took it away.
            role.use_plpgsql,
            "usage of plpgsql",
            format!("grant usage on language plpgsql to {name};"),
        ),
        (
            // By default only superusers have these, and no link runs without them.
            role.use_origins,
            "use of replication origins",
            format!(
                "grant select on pg_catalog.pg_replication_origin_status to {name}; \
                 grant execute on function pg_catalog.pg_show_replication_origin_status(), \
                 pg_catalog.pg_replication_origin_advance(text, pg_lsn) to {name};"
            ),
        ),
    ];
    needed
        .into_iter()
        .filter(|(has, ..)| !has)
        .map(|(_, name, grant)| Missing { name, grant })
        .collect()
}

/// The commands that grant what is missing.
pub(super) fn grants(missing: &[Missing]) -> String {
    missing
        .iter()
        .map(|right| right.grant.as_str())
        .collect::<Vec<_>>()
        .join(" ")
}

/// All findings about the role and the database.
pub(super) fn check(observed: &Observed) -> Vec<Finding> {
    vec![
        role(observed),
        encoding(observed),
        writable(observed),
        isolation(observed),
        acting(observed),
    ]
}

/// An apply worker puts on the role that its owner puts on at login.
fn acting(observed: &Observed) -> Finding {
    let Some(login) = &observed.acts_for else {
        return Finding::ok("SP025", "links are applied as the role that makes them");
    };
    Finding::bad(
        "SP025",
        Severity::Critical,
        format!("role {login} becomes {} at login", observed.role.name),
        "links are applied as that role, which has no right to the store",
    )
    .fixed_by(format!(
        "alter role {} in database {} set role to 'none';",
        identifier(login),
        identifier(&observed.role.database)
    ))
}

/// An apply worker begins its first transaction at the default level of the role that owns the
/// subscription, before a function of ours can change it.
fn isolation(observed: &Observed) -> Finding {
    let level = observed.text("default_transaction_isolation");
    let summary = format!("links are applied at {level}");
    if level == "read committed" {
        return Finding::ok("SP024", summary);
    }
    Finding::bad(
        "SP024",
        Severity::Critical,
        summary,
        "a link must see what another has committed before it decides; other roles keep their level",
    )
    .fixed_by(format!(
        "alter role {} in database {} set default_transaction_isolation to 'read committed';",
        identifier(&observed.role.name),
        identifier(&observed.role.database)
    ))
}

fn role(observed: &Observed) -> Finding {
    let (role, version) = (&observed.role, observed.version);
    if let Some(login) = &observed.acts_for {
        // The rights in view are those of another role.
        return Finding::ok("SP020", format!("role {login} logs in"));
    }
    let missing = missing(role, version);
    if missing.is_empty() {
        return Finding::ok(
            "SP020",
            format!("role {} has the rights it needs", role.name),
        );
    }
    let names: Vec<_> = missing.iter().map(|right| right.name).collect();
    Finding::bad(
        "SP020",
        Severity::Critical,
        format!("role {} lacks: {}", role.name, names.join(", ")),
        format!(
            "the node makes publications, slots, subscriptions and roles for them; run this as \
             superuser in database {}",
            role.database
        ),
    )
    .fixed_by(grants(&missing))
}

fn encoding(observed: &Observed) -> Finding {
    let summary = format!("the database is encoded in {}", observed.encoding);
    if observed.encoding == "UTF8" {
        return Finding::ok("SP021", summary);
    }
    Finding::bad(
        "SP021",
        Severity::Critical,
        summary,
        "text of other nodes may have no place in it, and would stop the link that brings it",
    )
    .fixed_by("create database NAME encoding 'UTF8' template template0;")
}

fn writable(observed: &Observed) -> Finding {
    if observed.in_recovery {
        return Finding::bad(
            "SP022",
            Severity::Critical,
            "the server is a standby",
            "a store must take writes; attach to the primary",
        );
    }
    // No reason to refuse a start: sessions of ours pin it off, so catch-ups still bring what is missing.
    if observed.is_on("default_transaction_read_only") {
        return Finding::bad(
            "SP022",
            Severity::Warning,
            "default_transaction_read_only is on",
            "clients cannot write, and what other nodes wrote comes late, by links that are made again and again",
        )
        .fixed_by(observed.set("default_transaction_read_only", "off", RELOAD));
    }
    Finding::ok("SP022", "the server takes writes")
}
