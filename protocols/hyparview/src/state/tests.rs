//! The machine rule by rule, in a network of its own, and under hostile input.

mod bench;
mod defences;
mod groups;
mod half_open;
mod hostile;
mod memory;
mod network;
mod optimize;
mod regions;
mod relations;
mod scenarios;
mod switches;
mod upkeep;
mod walks;
