//! What is left of an instance whose supervisor is not there (any more).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::cgroup::{Group, pause};
use super::layout::{ExitRecord, InstanceDir, uptime_ms};
use crate::model::InstanceId;
use crate::model::instance::Exit;

/// How long a killed tree may take to be gone; more means the kernel is stuck on it.
pub const KILL_DEADLINE: Duration = Duration::from_secs(10);

/// Kills everything that belongs to the instance; `false`: something would not die in time.
/// Nothing may be starting it meanwhile: call with its place held.
pub fn kill_all(id: InstanceId, group: &Group) -> bool {
    let until = Instant::now() + KILL_DEADLINE;
    if !group.kill(KILL_DEADLINE) {
        return false;
    }
    loop {
        let marked = marked_processes(id);
        if marked.is_empty() {
            return true;
        }
        for pid in marked {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if Instant::now() >= until {
            return false;
        }
        pause(Duration::from_millis(5));
    }
}

/// Writes the exit that a dead supervisor did not, after making sure that its
/// tree is dead as well. Does nothing where there is nothing to say.
/// Call with the instance's place held.
pub fn bury(dir: &InstanceDir, id: InstanceId) -> io::Result<()> {
    let Some(run) = dir.run()? else { return Ok(()) };
    if dir.exit_of(&run)?.is_some() {
        return Ok(());
    }
    if !kill_all(id, &run.group) {
        return Err(io::Error::other(
            "its supervisor is dead and its processes could not be killed",
        ));
    }
    let _ = run.group.remove(KILL_DEADLINE);
    dir.set_exit(&ExitRecord {
        starts: run.starts,
        exit: Exit {
            code: None,
            oom_killed: false,
            // After a reboot the clock has started anew: then it is a lower bound of nothing.
            ran_for_ms: uptime_ms().saturating_sub(run.started_ms),
        },
        by_runtime: true,
    })
}

/// Processes that carry the instance's id in their environment. A program can
/// clear it; this is the second line, behind the control group.
fn marked_processes(id: InstanceId) -> BTreeSet<i32> {
    let mark = format!("EVENKEEL_INSTANCE={id}");
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    pids()
        .filter(|pid| *pid != own)
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|env| env.split(|b| *b == 0).any(|entry| entry == mark.as_bytes()))
        })
        .collect()
}

/// Everything that descends from `root`, as far as the chain of parents is unbroken.
pub fn descendants(root: i32) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for pid in pids() {
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse().ok());
        if let Some(parent) = parent {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found
}

fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}
