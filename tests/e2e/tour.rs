//! What README.md tells to type on the first day, and on the day with several machines: each
//! line of each block against the real program, the Engine and a database, with nothing
//! changed but folders and addresses.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::cluster::{Cluster, LONG, Setup, pause};
use crate::guide::{blocks, section};

/// A shell that stops at the first failure; exit code, and both outputs in one.
struct Shell {
    home: PathBuf,
    data_dir: PathBuf,
}

impl Shell {
    fn command(&self, program: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_evenkeel"));
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(program);
        command
            .env(
                "PATH",
                format!("{}:{path}", binary.parent().unwrap().display()),
            )
            .env("HOME", &self.home)
            .env("EVENKEEL_DATA_DIR", &self.data_dir)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null());
        for role in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{role}_NAME"), "Ann");
            command.env(format!("GIT_{role}_EMAIL"), "ann@localhost");
        }
        command
    }

    fn run(&self, folder: &Path, script: &str) -> (i32, String) {
        let mut command = self.command("sh");
        command.args(["-euc", &format!("exec 2>&1\n{script}")]);
        let done = command.current_dir(folder).output().unwrap();
        let text = String::from_utf8(done.stdout).unwrap();
        (done.status.code().unwrap(), text)
    }

    #[track_caller]
    fn expect(&self, folder: &Path, script: &str, code: i32) -> String {
        let (got, told) = self.run(folder, script);
        assert_eq!(got, code, "{script}\n{told}");
        told
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tour_goes_as_it_is_told() {
    // Its own line starts the program, as this does.
    let c = Cluster::start_with(Setup::default(), &[("none.yaml", "")]).await;
    let removed = c.cli(&["source", "remove", "repo"]);
    assert_eq!(removed.0, 0, "{}", removed.2);
    let home = c.dir.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let shop = home.join("shop");
    let shell = Shell {
        home,
        data_dir: c.data_dir(),
    };
    let readme = section("## Five minutes");
    let told = blocks(&readme);
    let [build, up, follow, good, bad, steer] = told.as_slice() else {
        panic!("blocks of which nothing is known here: {told:#?}");
    };
    assert!(up.starts_with("evenkeel up --data-dir /var/tmp/evenkeel "));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (cargo, build) = build.split_once('\n').unwrap();
    assert!(cargo.starts_with("cargo build"));
    shell.expect(root, build, 0);

    let (export, follow) = follow.split_once('\n').unwrap();
    assert!(export.starts_with("export EVENKEEL_DATA_DIR="));
    shell.expect(&shop, follow, 0);
    for app in ["api", "web", "worker"] {
        shell.expect(&shop, &format!("evenkeel status {app} --wait"), 0);
    }
    let table = shell.expect(&shop, "evenkeel status", 0);
    for row in [
        "shop/api     synced  healthy  2/2",
        "shop/web     synced  healthy  3/3",
    ] {
        assert!(table.contains(row), "{table}");
    }
    let shown = shell.expect(&shop, good, 0);
    assert!(
        shown.contains("shop/web: 1 of 3 instances updated"),
        "{shown}"
    );
    assert!(
        shown.contains("shop/web  synced  healthy  3/3 ready"),
        "{shown}"
    );
    let proven = shell.expect(&shop, "git rev-parse HEAD", 0)[..8].to_owned();
    let shown = shell.expect(&shop, bad, 1);
    for words in [
        "shop/web  quarantined  ",
        "  3/3 ready\n",
        " was rejected: slot 0 on host: it exited with code 3 after ",
        "s ago (crashLoop): ",
        ", 3 exits in all\n",
        ": 500 Internal Server Error: version 1.1 refuses to serve: HEALTH is \"broken\"\n",
        "      | web: version 1.1 gives up, HEALTH is \"broken\"\n",
    ] {
        assert!(shown.contains(words), "{words}: {shown}");
        assert!(
            readme.contains(&words.replace("on host", "on vm")),
            "not told: {words}"
        );
    }
    let fix = "sed -i 's/HEALTH: broken/HEALTH: ok/; s/\"1.1\"/\"1.2\"/' apps/web.yaml && \
               git commit -qam 'web 1.2' && evenkeel status web --wait";
    shell.expect(&shop, fix, 0);

    let mut typed = 0;
    for line in steer.lines() {
        let before = c.app("web").await["lastRollout"]["id"].clone();
        let line = line.replace("1f3c9a2b", &proven).replace("node-3", "host");
        let (line, code) = match &line {
            follows if follows.contains(" logs web -f") => (format!("timeout 3 {follows}"), 124),
            // There is no other node here.
            drain if drain.contains(" drain ") => (line, 1),
            _ => (line, 0),
        };
        let told = shell.expect(&shop, &line, code);
        if line.contains(" rollback ") || line.contains(" release ") {
            let ended = |a: &Value| a["rollout"].is_null() && a["lastRollout"]["id"] != before;
            c.wait_app("web", "rolled out", ended).await;
        }
        for (verb, words) in [
            ("events --app web", "rollout.succeeded"),
            ("logs web -f", "version 1.2"),
            ("suspend web", "black friday"),
            ("diff web", "what runs is what is declared"),
            ("--to ", "quarantined"),
            ("restart web", "restart of"),
            ("scale web 6", "/6"),
            ("drain ", "no other node can take it"),
            ("explain ", "maxSurge"),
        ] {
            assert!(
                !line.contains(verb) || told.contains(words),
                "{line}\n{told}"
            );
        }
        typed += 1;
    }
    assert_eq!(typed, 14);
}

/// Ended with the test.
struct Role(Child);

impl Drop for Role {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.0.id()).unwrap_or(0));
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let _ = self.0.wait();
    }
}

struct Machine {
    shell: Shell,
    log: PathBuf,
}

impl Machine {
    fn new(dir: &Path, name: &str) -> Machine {
        let home = dir.join(name);
        std::fs::create_dir(&home).unwrap();
        let shell = Shell {
            data_dir: home.join("data"),
            home: home.clone(),
        };
        Machine {
            shell,
            log: home.join("log"),
        }
    }

    fn start(&self, line: &str, env: &[(&str, &str)]) -> Role {
        let log = std::fs::File::create(&self.log).unwrap();
        let mut command = self.shell.command("sh");
        command.args(["-c", &format!("exec {line}")]);
        command.envs(env.iter().copied());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn();
        Role(child.unwrap())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What a command says once it succeeds and says it.
    async fn until(&self, line: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + LONG;
        loop {
            let (code, told) = self.shell.run(&self.shell.home, line);
            if code == 0
                && let Ok(document) = serde_json::from_str(&told)
                && holds(&document)
            {
                return document;
            }
            assert!(
                Instant::now() < end,
                "{line}: {code} {told}\n{}",
                self.log()
            );
            pause().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_machines_are_set_up_as_it_is_told() {
    let dir = tempfile::Builder::new().prefix("ek").tempdir().unwrap();
    let told = blocks(&section("## Operations"));
    let [machines, tokens] = told.as_slice() else {
        panic!("blocks of which nothing is known here: {told:#?}");
    };
    let (controller, agent) = machines.trim_end().split_once('\n').unwrap();
    let port = crate::free_port::free_port();
    let one = Machine::new(dir.path(), "one");
    let other = Machine::new(dir.path(), "other");
    let here = |line: &str| {
        line.replace("10.0.0.1:7600", &format!("127.0.0.1:{port}"))
            .replace("--cluster prod", &format!("--cluster tour{port}"))
    };
    let database = crate::pg::url().await;
    let controller = here(controller).replace(
        "postgres://evenkeel:SECRET@db.example/evenkeel",
        &format!("'{database}'"),
    );
    let _controller = one.start(&controller, &[]);
    one.until("evenkeel nodes -o json", |nodes| *nodes == json!([]))
        .await;
    let secret = one.shell.data_dir.join("agent-token");
    let agent = here(agent).replace("/etc/evenkeel/agent-token", secret.to_str().unwrap());
    let _agent = other.start(&agent, &[]);
    let nodes = one
        .until("evenkeel nodes -o json", |nodes| {
            nodes[0]["liveness"] == "ready"
        })
        .await;
    assert_eq!(nodes[0]["address"], "10.0.0.7", "{}", other.log());
    let attributes = &nodes[0]["attributes"];
    assert_eq!(
        (&attributes["zone"], &attributes["rack"]),
        (&json!("a"), &json!("r1"))
    );

    let (create, rest) = tokens.split_once('\n').unwrap();
    let made = one.shell.expect(&one.shell.home, create, 0);
    assert!(
        made.contains("This is token ci, operator of shop"),
        "{made}"
    );
    let listed = one.shell.expect(&one.shell.home, rest, 0);
    assert!(listed.ends_with("revoked token ci\n"), "{listed}");
}

/// What the lines above leave out of the roles' flags, all at once.
#[tokio::test(flavor = "multi_thread")]
async fn every_flag_of_up_counts() {
    let dir = tempfile::Builder::new().prefix("ek").tempdir().unwrap();
    let port = crate::free_port::free_port();
    let machine = Machine::new(dir.path(), "one");
    let repository = dir.path().join("bakery");
    let script = format!(
        "git init -q -b main {0} && cd {0} && mkdir a && echo 'a: 1' > a/a.yaml && \
        git add -A && git commit -qm one",
        repository.display()
    );
    machine.shell.expect(dir.path(), &script, 0);
    let data = dir.path().join("elsewhere");
    let line = format!(
        "evenkeel up --data-dir {} --listen 127.0.0.1:{port} --git {} --cluster flags{port} \
         --allow-host-path /srv/shared --external-url https://evenkeel.example --log-format json \
         --runtime process --node-name oven --node-address 10.0.0.8 --attribute zone=b \
         --engine-socket /nowhere.sock",
        data.display(),
        repository.display(),
    );
    let role = machine.start(&line, &[]);
    let asking = Machine {
        shell: Shell {
            home: machine.shell.home.clone(),
            data_dir: data.clone(),
        },
        log: machine.log.clone(),
    };
    let nodes = asking
        .until("evenkeel nodes -o json", |nodes| {
            nodes[0]["liveness"] == "ready"
        })
        .await;
    let node = &nodes[0];
    assert_eq!(
        (&node["name"], &node["address"]),
        (&json!("oven"), &json!("10.0.0.8"))
    );
    let attributes = &node["attributes"];
    assert_eq!(
        (&attributes["zone"], &attributes["runtime.docker"]),
        (&json!("b"), &Value::Null)
    );
    let source = asking
        .until("evenkeel source show bakery -o json", |s| {
            s["name"] == "bakery"
        })
        .await;
    let hook = source["webhook"]["url"].as_str().unwrap();
    assert!(
        hook.starts_with("https://evenkeel.example/api/v1/hooks/"),
        "{hook}"
    );
    let name = std::fs::read_to_string(data.join("cluster-name")).unwrap();
    assert_eq!(name.trim(), format!("flags{port}"));
    let lines = asking.log();
    assert!(lines.lines().count() > 3, "{lines}");
    for line in lines.lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }

    // Folders of nodes, below what was named and no other.
    for (path, verdict) in [
        ("/srv/shared/x", "fits"),
        ("/srv/other", "--allow-host-path"),
    ] {
        let folder = dir.path().join(format!("plan{}", path.len()));
        std::fs::create_dir(&folder).unwrap();
        let spec = format!(
            "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {{name: bread, project: default}}\n\
             spec: {{image: \"bread:1\", volumes: [{{hostPath: {path}, path: /x}}]}}\n"
        );
        std::fs::write(folder.join("bread.yaml"), spec).unwrap();
        let (_, told) = asking.shell.run(&folder, "evenkeel plan .");
        let refused = told.contains("--allow-host-path");
        assert_eq!(refused, verdict != "fits", "{path}: {told}");
    }
    drop(role);
}
