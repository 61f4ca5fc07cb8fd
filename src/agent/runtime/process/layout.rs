//! What the runtime and its supervisors keep on disk, and who writes what.
//!
//! ```text
//! STATE_DIR/live/ID          held open and locked for as long as ID's supervisor lives
//! STATE_DIR/volumes/NAME     named volumes; never removed
//! STATE_DIR/ID/launch.json   what to run; written once, by create
//!              limits.json   ceilings; written by the agent
//!              ports.json    ports of the node; written by the agent
//!              run.json      the latest start; written by the supervisor
//!              exit.json     the latest exit; written by the supervisor, or for a dead one by the agent
//!              control       FIFO: the agent asks the supervisor to stop
//!              supervisor.log  what went wrong inside the supervisor itself
//!              logs/ files/ tmp/ work/
//! ```
//!
//! Invariants: every JSON file is replaced atomically. `run.json` and
//! `exit.json` carry the number of their start, so an exit never speaks for
//! a later run. An instance runs if, and only if, its `live` file is locked
//! and its latest run has no exit. The lock goes with the process that holds
//! it, so neither a reused pid nor a reboot can be mistaken for life.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::cgroup::{Group, Hierarchy};
use crate::model::InstanceId;
use crate::model::instance::Exit;
use crate::model::spec::{Limits, Protocol};

/// What to run. Private: `env` may hold what nobody else should read.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Launch {
    pub id: InstanceId,
    pub cluster: String,
    /// Program and arguments, `$PORT_…` not yet expanded.
    pub command: Vec<String>,
    pub working_dir: Option<String>,
    /// The whole environment but for ports.
    pub env: BTreeMap<String, String>,
    pub user: Option<String>,
    pub ports: Vec<LaunchPort>,
    /// Folders of named volumes, made on start.
    pub volumes: Vec<PathBuf>,
    /// Used when the supervisor itself is told to end, as at the host's shutdown.
    pub stop_grace_ms: u64,
    pub logs: LogLimits,
    pub hierarchy: Hierarchy,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaunchPort {
    pub name: String,
    /// `None`: picked by the runtime.
    pub fixed: Option<u16>,
    pub protocol: Protocol,
}

/// How much output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogLimits {
    /// A file is rotated once it is this long.
    pub file_bytes: u64,
    /// Files kept, the one being written included; at least 1.
    pub files: u32,
}

impl Default for LogLimits {
    fn default() -> LogLimits {
        LogLimits {
            file_bytes: 10 << 20,
            files: 3,
        }
    }
}

/// One start of an instance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// 1 for the first start.
    pub starts: u64,
    pub pid: i32,
    pub supervisor: ProcessId,
    /// Milliseconds since boot.
    pub started_ms: u64,
    pub group: Group,
}

/// How a run ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExitRecord {
    pub starts: u64,
    pub exit: Exit,
    /// The supervisor went down, or was told to with its host, and took it along.
    pub by_runtime: bool,
}

/// A pid with what tells it from a later process of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProcessId {
    pub pid: i32,
    /// Clock ticks since boot, field 22 of `/proc/PID/stat`.
    pub start_ticks: u64,
}

impl ProcessId {
    /// The process that has this pid now; `None`: there is none.
    pub fn of(pid: i32) -> Option<ProcessId> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in field 2 may hold anything, also spaces and brackets.
        let after_name = stat.rsplit_once(')')?.1;
        let start_ticks = after_name.split_whitespace().nth(19)?.parse().ok()?;
        Some(ProcessId { pid, start_ticks })
    }
    pub fn is_alive(&self) -> bool {
        ProcessId::of(self.pid) == Some(*self)
    }
}

/// Milliseconds since boot, sleep included; resolution 10 ms.
pub fn uptime_ms() -> u64 {
    fs::read_to_string("/proc/uptime")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok())
        .map_or(0, |seconds| (seconds * 1000.0) as u64)
}

/// Paths of the whole state folder.
#[derive(Debug, Clone)]
pub struct StateDir(PathBuf);

impl StateDir {
    /// Makes the folders. A relative path is taken from the present directory, once.
    pub fn open(path: &Path) -> io::Result<StateDir> {
        let state = StateDir(std::path::absolute(path)?);
        // Searchable, so that a program under another user reaches its own folder; not listable.
        make_dir(&state.0, 0o711)?;
        make_dir(&state.live_dir(), 0o700)?;
        Ok(state)
    }
    pub fn root(&self) -> &Path {
        &self.0
    }
    pub fn live_dir(&self) -> PathBuf {
        self.0.join("live")
    }
    pub fn volume(&self, name: &str) -> PathBuf {
        self.0.join("volumes").join(name)
    }
    pub fn instance(&self, id: InstanceId) -> InstanceDir {
        InstanceDir {
            dir: self.0.join(id.to_string()),
            live: self.live_dir().join(id.to_string()),
        }
    }
    /// Every instance that has a folder here.
    pub fn instances(&self) -> io::Result<Vec<InstanceId>> {
        let mut ids = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            ids.extend(
                name.to_str()
                    .and_then(|name| name.parse::<InstanceId>().ok()),
            );
        }
        ids.sort();
        Ok(ids)
    }
}

/// Paths of one instance.
#[derive(Debug, Clone)]
pub struct InstanceDir {
    pub dir: PathBuf,
    pub live: PathBuf,
}

impl InstanceDir {
    /// The folder a supervisor was started for.
    pub fn at(dir: &Path) -> Option<InstanceDir> {
        let live = dir.parent()?.join("live").join(dir.file_name()?);
        Some(InstanceDir {
            dir: dir.to_owned(),
            live,
        })
    }
    pub fn launch(&self) -> io::Result<Option<Launch>> {
        read_json(&self.dir.join("launch.json"))
    }
    pub fn limits(&self) -> io::Result<Limits> {
        Ok(read_json(&self.dir.join("limits.json"))?.unwrap_or_default())
    }
    pub fn set_limits(&self, limits: &Limits) -> io::Result<()> {
        write_json(&self.dir.join("limits.json"), limits)
    }
    pub fn ports(&self) -> io::Result<BTreeMap<String, u16>> {
        Ok(read_json(&self.dir.join("ports.json"))?.unwrap_or_default())
    }
    pub fn set_ports(&self, ports: &BTreeMap<String, u16>) -> io::Result<()> {
        write_json(&self.dir.join("ports.json"), ports)
    }
    pub fn run(&self) -> io::Result<Option<Run>> {
        read_json(&self.dir.join("run.json"))
    }
    pub fn set_run(&self, run: &Run) -> io::Result<()> {
        write_json(&self.dir.join("run.json"), run)
    }
    /// The exit of `run`; `None` while it has none.
    pub fn exit_of(&self, run: &Run) -> io::Result<Option<ExitRecord>> {
        let exit: Option<ExitRecord> = read_json(&self.dir.join("exit.json"))?;
        Ok(exit.filter(|exit| exit.starts == run.starts))
    }
    pub fn set_exit(&self, exit: &ExitRecord) -> io::Result<()> {
        write_json(&self.dir.join("exit.json"), exit)
    }
    pub fn control(&self) -> PathBuf {
        self.dir.join("control")
    }
    pub fn log_dir(&self) -> PathBuf {
        self.dir.join("logs")
    }
    pub fn files(&self) -> PathBuf {
        self.dir.join("files")
    }
    pub fn tmp(&self) -> PathBuf {
        self.dir.join("tmp")
    }
    pub fn work(&self) -> PathBuf {
        self.dir.join("work")
    }

    /// Whether a supervisor lives.
    pub fn is_supervised(&self) -> io::Result<bool> {
        let file = match File::open(&self.live) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
    /// Takes the place of the supervisor; `None`: it is taken.
    pub fn try_supervise(&self) -> io::Result<Option<File>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.live)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Makes a folder and its parents, if need be, with this mode.
pub fn make_dir(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
}

/// `None`: there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    serde_json::from_slice(&text).map(Some).map_err(|error| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {error}", path.display()),
        )
    })
}

/// Replaces a file at once, mode 0600: a reader sees the old or the new one.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let temporary = path.with_extension("json.new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    fs::rename(&temporary, path)
}
