-- A store that is open before it knows its site after it.
do $$
begin
  assert crdv.own_site() is not distinct from crdv.siteid();
end $$;
