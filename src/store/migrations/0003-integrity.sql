-- Why: nested structures are kept reachable by rules, which only some stores have.
--
-- Guarantees: a store without rules pays nothing for them: the answer is a constant until the first
-- rule is seen.

create function crdv.has_rules() returns boolean
language sql immutable parallel safe
return false;
comment on function crdv.has_rules() is 'whether this store has ever seen a rule of integrity';
