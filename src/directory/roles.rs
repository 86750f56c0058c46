//! The login roles of applications, known on all nodes.
//!
//! Who adds a role on one node wants it everywhere: the same name, the same password. Each role is a
//! record, and the record with the greatest version holds everywhere, whatever order records come in; a
//! role that was removed leaves one without a password behind, or a node that was away would bring it
//! back. Passwords are kept as verifiers only: from one nobody can log in.
//!
//! A pure state machine: sending, writing and the servers are for others.

mod name;
mod verifier;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::name::{BadRoleName, RoleName};
pub use self::verifier::{BadVerifier, Verifier};
use crate::identity::NodeId;

/// Names that were ever used, removed ones too: all of them travel in one message, of some 60 KiB.
pub const ROLES_MAX: usize = 256;

/// Nobody's clock is further ahead. A version from later could not be outbid before then.
const AHEAD_MAX: u64 = 24 * 3_600_000;

/// What was said last about one role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RoleRecord {
    /// Which role.
    pub name: RoleName,
    /// Orders what is said about a role: Unix milliseconds, or one more than was known.
    pub version: u64,
    /// Where it was said; decides between equal versions.
    pub author: NodeId,
    /// Its password's verifier; `None` if the role was removed.
    pub verifier: Option<Verifier>,
}

/// What is to become of a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoleChange {
    /// A new role.
    Add(Verifier),
    /// Another password.
    Rotate(Verifier),
    /// None any more.
    Remove,
}

/// Why a role is not changed. Nothing was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// There is one.
    #[error(
        "there is an application role {0} already; `starling app-role password {0}` gives it another \
         password"
    )]
    Exists(RoleName),
    /// There is none.
    #[error(
        "there is no application role {0}; `starling app-role list` names those that there are"
    )]
    Unknown(RoleName),
    /// The limit.
    #[error(
        "{ROLES_MAX} names of application roles have been used, removed ones included; add one under a \
         name that was removed"
    )]
    Full,
}

/// All roles that are known here.
#[derive(Debug, Clone, Default)]
pub struct Roles {
    records: BTreeMap<RoleName, RoleRecord>,
    refused: u64,
}

impl Roles {
    /// What was written down before.
    #[must_use]
    pub fn new(records: Vec<RoleRecord>) -> Self {
        let mut roles = Self::default();
        // What was written down was judged when it came in.
        roles.merge(records, u64::MAX - AHEAD_MAX);
        roles
    }

    /// Adds, changes or removes a role. `now` is in Unix milliseconds.
    ///
    /// # Errors
    ///
    /// One to be added exists or is one too many; another one does not exist.
    pub fn change(
        &mut self,
        name: RoleName,
        change: RoleChange,
        author: &NodeId,
        now: u64,
    ) -> Result<(), RoleError> {
        let known = self.records.get(&name);
        let exists = known.is_some_and(|record| record.verifier.is_some());
        let verifier = match change {
            RoleChange::Add(_) if exists => return Err(RoleError::Exists(name)),
            // A name that was removed has its place already.
            RoleChange::Add(_) if known.is_none() && self.records.len() >= ROLES_MAX => {
                return Err(RoleError::Full);
            }
            RoleChange::Rotate(_) | RoleChange::Remove if !exists => {
                return Err(RoleError::Unknown(name));
            }
            RoleChange::Add(verifier) | RoleChange::Rotate(verifier) => Some(verifier),
            RoleChange::Remove => None,
        };
        // Whoever speaks has seen what is known here, whatever clock it was said by.
        let seen = known.map_or(0, |record| record.version.saturating_add(1));
        let record = RoleRecord {
            version: now.max(seen),
            author: author.clone(),
            verifier,
            name: name.clone(),
        };
        self.records.insert(name, record);
        Ok(())
    }

    /// Takes in what another node knows; `true` if anything is new. What is out of bounds is counted and
    /// left out.
    pub fn merge(&mut self, records: Vec<RoleRecord>, now: u64) -> bool {
        let mut changed = false;
        let excess = records.len().saturating_sub(ROLES_MAX);
        self.refused += excess as u64;
        for record in records.into_iter().take(ROLES_MAX) {
            let is_bounded =
                record.version <= now.saturating_add(AHEAD_MAX) && record.author.is_sound();
            let is_full = self.records.len() >= ROLES_MAX;
            match self.records.get_mut(&record.name) {
                // Of known roles, too: what is that far ahead could not be outbid for as long.
                _ if !is_bounded => self.refused += 1,
                None if is_full => self.refused += 1,
                None => {
                    self.records.insert(record.name.clone(), record);
                    changed = true;
                }
                Some(known) if record.rank() > known.rank() => {
                    *known = record;
                    changed = true;
                }
                Some(_) => {}
            }
        }
        changed
    }

    /// All that is known, removed roles too.
    #[must_use]
    pub fn records(&self) -> Vec<RoleRecord> {
        self.records.values().cloned().collect()
    }

    /// Records of others that were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

impl RoleRecord {
    /// Equal versions of one author only come from a liar; comparing all of it keeps all nodes equal even
    /// then. A removed role loses against one that was made in the same moment elsewhere.
    fn rank(&self) -> (u64, &NodeId, &Option<Verifier>) {
        (self.version, &self.author, &self.verifier)
    }
}

#[cfg(test)]
mod tests;
