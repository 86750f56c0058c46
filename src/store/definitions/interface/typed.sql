-- Why: drivers send parameters with the types of the application's values: numbers, booleans, times, UUIDs, JSON.
-- Elements are text, and PostgreSQL does not turn anything into text unasked.
--
-- Semantics: a value of another type becomes the text that PostgreSQL writes for it, always in the same form,
-- whatever the session's settings: times in ISO 8601 and UTC, binary data in hexadecimal. JSON stays JSON:
-- reading it back needs a cast. Text, and a literal without a type, go to the functions that take text.
--
-- Leaves out: ids and keys; they are text.

create or replace function crdv.text_of(value anynonarray) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp
set datestyle = 'ISO, YMD' set timezone = 'UTC' set intervalstyle = 'iso_8601' set bytea_output = 'hex'
set extra_float_digits = 1 as $$
begin
  return value::text;
end $$;
comment on function crdv.text_of(anynonarray) is 'a value as elements hold it, whatever the session is set to';

create or replace function crdv.registerset(id text, value anynonarray) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.registerset(id, crdv.text_of(value));
end $$;
comment on function crdv.registerset(text, anynonarray) is 'sets a register to a value that is no text';

create or replace function crdv.setadd(id text, value anynonarray) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.setadd(id, crdv.text_of(value));
end $$;
comment on function crdv.setadd(text, anynonarray) is 'adds a member that is no text to a set';

create or replace function crdv.setrmv(id text, value anynonarray) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.setrmv(id, crdv.text_of(value));
end $$;
comment on function crdv.setrmv(text, anynonarray) is 'removes a member that is no text from a set';

create or replace function crdv.setawcontains(id text, elem anynonarray) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return crdv.setawcontains(id, crdv.text_of(elem));
end $$;
comment on function crdv.setawcontains(text, anynonarray) is 'whether a set has a member that is no text, add wins';

create or replace function crdv.setrwcontains(id text, elem anynonarray) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return crdv.setrwcontains(id, crdv.text_of(elem));
end $$;
comment on function crdv.setrwcontains(text, anynonarray) is 'whether a set has a member that is no text, remove wins';

create or replace function crdv.setlwwcontains(id text, elem anynonarray) returns boolean
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return crdv.setlwwcontains(id, crdv.text_of(elem));
end $$;
comment on function crdv.setlwwcontains(text, anynonarray) is 'whether a set has a member that is no text, last wins';

create or replace function crdv.mapadd(id text, key text, value anynonarray) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.mapadd(id, key, crdv.text_of(value));
end $$;
comment on function crdv.mapadd(text, text, anynonarray) is 'adds or replaces a map entry with a value that is no text';

create or replace function crdv.listadd(id text, index bigint, elem anynonarray) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.listadd(id, index, crdv.text_of(elem));
end $$;
comment on function crdv.listadd(text, bigint, anynonarray) is 'inserts a value that is no text before an entry of a list';

create or replace function crdv.listappend(id text, elem anynonarray) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.listappend(id, crdv.text_of(elem));
end $$;
comment on function crdv.listappend(text, anynonarray) is 'appends a value that is no text to a list';

create or replace function crdv.listprepend(id text, elem anynonarray) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.listprepend(id, crdv.text_of(elem));
end $$;
comment on function crdv.listprepend(text, anynonarray) is 'inserts a value that is no text at the start of a list';

-- Arrays of a row type are what few drivers read.
create or replace function crdv.mapawlwwjson(id text) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (select jsonb_object_agg(m.key, m.value) from unnest(crdv.mapawlwwget(id)) m);
end $$;
comment on function crdv.mapawlwwjson(text) is 'a map as a JSON object, add wins, last value';

create or replace function crdv.maplwwjson(id text) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (select jsonb_object_agg(m.key, m.value) from unnest(crdv.maplwwget(id)) m);
end $$;
comment on function crdv.maplwwjson(text) is 'a map as a JSON object, last wins';

create or replace function crdv.mapawmvrjson(id text) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (select jsonb_object_agg(m.key, m.value) from unnest(crdv.mapawmvrget(id)) m);
end $$;
comment on function crdv.mapawmvrjson(text) is 'a map as a JSON object of arrays, add wins, all values';

create or replace function crdv.maprwmvrjson(id text) returns jsonb
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return (select jsonb_object_agg(m.key, m.value) from unnest(crdv.maprwmvrget(id)) m);
end $$;
comment on function crdv.maprwmvrjson(text) is 'a map as a JSON object of arrays, remove wins, all values';
