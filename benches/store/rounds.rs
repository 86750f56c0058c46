//! A call and its counterpart, in turns.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::RngExt as _;
use tokio::task::JoinSet;
use tokio_postgres::{Client, Statement, types::ToSql};

use crate::{
    Scale,
    calls::Call,
    cpu,
    fill::STRUCTURES,
    report::{Report, median},
    server::Store,
};

/// A session with both statements prepared.
#[derive(Debug)]
struct Session {
    client: Client,
    statements: [Statement; 2],
}

impl Session {
    async fn new(store: &Store, call: Call) -> Arc<Self> {
        let client = store.client().await;
        let statements = [
            client.prepare(call.store).await.unwrap(),
            client.prepare(call.plain).await.unwrap(),
        ];
        Arc::new(Self { client, statements })
    }

    /// Calls until the deadline; how long each one took.
    async fn run(&self, side: usize, call: Call, elements: i64, until: Instant) -> Vec<Duration> {
        let mut took = Vec::new();
        let mut started = Instant::now();
        while started < until {
            let number = rand::rng().random_range(0..elements / STRUCTURES);
            let parameters = (call.parameters)(number);
            let parameters: Vec<&(dyn ToSql + Sync)> =
                parameters.iter().map(|text| text as _).collect();
            self.client
                .execute(&self.statements[side], &parameters)
                .await
                .unwrap();
            let ended = Instant::now();
            took.push(ended - started);
            started = ended;
        }
        took
    }
}

/// What one side did in all its rounds.
#[derive(Debug, Default)]
struct Side {
    rates: Vec<f64>,
    took: Vec<Duration>,
    cpu: Duration,
}

impl Side {
    fn percentile(&self, percent: usize) -> f64 {
        self.took[self.took.len() * percent / 100].as_secs_f64() * 1e3
    }

    fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.took.len() as f64
    }
}

/// Runs `call` against its counterpart and reports both.
pub async fn measure(
    store: &Store,
    call: Call,
    section: &'static str,
    clients: usize,
    scale: Scale,
    report: &mut Report,
) {
    let elements = store.elements;
    let mut sessions = Vec::new();
    for _ in 0..clients {
        sessions.push(Session::new(store, call).await);
    }
    // The first executions of a statement are planned each.
    for side in [0, 1] {
        for session in &sessions {
            let until = Instant::now() + Duration::from_millis(10);
            session.run(side, call, elements, until).await;
        }
    }
    let mut sides = [Side::default(), Side::default()];
    for _ in 0..scale.rounds {
        for (number, side) in sides.iter_mut().enumerate() {
            let (before, started) = (cpu::of_server(store.postmaster), Instant::now());
            let mut tasks = JoinSet::new();
            for session in &sessions {
                let session = Arc::clone(session);
                let until = started + scale.round;
                tasks.spawn(async move { session.run(number, call, elements, until).await });
            }
            let took = tasks.join_all().await.concat();
            side.rates
                .push(took.len() as f64 / started.elapsed().as_secs_f64());
            side.cpu += cpu::of_server(store.postmaster) - before;
            side.took.extend(took);
        }
    }
    for side in &mut sides {
        side.took.sort_unstable();
    }
    let [ours, plain] = sides;
    let ratios = ours.rates.iter().zip(&plain.rates).map(|(a, b)| a / b);
    report.add(
        section,
        format!("{} / {elements} / {clients} clients", call.name),
        vec![
            ("ratio", median(ratios.collect())),
            ("target", call.target),
            ("cpu ratio", plain.cpu_us() / ours.cpu_us()),
            ("per s", median(ours.rates.clone())),
            ("plain per s", median(plain.rates.clone())),
            ("p50 ms", ours.percentile(50)),
            ("p99 ms", ours.percentile(99)),
            ("plain p50 ms", plain.percentile(50)),
            ("plain p99 ms", plain.percentile(99)),
            ("cpu us", ours.cpu_us()),
            ("plain cpu us", plain.cpu_us()),
        ],
    );
}
