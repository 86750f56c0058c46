//! What befalls nodes.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;
use tokio::time::sleep;
use tokio_postgres::Client;

use super::flock::{Flock, Member, PRIVATE};
use crate::{
    harness::{
        process::{Node, earlier_build},
        server::set_standby,
    },
    hostile::{HOSTILE, list},
    restore::copy,
};

/// A kind of trouble. Clients go on writing meanwhile, if it is not said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Commits are in the WAL, and on their way, long before they are visible.
    Hang,
    /// A power cut.
    Crash,
    /// A service manager stops the node and starts it again.
    Stop,
    /// The controller stands still for a while.
    Freeze,
    /// A node leaves for good, and a new one joins.
    Leave,
    /// A copy of a machine runs beside it; then it becomes a node of its own, and leaves.
    Clone,
    /// A machine is put back to an earlier snapshot. Writers wait for peers to have what they wrote.
    Snapshot,
    /// The same with the store alone.
    Backup,
    /// A standby that lags takes the place of the user's server; likewise.
    Promotion,
    /// A dump is restored in place on the user's server; likewise.
    Dump,
    /// The user's server is started again below its node.
    Restart,
    /// Some settings are made that nobody should make.
    Settings,
}

impl Event {
    pub(super) const ALL: [Self; 12] = [
        Self::Hang,
        Self::Crash,
        Self::Stop,
        Self::Freeze,
        Self::Leave,
        Self::Clone,
        Self::Snapshot,
        Self::Backup,
        Self::Promotion,
        Self::Dump,
        Self::Restart,
        Self::Settings,
    ];
}

/// How long a node that leaves may take.
const LEAVE: [&str; 3] = ["leave", "--timeout", "50s"];

/// How many settings are made at once.
const SETTINGS: usize = 4;

impl Flock {
    /// Lets it happen; what went wrong, if something did at once.
    pub(super) async fn befall(&mut self, event: Event) -> Option<String> {
        let node = self.one();
        match event {
            Event::Hang => self.hang(node).await,
            Event::Crash => {
                self.members[node].node.kill();
                self.resume(node).await;
            }
            Event::Stop => {
                if let Some(wrong) = stopped(&mut self.members[node].node) {
                    return Some(wrong);
                }
                self.resume(node).await;
            }
            Event::Freeze => {
                let pause = Duration::from_millis(self.draw(500..6_000));
                self.members[node].node.signal(Signal::SIGSTOP);
                sleep(pause).await;
                self.members[node].node.signal(Signal::SIGCONT);
            }
            Event::Leave => return self.leave(node).await,
            Event::Clone => return self.copy_machine(node).await,
            Event::Snapshot => return self.put_back(node, "").await,
            Event::Backup => return self.put_back(node, "postgres").await,
            Event::Promotion => return self.promote().await,
            Event::Dump => return self.restore_dump().await,
            Event::Restart => {
                let mode = ["fast", "immediate"][usize::from(self.draw(0..2) == 0)];
                self.server.down(mode);
                self.server.up();
            }
            Event::Settings => self.set(node).await,
        }
        None
    }

    async fn resume(&mut self, node: usize) {
        let pause = Duration::from_millis(self.draw(0..1_500));
        sleep(pause).await;
        // Nothing is drawn in an ordinary run, or its seeds would play another course.
        if earlier_build().is_some() && self.draw(0..2) == 0 {
            self.members[node].node.upgrade();
        }
        self.members[node].node.resume();
        self.members[node].open().await;
    }

    async fn hang(&mut self, node: usize) {
        let stalled = Duration::from_millis(self.draw(100..3_000));
        let client = self.members[node].node.client().await;
        set_standby(&client, "'nobody'").await;
        sleep(stalled).await;
        set_standby(&client, "default").await;
    }

    async fn leave(&mut self, node: usize) -> Option<String> {
        let (code, _, stderr) = self.members[node].node.run(&LEAVE);
        if code != 0 {
            return Some(format!("leave ended with {code}: {stderr}"));
        }
        let ended = self.members[node].node.wait();
        let mut member = self.private().await;
        std::mem::swap(&mut self.members[node], &mut member);
        let Member { clients, .. } = member;
        self.disperse(clients).await;
        (ended != Some(0)).then(|| format!("a node that had left ended with {ended:?}"))
    }

    async fn copy_machine(&mut self, node: usize) -> Option<String> {
        let copied = self.name();
        let folder = self.path(&copied);
        let original = &mut self.members[node].node;
        if let Some(wrong) = stopped(original) {
            return Some(wrong);
        }
        copy(&original.data, &folder);
        original.resume();
        self.members[node].open().await;
        let contact = self.members[PRIVATE].node.bootstrap();
        let mut twin = self.members[node]
            .node
            .twin(&folder, &["--bootstrap", &contact]);
        let clients = self.clients(copied);
        clients.open(&twin.runtime().store_url).await;
        let pause = Duration::from_millis(self.draw(1_000..8_000));
        sleep(pause).await;

        if let Some(wrong) = stopped(&mut twin) {
            return Some(wrong);
        }
        fs::remove_file(twin.data.join("identity.key")).unwrap();
        twin.resume();
        clients.open(&twin.runtime().store_url).await;
        let pause = Duration::from_millis(self.draw(0..5_000));
        sleep(pause).await;
        let wrong = departed(&mut twin);
        self.disperse(clients).await;
        wrong
    }

    /// Puts a part of a node's folder back to what it was some seconds ago.
    async fn put_back(&mut self, node: usize, part: &str) -> Option<String> {
        let snapshot = self.path("snapshot");
        self.members[node].node.kill();
        let place = self.members[node].node.data.join(part);
        copy(&place, &snapshot);
        self.resume(node).await;
        let pause = Duration::from_millis(self.draw(500..6_000));
        sleep(pause).await;
        let lacks = self.hand_over(node).await;
        self.members[node].node.kill();
        copy(&snapshot, &place);
        self.resume(node).await;
        lacks
    }

    async fn promote(&mut self) -> Option<String> {
        let name = self.name();
        let standby = self.server.base_backup(&name);
        let pause = Duration::from_millis(self.draw(500..4_000));
        sleep(pause).await;
        let lacks = self.hand_over(PRIVATE).await;
        self.server.promote(standby);
        self.members[PRIVATE].open().await;
        lacks
    }

    async fn restore_dump(&mut self) -> Option<String> {
        let dump = self.server.dump();
        let pause = Duration::from_millis(self.draw(500..4_000));
        sleep(pause).await;
        let lacks = self.hand_over(PRIVATE).await;
        self.server.restore(&dump);
        self.members[PRIVATE].open().await;
        lacks
    }

    async fn set(&mut self, node: usize) {
        let place = [
            "alter database starling",
            "alter role starling",
            "alter system",
        ];
        let place = place[usize::try_from(self.draw(0..3)).unwrap()];
        let url = self.members[node].node.runtime().store_url.clone();
        let Some(client) = pinned(&url).await else {
            return;
        };
        for _ in 0..SETTINGS {
            let nth = self.draw(0..u64::try_from(HOSTILE.len()).unwrap());
            let (name, value) = HOSTILE[usize::try_from(nth).unwrap()];
            // One acknowledges what a crash may take back. Not every version knows each, nor may a server have
            // all of them.
            if name != "synchronous_commit" {
                let _ = client
                    .batch_execute(&format!("{place} set {name} = {}", list(name, value)))
                    .await;
            }
        }
        // Sessions, senders and apply workers begin anew with them.
        let renew = "select pg_reload_conf(); select pg_terminate_backend(pid) from pg_stat_activity
              where pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender', 'logical replication worker',
                'logical replication apply worker')";
        let _ = client.batch_execute(renew).await;
        let pause = Duration::from_millis(self.draw(1_000..5_000));
        sleep(pause).await;
        let client = pinned(&url).await.expect("a session");
        client
            .batch_execute(&format!("{place} reset all"))
            .await
            .unwrap();
        client.batch_execute(renew).await.unwrap();
    }
}

/// A session that depends on no setting of the server's.
async fn pinned(url: &str) -> Option<Client> {
    let store: starling::postgres::Conninfo = url.parse().unwrap();
    starling::postgres::open(&store).await.ok()
}

/// Asks a node to end; what was wrong with how it did.
fn stopped(node: &mut Node) -> Option<String> {
    let code = node.terminate();
    (code != Some(0)).then(|| format!("a node that was stopped ended with {code:?}"))
}

/// Lets a copy leave; what was wrong with how it did.
fn departed(twin: &mut Node) -> Option<String> {
    let (code, _, stderr) = twin.run(&LEAVE);
    if code != 0 {
        return Some(format!("leave of a copy ended with {code}: {stderr}"));
    }
    let ended = twin.wait();
    (ended != Some(0)).then(|| format!("a copy that had left ended with {ended:?}"))
}
