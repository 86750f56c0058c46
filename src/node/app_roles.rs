//! The login roles of applications: what is known, written down, and brought to the store's server.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle};
use tracing::{debug, info, warn};

use super::part::{Context, Effect, Event, Part};
use crate::{
    api::{AppRole, AppRoleState},
    directory::roles::{RoleChange, RoleError, RoleName, RoleRecord, Roles, Verifier},
    files,
    identity::NodeId,
    postgres::{self, Conninfo},
    store::{self, RoleStanding, WantedRole},
    unix_time,
};

/// How often the server is compared with what is known: somebody may have changed a role there.
const LOOK: Duration = Duration::from_secs(30);

/// After a server that could not be asked.
const RETRY: Duration = Duration::from_secs(3);

/// For all roles together; a lock that somebody holds on a catalogue must not end it for good.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// How the roles stand on the server, as far as that is known, each with the record that it is about.
type Standings = BTreeMap<RoleName, (RoleRecord, RoleStanding)>;

/// What is written down.
#[derive(Debug, Serialize, Deserialize)]
struct Book {
    cluster: String,
    roles: Vec<RoleRecord>,
}

/// What this node knows of the roles.
#[derive(Debug)]
pub(super) struct AppRoles {
    me: NodeId,
    cluster: String,
    path: PathBuf,
    roles: Roles,
    wanted: watch::Sender<Vec<RoleRecord>>,
    standings: Arc<Mutex<Standings>>,
}

impl AppRoles {
    /// Knows what was written down in `data_dir` before.
    pub(super) fn open(data_dir: &Path, me: &NodeId, cluster: &str) -> Self {
        let path = data_dir.join("app-roles.json");
        let roles = Roles::new(read(&path, cluster));
        Self {
            me: me.clone(),
            cluster: cluster.to_owned(),
            wanted: watch::Sender::new(roles.records()),
            path,
            roles,
            standings: Arc::default(),
        }
    }

    /// All that there is to tell a neighbour; nothing if nobody ever made a role.
    pub(super) fn records(&self) -> Vec<RoleRecord> {
        self.roles.records()
    }

    /// How each role stands on this node's server; `None` while that is not known.
    fn list(&self) -> Vec<(RoleRecord, Option<RoleStanding>)> {
        let standings = self
            .standings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let standing = |record: &RoleRecord| {
            let (about, standing) = standings.get(&record.name)?;
            // What is known may be about a record that another has replaced since.
            (about == record).then(|| standing.clone())
        };
        let all = self.roles.records().into_iter();
        all.map(|record| {
            let standing = standing(&record);
            (record, standing)
        })
        .collect()
    }

    /// The same for a client.
    pub(super) fn describe(&self) -> Vec<AppRole> {
        let roles = self.list().into_iter().map(|(record, standing)| {
            let is_removed = record.verifier.is_none();
            let (state, reason) = match standing {
                Some(RoleStanding::Refused(why)) => (AppRoleState::Refused, Some(why)),
                Some(_) if is_removed => (AppRoleState::Removed, None),
                Some(_) => (AppRoleState::Here, None),
                None if is_removed => (AppRoleState::Removing, None),
                None => (AppRoleState::Waiting, None),
            };
            AppRole {
                name: record.name.to_string(),
                state,
                reason,
                changed_by: record.author.to_string(),
            }
        });
        roles.collect()
    }

    /// Does what a client asks for.
    pub(super) fn change(&mut self, name: RoleName, change: RoleChange) -> Result<(), RoleError> {
        let now = unix_time::now_milliseconds();
        info!(role = %name, ?change, "application role");
        self.roles.change(name, change, &self.me, now)?;
        self.changed();
        Ok(())
    }

    /// Takes in what a neighbour knows; `true` if that is news.
    fn hear(&mut self, from: &NodeId, records: Vec<RoleRecord>) -> bool {
        let refused = self.roles.refused();
        let changed = self.roles.merge(records, unix_time::now_milliseconds());
        let refused = self.roles.refused() - refused;
        if refused > 0 {
            warn!(%from, refused, "application roles of a peer are refused");
        }
        if changed {
            self.changed();
        }
        changed
    }

    /// Compares roles with all neighbours. Who knows none waits to be told.
    pub(super) fn share(&self, context: &Context<'_>) -> Vec<Effect> {
        let peers = context.overlay.peers();
        peers.filter_map(|peer| self.share_with(peer)).collect()
    }

    fn share_with(&self, peer: &NodeId) -> Option<Effect> {
        let records = self.roles.records();
        (!records.is_empty()).then(|| Effect::ShareRoles(peer.clone(), records))
    }

    fn changed(&self) {
        let book = Book {
            cluster: self.cluster.clone(),
            roles: self.roles.records(),
        };
        let written = serde_json::to_vec_pretty(&book)
            .map_err(Into::into)
            .and_then(|text| files::replace(&self.path, &text));
        if let Err(error) = written {
            let path = self.path.display();
            warn!(%path, %error, "cannot write the application roles");
        }
        self.wanted.send_replace(book.roles);
    }

    /// Brings the roles to the server for as long as the result lives.
    pub(super) fn keep(&self, server: Conninfo) -> RoleKeeper {
        let (server, place) = watch::channel(server);
        let work = Work {
            cluster: self.cluster.clone(),
            wanted: self.wanted.subscribe(),
            server: place,
            standings: Arc::clone(&self.standings),
        };
        RoleKeeper {
            server,
            task: tokio::spawn(work.run()),
        }
    }
}

impl Part for AppRoles {
    fn on(&mut self, event: &Event, context: &Context<'_>) -> Vec<Effect> {
        match event {
            Event::NeighborUp(peer) => self.share_with(peer).into_iter().collect(),
            Event::Heartbeat { exchange: true, .. } => self.share(context),
            // Roles are not broadcast: what is news here has to be passed on.
            Event::Roles(from, records) if self.hear(from, records.clone()) => self.share(context),
            _ => Vec::new(),
        }
    }
}

/// What cannot be read is told by others, as far as they know it. Another cluster's roles are its own.
fn read(path: &Path, cluster: &str) -> Vec<RoleRecord> {
    let read = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        read => read.and_then(|text| Ok(serde_json::from_slice::<Book>(&text)?)),
    };
    match read {
        Ok(book) if book.cluster == cluster => book.roles,
        Ok(_) => Vec::new(),
        Err(error) => {
            warn!(path = %path.display(), %error, "the application roles cannot be read");
            Vec::new()
        }
    }
}

/// Brings roles to a server until it is dropped.
#[derive(Debug)]
pub(super) struct RoleKeeper {
    server: watch::Sender<Conninfo>,
    task: JoinHandle<()>,
}

impl RoleKeeper {
    /// The server is to be found there from now on.
    pub(super) fn store_moved(&self, server: Conninfo) {
        self.server.send_replace(server);
    }
}

impl Drop for RoleKeeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Work {
    cluster: String,
    wanted: watch::Receiver<Vec<RoleRecord>>,
    server: watch::Receiver<Conninfo>,
    standings: Arc<Mutex<Standings>>,
}

impl Work {
    async fn run(mut self) {
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let server = self.server.borrow_and_update().clone();
            // Removed roles stay on the list: an empty one means that there never was any to look after.
            let looked = match wanted.is_empty() {
                true => Ok(()),
                false => tokio::time::timeout(LOOK_LIMIT, self.settle(&server, wanted))
                    .await
                    .unwrap_or_else(|_| Err(anyhow::anyhow!("no answer in time"))),
            };
            let pause = match looked {
                Ok(()) => LOOK,
                Err(error) => {
                    // A server that is down is told of by the node's state.
                    debug!(error = format!("{error:#}"), "application roles wait");
                    RETRY
                }
            };
            tokio::select! {
                Ok(()) = self.wanted.changed() => {}
                Ok(()) = self.server.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn settle(&self, server: &Conninfo, wanted: Vec<RoleRecord>) -> anyhow::Result<()> {
        let mut client = postgres::open(server).await?;
        for record in wanted {
            let revision = format!("version {} by {}", record.version, record.author);
            let role = WantedRole {
                name: record.name.as_str(),
                verifier: record.verifier.as_ref().map(Verifier::expose),
                revision: &revision,
            };
            let standing = store::settle_role(&mut client, &self.cluster, role).await?;
            let mut standings = self
                .standings
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let before = standings.insert(record.name.clone(), (record.clone(), standing.clone()));
            if before.is_none_or(|(about, before)| about != record || before != standing) {
                tell(&record.name, &standing);
            }
        }
        Ok(())
    }
}

fn tell(role: &RoleName, standing: &RoleStanding) {
    match standing {
        RoleStanding::Here => info!(
            %role,
            over = "an application role is not as it should be",
            "application role is in place"
        ),
        RoleStanding::Gone => info!(
            %role,
            over = "an application role is not as it should be",
            "application role is not on the server"
        ),
        RoleStanding::Refused(why) => {
            warn!(%role, why, "an application role is not as it should be");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::tempdir;

    use super::AppRoles;
    use crate::{
        directory::roles::{RoleChange, Verifier},
        identity::NodeId,
        node::part::{Context, Effect, Event, Part, testing::overlay},
    };

    fn name(number: usize) -> NodeId {
        format!("node{number}").parse().unwrap()
    }

    fn verifier() -> Verifier {
        let salt = "AAAAAAAAAAAAAAAAAAAAAA==";
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        format!("SCRAM-SHA-256$4096:{salt}${key}:{key}")
            .parse()
            .unwrap()
    }

    /// Whom what is known is told to, because of `event`.
    fn told(roles: &mut AppRoles, event: &Event) -> Vec<NodeId> {
        let both = overlay(&[name(1), name(2)]);
        let context = Context {
            now: Duration::ZERO,
            overlay: &both,
        };
        let effects = roles.on(event, &context).into_iter();
        let to = effects.map(|effect| match effect {
            Effect::ShareRoles(peer, records) => {
                assert_eq!(records, roles.records());
                peer
            }
            other => panic!("{other:?}"),
        });
        to.collect()
    }

    #[test]
    fn roles_are_told_to_new_neighbours_with_each_exchange_and_when_they_are_news() {
        let dir = tempdir().unwrap();
        let mut roles = AppRoles::open(dir.path(), &name(0), "c");
        let heartbeat = |exchange| Event::Heartbeat {
            exchange,
            is_round: true,
        };
        let nobody: [NodeId; 0] = [];
        let both = [name(1), name(2)];
        for event in [Event::NeighborUp(name(1)), heartbeat(true)] {
            assert_eq!(told(&mut roles, &event), nobody, "there is nothing to tell");
        }
        let add = RoleChange::Add(verifier());
        roles.change("app".parse().unwrap(), add).unwrap();
        assert_eq!(told(&mut roles, &Event::NeighborUp(name(2))), [name(2)]);
        assert_eq!(told(&mut roles, &heartbeat(true)), both);
        assert_eq!(told(&mut roles, &heartbeat(false)), nobody);

        let elsewhere = tempdir().unwrap();
        let mut other = AppRoles::open(elsewhere.path(), &name(9), "c");
        let news = Event::Roles(name(0), roles.records());
        assert_eq!(told(&mut other, &news), both);
        assert_eq!(told(&mut other, &news), nobody, "known by now");
    }
}
