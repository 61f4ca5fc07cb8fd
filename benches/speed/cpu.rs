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
