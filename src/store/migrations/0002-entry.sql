-- Why: maps are read as arrays of entries, with one value or, where concurrent writes are kept side
-- by side, with several.
--
-- Guarantees: the names and attributes that clients of the CRDV interface expect.

create type crdv.mentry as (key varchar collate "C", value varchar);
comment on type crdv.mentry is 'a map entry';

create type crdv.mentrymvr as (key varchar collate "C", value varchar[]);
comment on type crdv.mentrymvr is 'a map entry with all its concurrent values, ordered by site';
