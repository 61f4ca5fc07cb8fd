//! Control groups, versions 1 and 2: limits, out-of-memory evidence, and the
//! certainty that nothing of an instance is left.
//!
//! Every instance has the group `evenkeel/CLUSTER/INSTANCE` in each mounted
//! hierarchy that helps. With version 1 there are several hierarchies, with
//! version 2 one; on a hybrid host both, and then the unified one, though it
//! has no controllers, still tracks and kills the tree.
//!
//! Invariants: nothing outside `evenkeel/CLUSTER` is written, but for the
//! switches in `cgroup.subtree_control` above it. A limit that was asked for
//! is in force or the call fails.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::model::spec::Limits;

/// Processes and threads one instance may have.
pub const PIDS_LIMIT: u32 = 4096;

/// Microseconds over which the processor quota is counted, the kernel's default.
const CPU_PERIOD_US: u64 = 100_000;

/// The least quota that the kernel takes.
const CPU_QUOTA_MIN_US: u64 = 1_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Version {
    V1,
    V2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Controller {
    Cpu,
    Memory,
    Pids,
    /// Version 1 only; stops a tree so that it cannot fork away while it is killed.
    Freezer,
}

impl Controller {
    const ALL: [Controller; 4] = [
        Controller::Cpu,
        Controller::Memory,
        Controller::Pids,
        Controller::Freezer,
    ];
    pub fn name(self) -> &'static str {
        match self {
            Controller::Cpu => "cpu",
            Controller::Memory => "memory",
            Controller::Pids => "pids",
            Controller::Freezer => "freezer",
        }
    }
    fn parse(name: &str) -> Option<Controller> {
        Controller::ALL.into_iter().find(|c| c.name() == name)
    }
}

/// A folder in one hierarchy: a mount's root, or an instance's group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    pub path: PathBuf,
    pub version: Version,
    pub controllers: BTreeSet<Controller>,
}

/// The hierarchies of this host that can be used.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Hierarchy {
    mounts: Vec<Node>,
}

impl Hierarchy {
    /// What this host has and lets us write.
    pub fn detect(cluster: &str) -> Hierarchy {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Hierarchy::from_mountinfo(&mounts).usable(cluster)
    }

    /// No groups at all: trees are then followed by parentage and environment.
    pub fn none() -> Hierarchy {
        Hierarchy::default()
    }

    pub fn from_mountinfo(text: &str) -> Hierarchy {
        let mut mounts: Vec<Node> = Vec::new();
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let Some(path) = left.split(' ').nth(4) else {
                continue;
            };
            let path = PathBuf::from(unescape(path));
            let mut right = right.split(' ');
            let (version, controllers) = match right.next() {
                Some("cgroup2") => (Version::V2, BTreeSet::new()),
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default();
                    let controllers: BTreeSet<Controller> =
                        options.split(',').filter_map(Controller::parse).collect();
                    if controllers.is_empty() {
                        continue;
                    }
                    (Version::V1, controllers)
                }
                Some(_) | None => continue,
            };
            // A controller is in one hierarchy only; further mounts show the same.
            let seen = mounts.iter().any(|m| {
                m.version == version && (version == Version::V2 || m.controllers == controllers)
            });
            if !seen {
                mounts.push(Node {
                    path,
                    version,
                    controllers,
                });
            }
        }
        Hierarchy { mounts }
    }

    /// Keeps what can be written, with the controllers that a group there really gets.
    fn usable(self, cluster: &str) -> Hierarchy {
        let mounts = self.mounts.into_iter().filter_map(|mut mount| {
            let dir = mount.path.join("evenkeel").join(folder_name(cluster));
            fs::create_dir_all(&dir).ok()?;
            nix::unistd::access(&dir.join("cgroup.procs"), nix::unistd::AccessFlags::W_OK).ok()?;
            if mount.version == Version::V2 {
                enable(&mount.path, &dir);
                let enabled = fs::read_to_string(dir.join("cgroup.subtree_control")).ok()?;
                mount.controllers = enabled
                    .split_whitespace()
                    .filter_map(Controller::parse)
                    .collect();
            }
            Some(mount)
        });
        Hierarchy {
            mounts: mounts.collect(),
        }
    }

    pub fn has(&self, controller: Controller) -> bool {
        self.mounts
            .iter()
            .any(|m| m.controllers.contains(&controller))
    }

    /// `v1`, `v2` or `none`: where the limits come from.
    pub fn version(&self) -> &'static str {
        let limits = self.mounts.iter().find(|m| {
            m.controllers.contains(&Controller::Memory) || m.controllers.contains(&Controller::Cpu)
        });
        match limits.map(|m| m.version) {
            Some(Version::V1) => "v1",
            Some(Version::V2) => "v2",
            None => "none",
        }
    }

    /// What of `limits` cannot be held here.
    pub fn missing_for(&self, limits: &Limits) -> Vec<&'static str> {
        let mut missing = Vec::new();
        if limits.cpu_millis.is_some() && !self.has(Controller::Cpu) {
            missing.push("cpu");
        }
        if limits.memory_bytes.is_some() && !self.has(Controller::Memory) {
            missing.push("memory");
        }
        missing
    }

    /// Removes the cluster's own folders, once nothing is left in them.
    pub fn forget(&self, cluster: &str, deadline: Duration) -> io::Result<()> {
        self.group(cluster, "").remove(deadline)
    }

    /// The group of this name, whether it exists or not.
    pub fn group(&self, cluster: &str, name: &str) -> Group {
        let nodes = self.mounts.iter().map(|mount| Node {
            path: mount
                .path
                .join("evenkeel")
                .join(folder_name(cluster))
                .join(name),
            ..mount.clone()
        });
        Group {
            nodes: nodes.collect(),
        }
    }
}

/// One name in every hierarchy.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Group {
    nodes: Vec<Node>,
}

impl Group {
    /// Makes it in every hierarchy; fails if one of them refuses.
    pub fn ensure(&self) -> io::Result<()> {
        for node in &self.nodes {
            fs::create_dir_all(&node.path).map_err(|error| named(&node.path, error))?;
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The folder that holds `controller`'s files, for whoever wants to look.
    pub fn folder(&self, controller: Controller) -> Option<&Path> {
        self.node(controller).map(|node| node.path.as_path())
    }

    fn node(&self, controller: Controller) -> Option<&Node> {
        self.nodes
            .iter()
            .find(|n| n.controllers.contains(&controller))
    }

    /// Files into which a process writes `0` to join.
    pub fn joins(&self) -> Vec<PathBuf> {
        self.nodes
            .iter()
            .map(|n| n.path.join("cgroup.procs"))
            .collect()
    }

    /// Puts the ceilings in force, also on a live group; `None` lifts one.
    pub fn apply(&self, limits: &Limits) -> io::Result<()> {
        if let Some(node) = self.node(Controller::Cpu) {
            let quota = limits
                .cpu_millis
                .map(|millis| (millis.saturating_mul(CPU_PERIOD_US) / 1000).max(CPU_QUOTA_MIN_US));
            match node.version {
                Version::V1 => {
                    write(node, "cpu.cfs_period_us", &CPU_PERIOD_US.to_string())?;
                    let quota = quota.map_or("-1".to_owned(), |q| q.to_string());
                    write(node, "cpu.cfs_quota_us", &quota)?;
                }
                Version::V2 => {
                    let quota = quota.map_or("max".to_owned(), |q| q.to_string());
                    write(node, "cpu.max", &format!("{quota} {CPU_PERIOD_US}"))?;
                }
            }
        }
        if let Some(node) = self.node(Controller::Memory) {
            apply_memory(node, limits.memory_bytes)?;
        }
        if let Some(node) = self.node(Controller::Pids) {
            write(node, "pids.max", &PIDS_LIMIT.to_string())?;
        }
        Ok(())
    }

    /// Processes of the group that the kernel killed for want of memory, since it was made.
    pub fn oom_kills(&self) -> u64 {
        let Some(node) = self.node(Controller::Memory) else {
            return 0;
        };
        let file = match node.version {
            Version::V1 => "memory.oom_control",
            Version::V2 => "memory.events",
        };
        fs::read_to_string(node.path.join(file))
            .unwrap_or_default()
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
            .unwrap_or(0)
    }

    /// Pids in it.
    pub fn processes(&self) -> BTreeSet<i32> {
        self.nodes
            .iter()
            .filter_map(|n| fs::read_to_string(n.path.join("cgroup.procs")).ok())
            .flat_map(|text| {
                text.lines()
                    .filter_map(|line| line.parse().ok())
                    .filter(|pid| *pid > 0)
                    .collect::<Vec<i32>>()
            })
            .collect()
    }

    /// Kills everything in it and waits until it is empty; `false`: something would not die in time.
    pub fn kill(&self, deadline: Duration) -> bool {
        let until = Instant::now() + deadline;
        loop {
            if self.processes().is_empty() {
                return true;
            }
            self.kill_once();
            if self.processes().is_empty() {
                return true;
            }
            if Instant::now() >= until {
                return false;
            }
            pause(Duration::from_millis(2));
        }
    }

    fn kill_once(&self) {
        let unified = self.nodes.iter().find(|n| n.version == Version::V2);
        if unified.is_some_and(|n| write(n, "cgroup.kill", "1").is_ok()) {
            // Sweeps below catch what is in the group of another hierarchy only.
        }
        let freezer = self
            .node(Controller::Freezer)
            .filter(|n| n.version == Version::V1);
        if let Some(node) = freezer {
            let _ = write(node, "freezer.state", "FROZEN");
        }
        for pid in self.processes() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        if let Some(node) = freezer {
            let _ = write(node, "freezer.state", "THAWED");
        }
    }

    /// Removes it; it must be empty. What is not there is fine.
    pub fn remove(&self, deadline: Duration) -> io::Result<()> {
        let until = Instant::now() + deadline;
        for node in &self.nodes {
            loop {
                // Groups that the program made inside its own go first.
                match remove_tree(&node.path) {
                    Ok(()) => break,
                    // A dead process leaves its group a moment after it was reaped.
                    Err(error)
                        if error.kind() == io::ErrorKind::ResourceBusy
                            && Instant::now() < until =>
                    {
                        pause(Duration::from_millis(2));
                    }
                    Err(error) => return Err(named(&node.path, error)),
                }
            }
        }
        Ok(())
    }
}

fn apply_memory(node: &Node, bytes: Option<u64>) -> io::Result<()> {
    match node.version {
        Version::V1 => {
            let value = bytes.map_or("-1".to_owned(), |b| b.to_string());
            let with_swap = node.path.join("memory.memsw.limit_in_bytes").exists();
            // Memory must not exceed memory with swap at any moment, so which one goes
            // first depends on the direction: the first write may fail, the last may not.
            if write(node, "memory.limit_in_bytes", &value).is_err() && with_swap {
                write(node, "memory.memsw.limit_in_bytes", &value)?;
            }
            write(node, "memory.limit_in_bytes", &value)?;
            if with_swap {
                write(node, "memory.memsw.limit_in_bytes", &value)?;
            }
        }
        Version::V2 => {
            let value = bytes.map_or("max".to_owned(), |b| b.to_string());
            write(node, "memory.max", &value)?;
            if node.path.join("memory.swap.max").exists() {
                let swap = if bytes.is_some() { "0" } else { "max" };
                write(node, "memory.swap.max", swap)?;
            }
        }
    }
    Ok(())
}

/// Switches the controllers on from `root` down to `dir`, as far as they exist.
fn enable(root: &Path, dir: &Path) {
    let below: Vec<&Path> = dir
        .ancestors()
        .take_while(|a| a.starts_with(root))
        .collect();
    for folder in below.into_iter().rev() {
        for controller in [Controller::Cpu, Controller::Memory, Controller::Pids] {
            // One by one: a missing controller must not keep the others off.
            let _ = fs::write(
                folder.join("cgroup.subtree_control"),
                format!("+{}", controller.name()),
            );
        }
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::read_dir(path) {
        Ok(entries) => {
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|t| t.is_dir()) {
                    remove_tree(&entry.path())?;
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    match fs::remove_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write(node: &Node, file: &str, value: &str) -> io::Result<()> {
    let path = node.path.join(file);
    // Never creates: a file that is missing is a controller that is missing.
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut f| io::Write::write_all(&mut f, value.as_bytes()))
        .map_err(|error| named(&path, error))
}

fn named(path: &Path, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// A cluster's name as one folder.
fn folder_name(cluster: &str) -> String {
    let name: String = cluster
        .chars()
        .map(|c| match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '_' => c,
            _ => '_',
        })
        .collect();
    if name.is_empty() {
        "_".to_owned()
    } else {
        name
    }
}

/// Mount points have blanks and the like as `\040`.
fn unescape(path: &str) -> String {
    let mut out = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('\\') {
        out.push_str(before);
        match after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                out.push('\\');
                rest = after;
            }
        }
    }
    out + rest
}

/// Waits a moment; these are threads of their own, never the async ones.
pub fn pause(time: Duration) {
    let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [], timeout);
}

#[cfg(test)]
mod tests;
