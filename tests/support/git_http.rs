//! Git repositories for tests, and a small HTTP server in front of them that
//! can refuse, redirect, stall and go away.
//!
//! The server runs Git's own `http-backend`; repositories are written through
//! git2, commit by commit, without a working tree.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "shared by test programs that each use a part of it"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// A bare repository that tests write commits into.
pub struct TestRepo {
    pub path: PathBuf,
    repo: git2::Repository,
}

impl TestRepo {
    /// Makes an empty bare repository whose HEAD is `main`.
    pub fn create(path: impl Into<PathBuf>) -> TestRepo {
        let path = path.into();
        let mut options = git2::RepositoryInitOptions::new();
        options
            .bare(true)
            .initial_head("main")
            .external_template(false);
        let repo = git2::Repository::init_opts(&path, &options).unwrap();
        TestRepo { path, repo }
    }

    pub fn repo(&self) -> &git2::Repository {
        &self.repo
    }

    /// Commits to `main`: each path gets the text, or is removed. Returns the commit's id.
    pub fn commit(&self, message: &str, files: &[(&str, Option<&str>)]) -> String {
        self.commit_to("main", message, files)
    }

    pub fn commit_to(&self, branch: &str, message: &str, files: &[(&str, Option<&str>)]) -> String {
        let parent = self.head(branch);
        let base = parent.map(|p| self.repo.find_commit(p).unwrap().tree().unwrap());
        let mut index = git2::Index::new().unwrap();
        if let Some(base) = &base {
            index.read_tree(base).unwrap();
        }
        for (path, text) in files {
            match text {
                Some(text) => {
                    let id = self.repo.blob(text.as_bytes()).unwrap();
                    index.add(&entry(path, id)).unwrap();
                }
                None => index.remove(Path::new(path), 0).unwrap(),
            }
        }
        let tree = index.write_tree_to(&self.repo).unwrap();
        self.commit_tree(branch, message, tree, parent)
    }

    /// Rewrites history: `branch` becomes one new commit without parents that holds only these files.
    pub fn force_push(&self, branch: &str, message: &str, files: &[(&str, &str)]) -> String {
        let mut index = git2::Index::new().unwrap();
        for (path, text) in files {
            let id = self.repo.blob(text.as_bytes()).unwrap();
            index.add(&entry(path, id)).unwrap();
        }
        let tree = index.write_tree_to(&self.repo).unwrap();
        self.commit_tree(branch, message, tree, None)
    }

    /// Moves `branch` to any commit, as a force push does.
    pub fn reset(&self, branch: &str, commit: &str) {
        let name = format!("refs/heads/{branch}");
        let id = git2::Oid::from_str(commit).unwrap();
        self.repo.reference(&name, id, true, "reset").unwrap();
    }

    pub fn delete_branch(&self, branch: &str) {
        let name = format!("refs/heads/{branch}");
        self.repo.find_reference(&name).unwrap().delete().unwrap();
    }

    /// Writes a tree object byte by byte, so that it can hold what Git refuses:
    /// (mode, name, id) in the given order.
    pub fn raw_tree(&self, entries: &[(&str, &[u8], git2::Oid)]) -> git2::Oid {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(id.as_bytes());
        }
        let odb = self.repo.odb().unwrap();
        odb.write(git2::ObjectType::Tree, &bytes).unwrap()
    }

    pub fn blob(&self, text: &str) -> git2::Oid {
        self.repo.blob(text.as_bytes()).unwrap()
    }

    pub fn commit_tree(
        &self,
        branch: &str,
        message: &str,
        tree: git2::Oid,
        parent: Option<git2::Oid>,
    ) -> String {
        let when = git2::Time::new(1_700_000_000, 0);
        let author = git2::Signature::new("Ada Test", "ada@example.test", &when).unwrap();
        // By hand: git2 looks a tree up before it commits it, and refuses hostile ones.
        let parents = parent.map(|p| format!("parent {p}\n")).unwrap_or_default();
        let who = format!(
            "{} <{}> {} +0000",
            author.name().unwrap(),
            author.email().unwrap(),
            when.seconds()
        );
        let text = format!("tree {tree}\n{parents}author {who}\ncommitter {who}\n\n{message}\n");
        let odb = self.repo.odb().unwrap();
        let id = odb
            .write(git2::ObjectType::Commit, text.as_bytes())
            .unwrap();
        self.repo
            .reference(&format!("refs/heads/{branch}"), id, true, "commit")
            .unwrap();
        id.to_string()
    }

    /// A commit on top of `parent` that a forge keeps as a pull request's head.
    pub fn propose(&self, number: u64, parent: &str, files: &[(&str, Option<&str>)]) -> String {
        let name = format!("proposal-{number}");
        self.reset(&name, parent);
        let commit = self.commit_to(&name, "proposal", files);
        self.delete_branch(&name);
        let id = git2::Oid::from_str(&commit).unwrap();
        let reference = format!("refs/pull/{number}/head");
        self.repo.reference(&reference, id, true, "pull").unwrap();
        commit
    }

    pub fn head(&self, branch: &str) -> Option<git2::Oid> {
        self.repo
            .refname_to_id(&format!("refs/heads/{branch}"))
            .ok()
    }
}

fn entry(path: &str, id: git2::Oid) -> git2::IndexEntry {
    let zero = git2::IndexTime::new(0, 0);
    git2::IndexEntry {
        ctime: zero,
        mtime: zero,
        dev: 0,
        ino: 0,
        mode: 0o100_644,
        uid: 0,
        gid: 0,
        file_size: 0,
        id,
        flags: 0,
        flags_extended: 0,
        path: path.as_bytes().to_vec(),
    }
}

/// How the server behaves from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    Serve,
    /// Closes every connection without a word.
    Outage,
    /// Answers every request with this status.
    Status(u16),
    /// Reads requests and never answers.
    Stall,
    /// Answers the headers, then a byte now and then for ever.
    Trickle,
    /// Sends clients to this address, followed by the path and query they asked for.
    Redirect(String),
    /// What is asked for below the first path is below the second now.
    Moved(String, String),
}

/// What a client sent.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    /// With the query.
    pub target: String,
    pub authorization: Option<String>,
}

struct State {
    mode: Mode,
    auth: Option<(String, String)>,
    seen: Vec<Seen>,
    open: Vec<TcpStream>,
    stopped: bool,
}

struct Shared {
    root: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

/// Serves all repositories below a folder on a free port of the loopback address;
/// ends when dropped.
pub struct GitServer {
    shared: Arc<Shared>,
    pub port: u16,
    accepting: Option<JoinHandle<()>>,
}

impl GitServer {
    pub fn start(root: impl Into<PathBuf>) -> GitServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            root: root.into(),
            state: Mutex::new(State {
                mode: Mode::Serve,
                auth: None,
                seen: Vec::new(),
                open: Vec::new(),
                stopped: false,
            }),
            changed: Condvar::new(),
        });
        let accepting = std::thread::spawn({
            let shared = shared.clone();
            move || accept(&listener, &shared)
        });
        GitServer {
            shared,
            port,
            accepting: Some(accepting),
        }
    }

    /// Address of the repository in the folder `name` below the root.
    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    pub fn set_mode(&self, mode: Mode) {
        let mut state = self.shared.state.lock().unwrap();
        state.mode = mode;
        self.shared.changed.notify_all();
    }

    /// Asks for a user and password from now on.
    pub fn require(&self, user: &str, password: &str) {
        self.shared.state.lock().unwrap().auth = Some((user.to_owned(), password.to_owned()));
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.state.lock().unwrap().seen.clone()
    }

    /// Waits until a request matches.
    pub fn wait_for(&self, deadline: Duration, matches: impl Fn(&Seen) -> bool) {
        let state = self.shared.state.lock().unwrap();
        let (_state, timed_out) = self
            .shared
            .changed
            .wait_timeout_while(state, deadline, |s| !s.seen.iter().any(&matches))
            .unwrap();
        assert!(
            !timed_out.timed_out(),
            "no such request within {deadline:?}"
        );
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        if let Ok(mut state) = self.shared.state.lock() {
            state.stopped = true;
            for stream in &state.open {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
        // Wakes the accepting thread.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(thread) = self.accepting.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        let mut state = shared.state.lock().unwrap();
        if state.stopped {
            return;
        }
        if let Ok(copy) = stream.try_clone() {
            state.open.push(copy);
        }
        drop(state);
        let shared = shared.clone();
        std::thread::spawn(move || {
            // A client that goes away in the middle is part of the tests.
            let _ = serve(stream, &shared);
        });
    }
}

struct Request {
    seen: Seen,
    content_type: String,
    body: Vec<u8>,
}

fn serve(stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    while let Some(request) = read_request(&mut reader)? {
        let (mode, auth) = {
            let mut state = shared.state.lock().unwrap();
            state.seen.push(request.seen.clone());
            shared.changed.notify_all();
            (state.mode.clone(), state.auth.clone())
        };
        match mode {
            Mode::Outage => return writer.shutdown(Shutdown::Both),
            Mode::Status(status) => respond(&mut writer, status, &[], b"no\n")?,
            Mode::Stall => {
                let state = shared.state.lock().unwrap();
                let _state = shared
                    .changed
                    .wait_while(state, |s| s.mode == Mode::Stall && !s.stopped)
                    .unwrap();
                return writer.shutdown(Shutdown::Both);
            }
            Mode::Trickle => trickle(&mut writer, shared)?,
            Mode::Redirect(to) => {
                let to = format!("{to}{}", request.seen.target);
                respond(&mut writer, 301, &[("location", &to)], b"")?;
            }
            Mode::Moved(from, to) if request.seen.target.starts_with(&from) => {
                let to = format!("{to}{}", &request.seen.target[from.len()..]);
                respond(&mut writer, 301, &[("location", &to)], b"")?;
            }
            Mode::Serve | Mode::Moved(..) if !allowed(&request.seen, auth.as_ref()) => {
                let ask = [("www-authenticate", "Basic realm=\"git\"")];
                respond(&mut writer, 401, &ask, b"who are you?\n")?;
            }
            Mode::Serve | Mode::Moved(..) => backend(&mut writer, shared, &request)?,
        }
    }
    Ok(())
}

fn trickle(writer: &mut TcpStream, shared: &Shared) -> std::io::Result<()> {
    write!(
        writer,
        "HTTP/1.1 200 OK\r\ncontent-type: application/x-git-upload-pack-advertisement\r\ncontent-length: 1000000\r\n\r\n001e# service=git-upload-pack\n00000ffc"
    )?;
    loop {
        let state = shared.state.lock().unwrap();
        let (state, _) = shared
            .changed
            .wait_timeout_while(state, Duration::from_millis(50), |s| !s.stopped)
            .unwrap();
        if state.stopped {
            return Ok(());
        }
        drop(state);
        writer.write_all(b"0")?;
    }
}

fn allowed(seen: &Seen, auth: Option<&(String, String)>) -> bool {
    use base64::Engine as _;
    let Some((user, password)) = auth else {
        return true;
    };
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    seen.authorization.as_deref() == Some(&format!("Basic {pair}"))
}

fn respond(
    writer: &mut TcpStream,
    status: u16,
    headers: &[(&str, &str)],
    body: &[u8],
) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    writer.write_all(head.as_bytes())?;
    writer.write_all(body)
}

/// Runs `git http-backend` as a web server would (RFC 3875).
fn backend(writer: &mut TcpStream, shared: &Shared, request: &Request) -> std::io::Result<()> {
    let (path, query) = request
        .seen
        .target
        .split_once('?')
        .unwrap_or((&request.seen.target, ""));
    let mut child = Command::new("git")
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", &shared.root)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", &request.seen.method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", &request.content_type)
        .env("CONTENT_LENGTH", request.body.len().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut input = child.stdin.take().unwrap();
    let body = request.body.clone();
    let feeding = std::thread::spawn(move || {
        // It may stop reading early when it refuses the request.
        let _ = input.write_all(&body);
    });
    let mut output = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut output)?;
    let _ = feeding.join();
    child.wait()?;

    let end = output
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or(output.len().saturating_sub(4));
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut status = 200;
    let mut headers = Vec::new();
    for line in head.lines() {
        match line.split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("status") => {
                status = value[..3].parse().unwrap_or(500);
            }
            Some(header) => headers.push(header),
            None => (),
        }
    }
    respond(writer, status, &headers, &output[end + 4..])
}

fn read_request(reader: &mut BufReader<TcpStream>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let mut request = Request {
        seen: Seen {
            method: words.next().unwrap_or("").to_owned(),
            target: words.next().unwrap_or("").to_owned(),
            authorization: None,
        },
        content_type: String::new(),
        body: Vec::new(),
    };
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "content-type" => request.content_type = value.to_owned(),
            "authorization" => request.seen.authorization = Some(value.to_owned()),
            _ => (),
        }
    }
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body)?;
    Ok(Some(request))
}
