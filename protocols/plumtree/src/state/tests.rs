//! Tests of the machine: exact outputs of single inputs, hostile peers, and whole networks.

mod hostile;
mod network;
mod rules;
mod scenarios;
