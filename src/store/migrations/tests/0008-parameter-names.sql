-- None of the former functions is left in a new store.
do $$
begin
  assert not exists (
    select from pg_proc p where p.pronamespace = 'crdv'::regnamespace and p.proname in ('mapadd', 'former_mapadd'));
end $$;
