//! What the node knows, as JSON.

use axum::{Json, extract::State};

use crate::{
    api::{NodeInfo, Status, Topology},
    http::view::View,
};

pub(super) async fn status(State(view): State<View>) -> Json<Status> {
    Json(view.status.borrow().clone())
}

pub(super) async fn nodes(State(view): State<View>) -> Json<Vec<NodeInfo>> {
    Json(view.nodes.borrow().clone())
}

pub(super) async fn topology(State(view): State<View>) -> Json<Topology> {
    Json(view.topology.borrow().clone())
}
