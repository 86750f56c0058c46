-- A new store has nothing to note, and the table is closed.
do $$
begin
  assert (select count(*) from crdv.early_cover) = 0;
  assert not has_table_privilege('public', 'crdv.early_cover', 'select');
end $$;
