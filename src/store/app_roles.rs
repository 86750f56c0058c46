//! The login roles of applications on this store's server.
//!
//! A role of ours carries a comment that says so, and which record of which cluster it was made from. A
//! role without it belongs to somebody else: it is never touched. What a role of ours may do is what
//! `usage` on schema `crdv` gives, in this database, and nothing else.

use tokio_postgres::{Client, error::SqlState};

use super::Error;
use crate::driver::DriverError;

/// What the comment of a role of ours begins with; its cluster and its revision follow.
pub(super) const MARK: &str = "starling application role of cluster ";

/// A role as it should be.
#[derive(Debug, Clone, Copy)]
pub struct WantedRole<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its password's SCRAM verifier; `None` if it should not be there.
    pub verifier: Option<&'a str>,
    /// Differs whenever anything else does.
    pub revision: &'a str,
}

/// How a role stands on this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleStanding {
    /// It is there, with its password.
    Here,
    /// It is not there, or at least not ours.
    Gone,
    /// It is not as it should be, because of this, which says what mends it.
    Refused(String),
}

/// What is there under a role's name.
struct Found {
    mark: String,
    /// It may do what no application's role may.
    is_mighty: bool,
    is_complete: bool,
}

/// What a server keeps of a password.
#[must_use]
pub fn scram_verifier(password: &str) -> String {
    postgres_protocol::password::scram_sha_256(password.as_bytes())
}

/// Makes one role of `cluster` what it should be.
///
/// # Errors
///
/// The server cannot be asked. What is done by then stays; doing it again is safe.
pub async fn settle_role(
    client: &mut Client,
    cluster: &str,
    role: WantedRole<'_>,
) -> Result<RoleStanding, Error> {
    let ours = format!("{MARK}{cluster}, ");
    let found = find(client, role.name).await?;
    let Some(verifier) = role.verifier else {
        return match found {
            Some(found) if found.mark.starts_with(&ours) => remove(client, role.name).await,
            // Another's role of that name is not ours to drop, and is not the cluster's.
            _ => Ok(RoleStanding::Gone),
        };
    };
    let mark = format!("{ours}{}", role.revision);
    match found {
        Some(found) if !found.mark.starts_with(&ours) => Ok(RoleStanding::Refused(format!(
            "the server has a role {0} that Starling has not made; rename it there (alter role {0} \
             rename to ..), or remove the application role and add one under another name",
            role.name
        ))),
        // Who gave it takes it back: we grant and revoke only what is ours.
        Some(found) if found.is_mighty => Ok(RoleStanding::Refused(format!(
            "somebody has given role {0} more than an application's role has; take it back with: alter \
             role {0} nosuperuser nocreatedb nocreaterole noreplication nobypassrls",
            role.name
        ))),
        Some(found) if found.mark == mark && found.is_complete => Ok(RoleStanding::Here),
        found => {
            let template = match found {
                Some(_) => "alter role %1$I login password %2$L",
                // From version 16 on only a member may end a role's sessions.
                None => "create role %1$I login password %2$L role current_user",
            };
            let statements = [
                template,
                "comment on role %1$I is %3$L",
                GRANT_USAGE,
                GRANT_CONNECT,
            ];
            let parameters = [role.name, verifier, &mark];
            let done = run(client, &statements, parameters).await?;
            Ok(done.map_or(RoleStanding::Here, |error| {
                RoleStanding::Refused(format!(
                    "the server does not let us make role {}: {error}; `starling doctor` says what the \
                     node's own role lacks",
                    role.name
                ))
            }))
        }
    }
}

const GRANT_USAGE: &str = "grant usage on schema crdv to %1$I";

/// PUBLIC may connect, unless the administrator has taken that away.
const GRANT_CONNECT: &str = "do $do$ begin
   if not has_database_privilege(%1$L, current_database(), 'connect') then
     execute format('grant connect on database %%I to %%I', current_database(), %1$L::text);
   end if; end $do$";

async fn find(client: &Client, name: &str) -> Result<Option<Found>, Error> {
    let row = client
        .query_opt(
            "select coalesce(shobj_description(r.oid, 'pg_authid'), ''),
                    r.rolsuper or r.rolcreatedb or r.rolcreaterole or r.rolreplication or r.rolbypassrls,
                    r.rolcanlogin and has_schema_privilege(r.oid, 'crdv', 'usage')
                      and has_database_privilege(r.oid, current_database(), 'connect')
               from pg_roles r where r.rolname = $1",
            &[&name],
        )
        .await
        .map_err(Error::attempt("look for an application's role"))?;
    Ok(row.map(|row| Found {
        mark: row.get(0),
        is_mighty: row.get(1),
        is_complete: row.get(2),
    }))
}

/// Nobody logs in from the first step on, whatever becomes of the others.
async fn remove(client: &mut Client, name: &str) -> Result<RoleStanding, Error> {
    let parameters = [name, "", ""];
    let shut = ["alter role %1$I nologin password null"];
    let failed = |error: DriverError| {
        RoleStanding::Refused(format!(
            "role {name} cannot be removed from the server: {error}; what it owns there goes with: \
             reassign owned by {name} to current_user; drop owned by {name}"
        ))
    };
    if let Some(error) = run(client, &shut, parameters).await? {
        return Ok(failed(error));
    }
    client
        .execute(
            // Committed before: who is cut off here cannot log in again.
            "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1",
            &[&name],
        )
        .await
        .map_err(Error::attempt("end the sessions of an application's role"))?;
    let drop = [
        "revoke usage on schema crdv from %1$I",
        "do $do$ begin
           if exists (select from pg_database d, aclexplode(d.datacl) a
                       where d.datname = current_database() and a.grantee = %1$L::regrole) then
             execute format('revoke connect on database %%I from %%I', current_database(), %1$L::text);
           end if; end $do$",
        "drop role %1$I",
    ];
    let done = run(client, &drop, parameters).await?;
    Ok(done.map_or(RoleStanding::Gone, failed))
}

/// Runs statements of which the server itself makes templates for `format` whole, in one transaction. A
/// refusal is given back.
async fn run(
    client: &mut Client,
    templates: &[&str],
    parameters: [&str; 3],
) -> Result<Option<DriverError>, Error> {
    let [name, verifier, mark] = parameters;
    let rows = client
        .query(
            "select format(t.template, $2::text, $3::text, $4::text)
               from unnest($1::text[]) with ordinality as t (template, place) order by t.place",
            &[&templates, &name, &verifier, &mark],
        )
        .await
        .map_err(Error::attempt("name an application's role"))?;
    let statements: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    let transaction = client
        .transaction()
        .await
        .map_err(Error::attempt("begin a transaction"))?;
    let done = async {
        transaction.batch_execute(&statements.join(";\n")).await?;
        transaction.commit().await
    };
    match done.await {
        Ok(()) => Ok(None),
        Err(error) if is_refusal(&error) => Ok(Some(error.into())),
        Err(error) => Err(Error::attempt("settle an application's role")(error)),
    }
}

/// Something that stays so until somebody does something about it.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| {
        [
            SqlState::INSUFFICIENT_PRIVILEGE,
            SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
            SqlState::DUPLICATE_OBJECT,
        ]
        .contains(code)
    })
}
