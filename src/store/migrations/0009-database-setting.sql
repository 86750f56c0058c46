-- Why: a store may live in a database that others use, and says what it changed of the database's own
-- settings, so that all of it can be put back.
--
-- Guarantees: one row for each setting that is ours, with what was there before.
--
-- Leaves out: which settings, and when; see `src/store/search_path.rs`.

create table crdv.database_setting (
  name   text not null,
  former text,
  value  text not null,
  place  text not null,
  constraint database_setting_pkey primary key (name)
);
comment on table crdv.database_setting is 'settings of the database that Starling has changed';
comment on column crdv.database_setting.former is 'what the database had before, null for none';
comment on column crdv.database_setting.value is 'what was set; another value is somebody else''s';
comment on column crdv.database_setting.place is
  'system identifier and database in which it was set: elsewhere, the row came with a dump';
revoke all on crdv.database_setting from public;
