//! Which links there should be, which there are, and what is to be done next.
//!
//! [`desired`] is what the overlay says, [`observed`] what the store shows, [`ledger`] what is remembered
//! between two looks. [`policy`] says which neighbours are to be linked with, and [`plan`] is a pure function
//! of the four: the next steps. [`reconciler`] is the loop
//! that looks, plans and hands each step to the [`executor`].

mod backlog;
mod bounds;
pub(super) mod desired;
mod executor;
mod ledger;
pub(super) mod observed;
mod plan;
pub(super) mod policy;
pub(super) mod reconciler;
mod sights;
mod status;
mod step;
