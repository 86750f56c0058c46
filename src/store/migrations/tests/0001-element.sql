-- The tables are there, empty, closed to the public, and the identity and installation are single.
do $$
begin
  assert (select count(*) from crdv.element) = 0;
  assert (select count(*) from crdv.self) = 0;
  assert (select count(*) from crdv.installation) = 1;
  assert crdv.siteid() is null;
  assert (select string_agg(a.attname, ' ' order by k.place)
          from pg_index i, unnest(i.indkey) with ordinality k (attnum, place)
          join pg_attribute a on a.attrelid = 'crdv.element'::regclass and a.attnum = k.attnum
          where i.indexrelid = 'crdv.element_pkey'::regclass) = 'type id key site',
    'a structure is not one range of the primary key';
  assert (select seqcache from pg_sequence where seqrelid = 'crdv.seq'::regclass) = 1;
  assert not has_table_privilege('public', 'crdv.element', 'select');
  assert not has_schema_privilege('public', 'crdv', 'usage');
  begin
    insert into crdv.self (singleton, site, node, incarnation, cluster) values (false, 1, 'n', 1, 'c');
    assert false, 'a second identity was accepted';
  exception when check_violation then null;
  end;
end $$;
