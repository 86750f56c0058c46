//! All nodes of the demo, and the directory they live in.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use futures::future::try_join_all;
use tokio::time::sleep;
use tokio_postgres::Client;
use tracing::warn;

use super::{Plan, member::Member, progress::Stage, story, watch};
use crate::api::Status;

/// How often the nodes are looked after while nothing is asked of them.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// The nodes.
#[derive(Debug)]
pub(super) struct Flock {
    pub(super) members: Vec<Member>,
    /// Held for its end: removes what is not to be kept, after the members are gone.
    _dir: Dir,
    program: PathBuf,
    flags: Vec<String>,
}

impl Flock {
    /// Makes the directory; nothing runs yet.
    pub(super) fn prepare(plan: &Plan) -> anyhow::Result<Self> {
        let dir = Dir::create(plan.keep.as_deref())?;
        let members = (1..=plan.nodes)
            .map(|number| Member::new(&dir.path, number))
            .collect();
        // A name of its own, so that it never meets another cluster.
        let mut flags = vec![
            "--cluster".to_owned(),
            format!("demo-{}", std::process::id()),
        ];
        if let Some(pg_bin) = &plan.pg_bin {
            flags.extend(["--pg-bin".to_owned(), pg_bin.display().to_string()]);
        }
        Ok(Self {
            members,
            _dir: dir,
            program: plan.program.clone(),
            flags,
        })
    }

    /// Starts one node, with the others that are up to join through.
    pub(super) fn start(&mut self, index: usize) -> anyhow::Result<()> {
        let mut flags = self.flags.clone();
        for member in self.members.iter().filter(|member| member.is_up()).take(2) {
            if let Some(address) = member.file()?.listen.first() {
                flags.extend(["--bootstrap".to_owned(), address.clone()]);
            }
        }
        self.members[index].start(&self.program, &flags)
    }

    /// Starts all: the first alone, the others at once, through it.
    pub(super) async fn start_all(&mut self, stage: &Stage, limit: Duration) -> anyhow::Result<()> {
        // Its port is known once it is up, and without mDNS there is nobody else to join through.
        self.start(0)?;
        self.members[0].started(limit).await?;
        stage.at(1);
        for index in 1..self.members.len() {
            self.start(index)?;
        }
        for index in 1..self.members.len() {
            self.members[index].started(limit).await?;
            stage.at(index + 1);
        }
        Ok(())
    }

    /// Those that are up.
    pub(super) fn up(&mut self) -> impl Iterator<Item = &mut Member> {
        self.members.iter_mut().filter(|member| member.is_up())
    }

    /// What those that are up say of themselves; `None` when one does not answer.
    pub(super) async fn statuses(&mut self) -> anyhow::Result<Option<Vec<Status>>> {
        Ok(try_join_all(self.up().map(Member::status))
            .await?
            .into_iter()
            .collect())
    }

    /// Waits until those that are up form one overlay with data flowing over every edge.
    pub(super) async fn linked(&mut self, limit: Duration) -> anyhow::Result<Vec<Status>> {
        let mut lacking = None;
        let linked = watch::until("all nodes to be linked", limit, async || {
            let Some(statuses) = self.statuses().await? else {
                return Ok(None);
            };
            lacking = watch::missing(&statuses);
            Ok(lacking.is_none().then_some(statuses))
        })
        .await;
        linked.with_context(|| lacking.unwrap_or_default())
    }

    /// A connection to each store that is up.
    pub(super) async fn connect(&mut self) -> anyhow::Result<Vec<Client>> {
        try_join_all(self.up().map(|member| member.connect())).await
    }

    /// Waits until all stores that are up hold the same, and `visits` as counted.
    pub(super) async fn equal(&mut self, visits: i64, limit: Duration) -> anyhow::Result<u64> {
        let stores = self.connect().await?;
        let what = format!(
            "{} stores to hold the same, and {visits} visits",
            stores.len()
        );
        watch::until(&what, limit, async || {
            let contents = try_join_all(stores.iter().map(story::content)).await?;
            let same = contents.windows(2).all(|pair| pair[0] == pair[1]);
            // That they are equal is not enough: what all of them have lost they lack alike.
            let first = contents
                .first()
                .filter(|first| same && first.visits == visits);
            Ok(first.map(|content| content.operations))
        })
        .await
    }

    /// Returns the name of the first node that ends by itself.
    pub(super) async fn first_death(&mut self) -> String {
        loop {
            for member in &mut self.members {
                if member.check_alive().is_err() {
                    return member.name.clone();
                }
            }
            sleep(LOOK_AFTER).await;
        }
    }

    /// Stops all; returns how many had to be killed.
    pub(super) async fn stop(&mut self) -> usize {
        // All are asked before one is waited for: their servers shut down side by side.
        for member in &mut self.members {
            member.ask_to_stop();
        }
        let mut cut = 0;
        for member in &mut self.members {
            cut += usize::from(!member.stopped().await);
        }
        cut
    }
}

/// Where the nodes live.
#[derive(Debug)]
struct Dir {
    path: PathBuf,
    keep: bool,
}

impl Dir {
    fn create(keep: Option<&Path>) -> anyhow::Result<Self> {
        let path = match keep {
            Some(path) => std::path::absolute(path)?,
            None => std::env::temp_dir().join(format!("starling-demo-{}", std::process::id())),
        };
        let what = || format!("cannot use {}", path.display());
        let fresh = match fs::DirBuilder::new().mode(0o755).create(&path) {
            Ok(()) => true,
            Err(_) if keep.is_some() && path.is_dir() => false,
            Err(error) => return Err(error).with_context(what),
        };
        if fs::read_dir(&path).with_context(what)?.next().is_some() {
            bail!("{} is not empty; name a new directory", path.display());
        }
        if fresh {
            // Whatever the umask: when root starts us, the servers run as another user and have to
            // get through here. What is secret is in folders of their own.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).with_context(what)?;
        }
        Ok(Self {
            path,
            keep: keep.is_some(),
        })
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            warn!(dir = %self.path.display(), %error, "temporary directory not removed");
        }
    }
}
