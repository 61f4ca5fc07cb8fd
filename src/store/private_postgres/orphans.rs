//! Servers that a killed evenkeel left on the data: they are shut down before a
//! new one starts. Two servers on one data directory would destroy it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Error;

/// How long each kind of request to stop is given.
const FAST: Duration = Duration::from_secs(20);
const IMMEDIATE: Duration = Duration::from_secs(10);
const KILL: Duration = Duration::from_secs(10);

/// The server's main process, as its own pid file names it.
pub(super) fn postmaster_pid(data: &Path) -> Option<i32> {
    let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    text.lines().next()?.trim().parse().ok()
}

/// Whether the server of that pid says it takes connections. Line 8 of the pid file.
pub(super) fn says_ready(data: &Path, pid: i32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return false;
    };
    let mut lines = text.lines();
    lines.next().and_then(|l| l.trim().parse().ok()) == Some(pid)
        && lines.nth(6).is_some_and(|l| l.trim() == "ready")
}

/// Processes of PostgreSQL whose working directory is the data: the main one and its children.
fn servers_on(data: &Path) -> Vec<i32> {
    let mut pids: Vec<i32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| {
            fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data)
                && fs::read_to_string(entry.path().join("comm"))
                    .is_ok_and(|comm| matches!(comm.trim(), "postgres" | "postmaster"))
        })
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids
}

/// Returns once no server works on the data. `pause` waits a moment.
pub(super) fn clear(data: &Path, mut pause: impl FnMut(Duration)) -> Result<(), Error> {
    let begun = Instant::now();
    let mut sent = None;
    loop {
        let pids = servers_on(data);
        if pids.is_empty() {
            return forget_pid_file(data);
        }
        let main = postmaster_pid(data).filter(|pid| pids.contains(pid));
        let elapsed = begun.elapsed();
        // The main process stops its children; without it they notice and end by themselves.
        let (signal, to) = if elapsed < FAST {
            (Signal::SIGINT, main.into_iter().collect::<Vec<_>>())
        } else if elapsed < FAST + IMMEDIATE {
            (Signal::SIGQUIT, main.map_or(pids.clone(), |m| vec![m]))
        } else if elapsed < FAST + IMMEDIATE + KILL {
            (Signal::SIGKILL, pids.clone())
        } else {
            return Err(Error::LeftOver {
                dir: data.to_owned(),
                pids,
            });
        };
        if sent != Some(signal) {
            tracing::warn!(?pids, %signal, "shutting down a PostgreSQL left over from a killed run");
            for pid in to {
                // Gone meanwhile is as good.
                let _ = kill(Pid::from_raw(pid), signal);
            }
            sent = Some(signal);
        }
        pause(Duration::from_millis(20));
    }
}

/// With nobody on the data its pid file is stale; its pid may belong to somebody else by
/// now, and the server would refuse to start.
fn forget_pid_file(data: &Path) -> Result<(), Error> {
    let path = data.join("postmaster.pid");
    match fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(Error::io(format!("removing {}", path.display()))(e)),
    }
}
