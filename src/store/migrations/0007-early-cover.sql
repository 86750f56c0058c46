-- Why: another store's answer can arrive before the operation of ours that it covers is visible here: a
-- commit is shipped once it is on the disk, and is visible later, with a synchronous standby much later.
-- What is not visible cannot be deleted, so it is noted, and deleted when it is certain to be visible.
--
-- Guarantees: an entry is true for ever. No unique key, so that nobody who notes one waits for another.
-- Rows that stood beside what covers them before there was such a table are noted, too.

create table crdv.early_cover (
  type "char" not null,
  id   varchar collate "C" not null,
  key  varchar collate "C" not null,
  site bigint not null,
  seq  bigint not null
);
comment on table crdv.early_cover is
  'operations of site on the element up to seq are covered, though a row of them may be or become visible';
revoke all on crdv.early_cover from public;

insert into crdv.early_cover (type, id, key, site, seq)
select o.type, o.id, o.key, o.site, o.seq
from crdv.element c
join crdv.element o on o.type = c.type and o.id = c.id and o.key = c.key
where c.ctx_sites <> '{}' and c.ctx_seqs[array_position(c.ctx_sites, o.site)] >= o.seq;
