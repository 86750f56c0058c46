//! What a client asks of the node: to leave, or to evict another.

use tokio::{sync::oneshot, task::JoinHandle};
use tracing::info;

use super::Core;
use crate::{
    http::{Command, CommandError},
    identity::NodeName,
    replication::Unfinished,
};

type LeaveReply = oneshot::Sender<Result<(), CommandError>>;

/// A leave under way: the data plane's part, and who waits for the end of it.
pub(super) struct Leaving {
    links: JoinHandle<Result<(), Unfinished>>,
    pub(super) reply: LeaveReply,
}

impl Core {
    pub(super) fn on_command(&mut self, command: Command, leaving: &mut Option<Leaving>) {
        match command {
            Command::Leave { reply } if leaving.is_some() => {
                let _ = reply.send(Err(CommandError::NotNow(
                    "the node is leaving already".to_owned(),
                )));
            }
            Command::Leave { reply } => {
                info!("leaving the cluster");
                self.picture.leaving();
                if let Some(plane) = &self.plane {
                    *leaving = Some(Leaving {
                        links: plane.leave(),
                        reply,
                    });
                }
            }
            Command::Evict { peer, reply } => {
                let _ = reply.send(self.evict(&peer));
            }
        }
    }

    fn evict(&mut self, peer: &NodeName) -> Result<(), CommandError> {
        if *peer == self.me {
            return Err(CommandError::Myself(peer.clone()));
        }
        if self.directory.record(peer).is_none() {
            return Err(CommandError::UnknownPeer(peer.clone()));
        }
        if self.neighbors.contains_key(peer) || self.directory.is_alive(peer, self.born.elapsed()) {
            return Err(CommandError::Alive(peer.clone()));
        }
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
        self.directory.leave();
        self.gossiper.speak(&self.directory);
        self.gossiper
            .last_round(
                &mut self.directory,
                self.neighbors.keys(),
                self.born.elapsed(),
            )
            .await;
        self.network.leave().await;
    }
}

/// Ends when the data plane has left, with what came of it.
pub(super) async fn left(leaving: Option<&mut Leaving>) -> Result<(), CommandError> {
    let Some(leaving) = leaving else {
        return Ok(());
    };
    match (&mut leaving.links).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(CommandError::Failed(error.to_string())),
        Err(error) => Err(CommandError::Failed(format!("leaving broke off: {error}"))),
    }
}

pub(super) fn refuse(command: Command, why: &str) {
    let (Command::Leave { reply } | Command::Evict { reply, .. }) = command;
    let _ = reply.send(Err(CommandError::NotNow(why.to_owned())));
}
