//! What the store takes: writes and reads of every structure, bulk writes, applying, and space.
//!
//! One private server on this machine. In each measurement the store takes turns with plain tables
//! of the same shape in the same database, in short rounds (A B A B ...), and the ratio is the median
//! over the rounds: what else the machine does hits both alike. Beside the wall clock stands the CPU
//! time of the server with all its processes, which others disturb less.
//!
//! `cargo bench --bench store` prints tables; with `-- --json` one JSON object; with `-- --quick`
//! fewer elements and shorter rounds, which is good for a look and not for a verdict.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a program to look at"
)]

mod apply;
mod bulk;
mod calls;
mod cpu;
mod fill;
mod report;
mod rounds;
mod server;
mod space;

use std::time::Duration;

use report::Report;
use server::Server;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// Elements in the store, in turn.
    sizes: [i64; 2],
    /// Concurrent writers, in turn.
    clients: &'static [usize],
    /// Rounds of each side, and how long one lasts.
    rounds: usize,
    round: Duration,
    /// Operations in one bulk transaction.
    bulk: i64,
    /// Operations that wait for the apply worker.
    backlog: i64,
}

const FULL: Scale = Scale {
    sizes: [1_000, 1_000_000],
    clients: &[1, 4, 16],
    rounds: 5,
    round: Duration::from_millis(250),
    bulk: 10_000,
    backlog: 20_000,
};

const QUICK: Scale = Scale {
    sizes: [1_000, 20_000],
    clients: &[1, 4],
    rounds: 3,
    round: Duration::from_millis(100),
    bulk: 2_000,
    backlog: 2_000,
};

#[tokio::main]
async fn main() {
    let has = |flag: &str| std::env::args().any(|argument| argument == flag);
    let scale = if has("--quick") { QUICK } else { FULL };
    let mut report = Report::default();
    let server = Server::start().await;
    for elements in scale.sizes {
        eprintln!("{elements} elements: filling");
        let store = server.store(elements).await;
        fill::fill(&store).await;
        space::measure(&store, "filled", &mut report).await;
        eprintln!("{elements} elements: applying");
        apply::measure(&server, &store, scale, &mut report).await;
        eprintln!("{elements} elements: reading");
        for call in calls::READS {
            rounds::measure(&store, call, "reads", 4, scale, &mut report).await;
        }
        eprintln!("{elements} elements: writing");
        for &clients in scale.clients {
            for call in calls::WRITES {
                rounds::measure(&store, call, "writes", clients, scale, &mut report).await;
            }
        }
        eprintln!("{elements} elements: writing in bulk");
        bulk::measure(&store, scale, &mut report).await;
        space::measure(&store, "churned", &mut report).await;
        fill::vacuum(&store).await;
        space::measure(&store, "vacuumed", &mut report).await;
    }
    server.stop().await;
    if has("--json") {
        println!("{}", report.json());
    } else {
        report.print();
    }
}
