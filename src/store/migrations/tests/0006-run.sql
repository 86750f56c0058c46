-- The store is closed, and has not been opened by this version.
do $$
begin
  assert crdv.siteid() is null;
  assert crdv.own_site() is null;
  assert crdv.trusted() is null;
  assert not exists (select from crdv.self where opened_at is not null or trusted is not null or has_published);
  assert not exists (select from crdv.counter_base);
end $$;
