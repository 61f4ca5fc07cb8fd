//! How a long wait looks, by what its outputs are: one line drawn over and over on a terminal,
//! whole lines elsewhere.

use std::collections::BTreeSet;
use std::process::Command;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Instant;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::steer::spec;
use super::terminal::{self, Seen};
use crate::cluster::{Cluster, LONG, Setup, pause};

/// What of the environment says how things are shown.
type Env = &'static [(&'static str, &'static str)];
const XTERM: Env = &[("TERM", "xterm")];
const NO_COLOUR: Env = &[("TERM", "xterm"), ("NO_COLOR", "1")];
const DUMB: Env = &[("TERM", "dumb")];

const WIDE: u16 = 120;
const NARROW: u16 = 40;

/// `rollout watch web`, with nothing of this machine's own environment.
fn watch(c: &Cluster, env: Env, more: &[&str]) -> Command {
    let mut command = c.cli_command(&[&["rollout", "watch", "web"], more].concat());
    for name in ["TERM", "NO_COLOR", "COLUMNS"] {
        command.env_remove(name);
    }
    command.envs(env.iter().copied());
    command
}

type Watching<'s, T> = ScopedJoinHandle<'s, T>;

fn on_terminal<'s>(s: &'s Scope<'s, '_>, command: Command, columns: u16) -> Watching<'s, Seen> {
    s.spawn(move || terminal::run(command, columns))
}

/// Both outputs, of one that is on no terminal.
fn on_pipe(mut command: Command) -> (String, String) {
    let done = command.output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(done.stdout), text(done.stderr))
}

/// Whole lines of text, one per change, up to the last words.
fn are_plain_lines(text: &str, last: &str) {
    assert!(!text.contains(['\x1b', '\r']), "{text:?}");
    let lines: Vec<&str> = text.lines().take_while(|l| !l.contains(last)).collect();
    assert!(lines.len() >= 3, "{text}");
    assert!(lines.iter().all(|l| l.starts_with("shop/web: ")), "{text}");
    assert!(lines.windows(2).all(|two| two[0] != two[1]), "{text}");
    assert!(text.contains(last), "{text}");
}

/// The same on a terminal, which ends lines in its own way.
fn are_lines(seen: &Seen, last: &str) {
    are_plain_lines(&seen.raw.replace("\r\n", "\n"), last);
}

/// One line drawn over and over, of which nothing is left but the last words.
fn is_one_line(seen: &Seen, columns: u16, last: &str) {
    let drawn = seen.drawn();
    let different: BTreeSet<_> = drawn.iter().collect();
    assert!(different.len() >= 3, "{:?}", seen.raw);
    let fits = |line: &&str| line.chars().count() < usize::from(columns);
    assert!(drawn.iter().all(fits), "{drawn:?}");
    let (before, _) = seen.raw.split_once('\n').unwrap();
    assert!(before.contains(last), "something was left: {:?}", seen.raw);
    let screen = seen.screen();
    assert!(
        screen[0].starts_with("shop/web: ") && screen[0].contains(last),
        "{screen:#?}"
    );
    assert!(screen[1].starts_with("APP"), "{screen:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_wait_is_one_line_on_a_terminal_and_whole_lines_elsewhere() {
    let setup = Setup {
        runtime: Some("process"),
        ..Setup::default()
    };
    let mut c = Cluster::start_with(setup, &[("web.yaml", &spec("one", 3))]).await;
    let first = c.repo.head("main").unwrap().to_string();
    c.wait_healthy("web", &first).await;
    let slow = |version: &str, time: &str| spec(version, 3).replace("300ms", time);
    let begin = async |c: &Cluster, text: &str| {
        let commit = c.commit(&[("web.yaml", Some(text))]).await;
        let begun = |a: &Value| a["rollout"]["to"]["commit"] == commit.as_str();
        c.wait_app("web", "on its way", begun).await;
    };
    begin(&c, &slow("two", "3s")).await;
    let end = "succeeded: all 3 instances are healthy";
    std::thread::scope(|s| {
        let coloured = on_terminal(s, watch(&c, XTERM, &[]), WIDE);
        let plain = on_terminal(s, watch(&c, NO_COLOUR, &[]), WIDE);
        let narrow = on_terminal(s, watch(&c, XTERM, &[]), NARROW);
        let dumb = on_terminal(s, watch(&c, DUMB, &[]), WIDE);
        let unnamed = on_terminal(s, watch(&c, &[], &[]), WIDE);
        let to_file = watch(&c, XTERM, &["-o", "json"]);
        let to_file = s.spawn(move || terminal::run_piped(to_file, WIDE));
        let in_time = on_terminal(s, watch(&c, XTERM, &["--timeout", "3s"]), WIDE);
        let piped = watch(&c, XTERM, &[]);
        let piped = s.spawn(move || on_pipe(piped));
        let program = watch(&c, XTERM, &["-o", "json"]);
        let program = s.spawn(move || on_pipe(program));

        let coloured = coloured.join().unwrap();
        is_one_line(&coloured, WIDE, end);
        assert!(coloured.has_colours(), "{:?}", coloured.raw);
        // Going back in a line is no colour.
        let plain = plain.join().unwrap();
        is_one_line(&plain, WIDE, end);
        assert!(!plain.has_colours(), "{:?}", plain.raw);
        let narrow = narrow.join().unwrap();
        is_one_line(&narrow, NARROW, end);
        assert!(
            narrow.drawn().iter().any(|l| l.contains('…')),
            "{:?}",
            narrow.raw
        );
        for dumb in [dumb, unnamed] {
            are_lines(&dumb.join().unwrap(), end);
        }
        let (table, told) = piped.join().unwrap();
        are_plain_lines(&told, end);
        assert!(
            table.starts_with("APP") && !table.contains('\x1b'),
            "{table}"
        );
        let (document, told) = program.join().unwrap();
        let document: Value = serde_json::from_str(&document).unwrap();
        assert_eq!(
            (document["sync"].as_str(), told.as_str()),
            (Some("synced"), "")
        );
        // A person who keeps the document still sees that it goes on, and nothing is left of it.
        let to_file = to_file.join().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&to_file.piped).unwrap(),
            document
        );
        assert!(to_file.drawn().len() >= 3, "{:?}", to_file.raw);
        assert_eq!(to_file.screen(), [""]);

        let in_time = in_time.join().unwrap();
        assert_eq!(in_time.code, 4, "{:?}", in_time.raw);
        is_said_on_its_own(&in_time, "gave up waiting for shop/web after");
    });

    // It outlives a restart of the server. What ends it is told on a line of its own.
    begin(&c, &slow("three", "8s")).await;
    let (code, made, _) = c.cli(&["token", "create", "jane", "-o", "json"]);
    assert_eq!(code, 0, "{made}");
    let made: Value = serde_json::from_str(&made).unwrap();
    let token = made["token"].as_str().unwrap();
    let interrupted = terminal::start(watch(&c, XTERM, &[]), WIDE);
    until(&interrupted, "shop/web").await;
    interrupted.interrupt();
    let left = tokio::task::spawn_blocking(|| interrupted.end())
        .await
        .unwrap();
    assert_eq!(left.code, -(Signal::SIGINT as i32), "{:?}", left.raw);
    assert_eq!(left.screen(), [""]);
    let refused = terminal::start(watch(&c, XTERM, &["--token", token]), WIDE);
    let patient = terminal::start(watch(&c, XTERM, &[]), WIDE);
    let plain = terminal::start(watch(&c, DUMB, &[]), WIDE);
    for begun in [&refused, &patient, &plain] {
        until(begun, "shop/web").await;
    }
    c.kill();
    until(&patient, "no answer from the server, trying again").await;
    c.up().await;
    let (code, _, err) = c.cli(&["token", "revoke", "jane"]);
    assert_eq!(code, 0, "{err}");
    let refused = tokio::task::spawn_blocking(|| refused.end()).await.unwrap();
    assert_eq!(refused.code, 3, "{:?}", refused.raw);
    is_said_on_its_own(&refused, "error: ");
    let patient = tokio::task::spawn_blocking(|| patient.end()).await.unwrap();
    is_one_line(&patient, WIDE, end);
    let plain = tokio::task::spawn_blocking(|| plain.end()).await.unwrap();
    are_lines(&plain, end);
}

async fn until(running: &terminal::Running, words: &str) {
    let deadline = Instant::now() + LONG;
    while !running.raw().contains(words) {
        assert!(Instant::now() < deadline, "{words}: {:?}", running.raw());
        pause().await;
    }
}

/// The words begin the first line that is left.
fn is_said_on_its_own(seen: &Seen, words: &str) {
    assert!(!seen.drawn().is_empty(), "{:?}", seen.raw);
    let screen = seen.screen();
    assert!(screen[0].starts_with(words), "{screen:#?}");
    assert!(screen[1].starts_with("  try: "), "{screen:#?}");
}
