-- A new store has seen no rules.
do $$
begin
  assert not crdv.has_rules();
end $$;
