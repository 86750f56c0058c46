//! What a cluster takes as it grows: converged operations per second, CPU per operation, latency until a write is
//! visible everywhere. Real nodes as processes of their own, each with its server, all on this machine.
//!
//! `cargo bench --bench scale` prints a table; `-- --stores 4,10 --modes tree,flood --rounds 3 --seconds 10` say
//! what is measured. `--earlier PROGRAM` measures another build beside this one, in mode `earlier`. Clusters of
//! one size take turns and exist side by side: compare ratios of one run.

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    reason = "a program to look at, made of the tests' parts"
)]

#[path = "../tests/main/harness/process.rs"]
mod process;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Parser;
use process::Node;
use starling::api::{Direction, LinkState};
use tokio::{task::JoinSet, time::sleep};
use tokio_postgres::Client;

/// Clients that write at the same time, over all stores.
const CLIENTS: usize = 20;
/// No cluster takes longer to settle or to converge.
const PATIENCE: Duration = Duration::from_secs(300);
/// Between two looks whether a write has arrived: what a latency is exact to.
const LOOK: Duration = Duration::from_millis(3);
/// Writes per second of the two latencies.
const PACES: [u32; 2] = [20, 100];

#[derive(Parser)]
struct Arguments {
    /// Sizes of clusters.
    #[arg(long, value_delimiter = ',', default_value = "4,10")]
    stores: Vec<usize>,
    /// `tree`, `flood`, `earlier`.
    #[arg(long, value_delimiter = ',', default_value = "tree,flood")]
    modes: Vec<String>,
    /// How often each cluster is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long clients write, each time.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Another build, for the mode `earlier`.
    #[arg(long)]
    earlier: Option<PathBuf>,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

struct Cluster {
    nodes: Vec<Node>,
    /// Where the counter stands once all has arrived.
    sum: i64,
}

/// One measurement, by name.
type Figures = BTreeMap<&'static str, f64>;

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    for count in &arguments.stores {
        let root = process::folder();
        let mut clusters: Vec<(String, Cluster)> = Vec::new();
        for mode in &arguments.modes {
            let cluster = Cluster::start(&root.path().join(mode), *count, mode, &arguments).await;
            clusters.push((mode.clone(), cluster));
        }
        let mut all: BTreeMap<String, Vec<Figures>> = BTreeMap::new();
        for _ in 0..arguments.rounds {
            for (mode, cluster) in &mut clusters {
                let figures = cluster
                    .measure(Duration::from_secs(arguments.seconds))
                    .await;
                println!("{count} stores, {mode}: {figures:?}");
                all.entry(mode.clone()).or_default().push(figures);
            }
        }
        for (mode, figures) in &all {
            println!("{count} stores, {mode}, medians: {:?}", medians(figures));
        }
    }
}

fn medians(all: &[Figures]) -> Figures {
    let names = all.first().into_iter().flat_map(BTreeMap::keys);
    names
        .map(|name| {
            let mut values: Vec<f64> = all.iter().filter_map(|it| it.get(name).copied()).collect();
            values.sort_by(f64::total_cmp);
            (
                *name,
                values.get(values.len() / 2).copied().unwrap_or_default(),
            )
        })
        .collect()
}

impl Cluster {
    async fn start(root: &Path, count: usize, mode: &str, arguments: &Arguments) -> Self {
        fs::create_dir_all(root).unwrap();
        let mut nodes: Vec<Node> = Vec::new();
        for number in 0..count {
            let mut more = vec!["--cluster".to_owned(), mode.to_owned()];
            if mode != "earlier" {
                more.extend(["--dissemination".to_owned(), mode.to_owned()]);
            }
            if let Some(first) = nodes.first() {
                more.extend(["--bootstrap".to_owned(), first.bootstrap()]);
            }
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            let data = root.join(number.to_string());
            let node = match &arguments.earlier {
                Some(program) if mode == "earlier" => {
                    Node::start_program(program.clone(), &data, &more)
                }
                _ => Node::start(&data, &more),
            };
            nodes.push(node);
        }
        let cluster = Self { nodes, sum: 0 };
        cluster.settle().await;
        cluster
    }

    /// Waits until no link changes any more.
    async fn settle(&self) {
        let began = Instant::now();
        let mut quiet = 0;
        let mut before = Vec::new();
        // Links of a tree are chosen anew for some seconds after the last node came.
        while quiet < 5 {
            assert!(began.elapsed() < PATIENCE, "the cluster does not settle");
            sleep(Duration::from_secs(2)).await;
            let now: Vec<Vec<String>> = self.nodes.iter().map(links).collect();
            let is_calm = now
                .iter()
                .flatten()
                .all(|link| link.starts_with("streaming") || link.starts_with("lazy"));
            quiet = if is_calm && now == before {
                quiet + 1
            } else {
                0
            };
            before = now;
        }
    }

    async fn measure(&mut self, load: Duration) -> Figures {
        let mut figures = Figures::new();
        self.throughput(load, &mut figures).await;
        for pace in PACES {
            self.latency(pace, load, &mut figures).await;
        }
        let streaming = self.nodes.iter().flat_map(links);
        let streaming = streaming.filter(|link| link.starts_with("streaming in"));
        figures.insert("links", streaming.count() as f64);
        figures
    }

    async fn throughput(&mut self, load: Duration, figures: &mut Figures) {
        let cpu = self.cpu();
        let began = Instant::now();
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = self.nodes[number % self.nodes.len()].client().await;
            clients.spawn(async move {
                let statement = client
                    .prepare("select crdv.counterInc('c', 1)")
                    .await
                    .unwrap();
                let mut written = 0_i64;
                while began.elapsed() < load {
                    client.execute(&statement, &[]).await.unwrap();
                    written += 1;
                }
                written
            });
        }
        let mut written = 0;
        while let Some(one) = clients.join_next().await {
            written += one.unwrap();
        }
        let last = Instant::now();
        self.sum += written;
        for node in &self.nodes {
            let client = node.client().await;
            while value(&client).await < self.sum {
                assert!(last.elapsed() < PATIENCE, "it does not converge");
                sleep(LOOK).await;
            }
        }
        let whole = began.elapsed().as_secs_f64();
        figures.insert("converged ops/s", written as f64 / whole);
        figures.insert(
            "written ops/s",
            written as f64 / (last - began).as_secs_f64(),
        );
        figures.insert("behind s", last.elapsed().as_secs_f64());
        let cpu = (self.cpu() - cpu) * 1_000.0;
        figures.insert("cpu ms/op", cpu / written as f64);
        let stores = self.nodes.len() as f64;
        figures.insert("cpu ms/op/store", cpu / written as f64 / stores);
    }

    /// Writes at one store, at a steady pace; how long each write takes until it is on all.
    async fn latency(&mut self, pace: u32, load: Duration, figures: &mut Figures) {
        let writer = self.nodes[0].client().await;
        let writes = i64::from(pace) * i64::try_from(load.as_secs()).unwrap();
        let target = self.sum + writes;
        let began = Instant::now();
        let mut watchers = JoinSet::new();
        for node in &self.nodes {
            let client = node.client().await;
            let mut seen = self.sum;
            watchers.spawn(async move {
                let mut arrivals = Vec::new();
                while seen < target && began.elapsed() < PATIENCE {
                    let now = value(&client).await;
                    for _ in seen..now {
                        arrivals.push(began.elapsed());
                    }
                    seen = seen.max(now);
                    sleep(LOOK).await;
                }
                arrivals
            });
        }
        let mut written = Vec::new();
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / pace);
        let statement = writer
            .prepare("select crdv.counterInc('c', 1)")
            .await
            .unwrap();
        for _ in 0..writes {
            ticks.tick().await;
            written.push(began.elapsed());
            writer.execute(&statement, &[]).await.unwrap();
        }
        self.sum = target;
        let mut everywhere = vec![Duration::ZERO; written.len()];
        while let Some(arrivals) = watchers.join_next().await {
            for (last, arrival) in everywhere.iter_mut().zip(arrivals.unwrap()) {
                *last = (*last).max(arrival);
            }
        }
        let mut delays: Vec<f64> = everywhere
            .iter()
            .zip(&written)
            .map(|(arrived, written)| arrived.saturating_sub(*written).as_secs_f64() * 1_000.0)
            .collect();
        delays.sort_by(f64::total_cmp);
        let at = |percent: usize| delays[(delays.len() - 1) * percent / 100];
        let names = if pace == PACES[0] {
            ["20/s p50 ms", "20/s p99 ms"]
        } else {
            ["100/s p50 ms", "100/s p99 ms"]
        };
        figures.insert(names[0], at(50));
        figures.insert(names[1], at(99));
    }

    /// Seconds of CPU that the controllers and the servers have taken so far.
    fn cpu(&self) -> f64 {
        let mut processes: Vec<(u32, u32, f64, f64)> = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse() else {
                continue;
            };
            let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else {
                continue;
            };
            // After the name, which may hold anything.
            let Some((_, rest)) = stat.rsplit_once(") ") else {
                continue;
            };
            let fields: Vec<f64> = rest
                .split(' ')
                .map(|field| field.parse().unwrap_or_default())
                .collect();
            let parent = rest.split(' ').nth(1).and_then(|it| it.parse().ok());
            let Some(parent) = parent else { continue };
            let (own, waited) = (fields[11] + fields[12], fields[13] + fields[14]);
            processes.push((pid, parent, own, waited));
        }
        let ticks: f64 = self
            .nodes
            .iter()
            .map(|node| {
                let server = postmaster(&node.data);
                let controller = node.runtime().pid;
                processes
                    .iter()
                    .map(|(pid, parent, own, waited)| {
                        if Some(*pid) == server {
                            // Of its children those that have ended are counted with it.
                            own + waited
                        } else if Some(*pid) == controller || Some(*parent) == server {
                            *own
                        } else {
                            0.0
                        }
                    })
                    .sum::<f64>()
            })
            .sum();
        // Every Linux that Rust runs on counts hundredths here.
        ticks / 100.0
    }
}

async fn value(client: &Client) -> i64 {
    let row = client.query_one("select crdv.counterGet('c')", &[]).await;
    row.ok()
        .and_then(|row| row.get::<_, Option<i64>>(0))
        .unwrap_or_default()
}

fn links(node: &Node) -> Vec<String> {
    let Some(status) = node.status() else {
        return vec!["no answer".to_owned()];
    };
    let line = |link: &starling::api::LinkStatus| {
        let way = match link.direction {
            Direction::In => "in",
            Direction::Out => "out",
        };
        format!("{} {way} {}", LinkState::name(link.state), link.peer_id)
    };
    let mut lines: Vec<String> = status.links.iter().map(line).collect();
    lines.sort();
    lines
}

/// The server's first process.
fn postmaster(data: &Path) -> Option<u32> {
    let text = fs::read_to_string(data.join("postgres/data/postmaster.pid")).ok()?;
    text.lines().next()?.parse().ok()
}
