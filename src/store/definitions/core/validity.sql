-- Why: a store takes in what other stores wrote, and not every program that can write to one is this one: an
-- operator's statement, a patched member, a later version. One row that is no operation could stop every
-- link that brings it, break a view at every store, or vouch for what nobody has.
--
-- Guarantees: `fault` judges an operation by itself alone, without clock, settings, or what is here, so all
-- stores of a version keep the same operations; what one refuses, all refuse. All that the functions of this
-- schema write passes.
--
-- Semantics: refused is what does harm, not all that is odd. Types that this version does not know pass and
-- travel on: a later version may. What is refused is parked, not kept; nothing waits for it.
--
-- Leaves out: what cannot be told from an operation by itself: that a member writes in another's name. How long id
-- and key are: the origin's table has the same index, which would not hold them. What a counter's share and a list's
-- position are: to look at them costs every apply worker 6 % and more, because a trigger prepares its expressions again
-- in each transaction. A share that is no number counts for nothing (`counter.sql`).

-- Most of these are one expression, which the planner puts in the place of a call.

-- A context that holds its own site would make two operations of it cover each other, and arrays of arrays are
-- an error wherever contexts are added up. Neither the order matters, nor the shape of the numbers beside it.
create or replace function crdv.is_context(site_ bigint, sites bigint[]) returns boolean
language sql immutable parallel safe
return site_ <> all (sites) and array_upper(sites, 2) is null;
comment on function crdv.is_context(bigint, bigint[]) is
  'whether these are the sites in the context of an operation of a site; internal';
revoke all on function crdv.is_context(bigint, bigint[]) from public;

-- A head of as many digits as its first letter says (102 and 87: see `crdv.position_digits`): appending and
-- prepending calculate with it. Whatever follows is only compared.
create or replace function crdv.is_position(key_ text) returns boolean
language sql immutable parallel safe
return length(key_) - length(ltrim(substr(key_, 2), '0123456789abcdef'))
         > case when ascii(key_) > 102 then ascii(key_) - 102 else 87 - ascii(key_) end
       and strpos('GHIJKLMNOPQRSTUVghijklmnopqrstuv', left(key_, 1)) > 0;
comment on function crdv.is_position(text) is 'whether a text can be a list position; internal';
revoke all on function crdv.is_position(text) from public;

-- A site speaks for itself only, and of what came before.
create or replace function crdv.is_checkpoint(site_ bigint, seq_ bigint, key_ text, data_ text) returns boolean
language sql immutable parallel safe
return key_ = lpad(to_hex(site_), 16, '0') and case when data_ ~ '^[0-9]{1,18}$' then data_::bigint < seq_ end;
comment on function crdv.is_checkpoint(bigint, bigint, text, text) is
  'whether this is a checkpoint of its site; internal';
revoke all on function crdv.is_checkpoint(bigint, bigint, text, text) from public;

create or replace function crdv.is_rule(key_ text, add_function text) returns boolean
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
declare
  rule jsonb;
  parts text[];
begin
  rule := key_;
  if jsonb_typeof(rule -> 'dst') is distinct from 'string' or jsonb_typeof(rule -> 'src') <> 'array' then
    return false;
  end if;
  parts := array(select part #>> '{}' from jsonb_array_elements(rule -> 'src') part);
  return coalesce(array_position(parts, null) is null and case add_function
    when 'mapadd' then cardinality(parts) = 2
    when 'listadd' then cardinality(parts) = 2 and parts[2] ~ '^[0-9]{1,18}$'
    when 'setadd' then cardinality(parts) = 1
    when 'registerset' then cardinality(parts) = 1 end, false);
exception when data_exception then
  return false;
end $$;
comment on function crdv.is_rule(text, text) is 'whether a rule of integrity can be kept; internal';
revoke all on function crdv.is_rule(text, text) from public;

-- Whether an operation is fit, for the most frequent ones, by what costs little. False or null means: ask `fault`.
create or replace function crdv.is_usual(type_ "char", site_ bigint, sites bigint[]) returns boolean
language sql immutable parallel safe
return type_ in ('m', 'c', 's', 'l', 'r')
       and (sites = '{}' or site_ <> all (sites) and array_upper(sites, 2) is null);
comment on function crdv.is_usual("char", bigint, bigint[]) is 'whether an operation is fit at first sight; internal';
revoke all on function crdv.is_usual("char", bigint, bigint[]) from public;

-- Null if there is none. `apply` takes a shorter way to the same answer.
create or replace function crdv.fault(
  type_ "char", id_ text, key_ text, site_ bigint, seq_ bigint, op_ "char", data_ text,
  sites bigint[], seqs bigint[]
) returns text
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp as $$
begin
  if crdv.is_context(site_, sites) is not true then
    return 'its context is none';
  end if;
  if type_ = 'v' and id_ = '$site' then
    if crdv.is_checkpoint(site_, seq_, key_, data_) is not true then
      return 'it is no checkpoint of its site';
    end if;
  elsif type_ = 'i' and id_ = '$integrity' and op_ = 'a' then
    if not crdv.is_rule(key_, data_) then
      return 'it is no rule of integrity that can be kept';
    end if;
  end if;
  return null;
end $$;
comment on function crdv.fault("char", text, text, bigint, bigint, "char", text, bigint[], bigint[]) is
  'why an operation of another store is refused, null if it is not; internal';
revoke all on function crdv.fault("char", text, text, bigint, bigint, "char", text, bigint[], bigint[]) from public;

-- A thousand are kept, the newest, with a thousand characters of the data of each: enough to see what is refused, and
-- nobody fills the disk with it.
create or replace function crdv.park(operation_ jsonb, reason_ text, via_ bigint) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if length(operation_ ->> 'data') > 1000 then
    operation_ := jsonb_set(operation_, '{data}', to_jsonb(left(operation_ ->> 'data', 1000)));
  end if;
  -- By which link it came does not make it another operation.
  operation_ := operation_ - 'via';
  insert into crdv.parked (digest, via, reason, operation)
  values (md5(operation_::text), via_, reason_, operation_)
  on conflict do nothing;
  if not found then
    return;
  end if;
  raise warning 'an operation of site % was parked: %', operation_ ->> 'site', reason_
    using detail = left(operation_::text, 1000), hint = 'It came from site ' || via_ || '; see crdv.parked.';
  -- Two that park at once do not wait for each other here.
  delete from crdv.parked p where p.digest in (
    select o.digest from crdv.parked o order by o.parked_at desc, o.digest offset 1000 for update skip locked);
end $$;
comment on function crdv.park(jsonb, text, bigint) is 'notes an operation that is refused; internal';
revoke all on function crdv.park(jsonb, text, bigint) from public;

-- Parks an operation if there is a fault in it.
create or replace function crdv.turns_away(operation_ crdv.element, via_ bigint) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
  reason constant text := crdv.fault(
    operation_.type, operation_.id, operation_.key, operation_.site, operation_.seq, operation_.op,
    operation_.data, operation_.ctx_sites, operation_.ctx_seqs);
begin
  if reason is null then
    return false;
  end if;
  perform crdv.park(to_jsonb(operation_), reason, via_);
  return true;
end $$;
comment on function crdv.turns_away(crdv.element, bigint) is 'parks an operation that is refused; internal';
revoke all on function crdv.turns_away(crdv.element, bigint) from public;
