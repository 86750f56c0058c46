-- Why: a copy of a store must not write as the original does. So a store is open for one run of one server, in
-- one database, with one table, and a copy is closed until its controller has looked into it.
--
-- Guarantees: an upgraded store is closed until its controller opens it.

alter table crdv.self
  add column opened_at text,
  add column trusted bigint,
  add column has_published boolean not null default false;
comment on column crdv.self.opened_at is 'crdv.here() when the store was last opened to writers';
comment on column crdv.self.trusted is 'the site''s last operation before that; later numbers are this copy''s alone';
comment on column crdv.self.has_published is 'whether links have been made since that others may have got operations over';

create table crdv.counter_base (
  id    varchar collate "C" not null,
  share bigint not null,
  seq   bigint not null,
  constraint counter_base_pkey primary key (id)
);
comment on table crdv.counter_base is
  'shares of this site as they were when the store was opened, of counters that it has changed since';
revoke all on crdv.counter_base from public;

create or replace function crdv.siteid() returns bigint
language sql immutable parallel safe
return null::bigint;

create or replace function crdv.own_site() returns bigint
language sql immutable parallel safe
return null::bigint;

comment on function crdv.own_site() is
  'the site whose operations come back; null while that is in doubt; internal';

create function crdv.trusted() returns bigint
language sql immutable parallel safe
return null::bigint;
comment on function crdv.trusted() is 'crdv.self.trusted as a constant; internal';

-- Replaced by one that knows what the doubt is about.
drop function if exists crdv.renew(bigint, text, bigint, text, boolean);
