//! The thread that owns the server process: starts it, notices its end, starts it
//! again, stops it.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal as UnixSignal, kill};
use nix::unistd::{Pid, getppid};
use tokio::sync::oneshot;

use super::layout::Layout;
use super::log::Log;
use super::{Durability, Error, Options, orphans, programs};
use crate::failpoint::{self, Op};

/// How often the server is looked at when nothing is heard of it.
const LOOK: Duration = Duration::from_millis(500);
const LOOK_WHILE_MOVING: Duration = Duration::from_millis(10);
/// Failed first starts until we give up; some pass by themselves (memory of a predecessor).
const FIRST_ATTEMPTS: u32 = 3;
const BACK_OFF: Duration = Duration::from_millis(100);
const BACK_OFF_MAX: Duration = Duration::from_secs(10);
/// After this long alive, an end is no longer counted as a failed start.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);
/// After the fast shutdown's deadline, for the immediate one.
const IMMEDIATE_DEADLINE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) enum Signal {
    Stop,
    /// The server closed its output: look at it now.
    Look,
}

pub(super) struct Address {
    pub data: PathBuf,
    pub socket_dir: PathBuf,
}

pub(super) struct Supervisor {
    options: Options,
    layout: Layout,
    log: Log,
    control: mpsc::Sender<Signal>,
    signals: mpsc::Receiver<Signal>,
    stopping: bool,
}

type Ready = oneshot::Sender<Result<(), Error>>;

impl Supervisor {
    pub(super) fn new(
        options: Options,
        layout: Layout,
        log: Log,
        control: mpsc::Sender<Signal>,
        signals: mpsc::Receiver<Signal>,
    ) -> Supervisor {
        Supervisor {
            options,
            layout,
            log,
            control,
            signals,
            stopping: false,
        }
    }

    pub(super) fn address(&self) -> Address {
        Address {
            data: self.layout.data.clone(),
            socket_dir: self.layout.socket_dir.clone(),
        }
    }

    /// Until asked to stop, or until the first start has failed for good.
    pub(super) fn run(mut self, ready: Ready) {
        let deadline = Instant::now() + self.options.start_deadline;
        let mut first = Some(ready);
        let mut failures = 0;
        while !self.stopping {
            let begun = Instant::now();
            let ended = self.one_life(&mut first, deadline);
            if self.stopping {
                return;
            }
            if begun.elapsed() >= HEALTHY_AFTER {
                failures = 0;
            }
            failures += 1;
            let reason = match ended {
                Ok(reason) => reason,
                Err(error) => match first.take() {
                    Some(ready) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                    None => error.to_string(),
                },
            };
            if failures >= FIRST_ATTEMPTS
                && let Some(ready) = first.take()
            {
                let log = self.log.last_lines();
                let _ = ready.send(Err(Error::Start { reason, log }));
                return;
            }
            let wait = (BACK_OFF * 2u32.saturating_pow(failures - 1)).min(BACK_OFF_MAX);
            tracing::error!(%reason, wait_ms = wait.as_millis() as u64,
                "the private PostgreSQL ended and is started again");
            let until = Instant::now() + wait;
            while !self.stopping && Instant::now() < until {
                self.pause(until.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// From start to end; says why it ended.
    fn one_life(&mut self, first: &mut Option<Ready>, deadline: Instant) -> Result<String, Error> {
        let data = self.layout.data.clone();
        orphans::clear(&data, |d| self.pause(d))?;
        if self.stopping {
            return Ok("asked to stop".to_owned());
        }
        let mut child = self.spawn()?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        let mut is_ready = false;
        loop {
            if let Some(status) = child
                .try_wait()
                .map_err(Error::io("waiting for postgres"))?
            {
                return Ok(format!("it ended with {status}"));
            }
            if self.stopping {
                self.stop(&mut child);
                return Ok("asked to stop".to_owned());
            }
            if !is_ready && orphans::says_ready(&data, pid) {
                is_ready = true;
                if let Some(ready) = first.take() {
                    let _ = ready.send(Ok(()));
                }
                tracing::info!(pid, "the private PostgreSQL is ready");
            }
            if !is_ready && Instant::now() >= deadline && first.is_some() {
                self.stop(&mut child);
                return Err(Error::Start {
                    reason: format!("not ready within {:?}", self.options.start_deadline),
                    log: self.log.last_lines(),
                });
            }
            self.pause(if is_ready { LOOK } else { LOOK_WHILE_MOVING });
        }
    }

    /// Waits, but wakes at any signal.
    fn pause(&mut self, at_most: Duration) {
        match self.signals.recv_timeout(at_most) {
            Ok(Signal::Stop) => self.stopping = true,
            Ok(Signal::Look) | Err(mpsc::RecvTimeoutError::Timeout) => {}
            // We hold a sender ourselves.
            Err(mpsc::RecvTimeoutError::Disconnected) => self.stopping = true,
        }
    }

    fn spawn(&self) -> Result<Child, Error> {
        let mut command = programs::clean(&self.layout.programs.postgres);
        command.arg("-D").arg(&self.layout.data);
        let mut set = |name: &str, value: &str| {
            command.arg("-c").arg(format!("{name}={value}"));
        };
        set("listen_addresses", "");
        set("port", "5432");
        set(
            "unix_socket_directories",
            &self.layout.socket_dir.to_string_lossy(),
        );
        set("unix_socket_permissions", "0700");
        set("max_connections", "100");
        set("logging_collector", "off");
        set("log_destination", "stderr");
        set("log_line_prefix", "%m [%p] ");
        match self.options.durability {
            Durability::Full => {}
            // Not `synchronous_commit`: what a killed server had not written would be lost.
            Durability::ServerCrashOnly => {
                set("fsync", "off");
                set("full_page_writes", "off");
            }
        }
        if let Some(user) = &self.layout.user {
            user.apply(&mut command);
        }
        // A Ctrl-C in our terminal is for us: we stop it when all others have let go of it.
        command
            .process_group(0)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        die_with_parent(&mut command);
        let mut child = failpoint::around(Op::PostgresSpawn, || command.spawn())
            .map_err(Error::io("starting postgres"))?;
        if let Some(stderr) = child.stderr.take() {
            let (log, control) = (self.log.clone(), self.control.clone());
            // Ends with the last process of the server.
            std::thread::Builder::new()
                .name("private-postgres-log".to_owned())
                .spawn(move || {
                    log.pump(stderr);
                    let _ = control.send(Signal::Look);
                })
                .map_err(Error::io("starting a thread"))?;
        }
        Ok(child)
    }

    /// Fast, then immediate, then killed.
    fn stop(&mut self, child: &mut Child) {
        for (signal, deadline) in [
            (UnixSignal::SIGINT, self.options.stop_deadline),
            (UnixSignal::SIGQUIT, IMMEDIATE_DEADLINE),
        ] {
            if let Ok(pid) = i32::try_from(child.id()) {
                let _ = kill(Pid::from_raw(pid), signal);
            }
            let until = Instant::now() + deadline;
            while Instant::now() < until {
                if !matches!(child.try_wait(), Ok(None)) {
                    return;
                }
                self.pause(LOOK_WHILE_MOVING);
            }
            tracing::warn!(%signal, "the private PostgreSQL does not stop in time");
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The kernel asks the server for a fast shutdown when the thread that started it ends, which
/// it does with our process, however that ends.
#[expect(unsafe_code, reason = "only pre_exec runs between fork and exec")]
fn die_with_parent(command: &mut std::process::Command) {
    let parent = nix::unistd::getpid();
    // SAFETY: the closure only makes two system calls and allocates nothing, which is all that
    // is allowed in a forked child of a process with threads.
    unsafe {
        command.pre_exec(move || {
            nix::sys::prctl::set_pdeathsig(UnixSignal::SIGINT)?;
            // The parent may have died before the line above.
            if getppid() != parent {
                return Err(std::io::Error::from_raw_os_error(nix::libc::ESRCH));
            }
            Ok(())
        });
    }
}
