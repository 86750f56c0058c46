//! What the overlay's state machines cost: time and allocations per message, what is written and read of
//! each, and memory per node.
//!
//! `make bench-overlay`. Absolute times depend on the machine and on what else it does; compare those of one run.

mod broadcast;
mod membership;
mod peers;
mod wire;

use std::{fs, mem::size_of};

use membership::Machine;

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

/// Machines that memory is measured with.
const MACHINES: usize = 2000;

fn main() {
    memory();
    divan::main();
}

/// What this process holds in memory.
fn resident() -> Option<usize> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: usize = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[expect(clippy::print_stdout, reason = "its output is what it is for")]
fn memory() {
    // The peers themselves are made before.
    drop(Machine::new(5));
    let before = resident();
    let all: Vec<Machine> = (0..MACHINES).map(|_| Machine::new(5)).collect();
    let each = resident()
        .zip(before)
        .map(|(now, before)| (now - before) / all.len());
    println!(
        "hyparview: {} bytes of state, {} in memory with five neighbours and thirty backups, and {} per record",
        size_of::<hyparview::State<libp2p::PeerId, hyparview::Record>>(),
        each.map_or_else(|| "unknown".to_owned(), |bytes| bytes.to_string()),
        wire::record_bytes()
    );
}
