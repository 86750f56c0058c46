//! The demo's acts, one after the other.

use std::time::{Duration, Instant};

use anyhow::Context;
use futures::future::try_join_all;

use super::{
    Plan,
    flock::Flock,
    progress::{Progress, Stage, seconds},
    story::{self, VISITS_PER_ROUND},
    watch,
};
use crate::terminal::output::{plural, print};

/// Servers are made one `initdb` each, on a machine that may be small and busy.
const START_LIMIT: Duration = Duration::from_secs(180);
/// Everything else.
const LIMIT: Duration = Duration::from_secs(60);

/// What was shown, for the summary.
struct Acts<'a> {
    flock: &'a mut Flock,
    progress: &'a Progress,
    /// Increments acknowledged so far.
    visits: i64,
    times: Vec<(&'static str, Duration)>,
    /// When a node was killed.
    killed: Option<Instant>,
}

pub(super) async fn play(
    flock: &mut Flock,
    plan: &Plan,
    progress: &Progress,
) -> anyhow::Result<()> {
    progress.say(&format!(
        "A cluster of {} on this machine:",
        plural(plan.nodes, "node")
    ));
    let mut acts = Acts {
        flock,
        progress,
        visits: 0,
        times: Vec::new(),
        killed: None,
    };
    // Not the first one, through which the others joined at the start.
    let victim = plan.nodes / 2;
    acts.start(plan.nodes).await?;
    acts.link("join and link").await?;
    acts.write("write everywhere", 1).await?;
    acts.kill(victim).await?;
    acts.write("write meanwhile", 2).await?;
    acts.link("heal").await?;
    acts.revive(victim).await?;
    acts.write("write again", 3).await?;
    acts.summarise(plan.stay)
}

impl Acts<'_> {
    async fn start(&mut self, nodes: usize) -> anyhow::Result<()> {
        let stage = self
            .progress
            .begin("start the nodes, each with its own PostgreSQL", nodes);
        let started = self.flock.start_all(&stage, START_LIMIT).await;
        self.end("start", stage, started, |()| {
            format!("{} started", plural(nodes, "node"))
        })
    }

    async fn link(&mut self, name: &'static str) -> anyhow::Result<()> {
        let stage = self.progress.begin(name, 0);
        let linked = self.flock.linked(LIMIT).await;
        let since = self.killed.take().map(|killed| seconds(killed.elapsed()));
        self.end(name, stage, linked, |statuses| {
            let since = since.map(|time| format!(", {time} after the kill"));
            format!(
                "{}, {}, data flowing over each both ways{}",
                plural(statuses.len(), "node"),
                plural(watch::edges(&statuses), "neighbour relation"),
                since.unwrap_or_default()
            )
        })
    }

    /// Every node that is up writes at the same time; then all hold the same.
    async fn write(&mut self, name: &'static str, round: usize) -> anyhow::Result<()> {
        let stage = self.progress.begin(name, 0);
        let written = self.write_and_compare(round).await;
        self.end(name, stage, written, |(writers, operations, after)| {
            format!(
                "{} wrote; equal content ({}) on all {} after the last write",
                plural(writers, "node"),
                plural(operations, "operation"),
                seconds(after)
            )
        })
    }

    async fn write_and_compare(&mut self, round: usize) -> anyhow::Result<(usize, u64, Duration)> {
        let stores = self.flock.connect().await?;
        let names: Vec<String> = self.flock.up().map(|member| member.name.clone()).collect();
        let writing = stores.iter().zip(&names);
        try_join_all(writing.map(|(store, name)| story::write(store, name, round))).await?;
        let written = Instant::now();
        self.visits += VISITS_PER_ROUND * i64::try_from(names.len())?;
        let operations = self.flock.equal(self.visits, LIMIT).await?;
        Ok((names.len(), operations, written.elapsed()))
    }

    async fn kill(&mut self, victim: usize) -> anyhow::Result<()> {
        let name = self.flock.members[victim].name.clone();
        let stage = self
            .progress
            .begin(&format!("kill -9 {name} and its server"), 0);
        let gone = self.kill_and_detect(victim).await;
        self.end("kill and detect", stage, gone, |()| {
            format!("{name} and its server killed with -9; the others have noticed")
        })
    }

    async fn kill_and_detect(&mut self, victim: usize) -> anyhow::Result<()> {
        // Before the kill: of a node that is down nothing is known any more.
        let peer_id = self.flock.members[victim].file()?.peer_id.clone();
        self.flock.members[victim].kill().await?;
        self.killed = Some(Instant::now());
        watch::until("the others to notice", LIMIT, async || {
            let Some(statuses) = self.flock.statuses().await? else {
                return Ok(None);
            };
            let noticed = statuses.iter().all(|status| {
                status
                    .overlay
                    .active
                    .iter()
                    .all(|neighbor| neighbor.peer_id != peer_id)
            });
            Ok(noticed.then_some(()))
        })
        .await
    }

    async fn revive(&mut self, victim: usize) -> anyhow::Result<()> {
        let name = self.flock.members[victim].name.clone();
        let stage = self.progress.begin(&format!("start {name} again"), 0);
        let back = self.start_and_compare(victim).await;
        self.end("come back", stage, back, |operations| {
            format!(
                "{name} is back, linked, and has all {}",
                plural(operations, "operation")
            )
        })
    }

    async fn start_and_compare(&mut self, victim: usize) -> anyhow::Result<u64> {
        self.flock.start(victim)?;
        self.flock.members[victim].started(START_LIMIT).await?;
        self.flock.linked(LIMIT).await?;
        self.flock.equal(self.visits, LIMIT).await
    }

    /// Shows how an act ended, and remembers its time.
    fn end<T>(
        &mut self,
        name: &'static str,
        stage: Stage,
        result: anyhow::Result<T>,
        tell: impl FnOnce(T) -> String,
    ) -> anyhow::Result<()> {
        match result {
            Ok(value) => {
                self.times.push((name, stage.done(&tell(value))));
                Ok(())
            }
            Err(error) => {
                stage.failed();
                Err(error).with_context(|| format!("`{name}` did not work"))
            }
        }
    }

    /// What a person takes away, on standard output.
    fn summarise(&mut self, stays: bool) -> anyhow::Result<()> {
        let mut text = "\nEverything worked.\n\n".to_owned();
        for (name, took) in &self.times {
            text.push_str(&format!("  {name:<16} {:>8}\n", seconds(*took)));
        }
        // Of nodes that are about to be stopped no address is of use.
        if !stays {
            return print(&text);
        }
        text.push_str("\nEvery node takes reads and writes. A shell on each:\n\n");
        let mut first = None;
        for member in self.flock.up() {
            let file = member.file()?;
            text.push_str(&format!("  {:<8} psql '{}'\n", member.name, file.store_url));
            first.get_or_insert(file.http);
        }
        text.push_str(
            "\nTry   select counterInc('visits', 1);   on one\n\
             and   select counterGet('visits');      on another.\n",
        );
        if let Some(http) = first {
            text.push_str(&format!(
                "\nThe cluster as the first node sees it: http://{http}/\n\
                 or  starling nodes --http {http}\n"
            ));
        }
        print(&text)
    }
}
