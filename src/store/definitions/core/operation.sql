-- Why: every structure is written by operations on elements, and an operation has to be made in one
-- way only: it covers what its writer sees, and says so in its context.
--
-- Guarantees:
-- * an operation covers every operation of its element that its writer's snapshot shows, and no other;
-- * the operations of one site on one element are totally ordered by their numbers;
-- * a writer's transaction id is older than the numbers it takes (the checkpoint rule needs that);
-- * two local writers of one element: the second waits for the first and covers it. Under REPEATABLE
--   READ and SERIALIZABLE it fails with 40001 instead.
--
-- How: the primary key holds one operation per element and site, so a writer owns the element from
-- its delete or its insert until it ends. No advisory lock is taken: a transaction that writes a
-- million elements would need a million of them, and the lock table holds some thousands.
--
-- Leaves out: what an operation means (the file of each structure).
--
-- Contracts: what stands in several places, in SQL and in the program, because neither has constants that the other could
-- use, and a function in the place of a constant costs every write. A tidy rule holds all places to this table: a value of
-- such a kind is one of these, and stands where its row says and nowhere else. The first keys of locks count from "STAR" in
-- ASCII; locks are of one database, in the two-key space, where they never meet the one-key locks of applications.
--
-- | kind         | value                                | meaning                                                      | where |
-- |--------------|--------------------------------------|--------------------------------------------------------------|-------|
-- | type         | r                                    | register; key ''                                             | |
-- | type         | s                                    | set; key: the member                                         | |
-- | type         | m                                    | map; key: the entry's                                        | |
-- | type         | c                                    | counter; key: the site whose share it is                     | |
-- | type         | l                                    | list; key: the entry's position                              | |
-- | own type     | v                                    | checkpoint; id $site, key: the site                          | |
-- | own type     | k                                    | catch-up marker; id $catchup, key: the site that caught up   | |
-- | own type     | i                                    | rule of integrity; id $integrity, key: the rule              | |
-- | types        | r s m c l                            | what users write, and what links mostly bring                | apply.sql validity.sql data.sql |
-- | types        | v k i                                | what stores write under reserved ids                         | operation.sql |
-- | types        | r s m l i                            | what is written anew as it is; a counter's share is split    | identity.sql |
-- | types        | r s m l                              | what reset_data removes; of a counter, the share is set to 0 | operations.sql |
-- | id           | $site                                | reserved: checkpoints                                        | checkpoint.sql identity.sql validity.sql |
-- | id           | $catchup                             | reserved: markers of catch-ups                               | apply.sql catch_up.sql |
-- | id           | $integrity                           | reserved: rules of integrity                                 | integrity.sql validity.sql |
-- | limit        | 2000                                 | bytes of id and key: an index entry holds about 2,700        | operation.sql list.sql |
-- | limit        | 1900                                 | bytes of an id to which the store makes the key              | list.sql counter.sql |
-- | limit        | 100                                  | bytes that are left for such a key                           | list.sql |
-- | limit        | 268435456                            | bytes of a value: a decoded row must fit into 1 GB           | operation.sql list.sql |
-- | clock        | 16                                   | bits of a stamp's counter, below the milliseconds            | operation.sql counter.sql list.sql checkpoint.sql identity.sql data.sql |
-- | clock        | 65535                                | the counter of a stamp                                       | data.sql |
-- | lock         | 1398030674, 0                        | appliers: shared by apply workers, exclusive for a catch-up  | apply.sql catch_up.sql |
-- | lock         | 1398030675, hashint8(new.site)       | appliers of one origin                                       | apply.sql |
-- | lock         | 1398030676, 0                        | installers, and who removes a store                          | install.rs |
-- | lock         | 1398030676, 1                        | who makes writers look for rules of integrity                | integrity.sql |
-- | lock         | 1398030676, 2                        | who changes the grants of links                              | credentials.rs |
-- | lock         | 1398030677, 0                        | of a session: the controller that looks after the store      | removal.rs hold.rs |
-- | name         | starling_                            | begins slots, publications, subscriptions and roles of links | replication/names.rs doctor/names.rs doctor/settings.rs doctor/observed.rs operations.sql removal.rs |
-- | name         | ^starling_[0-9a-f]{16}_[0-9a-f]{16}$ | a link: the site at its other end, and its epoch             | replication/names.rs doctor/store.rs apply.sql data.sql identity.sql |
-- | site in name | 10, 16                               | where that site stands in it                                 | apply.sql data.sql |
-- | digits       | ^[0-9]{1,18}$                        | a number or index that fits into a bigint whatever it is     | checkpoint.sql validity.sql integrity.sql |
-- | digits       | ^-?[0-9]{1,19}$                      | a counter's share                                            | counter.sql |
-- | letter       | 103                                  | 'g', of a list position; see crdv.position_digits            | list.sql |
-- | letter       | 102                                  | beside 'g': how many digits                                  | list.sql validity.sql |
-- | letter       | 87                                   | beside 'V': how many digits, if negative                     | list.sql validity.sql |
-- | letter       | 101                                  | beside 102: how many characters                              | list.sql |
-- | letter       | 88                                   | beside 87: how many characters, if negative                  | list.sql |
-- | error        | SL001                                | this store is an older copy of itself                        | checkpoint.sql catch_up.sql error.rs |

-- `holds`: does a context contain the operation (site, seq)? Null means no.
create or replace function crdv.holds(sites bigint[], seqs bigint[], site_ bigint, seq_ bigint)
returns boolean language sql immutable parallel safe
return seqs[array_position(sites, site_)] >= seq_;
comment on function crdv.holds(bigint[], bigint[], bigint, bigint) is
  'whether a context contains an operation';

-- Adds contexts up: the highest number for each site but one's own, in the order of the sites.
create or replace function crdv.join_context(inout sites bigint[], inout seqs bigint[])
language sql stable parallel safe
begin atomic
  select coalesce(array_agg(d.site order by d.site), '{}'),
         coalesce(array_agg(d.seq order by d.site), '{}')
  from (
    select c.site, max(c.seq) as seq
    from unnest(sites, seqs) as c (site, seq)
    where c.site is distinct from crdv.siteid()
    group by c.site
  ) d;
end;
comment on function crdv.join_context(bigint[], bigint[]) is
  'one context out of several that were put end to end';

-- The planner puts the expression in the place of a call. There is nothing above the last number of all, and an operation
-- covers the other by its context anyway: an element that somebody gave it to can be written again.
create or replace function crdv.after(clock bigint) returns bigint
language sql immutable parallel safe
return clock + (clock < 9223372036854775807)::integer;
comment on function crdv.after(bigint) is 'the clock after another; internal';
revoke all on function crdv.after(bigint) from public;

-- Raises the error that fits what `crdv.write` does not take at once.
create or replace function crdv.refuse(type_ "char", id_ text, key_ text, data_ text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  if crdv.siteid() is null then
    if crdv.own_site() is not null then
      raise 'this store takes no writes: its node leaves the cluster, or has left it'
        using errcode = 'read_only_sql_transaction',
        hint = 'Connect to another node. `starling up --bootstrap ADDRESS` on this one joins the cluster again.';
    end if;
    if exists (select from crdv.self) then
      raise 'this store takes no writes until its controller has confirmed that it is not an older copy'
        using errcode = 'read_only_sql_transaction',
        detail = 'After each start of its server a store is looked into before it is written to.',
        hint = 'Try again in a moment. If that does not help, see whether `starling up` runs; '
               '`starling status` tells what it waits for.';
    end if;
    raise 'this store has no identity yet' using errcode = 'object_not_in_prerequisite_state',
      hint = 'A store gets its identity when its controller starts for the first time.';
  end if;
  if id_ is null or key_ is null then
    raise 'ids, keys and members must not be null' using errcode = 'null_value_not_allowed';
  end if;
  -- Users write through the functions of the structures, which never pass these types.
  if starts_with(id_, '$') and type_ not in ('v', 'k', 'i') then
    raise 'ids that start with $ are reserved: %', id_ using errcode = 'reserved_name';
  end if;
  -- An index entry holds at most about 2,700 bytes.
  if octet_length(id_) + octet_length(key_) > 2000 then
    raise 'id and key are too long: % bytes together, at most 2000',
      octet_length(id_) + octet_length(key_) using errcode = 'program_limit_exceeded';
  end if;
  -- A decoded row must fit into 1 GB, or it would stop every link that carries it.
  if octet_length(data_) > 268435456 then
    raise 'value is too long: % bytes, at most 268435456', octet_length(data_)
      using errcode = 'program_limit_exceeded';
  end if;
end $$;
comment on function crdv.refuse("char", text, text, text) is
  'raises an error for what cannot be written; internal';

create or replace function crdv.refused() returns bigint
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
  perform crdv.refuse(null, '', '', null);
  return null;
end $$;
comment on function crdv.refused() is 'raises the error of a store that takes no writes; internal';

-- For inserts: a store may be closed between a writer's first check and its insert, whose plan is then made
-- anew. While the store is open this is the constant and nothing else.
create or replace function crdv.writing_site() returns bigint
language sql stable parallel safe
return coalesce(crdv.siteid(), crdv.refused());
comment on function crdv.writing_site() is 'this store''s site, or an error while it takes no writes; internal';

-- Writes one operation and returns its number. Users write through the functions of the structures,
-- which run as their owner, and never into the table.
--
-- Those functions assign the number to a variable that nobody reads: an assignment is an expression,
-- `perform` a query of its own, which makes a `mapAdd` 1 % dearer (instructions per call: 0.9 % in one
-- transaction, 1.4 % in one each, on PostgreSQL 15). What is called seldom performs it.
--
-- PostgreSQL prepares each expression again in each transaction, so there are few of them. The
-- transaction id (never null) is drawn in the first one, before any number. There is no
-- `set search_path` here: it costs 7 % of a write, and all who may call this have one.
create or replace function crdv.write(type_ "char", id_ text, key_ text, op_ "char", data_ text)
returns bigint
language plpgsql as $$
declare
  gone_site bigint;
  gone_seq bigint;
  gone_sites bigint[];
  gone_seqs bigint[];
  gone_hlc bigint;
  sites bigint[];
  seqs bigint[];
  clock bigint;
  replaced boolean;
  mixed boolean;
  number bigint;
begin
  if pg_current_xact_id() is null
     or crdv.siteid() is null or id_ is null or key_ is null or starts_with(id_, '$')
     or octet_length(id_) + octet_length(key_) > 2000 or octet_length(data_) > 268435456 then
    perform crdv.refuse(type_, id_, key_, data_);
  end if;
  loop
    for gone_site, gone_seq, gone_sites, gone_seqs, gone_hlc in
      delete from crdv.element_unguarded e
      where e.type = type_ and e.id = id_ and e.key = key_
      returning e.site, e.seq, e.ctx_sites, e.ctx_seqs, e.hlc
    loop
      -- Mostly there is one operation, and it is ours: its context is the new one's.
      if gone_site = crdv.siteid() and sites is null then
        replaced := true;
        sites := gone_sites;
        seqs := gone_seqs;
        clock := gone_hlc;
      else
        replaced := replaced or gone_site = crdv.siteid();
        mixed := true;
        sites := sites || gone_sites || gone_site;
        seqs := seqs || gone_seqs || gone_seq;
        clock := greatest(clock, gone_hlc);
      end if;
    end loop;
    if mixed then
      select c.sites, c.seqs into sites, seqs from crdv.join_context(sites, seqs) c;
    end if;

    -- Nobody else can have written: we hold our row. That is also why the number that we draw now is
    -- higher than that of each earlier operation of ours on the element.
    if replaced then
      insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
      values (0, id_, key_, crdv.writing_site(), nextval('crdv.seq'), type_, op_, data_, sites, seqs,
              greatest((date_part('epoch', clock_timestamp()) * 1000)::bigint << 16, crdv.after(clock)))
      returning seq into number;
      exit;
    end if;

    insert into crdv.element (via, id, key, site, seq, type, op, data, ctx_sites, ctx_seqs, hlc)
    values (0, id_, key_, crdv.writing_site(), nextval('crdv.seq'), type_, op_, data_,
            coalesce(sites, '{}'), coalesce(seqs, '{}'),
            greatest((date_part('epoch', clock_timestamp()) * 1000)::bigint << 16, crdv.after(clock)))
    on conflict do nothing
    returning seq into number;
    -- Another local writer was first: what it wrote is visible now, and is to be covered.
    continue when number is null;

    -- Without a row of ours to hold, the number is the highest when nobody has drawn since. Otherwise
    -- another local writer may have drawn after us, written, and been covered by a remote operation
    -- before our insert: then that one would cover us as well, unseen. Write again on top.
    exit when pg_sequence_last_value('crdv.seq') = number;
    exit when current_setting('transaction_isolation') = 'read committed' and not exists (
      select from crdv.element e
      where e.type = type_ and e.id = id_ and e.key = key_
        and crdv.holds(e.ctx_sites, e.ctx_seqs, crdv.siteid(), number));
  end loop;

  if op_ = 'a' and crdv.has_rules() then
    perform crdv.keep_sources(id_);
  end if;
  return number;
end $$;
comment on function crdv.write("char", text, text, "char", text) is
  'writes an operation (op a add, r remove) on an element and returns its number; internal';
revoke all on function crdv.write("char", text, text, "char", text) from public;
