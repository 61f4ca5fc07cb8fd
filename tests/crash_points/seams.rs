//! Holds the code to its list of points: whatever changes something outside of the process
//! does so between two of them, and each that is listed is somewhere.

use std::path::{Path, PathBuf};

use evenkeel::failpoint::Op;
use regex::Regex;

/// Calls that change something (place, text of the call), and the files below the place that
/// are left out, because what calls them has the points or what they change is nobody's state.
const CALLS: [(&str, &str, &[&str]); 11] = [
    ("store", r"\btx\.commit\(\)|CREATE DATABASE", &["load.rs"]),
    (
        "store/private_postgres",
        r"\bfs::rename\(|command\.spawn\(\)|INITDB_DEADLINE\)",
        &["programs.rs", "log.rs"],
    ),
    (
        "git",
        r"\binit_bare\(|\.reference\(|\breference\.delete\(|self\.commit\(update|\.download\(|writer\.commit\(\)\)|\bdrop_pack\(&|remove_dir_all\(&path",
        &[],
    ),
    ("git/transport", r"\bcopy\(attempt", &[]),
    ("controller", r"\bclient\.post\(|\.upsert_comment\(", &[]),
    ("config", r"\.persist\(|\bfs::rename\(|\bfs::write\(", &[]),
    ("agent", r"\bfs::rename\(", &["layout.rs", "rotate.rs"]),
    (
        "agent/runtime/docker",
        r"\.(create|start|stop|remove|update|kill|rename|restart|pause|prune)_container",
        &[],
    ),
    (
        "agent/runtime/docker",
        r"\bupload_to_container|\bself\.pull\(|\.(create|remove|prune)_(volumes?|networks?|images?)\(",
        &[],
    ),
    (
        "agent/runtime/process",
        r"\bshim\.spawn\(\)|inner\.ask_to_stop\(|inner\.set_limits\(|remove_all\(&trash\)\)",
        &[],
    ),
    ("cli/roles", r"runtimes\.push\(", &[]),
];

/// What a call must stand behind, within so many characters.
const GUARDS: [&str; 6] = [
    "failpoint::around(",
    "failpoint::around_async(",
    ".change(",
    ".change_container(",
    "CrashPoints::around(",
    "arm_from_env",
];
const REACH: usize = 450;

/// Named exceptions: a call that is guarded by its caller.
const INNER: [&str; 2] = [
    // `copy` and `pull` are called between points.
    "fn copy(",
    "docker.create_image(",
];

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Files of a place: its folder and the file of its name. Tests within them are cut off.
fn code_of(place: &str) -> Vec<(String, String)> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = vec![source.join(format!("{place}.rs"))];
    rust_files(&source.join(place), &mut files);
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file).ok()?;
        let code = text.split("#[cfg(test)]\nmod tests {").next()?.to_owned();
        let name = file.strip_prefix(&source).ok()?.display().to_string();
        (!name.contains("tests")).then_some((name, code))
    };
    files.iter().filter_map(read).collect()
}

/// The text before `at`, far enough to see what a call stands in.
fn before(code: &str, at: usize) -> &str {
    let mut from = at.saturating_sub(REACH);
    while !code.is_char_boundary(from) {
        from += 1;
    }
    &code[from..at]
}

#[test]
fn every_call_that_changes_something_stands_between_two_points() {
    let mut problems = Vec::new();
    for (place, call, left_out) in CALLS {
        let call = Regex::new(call).unwrap();
        let mut calls = 0;
        for (name, code) in code_of(place) {
            if left_out.iter().any(|file| name.ends_with(file)) {
                continue;
            }
            for found in call.find_iter(&code) {
                let line = code[..found.start()].matches('\n').count() + 1;
                let text = code.lines().nth(line - 1).unwrap_or_default().trim();
                if text.starts_with("//") || INNER.iter().any(|inner| text.contains(inner)) {
                    continue;
                }
                calls += 1;
                let near = [
                    before(&code, found.start()),
                    &code[found.start()..found.end()],
                ]
                .concat();
                // What a call is made of may be put together first and awaited behind.
                let far = if place == "controller" { 700 } else { 120 };
                let behind: String = code[found.end()..].chars().take(far).collect();
                let guarded = GUARDS
                    .iter()
                    .any(|guard| near.contains(guard) || behind.contains(guard));
                if !guarded {
                    problems.push(format!("{name}:{line}: {text}"));
                }
            }
        }
        assert!(
            calls > 0,
            "nothing in {place} matches {call}: look what became of it"
        );
    }
    assert!(
        problems.is_empty(),
        "no crash point around:\n  {}",
        problems.join("\n  ")
    );
}

#[test]
fn every_point_that_is_listed_is_in_the_code() {
    let all: String = ["store", "git", "controller", "config", "agent"]
        .iter()
        .flat_map(|place| code_of(place))
        .map(|(_, code)| code)
        .collect();
    for op in Op::ALL {
        assert!(all.contains(&format!("Op::{op:?}")), "{op:?} is nowhere");
    }
}

/// Outside of the fenced transaction, a statement that writes goes through `Store::write`.
#[test]
fn what_reads_does_not_write() {
    let writes = Regex::new(r"\b(UPDATE|INSERT INTO|DELETE FROM)\b").unwrap();
    let mut seen = 0;
    for (name, code) in code_of("store") {
        for (at, _) in code.match_indices(".read(\"") {
            seen += 1;
            let call = code[at..].split(".await\n").next().unwrap_or_default();
            let call = call.split("        })\n").next().unwrap_or_default();
            assert!(!writes.is_match(call), "{name}: {call}");
        }
    }
    assert!(seen > 5);
}
