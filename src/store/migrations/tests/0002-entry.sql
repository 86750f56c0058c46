-- The entry types can be built and taken apart by the names that clients use.
do $$
begin
  assert (('k', 'v')::crdv.mentry).value = 'v';
  assert (('k', '{v,w}')::crdv.mentrymvr).value[2] = 'w';
end $$;
