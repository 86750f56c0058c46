-- Why: clients of the CRDV interface write to the view `Data` with the clocks that `nextTimestamp` gives
-- them, and may overwrite a list entry at its position, so that two sites have a value at one position.
--
-- Guarantees: the names and attributes that such clients expect; lists are read in the order of position
-- and site from the index alone.

create domain crdv.vclock as bigint[];
comment on domain crdv.vclock is 'a vector clock: a number for each known site, in the order of the sites';

create type crdv.hlc as (physical_time bigint, logical_time integer);
comment on type crdv.hlc is 'a hybrid logical clock: unix milliseconds, and a counter within one';

create type crdv.vclock_and_hlc as (lts crdv.vclock, pts crdv.hlc);
comment on type crdv.vclock_and_hlc is 'what nextTimestamp answers';

drop index crdv.element_list;
create index element_list on crdv.element (id, key, site) where type = 'l' and op = 'a';
