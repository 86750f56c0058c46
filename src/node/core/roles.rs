//! Application roles: what clients and neighbours say of them.

use tokio::sync::oneshot;

use super::Core;
use crate::{
    api::{AppRole, AppRoleState},
    directory::roles::{RoleChange, RoleError, RoleName, RoleRecord},
    http::CommandError,
    identity::NodeId,
    node::peer_protocol::{self, Reply},
    store::RoleStanding,
};

impl Core {
    pub(super) fn change_role(
        &mut self,
        name: RoleName,
        change: RoleChange,
    ) -> Result<(), CommandError> {
        self.app_roles
            .change(name, change)
            .map_err(|error| refusal(&error))?;
        self.share_roles();
        Ok(())
    }

    pub(super) fn list_roles(&self) -> Vec<AppRole> {
        let all = self.app_roles.list();
        let roles = all.into_iter().map(|(record, standing)| {
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

    /// A neighbour tells what it knows, and wants to know what we do.
    pub(super) fn on_roles_told(
        &mut self,
        from: &NodeId,
        records: Vec<RoleRecord>,
        reply: oneshot::Sender<Vec<u8>>,
    ) {
        self.on_roles(from, records);
        let answer = Reply::Roles(self.app_roles.records());
        let _ = reply.send(peer_protocol::encode(&answer));
    }

    pub(super) fn on_roles(&mut self, from: &NodeId, records: Vec<RoleRecord>) {
        if self.app_roles.hear(from, records) {
            // Roles are not broadcast: what is news here has to be passed on.
            self.share_roles();
        }
    }

    /// Compares roles with all neighbours. Who knows none waits to be told.
    pub(super) fn share_roles(&mut self) {
        for peer in self.neighbors.keys().cloned().collect::<Vec<_>>() {
            self.share_roles_with(&peer);
        }
    }

    pub(super) fn share_roles_with(&mut self, peer: &NodeId) {
        let records = self.app_roles.records();
        if !records.is_empty() {
            self.gossiper.share_roles(peer.clone(), records);
        }
    }
}

fn refusal(error: &RoleError) -> CommandError {
    match error {
        RoleError::Exists(_) => CommandError::RoleExists(error.to_string()),
        RoleError::Unknown(_) => CommandError::UnknownRole(error.to_string()),
        RoleError::Full => CommandError::NotNow(error.to_string()),
    }
}
