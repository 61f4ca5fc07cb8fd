//! Time by the processor: what a thread, or this process, used of it. On a machine with
//! other work it says more of a program than the wall clock does.

use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike};

fn used(who: UsageWho) -> Duration {
    let usage = getrusage(who).unwrap();
    let time = |t: TimeVal| Duration::from_micros(t.num_microseconds().unsigned_abs());
    time(usage.user_time()) + time(usage.system_time())
}

/// Wall-clock time and the thread's own, of work that stays on this thread.
pub fn of_thread<T>(work: impl FnOnce() -> T) -> (T, Duration, Duration) {
    let (wall, cpu) = (Instant::now(), used(UsageWho::RUSAGE_THREAD));
    let result = work();
    (result, wall.elapsed(), used(UsageWho::RUSAGE_THREAD) - cpu)
}

pub fn of_this_process() -> Duration {
    used(UsageWho::RUSAGE_SELF)
}

/// As the kernel counts it for a process: in ticks of ten milliseconds.
pub fn of_process(pid: u32) -> Duration {
    stat(pid).map_or(Duration::ZERO, |(_, own, _)| own)
}

/// A process, its children, and those that have ended.
pub fn of_family(pid: u32) -> Duration {
    let children = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let children = children
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .filter(|(parent, ..)| *parent == pid)
        .map(|(_, own, ended)| own + ended);
    let itself = stat(pid).map_or(Duration::ZERO, |(_, own, ended)| own + ended);
    children.sum::<Duration>() + itself
}

/// Parent, own time, time of children that have ended: see proc(5).
fn stat(pid: u32) -> Option<(u32, Duration, Duration)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse().ok()).unwrap_or(0u64);
    let time = |from| Duration::from_millis(10 * (ticks(from) + ticks(from + 1)));
    Some((fields.get(1)?.parse().ok()?, time(11), time(13)))
}
