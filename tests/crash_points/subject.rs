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

/// A role that ends by itself more often than this is broken, not unlucky.
const DEATHS: u32 = 1;

#[derive(Default)]
struct State {
    pid: Option<i32>,
    stopping: bool,
    deaths: u32,
    /// It ended otherwise than by its crash point.
    wrong: Option<String>,
}

/// One role of the program. It is started again at once when it dies, unarmed.
pub struct Role {
    state: Arc<Mutex<State>>,
    keeper: JoinHandle<()>,
}

/// How a role is called.
#[derive(Clone)]
pub struct Call {
    pub args: Vec<String>,
    pub cluster: String,
    /// `NAME:N`; not after it has died there.
    pub armed: Option<String>,
    /// Where it writes which points it reached.
    pub record: PathBuf,
    pub log: PathBuf,
}

impl Call {
    fn command(&self, armed: bool) -> Command {
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
        if let (Some(point), true) = (&self.armed, armed) {
            command.env("EVENKEEL_FAILPOINT", point);
        }
        command
    }
}

impl Role {
    pub fn start(call: Call, armed: bool) -> Role {
        let state = Arc::new(Mutex::new(State::default()));
        let keeper = tokio::spawn(keep(call, armed, Arc::clone(&state)));
        Role { state, keeper }
    }

    /// SIGTERM, and its end. One that dies of its crash point instead has ended, too.
    pub async fn stop(self) -> Result<u32, String> {
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
        self.deaths()
    }

    /// How often it died of its crash point; what else happened to it is an error.
    pub fn deaths(&self) -> Result<u32, String> {
        let state = self.state.lock().unwrap();
        match &state.wrong {
            None => Ok(state.deaths),
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

async fn keep(call: Call, armed: bool, state: Arc<Mutex<State>>) {
    let mut armed = armed;
    loop {
        let mut child = call.command(armed).spawn().unwrap();
        {
            let mut state = state.lock().unwrap();
            state.pid = child.id().and_then(|id| i32::try_from(id).ok());
        }
        let status = child.wait().await.unwrap();
        let mut state = state.lock().unwrap();
        state.pid = None;
        let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
        match (killed, state.stopping) {
            (true, _) if armed => state.deaths += 1,
            (_, true) if status.success() => return,
            _ => state.wrong = Some(format!("it ended by itself: {status}")),
        }
        if state.stopping || state.wrong.is_some() || state.deaths > DEATHS {
            return;
        }
        armed = false;
    }
}

/// The last lines of a log.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
