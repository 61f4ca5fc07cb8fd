//! Holds README.md to the program: its commands parse, its specs are valid, and its tables
//! have every flag, route, metric, event and bound, so that none is forgotten or outlives
//! what it describes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, Parser as _};
use evenkeel::cli::args::Cli;
use evenkeel::manifest::{self, Content, Defaults, Lookup, limits};
use evenkeel::model::quantity::format_memory;
use evenkeel::model::{EventKind, ProjectName};
use regex::Regex;
use serde_json::Value;

#[path = "readme/commands.rs"]
mod commands;
#[path = "readme/rest.rs"]
mod rest;

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn readme() -> String {
    read("README.md")
}

/// The text of all blocks marked with this language.
fn blocks(readme: &str, language: &str) -> Vec<String> {
    let fence = Regex::new(&format!(r"(?ms)^```{language}\n(.*?)^```$")).unwrap();
    fence
        .captures_iter(readme)
        .map(|c| c[1].to_owned())
        .collect()
}

/// Words of a shell's line: quotes are honoured, a comment ends it.
fn words(line: &str) -> Vec<String> {
    let word = Regex::new(r#""([^"]*)"|'([^']*)'|(#.*)|(\S+)"#).unwrap();
    let mut words = Vec::new();
    for found in word.captures_iter(line) {
        if found.get(3).is_some() {
            break;
        }
        let text = found.iter().skip(1).flatten().next().unwrap();
        words.push(text.as_str().to_owned());
    }
    words
}

#[test]
fn every_command_line_parses() {
    let readme = readme();
    let inline = Regex::new(r"`(evenkeel [a-z][^`]*)`").unwrap();
    // In running text a command may be named without its arguments.
    let named: Vec<String> = inline
        .captures_iter(&readme)
        .map(|c| c[1].to_owned())
        .collect();
    let mut whole: Vec<String> = blocks(&readme, "sh")
        .concat()
        .lines()
        .map(str::to_owned)
        .collect();
    for unit in blocks(&readme, "ini") {
        let start = unit
            .lines()
            .find_map(|l| l.strip_prefix("ExecStart=/usr/local/bin/"));
        whole.extend(start.map(str::to_owned));
    }
    whole.retain(|line| line.starts_with("evenkeel "));
    assert!(whole.len() > 20 && named.len() > 20);
    for line in whole.iter().chain(&named) {
        let words = words(line).into_iter().filter(|word| word != "[APP]");
        let Err(error) = Cli::try_parse_from(words) else {
            continue;
        };
        let incomplete = matches!(
            error.kind(),
            ErrorKind::MissingRequiredArgument
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        );
        assert!(incomplete && named.contains(line), "{line}\n{error}");
    }
}

#[test]
fn every_command_flag_and_variable_is_told() {
    fn check(command: &clap::Command, path: &str, readme: &str, missing: &mut Vec<String>) {
        for arg in command.get_arguments() {
            if let Some(long) = arg.get_long()
                && !["help", "version"].contains(&long)
                && !readme.contains(&format!("--{long}"))
            {
                missing.push(format!("{path} --{long}"));
            }
            if let Some(variable) = arg.get_env().and_then(|v| v.to_str())
                && !readme.contains(variable)
            {
                missing.push(variable.to_owned());
            }
        }
        for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
            let path = format!("{path} {}", sub.get_name());
            if sub.get_name() != "help" && !readme.contains(&path) {
                missing.push(path.clone());
            }
            check(sub, &path, readme, missing);
        }
    }
    let mut missing = Vec::new();
    check(&Cli::command(), "evenkeel", &readme(), &mut missing);
    assert!(missing.is_empty(), "not in README.md: {missing:#?}");
}

#[test]
fn defaults_in_brackets_are_the_schemas() {
    // What the README gives in words, or leaves to REST.
    const IN_WORDS: [&str; 2] = ["/Source/path", "/PullRequests/"];
    let schema = manifest::json_schema();
    let specs = blocks(&readme(), "yaml").concat();
    let bracket = Regex::new(r"\[([^\]]*)\]").unwrap();
    let mut checked = 0;
    for (name, definition) in schema["$defs"].as_object().unwrap() {
        let Some(properties) = definition["properties"].as_object() else {
            continue;
        };
        for (key, property) in properties {
            let place = format!("/{name}/{key}");
            let text = match &property["default"] {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            if IN_WORDS.iter().any(|part| place.contains(part)) {
                continue;
            }
            let word = Regex::new(&format!(r"\b{key}\b")).unwrap();
            let told = specs
                .lines()
                .filter(|line| word.is_match(line))
                .filter_map(|line| line.split_once('#'))
                .flat_map(|(_, comment)| bracket.captures_iter(comment))
                .any(|found| {
                    let mut values = found[1].split(", ");
                    values.any(|v| v.trim_matches('"') == text)
                });
            assert!(told, "README.md does not tell that {place} is [{text}]");
            checked += 1;
        }
    }
    assert!(checked >= 20, "{checked}");
}

#[test]
fn every_spec_is_valid() {
    let specs = blocks(&readme(), "yaml");
    assert!(specs.len() >= 3);
    for spec in specs {
        let mut lookup = |_: &str| Lookup::Found(Vec::new());
        let file = ("a.yaml".to_owned(), Content::Bytes(spec.into_bytes()));
        let defaults = Defaults::new(ProjectName::new("default").unwrap(), "");
        let checked = manifest::validate_files(&defaults, [file], &mut lookup);
        assert!(checked.problems.is_empty(), "{:#?}", checked.problems);
        assert_eq!(
            checked.catalog.apps.len() + checked.catalog.sources.len(),
            1
        );
    }
}

#[test]
fn every_key_of_a_spec_is_told() {
    fn keys<'a>(value: &'a Value, out: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(map) => {
                if let Some(Value::Object(properties)) = map.get("properties") {
                    out.extend(properties.keys().map(String::as_str));
                }
                map.values().for_each(|v| keys(v, out));
            }
            Value::Array(list) => list.iter().for_each(|v| keys(v, out)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    // Of what is not carried out yet the README names the outermost key only.
    const INSIDE_OF_LATER: [&str; 4] = ["weights", "app", "prefer", "over"];
    let (readme, schema) = (readme(), manifest::json_schema());
    let mut all = BTreeSet::new();
    keys(&schema, &mut all);
    assert!(all.len() > 60, "{all:?}");
    let missing: Vec<&str> = all
        .into_iter()
        .filter(|key| !["key", "weight"].contains(key) && !INSIDE_OF_LATER.contains(key))
        .filter(|key| {
            !Regex::new(&format!(r"\b{key}\b"))
                .unwrap()
                .is_match(&readme)
        })
        .collect();
    assert!(missing.is_empty(), "not in README.md: {missing:?}");
}

#[test]
fn the_tables_of_routes_are_the_routers() {
    let row = Regex::new(r"(?m)^\| `([A-Z]+ /\S*)` \|").unwrap();
    let told: BTreeSet<String> = row
        .captures_iter(&readme())
        .map(|c| c[1].to_owned())
        .collect();
    // The table's head says that its routes are below the API's prefix.
    let routed: BTreeSet<String> = evenkeel::http::routes()
        .iter()
        .map(|route| route.replace(evenkeel::api::PREFIX, ""))
        .collect();
    assert_eq!(told, routed);
}

#[test]
fn every_metric_and_event_is_told_and_no_other() {
    let readme = readme();
    let metric = Regex::new(r"\bevenkeel_[a-z_]+").unwrap();
    let all = |text: &str| -> BTreeSet<String> {
        metric
            .find_iter(text)
            .map(|m| m.as_str().to_owned())
            .collect()
    };
    let code = read("src/http/metrics.rs");
    assert_eq!(all(&readme), all(code.split("mod tests").next().unwrap()));

    let line = readme
        .lines()
        .find(|l| l.starts_with("Kinds of events: "))
        .unwrap();
    let kind = Regex::new("`([^`]+)`").unwrap();
    let told: BTreeSet<&str> = kind
        .captures_iter(line)
        .map(|c| c.get(1).unwrap().as_str())
        .collect();
    let known: BTreeSet<&str> = EventKind::ALL.iter().map(|k| k.as_str()).collect();
    assert_eq!(told, known);
}

#[test]
fn the_bounds_are_the_ones_in_force() {
    let readme = readme();
    // `1Mi` as `1 MiB`.
    let size = |bytes: u64| {
        let text = format_memory(bytes);
        let unit = text.find(|c: char| !c.is_ascii_digit()).unwrap();
        format!("{} {}B", &text[..unit], &text[unit..])
    };
    for row in [
        format!(
            "| one spec file | {}, {} documents, {} levels deep, {} values after aliases |",
            size(limits::SPEC_FILE_BYTES),
            limits::DOCUMENTS_PER_FILE,
            limits::DEPTH,
            limits::NODES_PER_FILE
        ),
        format!("| spec files of a source | {} |", limits::SPEC_FILES),
        format!(
            "| `files` of an app | {} files, {} each, {} together |",
            limits::FILES_PER_APP,
            size(limits::REFERENCED_FILE_BYTES),
            size(limits::REFERENCED_BYTES_PER_APP)
        ),
        format!("| replicas of an app | {} |", limits::REPLICAS),
        format!(
            "| problems shown | {} per file, {} per source |",
            limits::PROBLEMS_PER_FILE,
            limits::PROBLEMS
        ),
        format!(
            "| a compiled regular expression | {} |",
            size(limits::REGEX_BYTES as u64)
        ),
    ] {
        assert!(readme.contains(&row), "README.md lacks: {row}");
    }
}
