//! Lists: where entries go, and what their positions cost.

use std::collections::BTreeSet;

use tokio_postgres::{Client, error::SqlState};

use super::structures::{check, concurrently, text};
use crate::harness::server::Server;

#[tokio::test]
async fn concurrent_list_inserts_at_one_index_are_ordered_by_site_and_have_room_between_them() {
    let (clients, _stores) = concurrently(
        "select listAppend('l', 'first'), listAppend('l', 'last')",
        "select listAdd('l', 1, 'low')",
        "select listAdd('l', 1, 'high')",
    )
    .await;
    for client in &clients {
        check(client, &[("listGet('l')", Some("{first,low,high,last}"))]).await;
        client
            .batch_execute("select listAdd('l', 2, 'x'), listAdd('l', 3, 'y')")
            .await
            .unwrap();
        check(
            client,
            &[("listGet('l')", Some("{first,low,x,y,high,last}"))],
        )
        .await;
        client
            .batch_execute("select listRmv('l', 1)")
            .await
            .unwrap();
        check(client, &[("listGet('l')", Some("{first,x,y,high,last}"))]).await;
    }
}

/// Positions as `listAdd` and its like make them, without the table: 100,000 round trips and rows would
/// take minutes. `newest` says which neighbour each new position is for the next one.
async fn positions(client: &Client, newest: &str, inserts: u32) -> (Vec<i32>, i32) {
    let (low, high) = match newest {
        "last" => ("first", "null"),
        "first" => ("null", "first"),
        _ => ("first", "second"),
    };
    let left = match newest {
        "last" | "left" => "true",
        "first" | "right" => "false",
        _ => "n % 2 = 0",
    };
    let sql = format!(
        "create temporary table if not exists length (n int, size int);
         truncate length;
         do $$
         declare
           first text := 'g0.0000000000000001g1'; second text := 'g1.0000000000000001g2';
           low text := {low}; high text := {high}; made text;
         begin
           for n in 1..{inserts} loop
             made := crdv.position_between(low, high) || '.0000000000000001'
                     || crdv.position_digits(n + 2);
             if (low < made collate \"C\") is false or (made < high collate \"C\") is false then
               raise '% is not between % and %', made, low, high;
             end if;
             if {left} then low := made; else high := made; end if;
             if n in (1000, {inserts}) or length(made) > 2000 then
               insert into length values (n, length(made));
               exit when length(made) > 2000;
             end if;
           end loop;
         end $$"
    );
    client.batch_execute(&sql).await.unwrap();
    let rows = client
        .query("select n, size from length order by n", &[])
        .await
        .unwrap();
    let last = rows.last().unwrap().get(0);
    (rows.iter().map(|row| row.get(1)).collect(), last)
}

/// 21 characters are the least: "g0.", 16 digits of the site and "g1".
#[tokio::test]
async fn a_hundred_thousand_inserts_at_one_spot_cost_a_few_characters_each() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    for newest in ["last", "first", "left", "right"] {
        let (sizes, _) = positions(&client, newest, 100_000).await;
        println!("newest is {newest}: {sizes:?} characters after 1,000 and 100,000");
        assert!(sizes[1] <= 32, "newest is {newest}: {sizes:?}");
        // A hundred times as many, and two digits more in the run as well as in the number.
        assert!(sizes[1] - sizes[0] <= 4, "newest is {newest}: {sizes:?}");
    }
}

/// The one way to long positions: any scheme needs a bit for each such insertion.
#[tokio::test]
async fn splitting_the_newest_gap_left_and_right_in_turn_lasts_for_ten_thousand_inserts() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let (_, lasted) = positions(&client, "in turn", 20_000).await;
    println!("{lasted} splits of the newest gap");
    assert!((11_500..12_500).contains(&lasted), "{lasted}");
}

#[tokio::test]
async fn a_spot_without_room_is_fixed_as_its_error_says() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    // A long id leaves little room.
    let fill =
        "select listAppend(repeat('l', 1900), 'first'), listAppend(repeat('l', 1900), 'last')";
    client.batch_execute(fill).await.unwrap();
    let split = "select listAdd(repeat('l', 1900), $1::bigint / 2, $1::text)";
    let mut n = 1_i64;
    let error = loop {
        let sql = split.replace("$1", &n.to_string());
        match client.batch_execute(&sql).await {
            Ok(()) => n += 1,
            Err(error) => break error,
        }
        assert!(n < 1000, "no end");
    };
    let error = error.as_db_error().unwrap();
    assert_eq!(*error.code(), SqlState::PROGRAM_LIMIT_EXCEEDED);
    assert!(error.message().contains("no room left"), "{error}");
    assert!(error.hint().unwrap().contains("listClear"), "{error:?}");
    assert!(n > 300, "the end came after {n} inserts");
    let listed = "listGet(repeat('l', 1900))";
    let before = text(&client, listed).await;
    let fix = "begin;
        create temporary table rewritten on commit drop as
          select l.n, l.data from unnest(listGet(repeat('l', 1900))) with ordinality l (data, n);
        select listClear(repeat('l', 1900));
        select listAppend(repeat('l', 1900), data) from rewritten order by n;
        commit";
    client.batch_execute(fix).await.unwrap();
    assert_eq!(text(&client, listed).await, before);
    client
        .batch_execute(&split.replace("$1", &n.to_string()))
        .await
        .unwrap();
}

async fn longest_position(client: &Client, id: &str) -> i32 {
    let sql = "select max(length(pos)) from list where id = $1";
    client.query_one(sql, &[&id]).await.unwrap().get(0)
}

#[tokio::test]
async fn list_positions_grow_slowly_at_the_ends_and_at_one_spot() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let spots = [
        ("append", "listAppend('append', n::text)"),
        ("prepend", "listPrepend('prepend', n::text)"),
        // Always before the same entry, and always after the same one.
        ("forwards", "listAdd('forwards', n, n::text)"),
        ("backwards", "listAdd('backwards', 1, n::text)"),
    ];
    for (id, call) in spots {
        let fill = format!(
            "select listAppend('{id}', 'first'), listAppend('{id}', 'last');
             select {call} from generate_series(1, 1000) n"
        );
        client.batch_execute(&fill).await.unwrap();
        let numbers = "select string_agg(n::text, ' ' order by n) from generate_series(1, 1000) n";
        let descending = numbers.replace("by n)", "by n desc)");
        let (before, order, after) = match id {
            "append" => ("first last ", numbers, ""),
            "prepend" => ("", &*descending, " first last"),
            "forwards" => ("first ", numbers, " last"),
            _ => ("first ", &*descending, " last"),
        };
        let same =
            format!("array_to_string(listGet('{id}'), ' ') = '{before}' || ({order}) || '{after}'");
        assert_eq!(text(&client, &same).await.as_deref(), Some("true"), "{id}");
        let longest = longest_position(&client, id).await;
        assert!(longest <= 32, "{id}: positions of {longest} characters");
    }
}

/// Any gap, with twins in it that other sites inserted concurrently, with entries gone, and among
/// positions that an earlier version wrote.
#[tokio::test]
async fn there_is_room_between_any_two_positions_whoever_made_them() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let sql = "do $$
        declare
          list text[]; at int; made text; site text;
        begin
          perform setseed(0.17);
          for run in 1..20 loop
            list := case when run % 2 = 0 then array['V0.0000000000000003g9', 'g5.0000000000000001g3',
              'g5g0.0000000000000001g4', 'g5g0V0.0000000000000002g4', 'g5gah12.0000000000000002g4',
              'g7.0000000000000001g3g0.0000000000000001g6'] else array[]::text[] end;
            at := 0;
            for n in 1..500 loop
              at := case when random() < 0.2 then floor(random() * (cardinality(list) + 1))::int
                else least(greatest(at + floor(random() * 3)::int - 1, 0), cardinality(list)) end;
              if random() < 0.3 and at >= 1 and cardinality(list) > 3 then
                list := list[:at - 1] || list[at + 1:];
                continue;
              end if;
              made := crdv.position_between(case when at >= 1 then list[at] end, list[at + 1]);
              site := lpad(to_hex(1 + floor(random() * 3)::int), 16, '0');
              list := list[:at]
                || case when random() < 0.1 then array[made || '.0000000000000000g' || n % 10] end
                || (made || '.' || site || crdv.position_digits(n)) || list[at + 1:];
            end loop;
            for n in 2..cardinality(list) loop
              if list[n - 1] >= list[n] collate \"C\" then
                raise '% is not before %', list[n - 1], list[n];
              end if;
            end loop;
          end loop;
        end $$";
    client.batch_execute(sql).await.unwrap();
}

/// Upstream's clients overwrite an entry at its position; two who do so at once are both kept.
#[tokio::test]
async fn two_values_at_one_position_are_ordered_by_site_and_leave_room_around_them() {
    let overwrite = |value: &str| {
        format!(
            "insert into Data (id, key, type, data, site, op)
             select id, pos, 'l', '{value}', siteId(), 'a' from List where id = 'l' and data = 'old'"
        )
    };
    let (clients, _stores) = concurrently(
        "select listAppend('l', 'old'), listAppend('l', 'last')",
        &overwrite("low"),
        &overwrite("high"),
    )
    .await;
    for client in &clients {
        let reads = [
            ("listGet('l')", Some("{low,high,last}")),
            ("listGetAt('l', 0)", Some("low")),
            ("listGetAt('l', 1)", Some("high")),
            ("listGetFirst('l')", Some("low")),
        ];
        check(client, &reads).await;
        client
            .batch_execute("select listAdd('l', 1, 'new'), listRmv('l', 0)")
            .await
            .unwrap();
        check(client, &[("listGet('l')", Some("{new,last}"))]).await;
    }
}

/// Each way in is a statement of its own with a guard of its own, because that is fast.
#[tokio::test]
async fn all_ways_into_a_list_refuse_the_same() {
    let store = Server::shared().store("n").await;
    let client = store.connect().await;
    let fill = "select listAppend('l', 'first'), listAppend('l', 'last');
        select listAppend(repeat('l', 1900), 'e'), listPrepend(repeat('l', 1900), 'e');
        select listAdd(repeat('l', 1900), 1, 'e')";
    client.batch_execute(fill).await.unwrap();
    let calls = async |id: &str, element: &str| {
        let mut refusals = BTreeSet::new();
        for call in [
            format!("listAppend({id}, {element})"),
            format!("listPrepend({id}, {element})"),
            format!("listAdd({id}, 0, {element})"),
            format!("listAdd({id}, 1, {element})"),
        ] {
            let error = client.batch_execute(&format!("select {call}")).await;
            let error = error.expect_err(&call);
            let error = error.as_db_error().unwrap();
            refusals.insert((error.code().code().to_owned(), error.message().to_owned()));
        }
        refusals
    };
    for (id, element, code) in [
        ("null", "'e'", SqlState::NULL_VALUE_NOT_ALLOWED),
        ("'$l'", "'e'", SqlState::RESERVED_NAME),
        ("repeat('l', 1901)", "'e'", SqlState::PROGRAM_LIMIT_EXCEEDED),
        ("repeat('ö', 951)", "'e'", SqlState::PROGRAM_LIMIT_EXCEEDED),
        (
            "'l'",
            "repeat('e', 268435457)",
            SqlState::PROGRAM_LIMIT_EXCEEDED,
        ),
    ] {
        let refusals = calls(id, element).await;
        let codes: Vec<&str> = refusals.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!(codes, [code.code()], "{id}: {refusals:?}");
    }
    let close = "select crdv.close_to_writers()";
    client.batch_execute(close).await.unwrap();
    let refusals = calls("'l'", "'e'").await;
    let codes: Vec<&str> = refusals.iter().map(|(code, _)| code.as_str()).collect();
    assert_eq!(codes, [SqlState::READ_ONLY_SQL_TRANSACTION.code()]);
    check(&client, &[("listGet('l')", Some("{first,last}"))]).await;
}
