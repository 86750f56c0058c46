-- Why: operations are written by functions only, whatever session role a client is in, and what comes in is judged.
--
-- Guarantees:
-- * `element` is the only partition of `element_unguarded`, so both have the same rows: who names the latter is not met
--   by the triggers of statements on `element` that refuse what is done by hand. Links, indexes, triggers of rows and
--   statistics stay those of `element`.
-- * One row in `parked` for each refused operation, however often it comes; not replicated.
-- * An insert into the view `Data` in session role `replica` is refused. PostgreSQL does not fire the view's trigger there,
--   and one of a view cannot be made to fire: it would say that it is done and leave nothing. A view has no
--   constraint, but the domain of one of its columns has one. An empty search path is that of apply workers and of
--   restores, which may carry tables of users with this type.
--
-- (An insert into a partitioned table costs a writer 4 %, a delete 2 %. So inserts name `element`, see `guard.sql`.)

create table crdv.element_unguarded (like crdv.element) partition by list (type);
alter table crdv.element_unguarded attach partition crdv.element default;
comment on table crdv.element_unguarded is
  'crdv.element as the functions of this schema delete from it; nothing else may';
revoke all on crdv.element_unguarded from public;

create table crdv.parked (
  digest    text not null,
  parked_at timestamptz not null default now(),
  via       bigint not null,
  reason    text not null,
  operation jsonb not null,
  constraint parked_pkey primary key (digest)
);
comment on table crdv.parked is 'operations that came and were refused: they are in no store but their origin''s';
comment on column crdv.parked.via is 'site of the store that brought it; 0: it was here already';
comment on column crdv.parked.operation is 'the row of crdv.element that it would have been, of long values the beginning';
revoke all on crdv.parked from public;

alter domain crdv.vclock add constraint data_takes_nothing_in_session_role_replica check (
  current_setting('session_replication_role') <> 'replica' or current_setting('search_path') in ('', '""')
);

-- The function is replaced by one that refuses. Who gives the column pays nothing for it.
create function crdv.no_via() returns bigint language sql stable return 0;
comment on function crdv.no_via() is 'refuses an insert of operations by hand; internal';
revoke all on function crdv.no_via() from public;
alter table crdv.element alter column via set default crdv.no_via();
