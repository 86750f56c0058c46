insert into crdv.database_setting (name, former, value, place) values ('a', null, 'b', '1/2');
do $$
begin
  assert not has_table_privilege('public', 'crdv.database_setting', 'select');
  begin
    insert into crdv.database_setting (name, value, place) values ('a', 'c', '1/2');
    raise 'two records of one setting';
  exception when unique_violation then null;
  end;
end $$;
delete from crdv.database_setting;
