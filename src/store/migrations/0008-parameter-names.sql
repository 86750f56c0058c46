-- Why: parameters are to be called what the documentation calls them, so that they can be given by name; and they take
-- text, so that a second function of the same name can take values of other types.
--
-- Guarantees: what users built upon the former functions goes on: those that something depends on stay, under another
-- name and as they were.

do $$
declare
  former text;
begin
  foreach former in array array[
    -- These call others.
    'crdv.counterdec(varchar, bigint)',
    'crdv.mapawlwwcontains(varchar, varchar)',
    'crdv.counterget(varchar)',
    'crdv.counterinc(varchar, bigint)',
    'crdv.nexttimestamp(varchar)',
    'crdv.listget(varchar)',
    'crdv.listgetat(varchar, bigint)',
    'crdv.listgetfirst(varchar)',
    'crdv.listgetlast(varchar)',
    'crdv.listappend(varchar, varchar)',
    'crdv.listprepend(varchar, varchar)',
    'crdv.listadd(varchar, bigint, varchar)',
    'crdv.listrmv(varchar, bigint)',
    'crdv.listpopfirst(varchar)',
    'crdv.listpoplast(varchar)',
    'crdv.listclear(varchar)',
    'crdv.mapawmvrget(varchar)',
    'crdv.mapawlwwget(varchar)',
    'crdv.maprwmvrget(varchar)',
    'crdv.maplwwget(varchar)',
    'crdv.mapawmvrvalue(varchar, varchar)',
    'crdv.mapawlwwvalue(varchar, varchar)',
    'crdv.maprwmvrvalue(varchar, varchar)',
    'crdv.maplwwvalue(varchar, varchar)',
    'crdv.mapawmvrcontains(varchar, varchar)',
    'crdv.maprwmvrcontains(varchar, varchar)',
    'crdv.maplwwcontains(varchar, varchar)',
    'crdv.mapadd(varchar, varchar, varchar)',
    'crdv.maprmv(varchar, varchar)',
    'crdv.mapclear(varchar)',
    'crdv.initsite(integer)',
    'crdv.addremotesite(integer, varchar, varchar, varchar, varchar, varchar, boolean)',
    'crdv.merge(varchar, varchar, "char", varchar, bigint, crdv.vclock, crdv.hlc, "char")',
    'crdv.registermvrget(varchar)',
    'crdv.registerlwwget(varchar)',
    'crdv.registerset(varchar, varchar)',
    'crdv.setawget(varchar)',
    'crdv.setrwget(varchar)',
    'crdv.setlwwget(varchar)',
    'crdv.setawcontains(varchar, varchar)',
    'crdv.setrwcontains(varchar, varchar)',
    'crdv.setlwwcontains(varchar, varchar)',
    'crdv.setadd(varchar, varchar)',
    'crdv.setrmv(varchar, varchar)',
    'crdv.setclear(varchar)'
  ] loop
    begin
      execute format('drop function if exists %s', former);
    exception when dependent_objects_still_exist then
      execute format('alter function %s rename to %I', former,
                     'former_' || split_part(split_part(former, '.', 2), '(', 1));
    end;
  end loop;
end $$;
