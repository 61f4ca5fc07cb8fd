//! The table of commands, and every flag and variable that is told anywhere.

use std::collections::BTreeSet;

use clap::CommandFactory as _;
use evenkeel::cli::args::Cli;
use regex::Regex;

use crate::readme;

/// Flags as `--name`, in the order told.
fn flags(text: &str) -> BTreeSet<String> {
    let flag = Regex::new(r"--([a-z][a-z-]*)").unwrap();
    flag.captures_iter(text).map(|c| c[1].to_owned()).collect()
}

fn own_flags(command: &clap::Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter(|arg| !arg.is_global_set());
    let own = own.filter_map(|arg| arg.get_long()).map(str::to_owned);
    own.filter(|name| !["help", "version"].contains(&name.as_str()))
        .collect()
}

#[test]
fn the_table_of_commands_is_the_programs() {
    // Told by what they share with another row, or in a section of their own.
    const ELSEWHERE: [&str; 3] = [
        "evenkeel controller",
        "evenkeel agent",
        "evenkeel source add",
    ];
    let readme = readme();
    let row = Regex::new(r"(?m)^\| `(evenkeel [^`]*)` \|(.*)\|$").unwrap();
    let cli = Cli::command();
    let everywhere: BTreeSet<String> = cli
        .get_arguments()
        .filter_map(|arg| arg.get_long().map(str::to_owned))
        .collect();
    let mut told = BTreeSet::new();
    for found in row.captures_iter(&readme) {
        let (mut command, mut path) = (&cli, "evenkeel".to_owned());
        for word in found[1].split_whitespace().skip(1) {
            let Some(sub) = command.find_subcommand(word) else {
                break;
            };
            path = format!("{path} {word}");
            command = sub;
        }
        assert_ne!(path, "evenkeel", "no such command: {}", &found[1]);
        let subs: Vec<&clap::Command> = command.get_subcommands().collect();
        let mut known = own_flags(command);
        known.extend(subs.iter().flat_map(|sub| own_flags(sub)));
        let here = flags(&found[0]);
        let unknown: Vec<&String> = here.difference(&known).collect();
        let unknown: Vec<&&String> = unknown
            .iter()
            .filter(|f| !everywhere.contains(**f))
            .collect();
        assert!(unknown.is_empty(), "{path} has no {unknown:?}");
        for (path, command) in std::iter::once((path.clone(), command)).chain(
            subs.iter()
                .map(|s| (format!("{path} {}", s.get_name()), *s)),
        ) {
            if !ELSEWHERE.contains(&path.as_str()) {
                let own = own_flags(command);
                let missing: Vec<&String> = own.difference(&here).collect();
                assert!(missing.is_empty(), "{path}: {missing:?} not in its row");
            }
            told.insert(path);
        }
    }
    fn all(command: &clap::Command, path: &str, out: &mut BTreeSet<String>) {
        for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            let path = format!("{path} {}", sub.get_name());
            all(sub, &path, out);
            out.insert(path);
        }
    }
    let mut commands = BTreeSet::new();
    all(&cli, "evenkeel", &mut commands);
    commands.retain(|c| !c.ends_with(" help") && !told.contains(c));
    // Told by their subcommands.
    commands.retain(|c| !told.iter().any(|t| t.starts_with(&format!("{c} "))));
    assert!(commands.is_empty(), "no row: {commands:?}");
}

#[test]
fn no_flag_or_variable_is_told_that_there_is_not() {
    fn all(command: &clap::Command, flags: &mut BTreeSet<String>, vars: &mut BTreeSet<String>) {
        for arg in command.get_arguments() {
            flags.extend(arg.get_long().map(str::to_owned));
            vars.extend(arg.get_env().and_then(|v| v.to_str()).map(str::to_owned));
        }
        for sub in command.get_subcommands() {
            all(sub, flags, vars);
        }
    }
    let (mut known, mut variables) = (BTreeSet::new(), BTreeSet::new());
    all(&Cli::command(), &mut known, &mut variables);
    // Of cargo, and of the program in a spec.
    known.extend(["release", "test", "no-default-features", "port"].map(str::to_owned));
    // Of tests, of the log, and what instances get.
    for name in [
        "BLESS", "LOG", "PROJECT", "APP", "SLOT", "INSTANCE", "FILES", "",
    ] {
        variables.insert(format!("EVENKEEL_{name}"));
    }
    variables.insert("EVENKEEL_DATA_DIR".to_owned());
    let readme = readme();
    let told: BTreeSet<String> = flags(&readme);
    let unknown: Vec<&String> = told.difference(&known).collect();
    assert!(unknown.is_empty(), "there is no {unknown:?}");
    let variable = Regex::new(r"\bEVENKEEL_[A-Z_]*").unwrap();
    for found in variable.find_iter(&readme) {
        assert!(variables.contains(found.as_str()), "{}", found.as_str());
    }
}
