//! What a client asks of the node: to leave, or to evict another.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::oneshot, task::JoinHandle};
use tracing::info;

use super::Core;
use crate::{
    api::{LeaveReport, LeaveRequest, LostOperations, NodeState, Presence},
    http::{Command, CommandError},
    identity::NodeId,
    node::store::{continuity::Why, open::OpenStore},
    replication::{LeaveError, Left, Member, Terms},
};

/// How long the last words of one who leaves may take: a neighbour that does not answer hears them from
/// others.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// How long the last words of one who stops may take. Shorter: somebody waits for the process to end.
const GOODBYE_MAX: Duration = Duration::from_secs(1);

/// A leave under way: the data plane's part, and who waits for the end of it.
pub(super) struct Leaving {
    links: JoinHandle<Result<Left, LeaveError>>,
    reply: oneshot::Sender<Result<LeaveReport, CommandError>>,
}

impl Leaving {
    /// The store goes on as another site first.
    pub(super) fn put_off(self, why: &Why) {
        let why = format!("the store goes on as another site ({why}); leave again in a moment");
        let _ = self.reply.send(Err(CommandError::NotNow(why)));
    }
}

impl Core {
    pub(super) fn on_command(
        &mut self,
        command: Command,
        store: &OpenStore,
        leaving: &mut Option<Leaving>,
    ) {
        match command {
            Command::Leave { reply, .. } if leaving.is_some() => {
                let _ = reply.send(Err(CommandError::NotNow(
                    "the node is leaving already".to_owned(),
                )));
            }
            Command::Leave { request, reply } => match self.begin_to_leave(&request, store) {
                Ok(links) => *leaving = Some(Leaving { links, reply }),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Evict { peer, reply } => {
                let _ = reply.send(self.evict(&peer));
            }
            Command::ChangeRole {
                name,
                change,
                reply,
            } => {
                let _ = reply.send(self.change_role(name, change));
            }
            Command::ListRoles { reply } => drop(reply.send(Ok(self.list_roles()))),
        }
    }

    fn begin_to_leave(
        &mut self,
        request: &LeaveRequest,
        store: &OpenStore,
    ) -> Result<JoinHandle<Result<Left, LeaveError>>, CommandError> {
        let Some(plane) = self.plane.clone() else {
            return Err(CommandError::NotNow("the store is not up yet".to_owned()));
        };
        if plane.is_unconfirmed() && !request.abandon {
            return Err(CommandError::NotNow(
                "the store may be an older copy of itself, and waits for a peer to confirm it"
                    .to_owned(),
            ));
        }
        let terms = Terms {
            patience: request
                .timeout_seconds
                .map_or(Terms::PATIENCE, Duration::from_secs_f64),
            abandon: request.abandon,
            // Who was to join others is not alone by choice.
            is_alone: !store.continuity.has_met_peers() && self.config.network.bootstrap.is_empty(),
        };
        info!(?terms, "leaving the cluster");
        // Before it begins: it may count only on members of whom it has been told.
        self.tell_members();
        self.board.leaving(true);
        Ok(plane.leave(terms))
    }

    /// While the node leaves, the data plane has to know what others have.
    pub(super) fn tell_members(&self) {
        let Some(plane) = &self.plane else { return };
        let now = self.born.elapsed();
        let members: BTreeMap<NodeId, Member> = self
            .directory
            .others(now)
            .filter(|(_, presence)| !presence.is_gone())
            .map(|(record, presence)| {
                let keeps = match presence {
                    // Two that leave at once must not count on each other.
                    Presence::Here => record.state != NodeState::Leaving,
                    // It has said that it comes back, and its disk has what it had.
                    Presence::Stopped => true,
                    Presence::Silent | Presence::Left | Presence::Evicted => false,
                };
                let vector = record.vector.clone();
                (record.node.clone(), Member { vector, keeps })
            })
            .collect();
        plane.handle.holders(members);
    }

    /// The data plane has decided: whether the node leaves.
    pub(super) async fn on_left(
        &mut self,
        leaving: Leaving,
        result: Result<Left, LeaveError>,
    ) -> bool {
        let answer = match result {
            Ok(left) => {
                // Not sooner: until all is handed over the node may have to stay.
                self.say_farewell().await;
                Ok(report(&left))
            }
            Err(error) => {
                self.board.leaving(false);
                Err(refusal(&error))
            }
        };
        let has_left = answer.is_ok();
        let _ = leaving.reply.send(answer);
        has_left
    }

    fn evict(&mut self, peer: &NodeId) -> Result<(), CommandError> {
        if *peer == self.me {
            return Err(CommandError::Myself(peer.clone()));
        }
        if self.directory.record(peer).is_none() {
            return Err(CommandError::UnknownPeer(peer.clone()));
        }
        // A neighbour is connected, whatever the directory has heard of it yet.
        if self.neighbors.contains_key(peer) || self.directory.is_alive(peer, self.born.elapsed()) {
            return Err(CommandError::Alive(peer.clone()));
        }
        // It is not our word, so it is not broadcast, but goes from neighbour to neighbour.
        if self.directory.evict(peer) {
            self.gossiper.exchange_soon();
        }
        if let Some(plane) = &self.plane {
            plane.forget(peer.clone());
        }
        Ok(())
    }

    /// The last words: the directory's to the neighbours, then the overlay's.
    pub(super) async fn say_farewell(&mut self) {
        self.announce();
        self.directory.leave();
        self.last_words(FAREWELL_MAX).await;
        self.network.leave().await;
    }

    /// Tells the others that we stop and come back.
    pub(super) async fn say_goodbye(&mut self) {
        // What this store has, as of now: somebody may have to rely on it.
        self.announce();
        self.directory.stop();
        self.last_words(GOODBYE_MAX).await;
    }

    async fn last_words(&mut self, limit: Duration) {
        self.gossiper.speak(&self.directory);
        let (neighbors, now) = (self.neighbors.keys(), self.born.elapsed());
        self.gossiper
            .last_round(&mut self.directory, neighbors, now, limit)
            .await;
    }
}

/// Ends when the data plane has decided whether it leaves.
pub(super) async fn left(leaving: Option<&mut Leaving>) -> Result<Left, LeaveError> {
    match leaving {
        Some(leaving) => (&mut leaving.links).await.unwrap_or(Err(LeaveError::Ended)),
        None => std::future::pending().await,
    }
}

fn report(left: &Left) -> LeaveReport {
    let lost = left.lost.iter().map(|lost| LostOperations {
        site: lost.site.get(),
        operations: lost.operations,
        from: lost.from.get(),
        upto: lost.upto.get(),
    });
    LeaveReport {
        left: true,
        ended_sessions: left.ended,
        open_transactions: left.open.iter().map(ToString::to_string).collect(),
        lost: lost.collect(),
    }
}

fn refusal(error: &LeaveError) -> CommandError {
    const STAYS: &str = "the node goes on, and its store takes writes";
    let choice = "wait longer with --timeout, or leave all the same with --abandon: what only this \
                  store has is then not in the cluster";
    match error {
        LeaveError::Writers(_) => CommandError::OpenTransactions(format!("{error}; {STAYS}")),
        LeaveError::NobodyListens | LeaveError::Stalled(_) => CommandError::NotHandedOver(format!(
            "{error}. You can also {choice}. Meanwhile {STAYS}"
        )),
        LeaveError::Ended | LeaveError::Store(_) | LeaveError::Schema(_) => {
            CommandError::Failed(error.to_string())
        }
    }
}

pub(super) fn refuse(command: Command, why: &str) {
    let error = CommandError::NotNow(why.to_owned());
    match command {
        Command::Leave { reply, .. } => drop(reply.send(Err(error))),
        Command::Evict { reply, .. } | Command::ChangeRole { reply, .. } => {
            drop(reply.send(Err(error)));
        }
        Command::ListRoles { reply } => drop(reply.send(Err(error))),
    }
}
