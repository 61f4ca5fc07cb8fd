//! Hostile repositories, taken through the real program while apps run: each is answered in
//! bounded time and memory, with a problem that says what it is, and deletes nothing.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use git2::Oid;
use serde_json::Value;

use crate::git_http::TestRepo;
use crate::pg;

/// From the commit to its problem. The work takes seconds; the machine may be busy.
const LONG: Duration = Duration::from_secs(60);
/// Resident memory beyond what the program had before, at its peak: the largest object is
/// held once while it is copied, and nothing grows beyond that.
const MEMORY_KIB: u64 = 320 << 10;
const APPS: [&str; 4] = ["one", "two", "three", "four"];

struct Program {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
    http: reqwest::Client,
}

impl Program {
    /// Follows the repository `repo.git` in `dir`.
    async fn start(dir: tempfile::TempDir) -> Program {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let database = pg::url().await;
        let port = crate::free_port::free_port();
        let child = Command::new(env!("CARGO_BIN_EXE_evenkeel"))
            .args(["up", "--runtime", "process", "--node-name", "host"])
            .args([
                "--database-url",
                &database,
                "--listen",
                &format!("127.0.0.1:{port}"),
            ])
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(["--git", dir.path().join("repo.git").to_str().unwrap()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Program {
            child,
            dir,
            port,
            http: reqwest::Client::new(),
        }
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let token = std::fs::read_to_string(self.dir.path().join("data/admin-token")).ok()?;
        let url = format!("http://127.0.0.1:{}/api/v1/{path}", self.port);
        let call = self.http.get(url).bearer_auth(token.trim());
        let answer = call.timeout(Duration::from_secs(10)).send().await.ok()?;
        answer.json().await.ok()
    }

    async fn wait(&mut self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        loop {
            let last = self.get(path).await;
            if let Some(value) = last.as_ref().filter(|value| holds(value)) {
                return value.clone();
            }
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let ended = self.child.try_wait().unwrap();
            let given_up = ended.is_some() || Instant::now() > end;
            assert!(!given_up, "never {what}: {ended:?} {last:?}\n{}", log());
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
    }

    /// The processes of all apps; each is known by its id.
    async fn running(&mut self) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        for app in APPS {
            let path = format!("projects/default/apps/{app}");
            let status = self
                .wait(&path, "healthy", |a| a["health"] == "healthy")
                .await;
            all.push((app.to_owned(), status["instances"][0]["id"].clone()));
        }
        all
    }

    fn status(&self, field: &str) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find(|l| l.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// From here on the peak counts anew.
    fn forget_peak(&self) -> u64 {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        self.status("VmRSS:")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The apps outlive it on purpose. Everything of theirs names our folder.
        let mark = format!("{}/", self.dir.path().display());
        for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
                continue;
            };
            let read = |what: &str| std::fs::read(entry.path().join(what)).unwrap_or_default();
            let words = [read("cmdline"), read("environ")].concat();
            let own = pid == std::process::id().cast_signed();
            if !own && String::from_utf8_lossy(&words).contains(&mark) {
                let pid = nix::unistd::Pid::from_raw(pid);
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
            }
        }
    }
}

fn app(name: &str) -> String {
    format!(
        "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  process: {{command: [\"/bin/sleep\", \"1000\"]}}\n  rollout: {{minHealthyTime: 100ms}}\n"
    )
}

/// What stands in the tree beside the apps, or in the place of the first one.
enum Evil {
    /// (mode, name, content's id).
    Entry(&'static str, Vec<u8>, Oid),
    /// In the place of `one.yaml`.
    Instead(Vec<u8>),
    /// In the place of `one.yaml`: another kind of entry.
    InsteadEntry(&'static str, Oid),
    /// Nothing at all.
    Empty,
}

/// Name, what is in the tree, and what must be said of it.
fn cases(repo: &TestRepo) -> Vec<(&'static str, Evil, &'static str)> {
    let file = repo.blob(&app("evil"));
    let to = |target: &str| repo.blob(target);
    let nowhere = Oid::from_str("1234567890123456789012345678901234567890").unwrap();
    let folder = repo.raw_tree(&[("100644", b"config.yaml", file)]);
    let entry = |mode, name: &str, id| Evil::Entry(mode, name.as_bytes().to_vec(), id);
    let with = |old: &str, new: &str| Evil::Instead(app("one").replace(old, new).into_bytes());
    let field = |text: &str| Evil::Instead(format!("{}  {text}\n", app("one")).into_bytes());
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for i in 1..25 {
        let p = format!("*a{}", i - 1);
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", [p.as_str(); 9].join(",")));
    }
    let mut deep = folder;
    for _ in 0..100 {
        deep = repo.raw_tree(&[("40000", b"d", deep)]);
    }
    let names: Vec<String> = (0..50_001).map(|n| format!("f{n:05}.yaml")).collect();
    let empty = repo.blob("");
    let many: Vec<(&str, &[u8], Oid)> = names
        .iter()
        .map(|n| ("100644", n.as_bytes(), empty))
        .collect();
    let many = repo.raw_tree(&many);
    let big = repo.repo().blob(&vec![b'x'; 200 << 20]).unwrap();
    // Ten times itself, in ten times itself, ...: more entries than there are atoms.
    let mut wide = folder;
    for _ in 0..60 {
        let names = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        let ten = names.map(|n| ("40000", n.as_bytes(), wide));
        wide = repo.raw_tree(&ten);
    }
    let documents = format!("---\n{}", app("one").replace("one", "x")).repeat(4_000);
    let merged = (1..25).fold("a0: &a0 {k0: v}\n".to_owned(), |text, i| {
        let p = format!("*a{}", i - 1);
        text + &format!("a{i}: &a{i} {{<<: [{p}, {p}, {p}], k{i}: [{p}, {p}]}}\n")
    });
    let regex = "placement: {constraints: [{attribute: a, operator: matches, value: '((a{999}){999}){999}'}]}";
    let nested = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    vec![
        (
            "a link out",
            entry("120000", "evil.yaml", to("/etc/passwd")),
            "symbolic link",
        ),
        (
            "a link in",
            Evil::InsteadEntry("120000", to("two.yaml")),
            "symbolic link",
        ),
        (
            "a submodule",
            Evil::InsteadEntry("160000", nowhere),
            "submodule",
        ),
        ("..", entry("40000", "..", folder), ".."),
        (
            "a path in a name",
            entry("100644", "../../evil.yaml", file),
            "evil.yaml",
        ),
        (
            "an absolute path",
            entry("100644", "/etc/evil.yaml", file),
            "/etc/evil.yaml",
        ),
        (".git inside", entry("40000", ".git", folder), ".git"),
        (".GIT inside", entry("40000", ".GIT", folder), ".GIT"),
        (
            "names that differ in case",
            entry("100644", "ONE.yaml", repo.blob(&app("one"))),
            "declared twice",
        ),
        (
            "names that look alike",
            entry("100644", "o\u{fb01}ne.yaml", repo.blob(&app("one"))),
            "declared twice",
        ),
        (
            "a name for terminals",
            entry("100644", "\u{1b}[31m\n.yaml", repo.blob("apiVersion: [")),
            "[31m",
        ),
        (
            "a file from elsewhere",
            field("files: {/etc/x: ../../../etc/passwd}"),
            "files",
        ),
        (
            "a file by its whole path",
            field("files: {/etc/x: /etc/passwd}"),
            "files",
        ),
        ("without end", entry("40000", "z", wide), "more than"),
        (
            "4,000 documents",
            Evil::Instead(documents.into_bytes()),
            "one.yaml",
        ),
        (
            "a merge bomb",
            Evil::Instead(merged.into_bytes()),
            "one.yaml",
        ),
        ("a huge pattern", field(regex), "constraints"),
        ("very deep", entry("40000", "z", deep), "deep"),
        ("50,001 files", entry("40000", "z", many), "50000"),
        ("200 MiB", Evil::InsteadEntry("100644", big), "1MiB"),
        ("an alias bomb", Evil::Instead(bomb.into_bytes()), "aliases"),
        ("a nesting bomb", Evil::Instead(nested), "nested"),
        ("a key twice", field("process: {command: [x]}"), "process"),
        ("NUL bytes", Evil::Instead(vec![0; 5000]), "one.yaml"),
        ("not UTF-8", Evil::Instead(vec![0xc3, 0x28, 0xff]), "UTF-8"),
        (
            "a huge number",
            field("replicas: 99999999999999999999"),
            "replicas",
        ),
        ("an infinite number", field("replicas: 1e400"), "replicas"),
        (
            "a huge duration",
            with("100ms", "99999999999999999h"),
            "minHealthyTime",
        ),
        (
            "a huge amount",
            field("resources: {limits: {memory: 99999999999Ei}}"),
            "memory",
        ),
        ("nothing", Evil::Empty, ""),
    ]
}

fn commit(repo: &TestRepo, evil: &Evil) -> String {
    let blobs: Vec<(String, Oid)> = APPS
        .iter()
        .map(|name| (format!("{name}.yaml"), repo.blob(&app(name))))
        .collect();
    let mut entries: Vec<(&str, Vec<u8>, Oid)> = blobs
        .iter()
        .map(|(name, id)| ("100644", name.clone().into_bytes(), *id))
        .collect();
    match evil {
        Evil::Entry(mode, name, id) => entries.push((mode, name.clone(), *id)),
        Evil::Instead(text) => entries[0].2 = repo.repo().blob(text).unwrap(),
        Evil::InsteadEntry(mode, id) => {
            entries[0].0 = mode;
            entries[0].2 = *id;
        }
        Evil::Empty => entries.clear(),
    }
    // As Git sorts them: a folder as if its name ended with a slash.
    entries.sort_by_key(|(mode, name, _)| {
        let slash: &[u8] = if *mode == "40000" { b"/" } else { b"" };
        [name, slash].concat()
    });
    let entries: Vec<(&str, &[u8], Oid)> = entries
        .iter()
        .map(|(m, n, id)| (*m, n.as_slice(), *id))
        .collect();
    let tree = repo.raw_tree(&entries);
    repo.commit_tree("main", "change", tree, repo.head("main"))
}

#[tokio::test]
async fn hostile_repositories_cost_little_and_delete_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let repo = TestRepo::create(dir.path().join("repo.git"));
    let honest = |repo: &TestRepo| {
        let id = repo.blob(&app("one"));
        commit(repo, &Evil::InsteadEntry("100644", id))
    };
    let applied =
        |commit: String| move |s: &Value| s["lastApplied"] == commit && s["state"] == "ok";
    let first = honest(&repo);
    let mut program = Program::start(dir).await;
    program.wait("sources/repo", "synced", applied(first)).await;
    let running = program.running().await;
    for (title, evil, told) in cases(&repo) {
        let before = program.forget_peak();
        let began = Instant::now();
        let id = commit(&repo, &evil);
        let seen = |s: &Value| {
            s["lastSeen"] == id && s["state"] != "never" && s["lastAttemptAt"] != Value::Null
        };
        let source = program.wait("sources/repo", title, seen).await;
        let took = began.elapsed();
        let more = program.status("VmHWM:").saturating_sub(before);
        let said = format!("{} {}", source["outcome"], source["problems"]);
        println!(
            "{title}: {:.1} s, {} MiB more, {}: {:.160}",
            took.as_secs_f32(),
            more >> 10,
            source["state"],
            said
        );
        assert!(said.contains(told), "{title}: wanted {told}: {said}");
        assert!(more < MEMORY_KIB, "{title}: {more} KiB more at the peak");
        assert!(source["state"] != "ok", "{title}: {source}");
        assert_eq!(program.running().await, running, "{title}");
        // And an honest commit mends it.
        let id = honest(&repo);
        program.wait("sources/repo", "mended", applied(id)).await;
        assert_eq!(program.running().await, running, "after {title}");
    }
}
