//! Finding and running PostgreSQL's server programs.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::Error;

const VERSION_DEADLINE: Duration = Duration::from_secs(10);
const OLDEST: u32 = super::super::MIN_SERVER;

/// One installed server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Programs {
    pub postgres: PathBuf,
    pub initdb: PathBuf,
    pub major: u32,
}

/// The server for data of version `wanted`, or the newest where there is no data yet.
pub(super) fn find(
    given: Option<&Path>,
    wanted: Option<u32>,
    data: &Path,
) -> Result<Programs, Error> {
    let folders = match given {
        Some(folder) => vec![folder.to_owned()],
        None => usual_folders(std::env::var_os("PATH").as_deref()),
    };
    let mut seen = BTreeSet::new();
    let found: Vec<Programs> = folders
        .iter()
        .filter_map(|folder| installed_in(folder))
        .filter(|p| p.major >= OLDEST && seen.insert(p.postgres.clone()))
        .collect();
    if found.is_empty() {
        return Err(Error::ProgramsMissing {
            searched: folders.iter().map(|f| f.display().to_string()).collect(),
        });
    }
    choose(&found, wanted).ok_or_else(|| Error::VersionMismatch {
        dir: data.to_owned(),
        data: wanted.unwrap_or_default(),
        found: found
            .iter()
            .map(|p| format!("{} ({})", p.major, p.postgres.display()))
            .collect(),
    })
}

fn choose(found: &[Programs], wanted: Option<u32>) -> Option<Programs> {
    match wanted {
        Some(major) => found.iter().find(|p| p.major == major).cloned(),
        None => {
            // `max_by_key` takes the last of equals; the search path's order should win.
            found.iter().rev().max_by_key(|p| p.major).cloned()
        }
    }
}

/// The search path, then where distributions put what they do not put there.
fn usual_folders(path: Option<&std::ffi::OsStr>) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = path
        .map(|p| std::env::split_paths(p).collect())
        .unwrap_or_default();
    folders.retain(|f| f.is_absolute());
    // Debian, Alpine, Red Hat's PGDG, built from source; the `*` is the version.
    for (parent, prefix, rest) in [
        ("/usr/lib/postgresql", "", "bin"),
        ("/usr/libexec", "postgresql", ""),
        ("/usr", "pgsql-", "bin"),
    ] {
        let mut versions: Vec<PathBuf> = std::fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with(prefix))
            .map(|e| e.path().join(rest))
            .collect();
        versions.sort();
        folders.extend(versions);
    }
    folders.push("/usr/local/pgsql/bin".into());
    folders
}

/// Both programs must be there: some hosts have only one on the search path.
fn installed_in(folder: &Path) -> Option<Programs> {
    let real = |name: &str| {
        let path = std::fs::canonicalize(folder.join(name)).ok()?;
        path.is_file().then_some(path)
    };
    let (postgres, initdb) = (real("postgres")?, real("initdb")?);
    let mut command = clean(&postgres);
    command.arg("--version");
    let output = run(command, VERSION_DEADLINE).ok()?;
    output.status.success().then_some(())?;
    let major = major_of(&output.text)?;
    Some(Programs {
        postgres,
        initdb,
        major,
    })
}

/// `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn major_of(text: &str) -> Option<u32> {
    let version = text.split("(PostgreSQL)").nth(1)?.trim_start();
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// A command that sees nothing of our environment: `PG…` variables would change what it does.
pub(super) fn clean(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
    if let Some(path) = std::env::var_os("PATH") {
        command.env("PATH", path);
    }
    command
}

pub(super) struct Output {
    pub status: ExitStatus,
    /// Standard output and error together.
    pub text: String,
}

/// Runs it to its end, or kills it at the deadline.
pub(super) fn run(mut command: Command, deadline: Duration) -> std::io::Result<Output> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (done, outputs) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        read_to_end(stdout, done.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        read_to_end(stderr, done);
    }
    let until = std::time::Instant::now() + deadline;
    let mut text = String::new();
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        match outputs.recv_timeout(left) {
            Ok(part) => text.push_str(&part),
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                kill(&mut child);
                return Err(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("not done within {} s: {text}", deadline.as_secs()),
                ));
            }
        }
    }
    // It closed its output, so it is ending.
    let status = child.wait()?;
    Ok(Output { status, text })
}

fn read_to_end(mut from: impl Read + Send + 'static, done: mpsc::Sender<String>) {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = from.read_to_end(&mut bytes);
        let _ = done.send(String::from_utf8_lossy(&bytes).into_owned());
    });
}

fn kill(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(major: u32, folder: &str) -> Programs {
        Programs {
            postgres: format!("{folder}/postgres").into(),
            initdb: format!("{folder}/initdb").into(),
            major,
        }
    }

    #[test]
    fn versions_are_read_from_what_the_server_says() {
        for (text, major) in [
            (
                "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n",
                Some(15),
            ),
            ("postgres (PostgreSQL) 17beta2", Some(17)),
            ("postgres 9", None),
            ("", None),
        ] {
            assert_eq!(major_of(text), major, "{text}");
        }
    }

    #[test]
    fn data_decides_the_version_and_else_the_newest_does() {
        let found = [programs(15, "/a"), programs(17, "/b"), programs(17, "/c")];
        assert_eq!(choose(&found, None), Some(found[1].clone()));
        assert_eq!(choose(&found, Some(15)), Some(found[0].clone()));
        assert_eq!(choose(&found, Some(16)), None);
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let mut command = clean(Path::new("/bin/sh"));
        command.args(["-c", "exec sleep 600"]);
        let error = run(command, Duration::from_millis(50)).err();
        assert_eq!(error.map(|e| e.kind()), Some(std::io::ErrorKind::TimedOut));
    }

    #[test]
    fn nothing_installed_says_where_it_looked() {
        let empty = tempfile::tempdir().unwrap();
        let error = find(Some(empty.path()), None, Path::new("/data")).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(&empty.path().display().to_string()), "{text}");
        assert!(text.contains("--database-url"), "{text}");
    }
}
