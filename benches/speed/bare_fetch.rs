//! The baseline of a sync: a fetch by git2 and nothing else.
//!
//! In a process of its own, since the product's transports replace libgit2's
//! for the whole process. It fetches once per line on its input and answers
//! with the nanoseconds it took.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// First argument of such a process.
pub const MODE: &str = "bare-fetch";

/// The process's own side.
pub fn serve(url: &str, mirror: &str) {
    let fetch = || {
        let repository = git2::Repository::open_bare(mirror).unwrap();
        let mut remote = repository.remote_anonymous(url).unwrap();
        let branch = "+refs/heads/main:refs/heads/main";
        let mut options = git2::FetchOptions::new();
        options.download_tags(git2::AutotagOption::None);
        remote.fetch(&[branch], Some(&mut options), None).unwrap();
    };
    git2::Repository::init_bare(mirror).unwrap();
    fetch();
    for _ in std::io::stdin().lock().lines() {
        let begun = Instant::now();
        fetch();
        println!("{}", begun.elapsed().as_nanos());
        std::io::stdout().flush().unwrap();
    }
}

pub struct BareFetch {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl BareFetch {
    pub fn start(url: &str, mirror: &Path) -> BareFetch {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([MODE, url])
            .arg(mirror)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        BareFetch {
            input: child.stdin.take().unwrap(),
            output: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub fn fetch(&mut self) -> Duration {
        writeln!(self.input, "go").unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        Duration::from_nanos(line.trim().parse().expect("nanoseconds"))
    }
}

impl Drop for BareFetch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
