//! What needs no server, and how things look on a terminal.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Book, OFFLINE, Ran, terminal};

/// Without anything of this machine's configuration.
fn alone(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    command
        .env_clear()
        .env("XDG_CONFIG_HOME", home)
        .stdin(Stdio::null());
    command
}

fn run(home: &Path, args: &[&str]) -> Ran {
    let out = alone(home).args(args).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (stdout, stderr) = (text(out.stdout), text(out.stderr));
    (out.status.code().unwrap(), stdout, stderr)
}

#[test]
fn what_needs_no_server_works_without_one() {
    let home = tempfile::tempdir().unwrap();
    let book = Book::new(|args| run(home.path(), args));
    starters(&book, home.path());
    words(&book);
    contexts(&book, home.path());
    book.check(|verb| OFFLINE.contains(&verb));
}

fn starters(book: &Book<'_>, home: &Path) {
    for ci in ["github", "gitlab", "forgejo", "none"] {
        let folder = home.join(format!("starter-{ci}"));
        let folder = folder.to_str().unwrap();
        let init = ["init", folder, "--ci", ci];
        if ci == "github" {
            let text = book.text(&init);
            assert!(text.contains("next: evenkeel validate"), "{text}");
        } else {
            let files = book.json(&init)["files"].clone();
            assert!(files.as_array().unwrap().len() >= 3, "{files}");
        }
        assert_eq!(book.json(&["validate", folder])["valid"], true);
        let text = book.text(&["validate", folder]);
        assert!(text.ends_with(", 1 app, 0 problems\n"), "{text}");
        // The pipeline types what works here, too.
        let pipeline = [
            ".github/workflows/evenkeel.yml",
            ".gitlab-ci.yml",
            ".forgejo/workflows/evenkeel.yml",
        ]
        .map(|name| Path::new(folder).join(name));
        let pipeline: Vec<_> = pipeline.iter().filter(|file| file.exists()).collect();
        assert_eq!(pipeline.len(), usize::from(ci != "none"), "{ci}");
        for file in pipeline {
            let text = std::fs::read_to_string(file).unwrap();
            serde_yaml::from_str::<Value>(&text).unwrap();
            let typed = text
                .lines()
                .find_map(|l| l.split_once("evenkeel validate "));
            let apps = Path::new(folder).join(typed.unwrap().1);
            book.text(&["validate", apps.to_str().unwrap()]);
        }
        // What is there is never overwritten.
        book.refused(&init, 2);
        // Editors find the schema that they are told.
        let app = std::fs::read_to_string(format!("{folder}/apps/hello.yaml")).unwrap();
        let schema = app
            .lines()
            .next()
            .unwrap()
            .split("$schema=")
            .nth(1)
            .unwrap();
        assert!(
            Path::new(folder).join("apps").join(schema).is_file(),
            "{schema}"
        );
    }
    book.refused(&["validate", "/no/such/folder"], 2);
}

fn words(book: &Book<'_>) {
    let text = book.text(&["explain", "spec.rollout.maxSurge"]);
    assert!(text.contains("maxSurge"), "{text}");
    let ports = book.json(&["explain", "spec.ports"]);
    assert!(ports["fields"].as_array().unwrap().len() >= 3, "{ports}");
    let told = book.refused(&["explain", "spec.replica"], 2);
    assert!(told.contains("did you mean \"replicas\""), "{told}");
    let schema: Value = serde_json::from_str(&book.text(&["schema"])).unwrap();
    assert_eq!(book.json(&["schema"]), schema);
    assert_eq!(book.yaml(&["schema"]), schema);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(
            book.text(&["completions", shell]).contains("rollout"),
            "{shell}"
        );
    }
}

fn contexts(book: &Book<'_>, home: &Path) {
    let add = |name: &'static str| {
        let url = "http://127.0.0.1:9";
        ["context", "add", name, "--url", url, "--token", "s3cret"]
    };
    assert_eq!(book.text(&add("prod")), "added context prod\n");
    let added = book.json(&add("test"));
    assert_eq!(
        (&added["name"], &added["current"]),
        (&"test".into(), &false.into())
    );
    let file = home.join("token");
    std::fs::write(&file, "t0ken\n").unwrap();
    let kept = [
        "context",
        "add",
        "kept",
        "--url",
        "http://127.0.0.1:9",
        "--token-file",
    ];
    let kept = book.json(&[&kept[..], &[file.to_str().unwrap(), "-p", "shop"]].concat());
    let kept = (&kept["token"], &kept["project"]);
    assert_eq!(kept, (&true.into(), &"shop".into()));
    book.text(&["context", "remove", "kept"]);
    let used = book.text(&["context", "use", "test"]);
    assert_eq!(used, "evenkeel speaks from now on to test\n");
    assert_eq!(book.yaml(&["context", "use", "prod"])["current"], true);
    let list = book.text(&["context", "list"]);
    assert!(list.contains("prod") && !list.contains("s3cret"), "{list}");
    let listed = book.json(&["context", "list"]);
    let prod = (&listed[0]["current"], &listed[0]["token"]);
    assert_eq!(prod, (&true.into(), &true.into()));
    // It is the server that is spoken to.
    assert!(
        book.refused(&["--context", "test", "apps"], 3)
            .contains("127.0.0.1:9")
    );
    assert!(book.refused(&["apps"], 3).contains("127.0.0.1:9"));
    let told = book.refused(&["--context", "other", "apps"], 2);
    assert!(told.contains("evenkeel context list"), "{told}");
    assert_eq!(
        book.text(&["context", "remove", "prod"]),
        "removed context prod\n"
    );
    assert_eq!(book.json(&["context", "remove", "test"])["removed"], true);
    book.refused(&["context", "remove", "prod"], 2);
}

/// What is shown on a terminal of so many columns.
fn shown(home: &Path, columns: u16, env: &[(&str, &str)], args: &[&str]) -> String {
    let mut command = alone(home);
    command.args(args).envs(env.iter().copied());
    let seen = terminal::run(command, columns);
    assert_eq!(seen.code, 0, "{}", seen.raw);
    seen.raw
}

#[test]
fn colours_and_widths_are_the_terminals() {
    let home = tempfile::tempdir().unwrap();
    let url = format!("https://{}.example:7600", "very-".repeat(20));
    let (code, _, err) = run(home.path(), &["context", "add", "prod", "--url", &url]);
    assert_eq!(code, 0, "{err}");
    let list = ["context", "list"];
    let see = |columns, env: &[(&str, &str)]| shown(home.path(), columns, env, &list);

    // A colour says nothing that a word does not say, too.
    let wide = see(200, &[("TERM", "xterm")]);
    assert!(wide.contains('\x1b') && wide.contains(&url), "{wide:?}");
    for env in [
        [("TERM", "xterm"), ("NO_COLOR", "1")],
        [("TERM", "dumb"), ("LANG", "C")],
    ] {
        let plain = see(200, &env);
        assert!(!plain.contains('\x1b') && plain.contains(&url), "{plain:?}");
    }
    let narrow = see(60, &[("TERM", "xterm"), ("NO_COLOR", "1")]);
    let longest = narrow.lines().map(|l| l.trim_end().chars().count()).max();
    assert!(longest <= Some(60) && narrow.contains("prod"), "{narrow}");
    // Elsewhere nothing is cut, and nothing painted.
    let (_, piped, _) = run(home.path(), &list);
    assert!(piped.contains(&url) && !piped.contains('\x1b'), "{piped:?}");
}
