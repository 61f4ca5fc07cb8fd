//! A real pseudo-terminal, and what a person sees on it.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How a line is begun anew.
const AWAY: &str = "\r\x1b[2K";

pub struct Seen {
    /// Of a signal, less than nothing.
    pub code: i32,
    /// Everything that was written to the terminal.
    pub raw: String,
    /// Standard output, where that is none.
    pub piped: String,
}

fn open(columns: u16) -> (File, OwnedFd) {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let both = openpty(Some(&size), None).unwrap();
    (File::from(both.master), both.slave)
}

/// Runs it to its end with both outputs on a terminal of so many columns.
pub fn run(command: Command, columns: u16) -> Seen {
    start(command, columns).end()
}

/// The same with standard output somewhere else, as in `evenkeel … > file`.
pub fn run_piped(mut command: Command, columns: u16) -> Seen {
    let (ours, theirs) = open(columns);
    command.stdout(Stdio::piped()).stderr(theirs);
    Running::new(command, ours).end()
}

/// Started, with both outputs on a terminal.
pub fn start(mut command: Command, columns: u16) -> Running {
    let (ours, theirs) = open(columns);
    command.stdout(theirs.try_clone().unwrap()).stderr(theirs);
    Running::new(command, ours)
}

pub struct Running {
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
    reading: JoinHandle<()>,
}

impl Running {
    fn new(mut command: Command, mut ours: File) -> Running {
        let child = command.spawn().unwrap();
        // Reading ends when nobody else has the terminal open.
        drop(command);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shown = Arc::clone(&seen);
        let reading = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(length @ 1..) = ours.read(&mut part) {
                shown.lock().unwrap().extend_from_slice(&part[..length]);
            }
        });
        Running {
            child,
            seen,
            reading,
        }
    }

    /// Everything that was written to the terminal so far.
    pub fn raw(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// As Ctrl-C does.
    pub fn interrupt(&self) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap());
        kill(pid, Signal::SIGINT).unwrap();
    }

    pub fn end(self) -> Seen {
        let done = self.child.wait_with_output().unwrap();
        self.reading.join().unwrap();
        let raw = self.seen.lock().unwrap().clone();
        Seen {
            code: done
                .status
                .code()
                .or_else(|| Some(-done.status.signal()?))
                .unwrap(),
            raw: String::from_utf8(raw).unwrap(),
            piped: String::from_utf8(done.stdout).unwrap(),
        }
    }
}

impl Seen {
    /// What was drawn in place, one after the other; not what stands there in the end.
    pub fn drawn(&self) -> Vec<&str> {
        let mut texts: Vec<&str> = self.raw.split(AWAY).skip(1).collect();
        texts.pop();
        texts.retain(|text| !text.is_empty());
        texts
    }

    pub fn has_colours(&self) -> bool {
        self.raw.contains("\x1b[32m")
    }

    /// The lines that are left in the end, however wide they are. No code but those of colours
    /// and of [`AWAY`] may have been used.
    pub fn screen(&self) -> Vec<String> {
        let mut lines = vec![Vec::new()];
        let mut column = 0;
        let mut rest = self.raw.chars();
        while let Some(c) = rest.next() {
            let Some(line) = lines.last_mut() else { break };
            match c {
                '\r' => column = 0,
                '\n' => lines.push(Vec::new()),
                '\x1b' => {
                    let mut code = String::new();
                    while !code.ends_with(char::is_alphabetic) {
                        code.push(rest.next().unwrap());
                    }
                    match code.as_str() {
                        "[2K" => line.clear(),
                        colour if colour.ends_with('m') => {}
                        other => panic!("an odd code, {other}: {:?}", self.raw),
                    }
                }
                c => {
                    assert!(!c.is_control(), "{c:?} in {:?}", self.raw);
                    line.truncate(column);
                    line.push(c);
                    column += 1;
                }
            }
        }
        let text = |line: Vec<char>| String::from_iter(line).trim_end().to_owned();
        lines.into_iter().map(text).collect()
    }
}
