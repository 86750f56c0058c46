-- The clocks can be built and taken apart by the names that clients use, and the index of lists has the site.
do $$
begin
  assert ((array[1, 2], (3, 4)::crdv.hlc)::crdv.vclock_and_hlc).lts = array[1, 2]::crdv.vclock;
  assert (((array[1, 2], (3, 4)::crdv.hlc)::crdv.vclock_and_hlc).pts).logical_time = 4;
  assert pg_get_indexdef('crdv.element_list'::regclass) like '%(id, key, site) WHERE%';
end $$;
