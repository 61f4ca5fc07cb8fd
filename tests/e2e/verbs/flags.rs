//! Which flags were run: what the README's blocks hold, and each test's own lines, against
//! clap's list. So no flag is there that no test has seen at work.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use clap::parser::ValueSource;
use evenkeel::cli::args::Cli;
use regex::Regex;

/// Parts of the README of which `guide` and `tour` type every line.
const TYPED: [&str; 6] = [
    "## Five minutes",
    "## Sources",
    "### Webhooks",
    "## Plans",
    "## Forges, step by step",
    "## Operations",
];

/// `rollout pause --reason`, for each flag that stands in these arguments.
pub fn of(args: &[&str]) -> BTreeSet<String> {
    let cli = Cli::command();
    let words = std::iter::once("evenkeel").chain(args.iter().copied());
    let found = cli.clone().try_get_matches_from(words).unwrap();
    let (mut command, mut at, mut path) = (&cli, &found, String::new());
    while let Some((name, inner)) = at.subcommand() {
        command = command.find_subcommand(name).unwrap();
        path.push_str(name);
        path.push(' ');
        at = inner;
    }
    let given = |id: &str| at.value_source(id) == Some(ValueSource::CommandLine);
    let own = command
        .get_arguments()
        .filter(|a| given(a.get_id().as_str()));
    let own = own.filter_map(|a| a.get_long().map(|long| format!("{path}--{long}")));
    let global = cli.get_arguments().filter(|a| given(a.get_id().as_str()));
    let global = global.filter_map(|a| a.get_long().map(|long| format!("--{long}")));
    own.chain(global).collect()
}

/// Every flag there is, of commands for which `holds`; those of all commands under ``.
pub fn all(holds: impl Fn(&str) -> bool) -> BTreeSet<String> {
    fn collect(
        command: &clap::Command,
        path: &str,
        holds: &dyn Fn(&str) -> bool,
        out: &mut BTreeSet<String>,
    ) {
        let subs = command.get_subcommands().filter(|c| !c.is_hide_set());
        for sub in subs.filter(|c| c.get_name() != "help") {
            collect(sub, format!("{path} {}", sub.get_name()).trim(), holds, out);
        }
        if !holds(path) {
            return;
        }
        for long in command.get_arguments().filter_map(|arg| arg.get_long()) {
            if !["help", "version"].contains(&long) {
                out.insert(format!("{path} --{long}").trim().to_owned());
            }
        }
    }
    let mut out = BTreeSet::new();
    collect(&Cli::command(), "", &holds, &mut out);
    out
}

/// Flags in the blocks of the README that are typed.
pub fn typed() -> BTreeSet<String> {
    let line = Regex::new(r"(?m)^evenkeel (.*?)(?:\s+#.*)?$").unwrap();
    let word = Regex::new(r#""([^"]*)"|(\S+)"#).unwrap();
    let mut flags = BTreeSet::new();
    for heading in TYPED {
        let text = crate::guide::section(heading);
        for block in crate::guide::blocks(&text) {
            for found in line.captures_iter(&block) {
                let words = word.captures_iter(found.get(1).unwrap().as_str());
                let words: Vec<&str> = words
                    .map(|w| w.get(1).or(w.get(2)).unwrap().as_str())
                    .collect();
                flags.extend(of(&words));
            }
        }
    }
    flags
}

#[test]
fn the_lists_tell_flags_as_they_are() {
    let flags = of(&["-p", "shop", "rollout", "pause", "web", "--reason", "x"]);
    let expected = ["--project", "rollout pause --reason"].map(str::to_owned);
    assert_eq!(flags, BTreeSet::from(expected));
    let all = all(|_| true);
    assert!(all.is_superset(&flags) && all.len() > 120, "{}", all.len());
    assert!(typed().is_subset(&all) && typed().contains("source add --forge"));
}
