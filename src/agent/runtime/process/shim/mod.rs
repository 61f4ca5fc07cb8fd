//! The supervisor: `evenkeel shim start DIR`, one small process per running
//! instance, and `evenkeel shim exec DIR COMMAND…`, which becomes a command
//! inside an instance.
//!
//! It is our own executable, started anew, with one thread and no runtime: it
//! outlives the agent, and no bug of the agent's can take it along. It writes
//! what happened to disk; whoever starts or adopts the instance reads it there.
//! It decides nothing: restarts, deadlines and health are the agent's business.

mod enter;
mod supervise;
mod sys;

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::launch::expand;
use super::layout::InstanceDir;
use crate::model::instance::Failure;
use enter::{Entry, exec_failure, find_program, rejected, start_failed};

/// What `shim start` says on standard output, as one line of JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Answer {
    Started,
    /// Another supervisor has the instance.
    Taken,
    Failed(Failure),
}

/// Exit code of `exec` where the command does not exist, as shells have it.
pub const EXIT_NOT_FOUND: i32 = 127;
/// Exit code of `exec` where the command cannot be run.
pub const EXIT_NOT_RUNNABLE: i32 = 126;

/// Entry point of the hidden subcommand, with the arguments after `shim`.
/// Must be called before any other thread exists, because it forks.
pub fn shim_main(args: &[OsString]) -> ! {
    close_inherited();
    // No folder is kept busy by a supervisor.
    let _ = std::env::set_current_dir("/");
    let code = match args {
        [verb, dir] if verb == "start" => match InstanceDir::at(Path::new(dir)) {
            Some(dir) => supervise::start(&dir),
            None => usage(),
        },
        [verb, dir, command @ ..] if verb == "exec" && !command.is_empty() => {
            match InstanceDir::at(Path::new(dir)) {
                Some(dir) => exec(&dir, command),
                None => usage(),
            }
        }
        _ => usage(),
    };
    std::process::exit(code)
}

fn usage() -> i32 {
    eprintln!("evenkeel shim is for the agent's own use");
    2
}

/// Becomes the command; returns only if that fails.
fn exec(dir: &InstanceDir, command: &[OsString]) -> i32 {
    let failure = match exec_inside(dir, command) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    eprintln!("{}", failure.message);
    if failure.message.starts_with("there is no program") {
        EXIT_NOT_FOUND
    } else {
        EXIT_NOT_RUNNABLE
    }
}

fn exec_inside(
    dir: &InstanceDir,
    command: &[OsString],
) -> Result<std::convert::Infallible, Failure> {
    let unreadable =
        |error: std::io::Error| start_failed(format!("cannot read its state: {error}"));
    let launch = dir
        .launch()
        .map_err(unreadable)?
        .ok_or_else(|| start_failed("there is no such instance"))?;
    let run = dir
        .run()
        .map_err(unreadable)?
        .ok_or_else(|| start_failed("the instance does not run"))?;
    let env = launch.environment(&dir.ports().map_err(unreadable)?);
    let entry = Entry::new(dir, &launch, run.group.joins())?;
    let words: Option<Vec<String>> = command
        .iter()
        .map(|word| Some(expand(word.to_str()?, &env)))
        .collect();
    let words = words.ok_or_else(|| rejected("the command is not UTF-8"))?;
    let (name, arguments) = words
        .split_first()
        .ok_or_else(|| rejected("the command is empty"))?;
    let program = find_program(name, &entry.working_dir, &env)?;
    entry.enter()?;
    let error = Command::new(&program)
        .arg0(name)
        .args(arguments)
        .env_clear()
        .envs(&env)
        .exec();
    Err(exec_failure(&program, &error))
}

/// Nothing that the agent has open reaches a supervisor or a program.
fn close_inherited() {
    let open: Vec<RawFd> = std::fs::read_dir("/proc/self/fd")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        // The descriptor of the listing itself is closed already; that is fine.
        let _ = nix::unistd::close(fd);
    }
}
