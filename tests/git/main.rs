//! The `git` module against real repositories, a real HTTP server and a real sshd.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

#[path = "../support/free_port.rs"]
mod free_port;
#[path = "../support/git_http.rs"]
mod git_http;

mod cost;
mod http;
mod local;
mod pulls;
mod ssh;
mod trees;

use std::path::PathBuf;
use std::time::Duration;

use evenkeel::git::{Entry, Fetched, Mirrors, TreeEntryChange};
use evenkeel::model::source::SourceSpec;
use evenkeel::model::{ProjectName, SourceName};
use git_http::TestRepo;
use tempfile::TempDir;

/// Enough on the slowest machine; nothing that works comes near.
const LONG: Duration = Duration::from_secs(30);

/// A repository, a folder of mirrors and a source between them.
struct Fixture {
    folder: TempDir,
    repo: TestRepo,
    mirrors: Mirrors,
    spec: SourceSpec,
}

impl Fixture {
    /// The source follows `main` of the repository by its path.
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let repo = TestRepo::create(folder.path().join("repos/specs.git"));
        let mirrors = Mirrors::open(folder.path().join("mirrors")).unwrap();
        let spec = SourceSpec {
            interval: Duration::from_secs(30),
            ..SourceSpec::new(
                SourceName::new("specs").unwrap(),
                repo.path.display().to_string(),
                ProjectName::new("default").unwrap(),
            )
        };
        Fixture {
            folder,
            repo,
            mirrors,
            spec,
        }
    }

    fn mirrors_folder(&self) -> PathBuf {
        self.folder.path().join("mirrors")
    }

    /// Of what was fetched.
    fn mirror(&self) -> PathBuf {
        let found = std::fs::read_dir(self.mirrors_folder()).unwrap();
        let mut folders = found.map(|e| e.unwrap().path()).filter(|p| p.is_dir());
        folders.next().unwrap()
    }

    async fn fetch(&self) -> Result<Fetched, evenkeel::git::Error> {
        self.mirrors.fetch(&self.spec, LONG).await
    }

    /// Fetches, and says what differs to the commit before as `+path`, `-path` or `!path what`.
    async fn changes(&self) -> Vec<String> {
        let fetched = self.fetch().await.unwrap();
        self.mirrors
            .changed(&self.spec, fetched.previous.as_ref(), &fetched.head)
            .await
            .unwrap()
            .into_iter()
            .map(shown)
            .collect()
    }

    /// Writes a file that only its owner can read, and gives its path.
    fn secret_file(&self, name: &str, text: &str) -> String {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    }
}

fn shown(change: TreeEntryChange) -> String {
    let path = change.path;
    match change.entry {
        Entry::Removed => format!("-{path}"),
        Entry::File { .. } => format!("+{path}"),
        Entry::NotAFile { what } => format!("!{path} {what}"),
    }
}
