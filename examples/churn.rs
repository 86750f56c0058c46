//! Nodes come and go at random while writes go on. Prints how long the overlay takes to be whole
//! again after each event, and how long a write takes to be everywhere.
//!
//! ```text
//! cargo run --example churn -- [SECONDS] [SEED]
//! ```
//!
//! Every node is whole: its own private PostgreSQL, its own overlay, in this process.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rand::{RngExt, SeedableRng, rngs::StdRng};
use starling::{
    api::{LinkState, Status},
    config::Config,
    node::{self, Ended, runtime_file::RuntimeFile},
};
use tokio::{sync::oneshot, task::JoinHandle};
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

const NODES_MIN: usize = 2;
const NODES_MAX: usize = 6;

/// Everything awaited takes far less, even on a small and busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

struct Member {
    name: String,
    stop: CancellationToken,
    file: RuntimeFile,
    store: Client,
    task: JoinHandle<anyhow::Result<Ended>>,
}

impl Member {
    async fn start(root: &Path, number: usize, contact: Option<&Self>) -> anyhow::Result<Self> {
        let name = format!("node-{number}");
        let mut config = Config::default();
        config.node.name.clone_from(&name);
        config.node.data_dir = root.join(&name);
        config.network.mdns = false;
        config.network.listen = vec!["/ip4/127.0.0.1/tcp/0".parse()?];
        if let Some(contact) = contact {
            config.network.bootstrap = vec![contact.file.listen[0].parse()?];
        }
        config.store.pg_listen = ([127, 0, 0, 1], 0).into();
        config.http.listen = ([127, 0, 0, 1], 0).into();
        let stop = CancellationToken::new();
        let (started, file) = oneshot::channel();
        let task = tokio::spawn(node::run(config, stop.clone(), started));
        let Ok(file) = file.await else {
            task.await??;
            anyhow::bail!("{name} ended at once");
        };
        let (store, connection) = tokio_postgres::connect(&file.store_url, NoTls).await?;
        tokio::spawn(connection);
        Ok(Self {
            name,
            stop,
            file,
            store,
            task,
        })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.task.await??;
        Ok(())
    }

    async fn leave(self) -> anyhow::Result<()> {
        let url = format!("http://{}/v1/leave", self.file.http);
        tokio::task::spawn_blocking(move || ureq::post(&url).send_empty()).await??;
        ensure!(self.task.await?? == Ended::Left);
        Ok(())
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let url = format!("http://{}/v1/status", self.file.http);
        tokio::task::spawn_blocking(move || Ok(ureq::get(&url).call()?.body_mut().read_json()?))
            .await?
    }

    /// Neighbours are members only, there is one at least, and data flows to and from each.
    async fn is_whole(&self, peers: &[&str]) -> anyhow::Result<bool> {
        let status = self.status().await?;
        let active = &status.overlay.active;
        let streaming = status
            .links
            .iter()
            .filter(|link| link.state == LinkState::Streaming)
            .count();
        Ok(!active.is_empty()
            && active
                .iter()
                .all(|neighbor| peers.contains(&neighbor.peer_id.as_str()))
            && streaming == 2 * active.len())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let length = Duration::from_secs(arguments.next().map_or(Ok(60), |text| text.parse())?);
    let seed = arguments
        .next()
        .map_or(Ok(rand::random()), |text| text.parse())?;
    println!("{} s of churn, seed {seed}", length.as_secs());
    let mut rng = StdRng::seed_from_u64(seed);
    let root = tempfile_dir()?;

    let mut members = vec![Member::start(&root, 1, None).await?];
    let (mut born, mut written) = (1, 0_i64);
    let started = Instant::now();
    while started.elapsed() < length || members.len() < NODES_MIN {
        let is_growing =
            members.len() <= NODES_MIN || (members.len() < NODES_MAX && rng.random_bool(0.5));
        let what = if is_growing {
            born += 1;
            let contact = &members[rng.random_range(..members.len())];
            let member = Member::start(&root, born, Some(contact)).await?;
            let what = format!("{} joined", member.name);
            members.push(member);
            what
        } else {
            let member = members.swap_remove(rng.random_range(..members.len()));
            let name = member.name.clone();
            if rng.random_bool(0.5) {
                member.leave().await?;
                format!("{name} left")
            } else {
                member.stop().await?;
                format!("{name} stopped")
            }
        };
        let writer = rng.random_range(..members.len());
        for _ in 0..rng.random_range(1..50) {
            members[writer]
                .store
                .execute("select crdv.counterInc('churn', 1)", &[])
                .await?;
            written += 1;
        }
        let converged = converged(&members, written).await?;
        let whole = whole(&members).await?;
        println!(
            "{what:20} {} nodes; all {written} writes everywhere after {:6.0} ms, overlay whole after {:6.0} ms",
            members.len(),
            converged.as_secs_f64() * 1e3,
            whole.as_secs_f64() * 1e3,
        );
    }
    for member in members {
        member.stop().await?;
    }
    std::fs::remove_dir_all(root)?;
    Ok(())
}

/// A folder that the user who runs the servers may enter.
fn tempfile_dir() -> anyhow::Result<std::path::PathBuf> {
    let root = std::env::temp_dir().join(format!("starling-churn-{}", std::process::id()));
    std::fs::create_dir(&root).with_context(|| format!("cannot make {}", root.display()))?;
    Ok(root)
}

async fn converged(members: &[Member], written: i64) -> anyhow::Result<Duration> {
    let started = Instant::now();
    for member in members {
        loop {
            let row = member
                .store
                .query_one("select crdv.counterGet('churn')", &[])
                .await?;
            if row.get::<_, Option<i64>>(0) == Some(written) {
                break;
            }
            ensure!(started.elapsed() < PATIENCE, "{} lacks writes", member.name);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    Ok(started.elapsed())
}

async fn whole(members: &[Member]) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let peers: Vec<&str> = members
        .iter()
        .map(|member| member.file.peer_id.as_str())
        .collect();
    for member in members {
        while members.len() > 1 && !member.is_whole(&peers).await? {
            ensure!(started.elapsed() < PATIENCE, "{} is not whole", member.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(started.elapsed())
}
