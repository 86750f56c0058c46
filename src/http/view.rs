//! What the API sees of the node.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};

use super::token::Token;
use crate::{
    api::{AppRole, LeaveReport, LeaveRequest, NodeInfo, Status, Topology},
    directory::roles::{RoleChange, RoleName},
    identity::NodeId,
};

/// What the API sees of the node: always the latest value, and a way to ask for something.
#[derive(Debug, Clone)]
pub struct View {
    /// The node as seen by itself. Whoever feeds it sets `node.state` to `ready` only when the
    /// store is up, the node has joined (or is alone by choice) and catch-up is done. `/readyz` asks for
    /// that; besides the store's clock must not be ahead, something must flow in each direction unless
    /// the reason lies at the peers, and with `?lag` no incoming link may lag by more.
    pub status: watch::Receiver<Status>,
    /// The nodes known in the cluster, this one too.
    pub nodes: watch::Receiver<Vec<NodeInfo>>,
    /// The overlay as known here.
    pub topology: watch::Receiver<Topology>,
    /// All metrics; the status ones come with a [`super::StatusCollector`] registered in it.
    pub metrics: Arc<Registry>,
    /// Where commands go. A full queue is answered with 503 at once.
    pub commands: mpsc::Sender<Command>,
}

/// How the API behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host names by which those without the token may address this node, beside `localhost` and IP
    /// addresses.
    pub hosts: Vec<String>,
    /// What commands need, and every request that comes over another address than a loopback one.
    pub token: Token,
}

/// Something the node is asked to do. The answer goes to `reply`; dropping it means the node is
/// stopping.
#[derive(Debug)]
pub enum Command {
    /// Leave the cluster for good, then stop. Answered when nothing of this node is left with its
    /// neighbours, before the process ends; or when it does not leave, and goes on.
    Leave {
        /// How.
        request: LeaveRequest,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<LeaveReport, CommandError>>,
    },
    /// Declare `peer` gone for good.
    Evict {
        /// Whom.
        peer: NodeId,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
    /// Make, change or remove an application's role, on all nodes. Answered when it is known here.
    ChangeRole {
        /// Which.
        name: RoleName,
        /// What is to become of it.
        change: RoleChange,
        /// Where the answer goes.
        reply: oneshot::Sender<Result<(), CommandError>>,
    },
    /// Which application roles there are.
    ListRoles {
        /// Where the answer goes.
        reply: oneshot::Sender<Result<Vec<AppRole>, CommandError>>,
    },
}

/// A command that was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// Nobody of that id is known. Nothing was changed.
    #[error("no node {0} is known here; `starling nodes` lists the known ones")]
    UnknownPeer(NodeId),
    /// A node does not evict itself. Nothing was changed.
    #[error("{0} is this node itself; `starling leave` takes it out of the cluster")]
    Myself(NodeId),
    /// The peer is present, and would come back at once. Nothing was changed.
    #[error("{0} is alive: stop it first, or let it leave")]
    Alive(NodeId),
    /// There is such an application role. Nothing was changed.
    #[error("{0}")]
    RoleExists(String),
    /// There is no such application role. Nothing was changed.
    #[error("{0}")]
    UnknownRole(String),
    /// The node's state does not allow it now. Nothing was changed.
    #[error("not now: {0}")]
    NotNow(String),
    /// Transactions that write have not ended. The node goes on, and its store takes writes again.
    #[error("{0}")]
    OpenTransactions(String),
    /// Others lack what is written here. The node goes on, and its store takes writes again.
    #[error("{0}")]
    NotHandedOver(String),
    /// It was begun and did not end well; it may be tried again.
    #[error("{0}")]
    Failed(String),
}
