//! Plain processes as instances, each under its own supervisor.
//!
//! A supervisor is our own executable, detached from the agent (see `shim`);
//! all it knows is on disk (see `layout`), so that an agent that was killed and
//! started again finds everything as it is, exits included. Nothing here is
//! remembered between calls but the ports in use.
//!
//! What a process gets: its own session and process group, a control group with
//! the limits and at most [`cgroup::PIDS_LIMIT`] processes, no core dumps, no new privileges,
//! no descriptors but its output, a clean environment (`PATH`, `HOME`, `LANG`,
//! `TMPDIR`, the spec's, `EVENKEEL_{PROJECT,APP,SLOT,INSTANCE,FILES}`,
//! `PORT_<NAME>` and `VOLUME_<NAME>`), and folders of its own. It runs as the
//! agent's user unless the spec names another. `$PORT_<NAME>` is expanded in its
//! arguments. A file of the spec, `/etc/web.conf`, is at
//! `$EVENKEEL_FILES/etc/web.conf`; its working directory is a private folder
//! unless the spec names one.
//!
//! Deliberately not here: mounts, network namespaces, images; `launch` refuses
//! specs that need them.

pub mod cgroup;
mod exec;
mod launch;
mod layout;
mod leftovers;
mod ports;
mod rotate;
pub mod shim;
mod tail;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{BoxStream, StreamExt};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use super::{Error, ExecResult, Found, FoundState, Hint, Image, LogQuery, Runtime, Said};
use crate::failpoint::{self, Op};
use crate::model::instance::FailureKind;
use crate::model::spec::{Limits, PullPolicy};
use crate::model::{DesiredInstance, InstanceId};
use cgroup::{Controller, Hierarchy};
pub use layout::LogLimits;
use layout::{InstanceDir, StateDir, make_dir, uptime_ms};
use shim::Answer;
use tail::Tail;
use watch::Watch;

/// A supervisor answers within milliseconds, unless it has a dead one's tree to clear first.
const START_DEADLINE: Duration = Duration::from_secs(30);

/// After the grace: killing the tree, and writing down how it ended.
const STOP_SLACK: Duration = Duration::from_secs(15);

/// From a recorded exit to the supervisor's own end.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);

/// Longest wait between two looks at an instance that is being stopped; the watch is quicker.
const LOOK_PERIOD: Duration = Duration::from_millis(250);

/// How often a followed log is looked at.
const FOLLOW_PERIOD: Duration = Duration::from_millis(100);

/// Where and as what the runtime works.
#[derive(Debug, Clone)]
pub struct ProcessConfig {
    /// Holds one folder per instance; private to the agent.
    pub state_dir: PathBuf,
    /// Only instances of this cluster are seen or touched.
    pub cluster: String,
    /// Our own executable: `SHIM shim …` runs a supervisor.
    pub shim: PathBuf,
}

/// The runtime for `process` tasks.
pub struct Process {
    inner: Arc<Inner>,
    watch: Watch,
}

struct Inner {
    cluster: String,
    shim: PathBuf,
    state: StateDir,
    hierarchy: Hierarchy,
    logs: LogLimits,
    /// Of all instances, so that two of them never get the same.
    ports: Mutex<BTreeMap<InstanceId, BTreeMap<String, u16>>>,
}

impl Process {
    /// Makes `state_dir` and starts to watch it; finds again what runs there.
    /// Errors: the folder cannot be made or read.
    pub fn new(config: ProcessConfig) -> Result<Process, Error> {
        let hierarchy = Hierarchy::detect(&config.cluster);
        Process::with(config, hierarchy, LogLimits::default())
    }

    /// Like `new`, with the control groups and log sizes given.
    pub fn with(
        config: ProcessConfig,
        hierarchy: Hierarchy,
        logs: LogLimits,
    ) -> Result<Process, Error> {
        let shim = std::path::absolute(&config.shim).map_err(unavailable("find our executable"))?;
        let state =
            StateDir::open(&config.state_dir).map_err(unavailable("make the state folder"))?;
        let watch = Watch::start(&state.live_dir());
        if let Some(error) = watch.error() {
            tracing::warn!(error, "no file watch: exits are noticed a second late");
        }
        let inner = Inner {
            cluster: config.cluster,
            shim,
            state,
            hierarchy,
            logs,
            ports: Mutex::default(),
        };
        inner.clear_rubbish();
        inner
            .load_ports()
            .map_err(unavailable("read the state folder"))?;
        Ok(Process {
            inner: Arc::new(inner),
            watch,
        })
    }

    /// Where it keeps its instances.
    pub fn state_dir(&self) -> &Path {
        self.inner.state.root()
    }

    /// Runs `work`, which reads and writes files, where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = Arc::clone(&self.inner);
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .unwrap_or_else(|error| {
                Err(Error::new(
                    FailureKind::RuntimeUnavailable,
                    format!("a task of the process runtime failed: {error}"),
                ))
            })
    }

    async fn is_running(&self, id: InstanceId) -> Result<bool, Error> {
        let found = self.inspect(id).await?;
        Ok(found.is_some_and(|found| found.state == FoundState::Running))
    }

    /// Until it does not run any more; `false`: it still does.
    async fn ended_by(&self, id: InstanceId, deadline: Instant) -> Result<bool, Error> {
        let mut hints = self.watch.hints();
        loop {
            if !self.is_running(id).await? {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            let look = deadline.min(Instant::now() + LOOK_PERIOD);
            while let Ok(Some(hint)) = timeout_at(look, hints.next()).await {
                if matches!(hint, Hint::All) || hint == Hint::Instance(id) {
                    break;
                }
            }
        }
    }

    /// One that becomes `command` inside the instance.
    async fn exec_command(&self, id: InstanceId, command: &[String]) -> Result<Command, Error> {
        if command.is_empty() {
            return Err(rejected("the command is empty"));
        }
        if !self.is_running(id).await? {
            return Err(start_failed("the instance does not run"));
        }
        let mut shim = self.shim_command("exec", id);
        shim.args(command);
        Ok(shim)
    }

    /// A command of our own executable, without anything of our environment.
    fn shim_command(&self, verb: &str, id: InstanceId) -> Command {
        let mut command = Command::new(&self.inner.shim);
        command
            .args(["shim", verb])
            .arg(self.inner.state.instance(id).dir)
            .env_clear()
            .stdin(Stdio::null());
        command
    }
}

fn unavailable(what: &'static str) -> impl Fn(io::Error) -> Error {
    move |error| {
        Error::new(
            FailureKind::RuntimeUnavailable,
            format!("cannot {what}: {error}"),
        )
    }
}

fn rejected(message: impl Into<String>) -> Error {
    Error::new(FailureKind::Rejected, message)
}

fn start_failed(message: impl Into<String>) -> Error {
    Error::new(FailureKind::StartFailed, message)
}

impl Inner {
    /// What was being made or removed when an agent died.
    fn clear_rubbish(&self) {
        let entries = fs::read_dir(self.state.root())
            .into_iter()
            .flatten()
            .flatten();
        for entry in entries {
            if entry.file_name().to_string_lossy().starts_with('.') {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn load_ports(&self) -> io::Result<()> {
        let mut held = BTreeMap::new();
        for id in self.state.instances()? {
            held.insert(id, self.state.instance(id).ports().unwrap_or_default());
        }
        *self.ports.lock().unwrap_or_else(PoisonError::into_inner) = held;
        Ok(())
    }

    fn inspect(&self, id: InstanceId) -> Result<Option<Found>, Error> {
        let dir = self.state.instance(id);
        let failed = unavailable("read an instance's state");
        let Some(launch) = self.launch(&dir)? else {
            return Ok(None);
        };
        // In this order: a supervisor writes the exit before it lets go.
        let mut supervised = dir.is_supervised().map_err(&failed)?;
        let mut run = dir.run().map_err(&failed)?;
        let mut exit = match &run {
            Some(run) => dir.exit_of(run).map_err(&failed)?,
            None => None,
        };
        if !supervised && run.is_some() && exit.is_none() {
            match dir.try_supervise().map_err(&failed)? {
                Some(place) => {
                    leftovers::bury(&dir, id).map_err(&failed)?;
                    drop(place);
                }
                None => supervised = true,
            }
            run = dir.run().map_err(&failed)?;
            exit = match &run {
                Some(run) => dir.exit_of(run).map_err(&failed)?,
                None => None,
            };
        }
        let (state, handle, starts, running_ms) = match (&run, exit) {
            // No supervisor yet to be named after.
            (None, _) => (FoundState::Created, id.to_string(), 0, 0),
            (Some(run), Some(record)) => {
                let state = FoundState::Exited {
                    exit: record.exit,
                    by_runtime: record.by_runtime,
                };
                (state, run.supervisor.pid.to_string(), run.starts, 0)
            }
            (Some(run), None) if supervised => (
                FoundState::Running,
                run.supervisor.pid.to_string(),
                run.starts,
                uptime_ms().saturating_sub(run.started_ms),
            ),
            (Some(_), None) => {
                // Between two looks a new supervisor took over; the next look tells.
                return Err(failed(io::Error::other("it is changing, look again")));
            }
        };
        let ports = dir.ports().map_err(&failed)?;
        let probe_ports = ports
            .iter()
            .filter(|(name, _)| launch.ports.iter().any(|p| p.name == **name))
            .map(|(name, port)| (name.clone(), format!("127.0.0.1:{port}")));
        Ok(Some(Found {
            id,
            state,
            handle,
            probe_ports: probe_ports.collect(),
            published_ports: ports,
            starts,
            limits: dir.limits().map_err(&failed)?,
            running_ms,
        }))
    }

    /// `None`: it does not exist, or it is another cluster's.
    fn launch(&self, dir: &InstanceDir) -> Result<Option<layout::Launch>, Error> {
        match dir.launch() {
            Ok(launch) => Ok(launch.filter(|launch| launch.cluster == self.cluster)),
            // Cut short by a power failure, so nothing of it runs; `create` makes it anew.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::warn!(%error, "an instance's record is unreadable and counts as absent");
                Ok(None)
            }
            Err(error) => Err(unavailable("read what an instance runs")(error)),
        }
    }

    fn create(&self, cluster: &str, instance: &DesiredInstance) -> Result<(), Error> {
        if cluster != self.cluster {
            return Err(rejected(format!(
                "it belongs to cluster {cluster}, and this node to {}",
                self.cluster
            )));
        }
        let (launch, files) =
            launch::plan_launch(cluster, instance, &self.state, &self.hierarchy, self.logs)
                .map_err(|error| rejected(error.to_string()))?;
        let dir = self.state.instance(instance.id);
        let failed = |error: io::Error| start_failed(format!("cannot make its folder: {error}"));
        if self.launch(&dir)?.is_some() {
            return Ok(());
        }
        // Made beside, then moved into place: it exists whole or not at all.
        let making = self.state.root().join(format!(".new-{}", instance.id));
        remove_all(&making).map_err(failed)?;
        let new = InstanceDir {
            dir: making.clone(),
            live: dir.live.clone(),
        };
        make_dir(&making, 0o711).map_err(failed)?;
        for folder in [new.log_dir(), new.files(), new.tmp(), new.work()] {
            make_dir(&folder, 0o700).map_err(failed)?;
        }
        for (path, content) in files {
            let path = new.files().join(path);
            if let Some(parent) = path.parent() {
                make_dir(parent, 0o755).map_err(failed)?;
            }
            fs::write(&path, content).map_err(failed)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).map_err(failed)?;
        }
        new.set_limits(&instance.run.limits).map_err(failed)?;
        layout::write_json(&new.dir.join("launch.json"), &launch).map_err(failed)?;
        remove_all(&dir.dir).map_err(failed)?;
        failpoint::around(Op::ProcessPlace, || fs::rename(&making, &dir.dir)).map_err(failed)
    }

    /// What must hold before a supervisor is started: `false`: it runs already.
    fn prepare_start(&self, id: InstanceId) -> Result<bool, Error> {
        let Some(found) = self.inspect(id)? else {
            return Err(start_failed("there is no such instance"));
        };
        if found.state == FoundState::Running {
            return Ok(false);
        }
        let dir = self.state.instance(id);
        let Some(launch) = self.launch(&dir)? else {
            return Err(start_failed("there is no such instance"));
        };
        self.require_limits(&found.limits)?;
        let mut all = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved: BTreeSet<u16> = all
            .iter()
            .filter(|(other, _)| **other != id)
            .flat_map(|(_, ports)| ports.values().copied())
            .collect();
        let ports = ports::assign(
            id,
            &launch.ports,
            &found.published_ports,
            &reserved,
            &ports::is_free,
        )
        .map_err(|error| start_failed(error.to_string()))?;
        if ports != found.published_ports {
            dir.set_ports(&ports)
                .map_err(|error| start_failed(format!("cannot note its ports: {error}")))?;
        }
        all.insert(id, ports);
        Ok(true)
    }

    fn require_limits(&self, limits: &Limits) -> Result<(), Error> {
        let missing = self.hierarchy.missing_for(limits);
        if missing.is_empty() {
            return Ok(());
        }
        Err(rejected(format!(
            "this node cannot hold a process to its {} limit: no writable control group (attribute process.limits=false)",
            missing.join(" or ")
        )))
    }

    /// Tells the supervisor; `false`: there is none.
    fn ask_to_stop(&self, id: InstanceId, grace: Duration) -> Result<bool, Error> {
        let dir = self.state.instance(id);
        let opened = fs::OpenOptions::new()
            .write(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(dir.control());
        let asked = opened.and_then(|mut pipe| {
            pipe.write_all(format!("stop {}\n", grace.as_millis()).as_bytes())
        });
        match asked {
            Ok(()) => Ok(true),
            // Nobody reads it, or it is not there.
            Err(error)
                if error.raw_os_error() == Some(nix::libc::ENXIO)
                    || matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::BrokenPipe
                    ) =>
            {
                Ok(false)
            }
            Err(error) => Err(unavailable("reach its supervisor")(error)),
        }
    }

    /// A supervisor that does not do its work is killed, and then its tree.
    fn force(&self, id: InstanceId) -> Result<(), Error> {
        let dir = self.state.instance(id);
        let run = dir.run().map_err(unavailable("read its run"))?;
        if let Some(run) = run
            && run.supervisor.is_alive()
        {
            tracing::warn!(instance = %id, pid = run.supervisor.pid, "supervisor does not answer, killing it");
            let _ = kill(Pid::from_raw(run.supervisor.pid), Signal::SIGKILL);
        }
        Ok(())
    }

    fn remove(&self, id: InstanceId) -> Result<(), Error> {
        let dir = self.state.instance(id);
        let failed = |error: io::Error| start_failed(format!("cannot remove its folder: {error}"));
        if !dir.dir.exists() {
            self.forget_ports(id);
            return Ok(());
        }
        // A supervisor that has recorded the exit needs a moment to let go.
        let until = std::time::Instant::now() + RELEASE_DEADLINE;
        let place = loop {
            if let Some(place) = dir.try_supervise().map_err(failed)? {
                break place;
            }
            if std::time::Instant::now() >= until {
                return Err(start_failed("its supervisor still lives"));
            }
            cgroup::pause(Duration::from_millis(2));
        };
        let hierarchies = [
            Some(self.hierarchy.group(&self.cluster, &id.to_string())),
            dir.run().ok().flatten().map(|run| run.group),
        ];
        for group in hierarchies.into_iter().flatten() {
            if !leftovers::kill_all(id, &group) {
                return Err(start_failed("some of its processes cannot be killed"));
            }
            group.remove(leftovers::KILL_DEADLINE).map_err(failed)?;
        }
        let trash = self.state.root().join(format!(".old-{id}"));
        remove_all(&trash).map_err(failed)?;
        failpoint::around(Op::ProcessMoveAway, || fs::rename(&dir.dir, &trash)).map_err(failed)?;
        let _ = fs::remove_file(&dir.live);
        drop(place);
        self.forget_ports(id);
        failpoint::around(Op::ProcessDelete, || remove_all(&trash)).map_err(failed)
    }

    fn forget_ports(&self, id: InstanceId) {
        self.ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&id);
    }

    fn set_limits(&self, id: InstanceId, limits: Limits) -> Result<(), Error> {
        self.require_limits(&limits)?;
        let Some(found) = self.inspect(id)? else {
            return Err(start_failed("there is no such instance"));
        };
        let dir = self.state.instance(id);
        let noted = |limits: &Limits| {
            dir.set_limits(limits)
                .map_err(|error| start_failed(format!("cannot note its limits: {error}")))
        };
        // Noted first, so that a supervisor that is just starting sees them.
        noted(&limits)?;
        if found.state != FoundState::Running {
            return Ok(());
        }
        let run = dir.run().map_err(unavailable("read its run"))?;
        let Some(run) = run else { return Ok(()) };
        if let Err(error) = run.group.apply(&limits) {
            if !self
                .inspect(id)?
                .is_some_and(|now| now.state == FoundState::Running)
            {
                return Ok(());
            }
            noted(&found.limits)?;
            return Err(start_failed(format!("cannot change its limits: {error}")));
        }
        Ok(())
    }
}

/// What is not there is fine.
fn remove_all(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[async_trait]
impl Runtime for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn attributes(&self) -> Result<BTreeMap<String, String>, Error> {
        let hierarchy = &self.inner.hierarchy;
        let limits = hierarchy.has(Controller::Cpu) && hierarchy.has(Controller::Memory);
        let attributes = [
            ("runtime.process", "true".to_owned()),
            ("process.limits", limits.to_string()),
            ("process.cgroups", hierarchy.version().to_owned()),
        ];
        Ok(attributes
            .map(|(name, value)| (name.to_owned(), value))
            .into())
    }

    async fn list(&self) -> Result<Vec<Found>, Error> {
        self.blocking(|inner| {
            let ids = inner
                .state
                .instances()
                .map_err(unavailable("read the state folder"))?;
            let mut all = Vec::new();
            for id in ids {
                all.extend(inner.inspect(id)?);
            }
            Ok(all)
        })
        .await
    }

    async fn inspect(&self, id: InstanceId) -> Result<Option<Found>, Error> {
        self.blocking(move |inner| inner.inspect(id)).await
    }

    async fn prepare(&self, image: &str, _policy: PullPolicy) -> Result<Image, Error> {
        Err(rejected(format!(
            "image {image} cannot be used: this node runs plain processes"
        )))
    }

    async fn create(&self, cluster: &str, instance: &DesiredInstance) -> Result<(), Error> {
        let (cluster, instance) = (cluster.to_owned(), instance.clone());
        self.blocking(move |inner| inner.create(&cluster, &instance))
            .await
    }

    async fn start(&self, id: InstanceId) -> Result<(), Error> {
        if !self.blocking(move |inner| inner.prepare_start(id)).await? {
            return Ok(());
        }
        let cannot_run =
            |error: io::Error| start_failed(format!("cannot run its supervisor: {error}"));
        let mut shim = self.shim_command("start", id);
        shim.stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let shim =
            failpoint::around(Op::ProcessLaunch, || ports::spawn(&mut shim)).map_err(cannot_run)?;
        let output = timeout(START_DEADLINE, shim.wait_with_output())
            .await
            .map_err(|_| start_failed("its supervisor did not answer in time"))?
            .map_err(cannot_run)?;
        let said = String::from_utf8_lossy(&output.stdout);
        match serde_json::from_str::<Answer>(said.trim()) {
            Ok(Answer::Started) => {
                self.watch.tell(id);
                Ok(())
            }
            Ok(Answer::Taken) if self.is_running(id).await? => Ok(()),
            Ok(Answer::Taken) => Err(start_failed("its place is held by another supervisor")),
            Ok(Answer::Failed(failure)) => Err(Error::new(failure.kind, failure.message)),
            Err(_) => Err(start_failed(format!(
                "its supervisor ended without an answer: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            ))),
        }
    }

    async fn stop(&self, id: InstanceId, grace: Duration) -> Result<(), Error> {
        if !self.is_running(id).await? {
            return Ok(());
        }
        let ask = self.blocking(move |inner| inner.ask_to_stop(id, grace));
        let asked = failpoint::around_async(Op::ProcessAskToStop, ask).await?;
        let patience = if asked { grace } else { Duration::ZERO };
        let deadline = Instant::now() + patience.min(Duration::from_secs(86_400)) + STOP_SLACK;
        if self.ended_by(id, deadline).await? {
            return Ok(());
        }
        self.blocking(move |inner| inner.force(id)).await?;
        if self.ended_by(id, Instant::now() + STOP_SLACK).await? {
            return Ok(());
        }
        Err(unavailable("stop it")(io::Error::other(
            "its processes do not die",
        )))
    }

    async fn remove(&self, id: InstanceId) -> Result<(), Error> {
        self.stop(id, Duration::ZERO).await?;
        self.blocking(move |inner| inner.remove(id)).await
    }

    async fn set_limits(&self, id: InstanceId, limits: Limits) -> Result<(), Error> {
        let set = self.blocking(move |inner| inner.set_limits(id, limits));
        failpoint::around_async(Op::ProcessSetLimits, set).await
    }

    async fn exec(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, Error> {
        exec::run(self.exec_command(id, command).await?, timeout).await
    }

    async fn exec_streamed(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
        said: mpsc::Sender<Said>,
    ) -> Result<i32, Error> {
        exec::run_streamed(self.exec_command(id, command).await?, timeout, &said).await
    }

    async fn logs(
        &self,
        id: InstanceId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        let failed = unavailable("read its output");
        let (tail, inner) = self
            .blocking(move |inner| {
                let dir = inner.state.instance(id);
                if inner.launch(&dir)?.is_none() {
                    return Err(start_failed("there is no such instance"));
                }
                let tail = Tail::open(&dir.log_dir(), query.tail).map_err(failed)?;
                Ok((tail, dir))
            })
            .await?;
        let reader = Follow {
            tail,
            dir: inner,
            follow: query.follow,
            lines: VecDeque::new(),
            last: false,
        };
        Ok(futures_util::stream::unfold(reader, Follow::next).boxed())
    }

    fn watch(&self) -> BoxStream<'static, Hint> {
        self.watch.hints()
    }
}

/// A reader of output on its way.
struct Follow {
    tail: Tail,
    dir: InstanceDir,
    follow: bool,
    lines: VecDeque<String>,
    /// Nothing comes after what was read.
    last: bool,
}

impl Follow {
    async fn next(mut self) -> Option<(Result<String, Error>, Follow)> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some((Ok(line), self));
            }
            if self.last {
                return None;
            }
            let read = tokio::task::spawn_blocking(move || {
                // Asked first: what a dead one wrote is read after it died.
                let over = !self.follow || !self.dir.is_supervised().unwrap_or(false);
                let lines = self.tail.read();
                (self, over, lines)
            });
            let (reader, over, lines) = read.await.ok()?;
            self = reader;
            match lines {
                Ok(lines) if !lines.is_empty() => self.lines = lines,
                Ok(_) if over => {
                    self.last = true;
                    self.lines.extend(self.tail.rest());
                }
                Ok(_) => tokio::time::sleep(FOLLOW_PERIOD).await,
                Err(error) => {
                    self.last = true;
                    return Some((Err(unavailable("read its output")(error)), self));
                }
            }
        }
    }
}
