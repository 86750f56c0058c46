//! Many writes in one transaction.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::{
    Scale,
    calls::WRITES,
    cpu,
    fill::{ENTRIES, STRUCTURES},
    report::{Report, median},
    server::Store,
};

/// Statements that make many of the calls, by the name of the call. `i` is spread over the elements.
fn statement(name: &str) -> (String, String) {
    let (id, key) = (|letter| format!("'{letter}' || i / {ENTRIES}"), "'k' || i");
    let value = "'value ' || i";
    let map = id('m');
    let set = id('s');
    let list = id('l');
    let upsert = |table: &str, columns: &str, values: &str, keys: &str, last: &str| {
        format!(
            "insert into plain.{table} ({columns}) select {values} from i
             on conflict ({keys}) do update set {last} = excluded.{last}"
        )
    };
    let ours = match name {
        "registerSet" => format!("crdv.registerset('r' || i, {value})"),
        "mapAdd" => format!("crdv.mapadd({map}, {key}, {value})"),
        "setAdd" => format!("crdv.setadd({set}, {key})"),
        "counterInc" => "crdv.counterinc('c' || i, 1)".to_owned(),
        _ => format!("crdv.listappend({list}, {value})"),
    };
    let plain = match name {
        "registerSet" => upsert(
            "register",
            "id, data",
            &format!("'r' || i, {value}"),
            "id",
            "data",
        ),
        "mapAdd" => upsert(
            "map",
            "id, key, data",
            &format!("{map}, {key}, {value}"),
            "id, key",
            "data",
        ),
        "setAdd" => upsert(
            "set",
            "id, member, present",
            &format!("{set}, {key}, true"),
            "id, member",
            "present",
        ),
        "counterInc" => upsert("counter", "id, data", "'c' || i, 1", "id", "data"),
        _ => format!("insert into plain.list (id, data) select {list}, {value} from i"),
    };
    (format!("select count({ours}) from i"), plain)
}

pub async fn measure(store: &Store, scale: Scale, report: &mut Report) {
    let client = store.client().await;
    let pid: i32 = (client.query_one("select pg_backend_pid()", &[]).await)
        .unwrap()
        .get(0);
    let elements = store.elements;
    let each = elements / STRUCTURES;
    for call in WRITES {
        let (ours, plain) = statement(call.name);
        // The same elements, each once in a statement, as far as there are so many.
        let count = scale.bulk.min(each);
        let numbers = format!(
            "with i as materialized (select (n * 7919) % {each} as i from generate_series(1, {count}) n)"
        );
        let statements = [ours, plain].map(|sql| format!("{numbers} {sql}"));
        let (mut rates, mut used) = ([vec![], vec![]], [Duration::ZERO; 2]);
        // A small store does too little in one statement to be measured by a few of them.
        let turns = (scale.bulk / count).clamp(1, 5);
        for _ in 0..scale.rounds {
            for side in [0, 1] {
                let (before, started) = (cpu::of_process(pid), Instant::now());
                for _ in 0..turns {
                    run(&client, &statements[side]).await;
                }
                rates[side].push((count * turns) as f64 / started.elapsed().as_secs_f64());
                used[side] += cpu::of_process(pid) - before;
            }
        }
        let done = (count * turns) as f64 * scale.rounds as f64;
        let ratios = rates[0].iter().zip(&rates[1]).map(|(a, b)| a / b).collect();
        let [rate, plain_rate] = rates.map(median);
        report.add(
            "bulk writes",
            format!("{} / {elements} / {count} in one", call.name),
            vec![
                ("ratio", median(ratios)),
                ("per s", rate),
                ("plain per s", plain_rate),
                ("cpu us", used[0].as_secs_f64() * 1e6 / done),
                ("plain cpu us", used[1].as_secs_f64() * 1e6 / done),
            ],
        );
    }
}

async fn run(client: &Client, statement: &str) {
    client.batch_execute(statement).await.unwrap();
}
