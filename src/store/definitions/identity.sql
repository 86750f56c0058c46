-- Why: a store must know which operations are its own, cheaply: every write names its site, and
-- every replicated row is compared with it.
--
-- Guarantees: the record in `self` and the constant in `siteid()` change together or not at all.
--
-- Leaves out: how a site is derived and when an incarnation ends; the controller decides that.

create or replace function crdv.become(
  site_ bigint, node_ text, incarnation_ bigint, cluster_ text
) returns void
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  insert into crdv.self as s (site, node, incarnation, cluster)
  values (site_, node_, incarnation_, cluster_)
  on conflict on constraint self_pkey do update
    set site = excluded.site, node = excluded.node,
        incarnation = excluded.incarnation, cluster = excluded.cluster;
  execute format(
    'create or replace function crdv.siteid() returns bigint '
    'language sql immutable parallel safe return %s::bigint', site_);
end $$;
comment on function crdv.become(bigint, text, bigint, text) is 'gives this store an identity';
revoke all on function crdv.become(bigint, text, bigint, text) from public;

-- Fixed width, so that the order of the text is the order of the (positive) numbers.
create or replace function crdv.site_hex(site_ bigint) returns text
language sql immutable parallel safe
return lpad(to_hex(site_), 16, '0');
comment on function crdv.site_hex(bigint) is 'a site as 16 hexadecimal digits';
