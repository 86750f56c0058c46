-- Why: nested structures (an id stored as a value) are read as a whole, in a form that programs take.
--
-- Semantics: a chain of views names how each level is read. A map becomes an object, a set, a list and
-- concurrent values become arrays, a counter a number, a value a string; what an id of the next level
-- leads to stands in its place, null where it leads nowhere.
--
-- `starling nested` prints the same text without a store; a test holds both generators to each other.
--
-- Leaves out: structures of mixed types on one level.

-- The expression for the structure whose id `id_` is an expression for, read through the views from
-- `level` on. Aliases carry the level, so that inner queries can name outer ones.
create or replace function crdv.nested_value(chain varchar[], level integer, id_ text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
declare
  view constant text := lower(chain[level]);
  row_ constant text := 'l' || level;
  value text;
  inner_ text;
  aggregate text;
begin
  if level > cardinality(chain) then
    return format('to_jsonb(%s)', id_);
  end if;
  value := case
    when view in ('mapawlww', 'maprwlww', 'maplww') then format('(%s.data).value', row_)
    when view in ('mapawmvr', 'maprwmvr', 'registermvr') then 'v' || level
    when view in ('setaw', 'setrw', 'setlww', 'registerlww', 'list', 'counter') then row_ || '.data'
  end;
  if value is null then
    raise 'not a view that can be nested: %', coalesce(chain[level], 'null')
      using errcode = 'invalid_parameter_value',
      hint = 'These can: RegisterMvr, RegisterLww, SetAw, SetRw, SetLww, MapAwMvr, MapAwLww, MapRwMvr, '
             'MapRwLww, MapLww, List, and Counter at the end.';
  end if;
  if view = 'counter' and level < cardinality(chain) then
    raise 'a counter holds no ids: % cannot follow Counter', chain[level + 1]
      using errcode = 'invalid_parameter_value';
  end if;
  inner_ := crdv.nested_value(chain, level + 1, value);
  aggregate := case
    when view in ('registerlww', 'counter') then inner_
    when view = 'registermvr' then
      format('(select jsonb_agg(%s) from unnest(%s.data) %s)', inner_, row_, value)
    when view like 'map%mvr' then
      format('jsonb_object_agg((%1$s.data).key, (select jsonb_agg(%2$s) from unnest((%1$s.data).value) %3$s))',
             row_, inner_, value)
    when view like 'map%' then format('jsonb_object_agg((%s.data).key, %s)', row_, inner_)
    when view = 'list' then format('jsonb_agg(%s order by %s.pos)', inner_, row_)
    else format('jsonb_agg(%s order by %s.data)', inner_, row_)
  end;
  return format('(select %s from crdv.%s %s where %s.id = %s)', aggregate, view, row_, row_, id_);
end $$;
comment on function crdv.nested_value(varchar[], integer, text) is
  'expression that reads a nested structure; internal';

create or replace function crdv.nested_query(variadic chain varchar[]) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if cardinality(chain) = 0 then
    raise 'no view was given' using errcode = 'invalid_parameter_value';
  end if;
  return format('select l0.id, %s as data from (select distinct id from crdv.%s) l0',
                crdv.nested_value(chain, 1, 'l0.id'), lower(chain[1]));
end $$;
comment on function crdv.nested_query(varchar[]) is
  'query (id, data jsonb) of nested structures, outermost first, for instance nested_query(''MapAwLww'', ''SetAw'')';

create or replace function crdv.nested_view(name varchar, variadic chain varchar[]) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  return format('create or replace view %I as %s;', name, crdv.nested_query(variadic chain));
end $$;
comment on function crdv.nested_view(varchar, varchar[]) is
  'statement that makes a view (id, data jsonb) of nested structures, outermost first, for instance nested_view(''carts'', ''MapAwLww'', ''SetAw'')';
