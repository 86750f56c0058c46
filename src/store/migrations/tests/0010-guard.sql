-- What is written to the one table is in the other; parked operations are closed to the public; vectors are made in
-- every session role but `replica`, and there by apply workers and restores alone.
do $$
begin
  insert into crdv.element_unguarded (id, key, site, seq, type, op, ctx_sites, ctx_seqs, hlc, via)
  values ('i', 'k', 1, 1, 's', 'a', '{}', '{}', 1, 0);
  assert (select count(*) from crdv.element where via = 0) = 1;
  delete from crdv.element_unguarded;
  assert not exists (select from crdv.element);
  assert not has_table_privilege('public', 'crdv.element_unguarded', 'insert');
  assert not has_table_privilege('public', 'crdv.parked', 'select');

  assert '{1}'::crdv.vclock = '{1}';
  perform set_config('session_replication_role', 'replica', true);
  begin
    perform '{1}'::crdv.vclock;
    assert false, 'an insert into Data would be lost';
  exception when check_violation then null;
  end;
  perform set_config('search_path', '', true);
  assert '{1}'::crdv.vclock operator(pg_catalog.=) '{1}';
end $$;
