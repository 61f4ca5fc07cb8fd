//! One run of one instance, from before its first instruction until nothing of
//! it is left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, dup2_stderr, dup2_stdout, mkfifo, setsid};

use super::super::cgroup::{Group, pause};
use super::super::launch::expand;
use super::super::layout::{ExitRecord, InstanceDir, Launch, ProcessId, Run, make_dir, uptime_ms};
use super::super::leftovers::{KILL_DEADLINE, bury, descendants, kill_all};
use super::super::rotate::Rotating;
use super::enter::{Entry, Program, find_program, start_failed};
use super::sys::{self, Side};
use super::{Answer, Failure};
use crate::model::instance::Exit;

/// How long another one may hold the instance's place before it counts as taken.
const TAKE_DEADLINE: Duration = Duration::from_secs(3);

/// Detaches, starts the program, says how that went, and stays until it is gone.
pub fn start(dir: &InstanceDir) -> i32 {
    match sys::detach() {
        Ok(Side::Front) => return 0,
        Ok(Side::Detached) => {}
        Err(error) => {
            answer(&Answer::Failed(start_failed(format!(
                "cannot fork: {error}"
            ))));
            return 1;
        }
    }
    let _ = setsid();
    let live = match take(dir) {
        Ok(Some(live)) => live,
        Ok(None) => {
            answer(&Answer::Taken);
            return 0;
        }
        Err(error) => {
            answer(&Answer::Failed(start_failed(format!(
                "cannot lock its place: {error}"
            ))));
            return 1;
        }
    };
    let mut supervisor = match Supervisor::launch(dir) {
        Ok(supervisor) => supervisor,
        Err(failure) => {
            // Let go first: whoever hears the answer may act on it at once.
            drop(live);
            answer(&Answer::Failed(failure));
            return 1;
        }
    };
    answer(&Answer::Started);
    let recorded = supervisor.run_to_end();
    if let Err(error) = &recorded {
        eprintln!("the exit could not be recorded: {error}");
    }
    // Last of all: closing it tells the agent to look.
    drop(live);
    i32::from(recorded.is_err())
}

/// The last words that the starter hears.
fn answer(answer: &Answer) {
    if let Ok(text) = serde_json::to_string(answer) {
        // An agent that died meanwhile hears nothing; its successor finds what runs.
        let _ = writeln!(io::stdout(), "{text}");
    }
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = dup2_stdout(&null);
        if !matches!(answer, Answer::Started) {
            let _ = dup2_stderr(&null);
        }
    }
}

fn take(dir: &InstanceDir) -> io::Result<Option<File>> {
    let until = Instant::now() + TAKE_DEADLINE;
    loop {
        if let Some(live) = dir.try_supervise()? {
            return Ok(Some(live));
        }
        // An agent that looks, or a supervisor that has just recorded its exit, holds it
        // for a moment; one whose program runs holds it for long.
        let runs = match dir.run()? {
            Some(run) => dir.exit_of(&run)?.is_none() && run.supervisor.is_alive(),
            None => false,
        };
        if runs || Instant::now() >= until {
            return Ok(None);
        }
        pause(Duration::from_millis(5));
    }
}

struct Supervisor {
    dir: InstanceDir,
    launch: Launch,
    group: Group,
    starts: u64,
    main: Pid,
    started: Instant,
    ooms_before: u64,
    signals: SignalFd,
    control: File,
    output: PipeReader,
    log: Rotating,
    /// When the whole tree is killed; set once it was asked to end.
    kill_at: Option<Instant>,
    by_runtime: bool,
}

impl Supervisor {
    fn launch(dir: &InstanceDir) -> Result<Supervisor, Failure> {
        let failed = |what: &'static str| {
            move |error: io::Error| start_failed(format!("cannot {what}: {error}"))
        };
        let launch = dir
            .launch()
            .map_err(failed("read what to run"))?
            .ok_or_else(|| start_failed("there is no such instance"))?;
        redirect_errors(dir).map_err(failed("open the supervisor's log"))?;
        stand_apart(&launch);

        // What an earlier run may have left goes first.
        bury(dir, launch.id).map_err(failed("clear the earlier run"))?;
        let group = launch
            .hierarchy
            .group(&launch.cluster, &launch.id.to_string());
        if !kill_all(launch.id, &group) {
            return Err(start_failed("processes of an earlier run cannot be killed"));
        }
        group
            .remove(KILL_DEADLINE)
            .map_err(failed("clear the control group"))?;
        group.ensure().map_err(failed("make the control group"))?;
        let outcome = Supervisor::spawn(dir, launch, &group);
        if outcome.is_err() {
            let _ = group.remove(Duration::from_secs(1));
        }
        outcome
    }

    fn spawn(dir: &InstanceDir, launch: Launch, group: &Group) -> Result<Supervisor, Failure> {
        let failed = |what: &'static str| {
            move |error: io::Error| start_failed(format!("cannot {what}: {error}"))
        };
        apply_limits(dir, group)?;
        let ports = dir.ports().map_err(failed("read its ports"))?;
        let env = launch.environment(&ports);
        let mut entry = Entry::new(dir, &launch, group.joins())?;
        entry.dies_with_parent = true;
        let own = [dir.files(), dir.tmp(), dir.work()];
        for folder in own.iter().chain(&launch.volumes) {
            make_dir(folder, 0o700).map_err(failed("make its folders"))?;
            if let Some(identity) = &entry.identity {
                identity.own(folder)?;
            }
        }
        let words: Vec<String> = launch.command.iter().map(|w| expand(w, &env)).collect();
        let name = words
            .first()
            .ok_or_else(|| start_failed("the command is empty"))?;
        let path = find_program(name, &entry.working_dir, &env)?;
        let program = Program::new(path.clone(), &words, &env)?;

        let mut mask = SigSet::empty();
        for signal in [
            Signal::SIGCHLD,
            Signal::SIGTERM,
            Signal::SIGINT,
            Signal::SIGHUP,
        ] {
            mask.add(signal);
        }
        mask.thread_block()
            .and_then(|()| {
                SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
            })
            .map_err(io::Error::from)
            .map_err(failed("receive signals"))
            .and_then(|signals| {
                let control = open_control(dir).map_err(failed("make its control pipe"))?;
                let (output, sink) = io::pipe().map_err(failed("make its output pipe"))?;
                set_nonblocking(&output).map_err(failed("make its output pipe"))?;
                let ooms_before = group.oom_kills();
                let starts = dir
                    .run()
                    .map_err(failed("read its earlier run"))?
                    .map_or(0, |run| run.starts)
                    + 1;

                // Why a step failed comes back here; exec closes the other end.
                let (mut reason, mut tell) = io::pipe().map_err(failed("make a pipe"))?;
                let mut command = Command::new(&path);
                command
                    .stdin(Stdio::null())
                    .stdout(sink.try_clone().map_err(failed("share its output pipe"))?)
                    .stderr(sink);
                let started_ms = uptime_ms();
                let started = Instant::now();
                let spawned = sys::spawn_after(&mut command, move || {
                    let failure = match entry.enter() {
                        Ok(()) => program.become_it(),
                        Err(failure) => failure,
                    };
                    let _ = tell.write_all(&serde_json::to_vec(&failure).unwrap_or_default());
                    Err(Errno::ECANCELED.into())
                });
                // With it go our copies of the writing ends.
                drop(command);
                let child = spawned.map_err(|error| {
                    let mut text = Vec::new();
                    let _ = reason.read_to_end(&mut text);
                    serde_json::from_slice(&text)
                        .unwrap_or_else(|_| start_failed(format!("cannot start it: {error}")))
                })?;
                let pid = i32::try_from(child.id()).unwrap_or(0);
                let mut supervisor = Supervisor {
                    dir: dir.clone(),
                    group: group.clone(),
                    starts,
                    main: Pid::from_raw(pid),
                    started,
                    ooms_before,
                    signals,
                    control,
                    output,
                    log: Rotating::open(&dir.log_dir(), launch.logs),
                    kill_at: None,
                    by_runtime: false,
                    launch,
                };
                supervisor.record_start(started_ms).map_err(|error| {
                    supervisor.sweep();
                    start_failed(format!("cannot record the start: {error}"))
                })?;
                Ok(supervisor)
            })
    }

    fn record_start(&self, started_ms: u64) -> io::Result<()> {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        self.dir.set_run(&Run {
            starts: self.starts,
            pid: self.main.as_raw(),
            supervisor: ProcessId::of(own).unwrap_or(ProcessId {
                pid: own,
                start_ticks: 0,
            }),
            started_ms,
            group: self.group.clone(),
        })
    }

    fn run_to_end(&mut self) -> io::Result<()> {
        let status = loop {
            self.wait();
            self.read_output();
            self.read_control();
            self.read_signals();
            if let Some(status) = self.reap() {
                break status;
            }
            if self.kill_at.is_some_and(|at| Instant::now() >= at) {
                self.kill_tree();
                // Again in a while, should one of them have forked away.
                self.kill_at = Some(Instant::now() + Duration::from_millis(100));
            }
        };
        let ran_for = self.started.elapsed();
        self.sweep();
        self.read_output();
        self.log.finish();
        let code = match status {
            WaitStatus::Exited(_, code) => Some(code),
            WaitStatus::Signaled(_, signal, _) => Some(128 + signal as i32),
            _ => None,
        };
        let recorded = self.dir.set_exit(&ExitRecord {
            starts: self.starts,
            exit: Exit {
                code,
                oom_killed: self.group.oom_kills() > self.ooms_before,
                ran_for_ms: u64::try_from(ran_for.as_millis()).unwrap_or(u64::MAX),
            },
            by_runtime: self.by_runtime,
        });
        if let Err(error) = self.group.remove(Duration::from_secs(2)) {
            eprintln!("the control group stays behind: {error}");
        }
        recorded
    }

    /// Until something happens, or it is time to kill.
    fn wait(&self) {
        let timeout = match self.kill_at {
            Some(at) => {
                // Up to the next millisecond, or the last one would be spent spinning.
                let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
                PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        };
        let mut watched = [
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.control.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.output.as_fd(), PollFlags::POLLIN),
        ];
        // Once every writer is gone the pipe is readable for ever; the main process is
        // then about to end, or has closed its output and needs no reader.
        let closed = self.is_output_closed();
        let watched = if closed {
            &mut watched[..2]
        } else {
            &mut watched[..]
        };
        let _ = poll(watched, timeout);
    }

    fn is_output_closed(&self) -> bool {
        let mut output = [PollFd::new(self.output.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut output, PollTimeout::ZERO);
        output[0].revents().is_some_and(|events| {
            events.contains(PollFlags::POLLHUP) && !events.contains(PollFlags::POLLIN)
        })
    }

    /// Takes what is there, but not for ever from a program that never pauses.
    fn read_output(&mut self) {
        let mut block = [0; 64 << 10];
        for _ in 0..16 {
            match self.output.read(&mut block) {
                Ok(0) => return,
                Ok(length) => self.log.write(&block[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    /// `stop MILLISECONDS`, a line each; the earliest end counts.
    fn read_control(&mut self) {
        let mut block = [0; 1024];
        while let Ok(length) = self.control.read(&mut block) {
            if length == 0 {
                return;
            }
            for line in String::from_utf8_lossy(&block[..length]).lines() {
                let grace = line.strip_prefix("stop ").and_then(|n| n.parse().ok());
                if let Some(grace) = grace {
                    self.stop(Duration::from_millis(grace));
                }
            }
        }
    }

    fn read_signals(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo != Signal::SIGCHLD as u32 {
                // The host goes down, or a person means the supervisor itself.
                self.by_runtime = true;
                self.stop(Duration::from_millis(self.launch.stop_grace_ms));
            }
        }
    }

    fn stop(&mut self, grace: Duration) {
        // A century is for ever, and further would overflow the clock.
        let kill_at = Instant::now() + grace.min(Duration::from_secs(100 * 365 * 86_400));
        let earlier = self.kill_at.is_none_or(|at| kill_at < at);
        if self.kill_at.is_none() {
            // Safe from reuse: the main process was not reaped yet.
            let _ = killpg(self.main, Signal::SIGTERM);
        }
        if earlier {
            self.kill_at = Some(kill_at);
        }
    }

    /// How the main process ended, once it did. Takes in all other dead as well.
    fn reap(&self) -> Option<WaitStatus> {
        let mut main = None;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => return main,
                Ok(status) if status.pid() == Some(self.main) => main = Some(status),
                Ok(_) => {}
                Err(Errno::EINTR) => {}
                Err(_) => return main,
            }
        }
    }

    /// Everything that is there now.
    fn kill_tree(&self) {
        self.group.kill(Duration::ZERO);
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        for pid in descendants(own) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }

    /// Kills and reaps until nothing of the tree is left.
    fn sweep(&mut self) {
        let until = Instant::now() + KILL_DEADLINE;
        loop {
            self.kill_tree();
            let childless = loop {
                match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    Ok(WaitStatus::StillAlive) => break false,
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(_) => break true,
                }
            };
            if childless && self.group.processes().is_empty() {
                return;
            }
            if Instant::now() >= until {
                eprintln!("some processes of the instance could not be killed");
                return;
            }
            pause(Duration::from_millis(1));
        }
    }
}

/// Becomes what orphans fall to, out of the agent's group and the killer's sight.
fn stand_apart(launch: &Launch) {
    if let Err(error) = prctl::set_child_subreaper(true) {
        eprintln!("orphans cannot be adopted: {error}");
    }
    let group = launch.hierarchy.group(&launch.cluster, "supervisors");
    let _ = group.ensure();
    for file in group.joins() {
        let _ = fs::write(file, "0");
    }
    let _ = fs::write("/proc/self/oom_score_adj", "-900");
}

/// Until nothing changed under us: the agent may set limits at any time.
fn apply_limits(dir: &InstanceDir, group: &Group) -> Result<(), Failure> {
    let mut limits = dir.limits().unwrap_or_default();
    loop {
        group
            .apply(&limits)
            .map_err(|error| start_failed(format!("cannot set its limits: {error}")))?;
        let now = dir.limits().unwrap_or_default();
        if now == limits {
            return Ok(());
        }
        limits = now;
    }
}

fn redirect_errors(dir: &InstanceDir) -> io::Result<()> {
    let log = OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(dir.dir.join("supervisor.log"))?;
    Ok(dup2_stderr(&log)?)
}

fn open_control(dir: &InstanceDir) -> io::Result<File> {
    let path = dir.control();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
    // Writable too, so that it never reports that its last writer left.
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)
}

fn set_nonblocking(fd: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
