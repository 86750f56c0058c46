-- Why: a store that is closed to its own writers still has to tell its operations from others' when links
-- bring them back, and a store that is in doubt must not. So that is a constant of its own.
--
-- Guarantees: a store that was open knows its site; one that was closed was in doubt, and stays so.

do $$
begin
  execute format('create function crdv.own_site() returns bigint '
                 'language sql immutable parallel safe return %s::bigint',
                 coalesce(crdv.siteid()::text, 'null'));
end $$;
comment on function crdv.own_site() is 'the site whose operations come back; null while that is in doubt';
