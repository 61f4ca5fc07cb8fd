//! Every verb on a live cluster, in both forms: what people read and what programs do. What is
//! run is noted and held against clap's own list, so that no verb and no flag is left out.

mod flags;
mod offline;
mod sources;
mod steer;
mod terminal;
mod together;
mod verdicts;
mod waits;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use clap::CommandFactory as _;
use evenkeel::cli::args::Cli;
use serde_json::Value;

use crate::cluster::{Cluster, LONG};

type Ran = (i32, String, String);

/// What needs no server: `offline`.
const OFFLINE: [&str; 9] = [
    "completions",
    "context add",
    "context list",
    "context remove",
    "context use",
    "explain",
    "init",
    "schema",
    "validate",
];
/// What every test of this program runs as its subject.
const ROLES: [&str; 3] = ["agent", "controller", "up"];

/// Of what the other test runs, without a server.
const ELSEWHERE: [&str; 2] = ["--url", "--context"];

type Runs<'a> = dyn Fn(&[&str]) -> Ran + 'a;

/// Runs commands, and notes which verb was seen in which form.
struct Book<'a> {
    run: Box<Runs<'a>>,
    people: RefCell<BTreeSet<String>>,
    programs: RefCell<BTreeSet<String>>,
    flags: RefCell<BTreeSet<String>>,
}

/// A command that goes on until it is not wanted any more.
struct GoesOn {
    child: Child,
    lines: Receiver<String>,
}

impl GoesOn {
    /// Until it says a line with these words.
    fn until(&self, words: &str) {
        let end = Instant::now() + LONG;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            if line
                .unwrap_or_else(|e| panic!("{words}: {e}"))
                .contains(words)
            {
                return;
            }
        }
    }
}

impl Drop for GoesOn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `rollout pause`, as clap understands the arguments.
fn verb_of(args: &[&str]) -> String {
    let words = std::iter::once("evenkeel").chain(args.iter().copied());
    let found = Cli::command().try_get_matches_from(words).unwrap();
    let mut names = Vec::new();
    let mut at = found.subcommand();
    while let Some((name, inner)) = at {
        names.push(name.to_owned());
        at = inner.subcommand();
    }
    names.join(" ")
}

fn leaves(command: &clap::Command, path: &str, out: &mut BTreeSet<String>) {
    let inner = command.get_subcommands().filter(|c| c.get_name() != "help");
    let mut is_leaf = true;
    for sub in inner.filter(|c| !c.is_hide_set()) {
        is_leaf = false;
        let path = format!("{path} {}", sub.get_name());
        leaves(sub, path.trim(), out);
    }
    if is_leaf {
        out.insert(path.to_owned());
    }
}

impl<'a> Book<'a> {
    fn new(run: impl Fn(&[&str]) -> Ran + 'a) -> Book<'a> {
        Book {
            run: Box::new(run),
            people: RefCell::default(),
            programs: RefCell::default(),
            flags: RefCell::default(),
        }
    }

    fn expect(&self, args: &[&str], code: i32) -> (String, String) {
        self.flags.borrow_mut().extend(flags::of(args));
        let (got, out, err) = (self.run)(args);
        assert_eq!(got, code, "{args:?}: {out}{err}");
        (out, err)
    }

    /// For people.
    fn text(&self, args: &[&str]) -> String {
        self.people.borrow_mut().insert(verb_of(args));
        let (out, _) = self.expect(args, 0);
        assert!(!out.contains('\x1b'), "no colours here: {out:?}");
        out
    }

    /// For programs: one document, and nothing else is said.
    fn json(&self, args: &[&str]) -> Value {
        self.json_with(args, 0)
    }

    fn json_with(&self, args: &[&str], code: i32) -> Value {
        self.programs.borrow_mut().insert(verb_of(args));
        let (out, _) = self.expect(&[args, &["-o", "json"]].concat(), code);
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
    }

    /// The same as YAML.
    fn yaml(&self, args: &[&str]) -> Value {
        self.programs.borrow_mut().insert(verb_of(args));
        let (out, _) = self.expect(&[args, &["-o", "yaml"]].concat(), 0);
        serde_yaml::from_str(&out).unwrap_or_else(|e| panic!("{args:?}: {e}: {out}"))
    }

    /// Of what does not end by itself.
    fn goes_on(&self, c: &Cluster, args: &[&str]) -> GoesOn {
        self.flags.borrow_mut().extend(flags::of(args));
        let mut child = c.cli_command(args).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        GoesOn { child, lines }
    }

    /// What is said instead, which always names the next command to try.
    fn refused(&self, args: &[&str], code: i32) -> String {
        let (out, err) = self.expect(args, code);
        assert_eq!(out, "", "{args:?}");
        let tried = err.split("\n  try: ").nth(1).unwrap_or_default();
        let next = ["evenkeel ", "curl "].iter().any(|c| tried.contains(c));
        assert!(next || err.contains("`evenkeel "), "{args:?}: {err}");
        err
    }

    /// Every verb of which `holds` was run in both forms.
    fn check(&self, holds: impl Fn(&str) -> bool) {
        let mut all = BTreeSet::new();
        leaves(&Cli::command(), "", &mut all);
        all.retain(|verb| holds(verb));
        assert_eq!(*self.people.borrow(), all, "for people");
        // A script for a shell has one form only.
        all.remove("completions");
        assert_eq!(*self.programs.borrow(), all, "for programs");
        let mut untried = flags::all(&holds);
        untried.retain(|flag| !self.flags.borrow().contains(flag));
        let typed = flags::typed();
        untried.retain(|flag| !typed.contains(flag) && !ELSEWHERE.contains(&flag.as_str()));
        assert!(untried.is_empty(), "flags that no test runs: {untried:#?}");
    }
}

fn is_online(verb: &str) -> bool {
    !OFFLINE.contains(&verb) && !ROLES.contains(&verb)
}

#[test]
fn the_lists_hold_verbs_that_exist() {
    let mut all = BTreeSet::new();
    leaves(&Cli::command(), "", &mut all);
    assert!(all.len() > 40, "{all:?}");
    for verb in OFFLINE.iter().chain(&ROLES) {
        assert!(all.contains(*verb), "{verb}");
    }
}
