//! Who may stream: one login role per link.
//!
//! A link's role lives exactly as long as its publication: both are made in one transaction and
//! dropped in one. So there is nothing to rotate, nothing to store, and a peer that was turned away
//! cannot come back with an old password.

use crate::{
    postgres::{
        quote::{identifier, literal},
        session::Session,
    },
    replication::{
        database::refused,
        error::Error,
        names::{GROUP_ROLE, LinkName},
    },
    store::LINK_SCHEMA,
};

/// A link needs a walsender, the catch-up's session and the server's own check when the subscription
/// is made; the rest is room for one that is being replaced by a reconnect.
const CONNECTIONS_MAX: u32 = 8;

/// The body of a SQL function and a view keep what they mean without a look at the schema that it is in; and the
/// planner sees through both, so that rows stream.
const LINK_OBJECTS: &str = "
    create schema if not exists crdv_link;
    comment on schema crdv_link is 'what members may read of this store; made by its controller';
    create or replace view crdv_link.self as select s.site, s.node, s.cluster from crdv.self s;
    create or replace view crdv_link.vector as select v.site, v.upto from crdv.vector v;
    create or replace function crdv_link.missing(sites bigint[], seqs bigint[])
      returns table (
        id varchar, key varchar, site bigint, seq bigint, type \"char\", op \"char\", data varchar,
        ctx_sites bigint[], ctx_seqs bigint[], hlc bigint
      ) language sql stable
      begin atomic select * from crdv.missing(sites, seqs); end;
    revoke all on function crdv_link.missing(bigint[], bigint[]) from public;";

/// 256 random bits.
const PASSWORD_WORDS: usize = 4;

/// What a sender depends on.
///
/// `wal_sender_timeout`: a sender asks for a sign of life after half of it. The question waits behind
/// all that is in the sockets, megabytes, and the answer behind a worker that applies it, or waits for
/// a lock. A time-out within that would start a big transaction again, for ever. But without any a
/// subscriber that never catches up would not be asked how far it is, and its slot would hold all
/// WAL. A machine that is gone is noticed by the network, and by the subscriber, which says so when it
/// asks for the link again; `tcp_user_timeout` would also end a connection whose reader is busy.
const SENDER: &[(&str, &str)] = &[
    ("wal_sender_timeout", "10min"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "10min"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("idle_session_timeout", "0"),
    ("transaction_timeout", "0"),
    ("default_transaction_read_only", "off"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    ("search_path", ""),
    ("row_security", "on"),
];

/// The statement that sets what `role` depends on in `database`, as far as the server knows it.
fn pin(role: &str, database: &str, settings: &[(&str, &str)]) -> String {
    let rows: Vec<_> = settings
        .iter()
        .map(|(name, value)| format!("({}, {})", literal(name), literal(value)))
        .collect();
    let template = format!(
        "alter role {role} in database {} set ",
        identifier(database)
    );
    let body = format!(
        "declare s record; begin
           for s in select * from (values {}) as v (name, value)
                     where current_setting(v.name, true) is not null loop
             execute {} || format('%I to %L', s.name, s.value);
           end loop;
         end",
        rows.join(", "),
        literal(&template)
    );
    format!("do {};", literal(&body))
}

/// A new random password, in letters that need no quoting anywhere.
pub(crate) fn password() -> String {
    (0..PASSWORD_WORDS)
        .map(|_| format!("{:016x}", rand::random::<u64>()))
        .collect()
}

/// Serialises those who change the grants: two at once would fail with "tuple concurrently updated".
/// In the two-key space, beside the store's locks.
const GRANT_LOCK: &str = "select pg_advisory_xact_lock(1398030676, 2)";

/// Makes the group role that holds what every link's role may do in this database.
///
/// All of it is granted by name: what PUBLIC may do is the administrator's to take away. A role belongs to
/// the whole server and may serve other databases, so that it exists already is no error, even if it appears
/// between the look and the attempt.
pub(crate) async fn ensure_group(session: &Session) -> Result<(), Error> {
    // Only the database's owner can grant `connect`; for another role it has to do that PUBLIC has it.
    // Looked for and not simply done: to replace a view that a catch-up reads would wait for its end.
    let is_done = session
        .query_opt(
            "select from pg_roles r, pg_database d
              where r.rolname = $1 and d.datname = current_database()
                and (exists (select from aclexplode(d.datacl) a
                              where a.grantee = r.oid and a.privilege_type = 'CONNECT')
                     or has_database_privilege(r.oid, d.oid, 'connect')
                        and not has_database_privilege(d.oid, 'connect with grant option'))
                and has_schema_privilege(r.oid, 'pg_catalog', 'usage')
                and not has_schema_privilege(r.oid, 'crdv', 'usage')
                and has_table_privilege(r.oid, 'crdv.element', 'select')
                and has_table_privilege(r.oid, 'crdv.early_cover', 'select')
                and has_function_privilege(r.oid, 'crdv.missing(bigint[], bigint[])', 'execute')
                and (select count(*) = 3 from (
                       select from pg_class c
                        where c.relnamespace = to_regnamespace($2) and c.relname in ('self', 'vector')
                          and has_table_privilege(r.oid, c.oid, 'select')
                       union all
                       select from pg_proc p
                        where p.pronamespace = to_regnamespace($2) and p.proname = 'missing'
                          and has_function_privilege(r.oid, p.oid, 'execute')) o
                     where has_schema_privilege(r.oid, to_regnamespace($2), 'usage'))",
            &[&GROUP_ROLE, &LINK_SCHEMA],
        )
        .await
        .map_err(refused("look up the replication role"))?
        .is_some();
    if is_done {
        return Ok(());
    }
    // `revoke` is for stores of earlier versions, whose links had `usage` of `crdv` and with it the whole interface.
    session
        .batch_execute(&format!(
            "begin; {GRANT_LOCK};
             do $$ begin
               create role {GROUP_ROLE} nologin;
             exception when duplicate_object or unique_violation then null;
             end $$;
             revoke all on schema crdv from {GROUP_ROLE};
             grant select on crdv.element, crdv.early_cover to {GROUP_ROLE};
             grant execute on function crdv.missing(bigint[], bigint[]) to {GROUP_ROLE};
             {LINK_OBJECTS}
             grant usage on schema {LINK_SCHEMA} to {GROUP_ROLE};
             grant select on {LINK_SCHEMA}.self, {LINK_SCHEMA}.vector to {GROUP_ROLE};
             grant execute on function {LINK_SCHEMA}.missing(bigint[], bigint[]) to {GROUP_ROLE};
             do $$ begin
               if has_database_privilege(current_database(), 'connect with grant option') then
                 execute format('grant connect on database %I to {GROUP_ROLE}', current_database());
               elsif not has_database_privilege('{GROUP_ROLE}', current_database(), 'connect') then
                 raise 'links may not connect to database %', current_database()
                   using errcode = 'insufficient_privilege', hint = format(
                     'Run as its owner or as superuser: grant connect on database %I to {GROUP_ROLE}',
                     current_database());
               end if;
               if not has_schema_privilege('{GROUP_ROLE}', 'pg_catalog', 'usage') then
                 grant usage on schema pg_catalog to {GROUP_ROLE};
               end if;
             end $$;
             commit"
        ))
        .await
        .map_err(refused("grant to the replication role"))
}

/// Takes the group role away again, unless another database still needs it.
pub(crate) async fn drop_group(session: &Session) -> Result<(), Error> {
    // Of `self` and `vector` as well, which earlier versions granted themselves.
    let sql = format!(
        "do $$ begin
           if exists (select from pg_roles where rolname = {name}) then
             revoke all on schema crdv from {GROUP_ROLE};
             revoke all on crdv.element, crdv.self, crdv.vector, crdv.early_cover
               from {GROUP_ROLE};
             drop schema if exists {LINK_SCHEMA} cascade;
             revoke all on function crdv.missing(bigint[], bigint[]) from {GROUP_ROLE};
             if exists (select from pg_database d, aclexplode(d.datacl) a
                         where d.datname = current_database() and a.grantee = {name}::regrole) then
               execute format('revoke all on database %I from {GROUP_ROLE}', current_database());
             end if;
             if exists (select from pg_namespace n, aclexplode(n.nspacl) a
                         where n.nspname = 'pg_catalog' and a.grantee = {name}::regrole) then
               revoke all on schema pg_catalog from {GROUP_ROLE};
             end if;
             begin
               drop role {GROUP_ROLE};
             exception when dependent_objects_still_exist then null;
             end;
           end if;
         end $$",
        name = literal(GROUP_ROLE)
    );
    session
        .batch_execute(&sql)
        .await
        .map_err(refused("drop the replication role"))
}

/// The statements that make a link's role.
///
/// The server is given the SCRAM verifier, so that the password reaches neither its log nor its
/// catalogue. We become a member, because from version 16 on a role that is no superuser may end the
/// sessions of those roles only that it is a member of, and a lost peer's sender has to be ended.
///
/// The role's own settings in `database` win over those of the database, the role and the server.
pub(crate) fn create_role(link: &LinkName, password: &str, database: &str) -> String {
    let name = identifier(&link.to_string());
    let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
    format!(
        "create role {name} login replication connection limit {CONNECTIONS_MAX} password {}
           role current_user;
         grant {GROUP_ROLE} to {name};
         do $$ begin execute format('comment on role %I is %L', {text},
           (select oid from pg_database where datname = current_database()));
         end $$;
         {pinned}",
        literal(&verifier),
        text = literal(&link.to_string()),
        pinned = pin(&name, database, SENDER),
    )
}

/// The statement that drops a link's role, unless it serves a link of another database: a copy of a
/// database on the same server has publications, and the roles behind them are the original's.
pub(crate) fn drop_role(link: &LinkName) -> String {
    format!(
        "do $$ begin
           if exists (select from pg_roles where rolname = {text}) and not exists (
             select from pg_roles r
             join pg_database d on d.oid::text = shobj_description(r.oid, 'pg_authid')
             where r.rolname = {text} and d.datname <> current_database()) then
             drop role {name};
           end if;
         end $$;",
        text = literal(&link.to_string()),
        name = identifier(&link.to_string()),
    )
}

#[cfg(test)]
mod tests {
    use super::{create_role, password};
    use crate::identity::Site;
    use crate::replication::names::{Epoch, LinkName};

    #[test]
    fn passwords_differ_and_never_reach_the_statement() {
        let (one, two) = (password(), password());
        assert_ne!(one, two);
        assert_eq!(one.len(), 64);
        let link = LinkName::new(Site::new(1).unwrap(), Epoch::new(2));
        let sql = create_role(&link, &one, "a%b");
        assert!(sql.contains("SCRAM-SHA-256$") && !sql.contains(&one));
    }
}
