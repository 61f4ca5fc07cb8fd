//! The program under test: started, killed by its own crash point, started again.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Command;
use tokio::task::JoinHandle;

use super::life::pause;

#[derive(Default)]
struct State {
    pid: Option<i32>,
    stopping: bool,
    died: Vec<String>,
    /// It ended otherwise than by its crash point.
    wrong: Option<String>,
}

/// One role of the program. It is started again at once when it dies, armed with what is left.
pub struct Role {
    state: Arc<Mutex<State>>,
    keeper: JoinHandle<()>,
}

/// How a role is called.
#[derive(Clone)]
pub struct Call {
    pub args: Vec<String>,
    pub cluster: String,
    /// `NAME:N` each; all roles take away from it where they died.
    pub armed: Arc<Mutex<Vec<String>>>,
    /// Where it writes which points it reached.
    pub record: PathBuf,
    pub log: PathBuf,
}

impl Call {
    fn command(&self, armed: &[String]) -> Command {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        // Another build may be put to the test, such as one that is not rebuilt meanwhile.
        let program = std::env::var("CRASH_PROGRAM");
        let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_evenkeel").to_owned());
        let mut command = Command::new(program);
        command
            .args(&self.args)
            .env("EVENKEEL_CLUSTER", &self.cluster)
            .env("EVENKEEL_FAILPOINT_LOG", &self.record)
            .env_remove("EVENKEEL_FAILPOINT")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true);
        if !armed.is_empty() {
            command.env("EVENKEEL_FAILPOINT", armed.join(","));
        }
        command
    }

    /// Where this process said that it dies.
    fn last_word(&self, pid: i32) -> Option<String> {
        let text = std::fs::read_to_string(&self.record).ok()?;
        let start = format!("{pid} !");
        let line = text.lines().rev().find(|line| line.starts_with(&start))?;
        Some(line[start.len()..].to_owned())
    }
}

impl Role {
    pub fn start(call: Call) -> Role {
        let state = Arc::new(Mutex::new(State::default()));
        let keeper = tokio::spawn(keep(call, Arc::clone(&state)));
        Role { state, keeper }
    }

    /// SIGTERM, and its end. One that dies of its crash point instead has ended, too.
    pub async fn stop(self) -> Result<Vec<String>, String> {
        let end = Instant::now() + Duration::from_secs(60);
        let mut asked = None;
        while !self.keeper.is_finished() {
            let pid = {
                let mut state = self.state.lock().unwrap();
                state.stopping = true;
                state.pid
            };
            if let Some(pid) = pid
                && asked != Some(pid)
            {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                asked = Some(pid);
            }
            if Instant::now() > end {
                return Err("it does not stop".to_owned());
            }
            pause().await;
        }
        self.died()
    }

    /// The crash points of which it died; what else happened to it is an error.
    pub fn died(&self) -> Result<Vec<String>, String> {
        let state = self.state.lock().unwrap();
        match &state.wrong {
            None => Ok(state.died.clone()),
            Some(wrong) => Err(wrong.clone()),
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        // Its child goes with it.
        self.keeper.abort();
    }
}

async fn keep(call: Call, state: Arc<Mutex<State>>) {
    loop {
        let armed = call.armed.lock().unwrap().clone();
        let mut child = call.command(&armed).spawn().unwrap();
        let pid = child.id().and_then(|id| i32::try_from(id).ok());
        state.lock().unwrap().pid = pid;
        let status = child.wait().await.unwrap();
        let mut state = state.lock().unwrap();
        state.pid = None;
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        let point = pid.filter(|_| killed).and_then(|pid| call.last_word(pid));
        match (point, state.stopping) {
            (Some(point), _) if armed.contains(&point) => {
                call.armed.lock().unwrap().retain(|other| *other != point);
                state.died.push(point);
            }
            (None, true) if status.success() => return,
            _ => state.wrong = Some(format!("it ended by itself: {status}")),
        }
        if state.stopping || state.wrong.is_some() {
            return;
        }
    }
}

/// The last lines of a log.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
