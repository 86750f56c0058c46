//! What a client asks of the node: to leave, to evict another, to change application roles.

use std::time::Duration;

use tracing::info;

use super::{
    Core,
    stage::{LeaveReply, Leaving, Stage},
};
use crate::{
    api::{LeaveReport, LeaveRequest, LostOperations},
    directory::roles::RoleError,
    http::{Command, CommandError},
    node::part::Context,
    replication::{LeaveError, Left, Terms},
};

/// How long the farewell of one who leaves may take: a neighbour that does not answer hears it from others.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// How long the farewell of one who stops may take. Shorter: somebody waits for the process to end.
const STOP_MAX: Duration = Duration::from_secs(1);

impl Core {
    pub(super) fn on_command(&mut self, command: Command) {
        if let Stage::Opening { because } = &self.stage {
            return refuse(command, because);
        }
        match command {
            Command::Leave { request, reply } => self.leave(&request, reply),
            Command::Evict { peer, reply } => {
                let context = Context::now(self.born, &self.neighbors);
                let evicted = self.members.evict(&peer, &context);
                // Who asked may have gone, here and below; what was asked is done all the same.
                let _ = reply.send(evicted.map(|effects| self.carry_out(effects)));
            }
            Command::ChangeRole {
                name,
                change,
                reply,
            } => {
                let changed = self.app_roles.change(name, change);
                if changed.is_ok() {
                    let context = Context::now(self.born, &self.neighbors);
                    let effects = self.app_roles.share(&context);
                    self.carry_out(effects);
                }
                let _ = reply.send(changed.map_err(|error| role_refusal(&error)));
            }
            Command::ListRoles { reply } => drop(reply.send(Ok(self.app_roles.describe()))),
        }
    }

    fn leave(&mut self, request: &LeaveRequest, reply: LeaveReply) {
        // Before it begins: it may count only on members of whom it has been told.
        let holders = self.members.holders(self.now());
        let Stage::Serving(serving) = &mut self.stage else {
            return drop(reply);
        };
        let refusal = if serving.leaving.is_some() {
            Some("the node is leaving already")
        } else if serving.plane.is_unconfirmed() && !request.abandon {
            // It could hand nothing over: nothing leaves a store before it is confirmed.
            Some("the store may be an older copy of itself, and waits for its peers to confirm it")
        } else {
            None
        };
        if let Some(why) = refusal {
            return drop(reply.send(Err(CommandError::NotNow(why.to_owned()))));
        }
        let terms = Terms {
            patience: request
                .timeout_seconds
                .map_or(Terms::PATIENCE, Duration::from_secs_f64),
            abandon: request.abandon,
            // Who was to join others is not alone by choice.
            is_alone: !serving.store.continuity.has_met_peers()
                && self.config.network.bootstrap.is_empty(),
        };
        info!(?terms, "leaving the cluster");
        serving.plane.handle.holders(holders);
        let links = serving.plane.leave(terms);
        serving.leaving = Some(Leaving { links, reply });
        self.board.leaving(true);
    }

    /// While the node leaves, the data plane has to know what others have.
    pub(super) fn tell_members(&self) {
        if let Some(serving) = self.stage.serving()
            && serving.leaving.is_some()
        {
            let holders = self.members.holders(self.now());
            serving.plane.handle.holders(holders);
        }
    }

    /// The data plane has decided: whether the node leaves.
    pub(super) async fn on_left(&mut self, result: Result<Left, LeaveError>) -> bool {
        let answer = match result {
            Ok(left) => {
                // Not sooner: until all is handed over the node may have to stay.
                self.announce_leave().await;
                Ok(report(&left))
            }
            Err(error) => {
                self.board.leaving(false);
                Err(refusal(&error))
            }
        };
        let has_left = answer.is_ok();
        if let Stage::Serving(serving) = &mut self.stage
            && let Some(leaving) = serving.leaving.take()
        {
            let _ = leaving.reply.send(answer);
        }
        has_left
    }

    /// The farewell of one who leaves: the directory's to all, then the overlay's to the neighbours.
    pub(super) async fn announce_leave(&mut self) {
        self.announce();
        self.members.directory.leave();
        self.farewell(LEAVE_MAX).await;
        self.network.leave().await;
    }

    /// The farewell of one who stops and comes back.
    pub(super) async fn announce_stop(&mut self) {
        self.members.directory.stop();
        self.farewell(STOP_MAX).await;
    }

    async fn farewell(&mut self, limit: Duration) {
        let now = self.now();
        let directory = &mut self.members.directory;
        self.gossiper.speak(directory);
        let neighbors = self.neighbors.seen().peers();
        self.gossiper
            .last_round(directory, neighbors, now, limit)
            .await;
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
        untold: left.untold.iter().map(ToString::to_string).collect(),
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

fn refuse(command: Command, why: &str) {
    let error = CommandError::NotNow(why.to_owned());
    match command {
        Command::Leave { reply, .. } => drop(reply.send(Err(error))),
        Command::Evict { reply, .. } | Command::ChangeRole { reply, .. } => {
            drop(reply.send(Err(error)));
        }
        Command::ListRoles { reply } => drop(reply.send(Err(error))),
    }
}

fn role_refusal(error: &RoleError) -> CommandError {
    match error {
        RoleError::Exists(_) => CommandError::RoleExists(error.to_string()),
        RoleError::Unknown(_) => CommandError::UnknownRole(error.to_string()),
        RoleError::Full => CommandError::NotNow(error.to_string()),
    }
}
