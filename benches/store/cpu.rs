//! CPU time from `/proc`.

use std::{fs, time::Duration};

/// What a process has used so far, in user and system mode; zero if it is gone.
pub fn of_process(pid: i32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|n| n.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or_default())
}

/// What a server has used so far: its postmaster, the processes that it has, and those it had.
pub fn of_server(postmaster: i32) -> Duration {
    let children = format!("/proc/{postmaster}/task/{postmaster}/children");
    let children = fs::read_to_string(children).unwrap_or_default();
    let alive = (children.split_whitespace()).filter_map(|pid| pid.parse().ok());
    alive.map(of_process).sum::<Duration>() + of_process(postmaster) + of_ended_children(postmaster)
}

/// proc(5), `stat`: `cutime` and `cstime`, in ticks.
fn of_ended_children(pid: i32) -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let times = fields.split_whitespace().skip(13).take(2);
    TICK * times
        .filter_map(|time| time.parse::<u32>().ok())
        .sum::<u32>()
}
