//! The two calls that the compiler cannot check, and nothing else.
#![allow(unsafe_code)]

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::unistd::{ForkResult, fork};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The process that was started; it ends now.
    Front,
    /// Its child, which nobody waits for.
    Detached,
}

/// Splits off a process that its starter neither waits for nor takes along.
pub fn detach() -> io::Result<Side> {
    require_single_thread()?;
    // SAFETY: this process has one thread, so the child's copy of the memory has
    // no lock that a lost thread holds, and it may go on as any program may.
    match unsafe { fork() }? {
        ForkResult::Parent { .. } => Ok(Side::Front),
        ForkResult::Child => Ok(Side::Detached),
    }
}

/// Spawns, running `before_exec` in the child as its last act before the program.
pub fn spawn_after(
    command: &mut Command,
    before_exec: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) -> io::Result<Child> {
    require_single_thread()?;
    // SAFETY: as above: forked from a process with one thread, the closure may
    // allocate and open files. It touches no descriptor but its own.
    unsafe { command.pre_exec(before_exec) };
    command.spawn()
}

fn require_single_thread() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        n => Err(io::Error::other(format!("{n} threads before a fork"))),
    }
}
