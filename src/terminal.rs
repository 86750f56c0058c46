//! What people and programs see of a command: text, JSON, tables.

pub(crate) mod output;
pub(crate) mod table;
