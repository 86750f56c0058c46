//! What runs cost, as far as the system tells.

use std::{fs, time::Duration};

/// Time that this thread has had a core for, which does not depend on what else the machine does.
pub(super) fn thread_cpu() -> Option<Duration> {
    let all = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let on_core = all.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(on_core))
}

/// The most that this process has held in memory so far, in bytes.
pub(super) fn peak_resident() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
