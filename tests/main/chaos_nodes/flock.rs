//! The nodes, their clients, and the server of the user's that one of them has its store on.

use std::{ops::Range, path::PathBuf};

use rand::{RngExt as _, rngs::StdRng};
use starling::api::NodeState;
use tempfile::TempDir;
use tokio::time::{Duration, Instant, sleep};

use super::{Sabotage, clients::Clients};
use crate::{
    foreign::Foreign,
    harness::process::{DEBUG_LOG, Node, PATIENCE, SHORT_GRACE, earlier_build, eventually, folder},
};

/// Nodes with private servers. One more has its store on a server of the user's.
pub(super) const PRIVATE: usize = 3;

/// A node and those who write at it.
pub(super) struct Member {
    pub(super) node: Node,
    pub(super) clients: Clients,
}

impl Member {
    pub(super) async fn open(&self) {
        self.clients.open(&self.node.runtime().store_url).await;
    }
}

/// Dropped in this order: controllers before the server that one of them uses.
pub(super) struct Flock {
    /// The private ones, then the one on the user's server.
    pub(super) members: Vec<Member>,
    pub(super) server: Foreign,
    pub(super) root: TempDir,
    rng: StdRng,
    sabotage: Option<Sabotage>,
    /// What clients of nodes that are gone were told is done.
    acknowledged: Vec<String>,
    /// How many nodes and copies there have been: names are not used again.
    made: u32,
}

impl Flock {
    pub(super) async fn start(rng: StdRng, sabotage: Option<Sabotage>) -> Self {
        let root = folder();
        let server = Foreign::start(root.path()).await;
        let mut flock = Self {
            members: Vec::new(),
            server,
            root,
            rng,
            sabotage,
            acknowledged: Vec::new(),
            made: 0,
        };
        for _ in 0..PRIVATE {
            let member = flock.private().await;
            flock.members.push(member);
        }
        let url = flock.server.url();
        let member = flock.member(&["--postgres", &url]).await;
        flock.members.push(member);
        flock
    }

    pub(super) fn draw(&mut self, range: Range<u64>) -> u64 {
        self.rng.random_range(range)
    }

    /// Which of the nodes with private servers something happens to.
    pub(super) fn one(&mut self) -> usize {
        self.rng.random_range(0..PRIVATE)
    }

    pub(super) fn name(&mut self) -> String {
        self.made += 1;
        format!("n{}", self.made)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A new node with a private server, and clients that write there already.
    pub(super) async fn private(&mut self) -> Member {
        self.member(&[]).await
    }

    async fn member(&mut self, how: &[&str]) -> Member {
        let name = self.name();
        let contact = self.members.last().map(|member| member.node.bootstrap());
        let join = contact.iter().flat_map(|address| ["--bootstrap", address]);
        let arguments: Vec<_> = ["--name", &name].into_iter().chain(join).collect();
        let arguments = [&arguments, SHORT_GRACE, DEBUG_LOG, how].concat();
        // A campaign with an earlier build has nodes of both, and upgrades one when it starts again.
        let node = match earlier_build().filter(|_| self.rng.random()) {
            Some(program) => Node::start_program(program, &self.path(&name), &arguments),
            None => Node::start(&self.path(&name), &arguments),
        };
        if let Some(Sabotage(sql)) = self.sabotage {
            node.client().await.batch_execute(sql).await.unwrap();
        }
        let clients = self.clients(name);
        let member = Member { node, clients };
        member.open().await;
        member
    }

    pub(super) fn clients(&mut self, name: String) -> Clients {
        let seed = self.draw(0..u64::MAX / 2);
        Clients::gather(name, seed)
    }

    pub(super) async fn disperse(&mut self, clients: Clients) {
        let acknowledged = clients.disperse().await;
        self.acknowledged.extend(acknowledged);
    }

    /// Nobody writes at a node any more, and another one has all that was acknowledged there; what it lacks, if it
    /// does not get all of it.
    pub(super) async fn hand_over(&self, of: usize) -> Option<String> {
        let clients = &self.members[of].clients;
        clients.shut().await;
        let tokens = clients.acknowledged.lock().unwrap().clone();
        let peer = &self.members[(of + 1) % self.members.len()].node;
        let client = peer.client().await;
        let sql = "select count(distinct key) from crdv.element
                    where type = 's' and id = 'log' and op = 'a' and key = any($1)";
        let since = Instant::now();
        loop {
            let row = client.query_one(sql, &[&tokens]).await.unwrap();
            let here = usize::try_from(row.get::<_, i64>(0)).unwrap();
            if here == tokens.len() {
                return None;
            }
            if since.elapsed() > PATIENCE {
                let lacks = tokens.len() - here;
                return Some(format!(
                    "a peer lacks {lacks} of what {} acknowledged",
                    clients.name
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Nothing happens any more: the nodes once they are well, and all that was acknowledged at any time.
    pub(super) async fn calm(mut self) -> (Self, Vec<String>) {
        for member in &mut self.members {
            let is_ready = async || {
                let status = member.node.status();
                status.is_some_and(|status| status.node.state == NodeState::Ready)
            };
            eventually("a node is ready", is_ready).await;
        }
        let mut acknowledged = std::mem::take(&mut self.acknowledged);
        for member in &mut self.members {
            let clients = std::mem::replace(&mut member.clients, Clients::nobody());
            acknowledged.extend(clients.disperse().await);
        }
        (self, acknowledged)
    }

    pub(super) fn nodes(&self) -> Vec<&Node> {
        self.members.iter().map(|member| &member.node).collect()
    }
}
