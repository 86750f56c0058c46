//! Why peers were last denied a link by us: they do not say so where our operator looks.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::reason::Reason;
use crate::identity::NodeId;

/// Written by who answers requests, read by who shows links.
#[derive(Debug, Default)]
pub(crate) struct Denials(Mutex<BTreeMap<NodeId, Reason>>);

impl Denials {
    pub(crate) fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Reason>> {
        // Each is replaced as a whole, so they are sound even after a panic elsewhere.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
