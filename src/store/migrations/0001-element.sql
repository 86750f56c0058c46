-- Why: one table carries everything. It holds the present operations of every element, that is those
-- that no other operation covers; replication publishes its inserts.
--
-- Guarantees: one present operation per element and site (element_pkey), numbers that are never used
-- twice by a site (seq, without cache: the checkpoint rule reads its last value), at most one
-- identity (self) and one installation record.
--
-- Leaves out: functions and views, which are re-applied from `definitions/` when they change.

create schema crdv;
comment on schema crdv is 'Starling: convergent replicated data types';

create table crdv.installation (
  singleton  boolean not null default true,
  migration  integer not null,
  definitions text,
  constraint installation_pkey primary key (singleton),
  constraint installation_singleton check (singleton)
);
comment on table crdv.installation is 'which migration and which definitions this store has';
comment on column crdv.installation.definitions is 'checksum of the functions and views as last applied';
insert into crdv.installation (migration) values (0);

create table crdv.self (
  singleton   boolean not null default true,
  site        bigint not null,
  node        text not null,
  incarnation bigint not null,
  cluster     text not null,
  constraint self_pkey primary key (singleton),
  constraint self_singleton check (singleton),
  constraint self_site_positive check (site > 0)
);
comment on table crdv.self is 'whose store this is; see crdv.become';

-- Replaced by a constant when the store gets its identity: a literal costs a writer nothing, and
-- replacing the function invalidates every cached plan that holds the old one.
create function crdv.siteid() returns bigint
language sql immutable parallel safe
return null::bigint;
comment on function crdv.siteid() is 'this store''s site, null until it has one';

create sequence crdv.seq as bigint cache 1;
comment on sequence crdv.seq is 'numbers of this site''s operations';

-- Scalar site, seq and via, because a publication's row filter takes plain columns only. The
-- context is two parallel arrays, sorted by site, without the operation's own site: an operation
-- covers every earlier one of its site on the element by its number alone.
create table crdv.element (
  id        varchar collate "C" not null,
  key       varchar collate "C" not null,
  site      bigint not null,
  seq       bigint not null,
  type      "char" not null,
  op        "char" not null,
  data      varchar,
  ctx_sites bigint[] not null,
  ctx_seqs  bigint[] not null,
  hlc       bigint not null,
  via       bigint not null default 0,
  constraint element_pkey primary key (type, id, key, site)
);
create index element_site_seq on crdv.element (site, seq);
-- What is in a list, in order: a queue's tombstones pile up at its head, where every pop looks.
create index element_list on crdv.element (id, key) where type = 'l' and op = 'a';
comment on table crdv.element is 'present operations: those that no other operation of the element covers';
comment on column crdv.element.site is 'who wrote it; with seq the operation''s name';
comment on column crdv.element.type is 'r register, s set, m map, c counter, l list, v checkpoint, k catch-up marker, i rule of integrity';
comment on column crdv.element.op is 'a add, r remove';
comment on column crdv.element.ctx_sites is 'other sites whose operations on the element the writer had seen';
comment on column crdv.element.ctx_seqs is 'up to which number, in the order of ctx_sites';
comment on column crdv.element.hlc is 'hybrid logical clock: unix milliseconds << 16 | counter';
comment on column crdv.element.via is 'site of the store that the row came from; 0: written here';

-- Every write is a delete and an insert, so dead rows appear as fast as writes do. They are few
-- pages if vacuum comes early and runs at full speed.
alter table crdv.element set (
  autovacuum_vacuum_scale_factor = 0.05,
  autovacuum_vacuum_insert_scale_factor = 0.2,
  autovacuum_analyze_scale_factor = 0.05,
  autovacuum_vacuum_cost_delay = 0
);

revoke all on schema crdv from public;
revoke all on crdv.installation, crdv.self, crdv.element, crdv.seq from public;
