//! Holds the package to `src/ARCHITECTURE.md`: the page's own table and
//! sentences are read and compared with the code, so the two cannot differ.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use regex::Regex;

/// Lines of one file; beyond it, a file is split along a real seam.
const MAX_LINES: usize = 800;

/// Everything that may stand at the top level, beside dot-files and what is built.
const TOP_LEVEL: [&str; 15] = [
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "examples-repo",
    "migrations",
    "charts",
    "tests",
    "benches",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "Makefile",
    "clippy.toml",
    "rustfmt.toml",
    "target",
];

/// What decides does not ask the world: text that must not stand in its code, and why.
const IMPURE: [(&str, &str); 13] = [
    (r"\btokio\b", "decisions do not wait"),
    (r"\btracing\b", "decisions return their reasons"),
    (r"\bInstant::now\b", "time is an input"),
    (r"\bSystemTime\b", "time is an input"),
    (r"\b(Utc|Local)::now\b", "time is an input"),
    (r"\bfastrand\b|\brand::", "randomness is an input"),
    (r"\bnew_v4\b", "randomness is an input"),
    (r"\bstd::env\b", "settings are inputs"),
    (r"\bstd::fs\b", "files are inputs"),
    (r"\bstd::net\b", "decisions do not talk"),
    (r"\bstd::process\b", "decisions do not run programs"),
    (r"\bstd::thread\b", "decisions do not spawn"),
    (r"\bthread_local\b", "decisions keep no state"),
];

/// Of these, what tests of them may use.
const OF_THE_TEST: [&str; 3] = [r"\bInstant::now\b", r"\bstd::env\b", r"\bstd::fs\b"];

struct Source {
    /// Below `src`, with `/`.
    path: String,
    /// Without comments and strings.
    code: String,
}

impl Source {
    /// `git` of `git/tree.rs` and of `git.rs`; `None` for the crate's two roots.
    fn module(&self) -> Option<&str> {
        let first = self.path.split('/').next().unwrap();
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (name != "lib" && name != "main").then_some(name)
    }

    /// `place` is a module, a file, or a file name's beginning with a star.
    fn is_in(&self, place: &str) -> bool {
        match place.strip_suffix('*') {
            Some(start) => self.path.starts_with(start),
            None => {
                let stem = place.strip_suffix(".rs").unwrap_or(place);
                self.path == format!("{stem}.rs") || self.path.starts_with(&format!("{stem}/"))
            }
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| {
        let mut files = Vec::new();
        rust_files(&root().join("src"), &mut files);
        files
            .iter()
            .map(|file| {
                let path = file.strip_prefix(root().join("src")).unwrap();
                Source {
                    path: path.to_string_lossy().replace('\\', "/"),
                    code: without_texts(&fs::read_to_string(file).unwrap()),
                }
            })
            .collect()
    })
}

/// The code without comments and without what stands in its strings.
fn without_texts(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if rest.starts_with("r#\"") || rest.starts_with("r\"") {
            let end = if rest.starts_with("r#") { "\"#" } else { "\"" };
            let start = rest.find('"').unwrap() + 1;
            rest[start..]
                .find(end)
                .map_or(rest.len(), |at| start + at + end.len())
        } else if next == '"' {
            closing_quote(rest)
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\\"'") {
            rest[1..].find('\'').unwrap() + 2
        } else {
            0
        };
        if skipped == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

/// Bytes of the string that `text` begins with, quotes included.
fn closing_quote(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            _ => escaped = c == '\\' && !escaped,
        }
    }
    text.len()
}

fn page() -> String {
    fs::read_to_string(root().join("src/ARCHITECTURE.md")).unwrap()
}

fn quoted(text: &str) -> Vec<String> {
    let quoted = Regex::new(r"`([^`]+)`").unwrap();
    quoted
        .captures_iter(text)
        .map(|c| c[1].to_owned())
        .collect()
}

/// Module → modules that it may import, as the page's table says.
fn allowed(page: &str) -> BTreeMap<String, BTreeSet<String>> {
    let row = Regex::new(r"(?m)^\| `(\w+)` \|.*\| ([^|]+) \|$").unwrap();
    let rows: Vec<(String, String)> = row
        .captures_iter(page)
        .map(|c| (c[1].to_owned(), c[2].to_owned()))
        .collect();
    let names: Vec<String> = rows.iter().map(|(name, _)| name.clone()).collect();
    rows.iter()
        .enumerate()
        .map(|(index, (name, may))| {
            // In brackets stands which part of a module is meant, not another module.
            let told = Regex::new(r"\([^)]*\)").unwrap().replace_all(may, "");
            let listed: BTreeSet<String> = quoted(&told).into_iter().collect();
            let may: BTreeSet<String> = if told.contains("everything") {
                names.iter().cloned().collect()
            } else if told.contains("all above but") {
                let above = names[..index].iter().cloned();
                above.filter(|n| !listed.contains(n)).collect()
            } else {
                assert!(
                    !listed.is_empty() || told.trim() == "—",
                    "what may {name} import? \"{may}\""
                );
                listed
            };
            for other in &may {
                assert!(
                    names.contains(other),
                    "{name} may import {other}, which has no row"
                );
            }
            (name.clone(), may)
        })
        .collect()
}

/// Modules named by `crate::x` and `crate::{x, y::z}`.
fn imports(code: &str) -> BTreeSet<String> {
    static PATHS: OnceLock<Regex> = OnceLock::new();
    let paths = PATHS.get_or_init(|| Regex::new(r"\bcrate::(?:([a-z_]\w*)|\{)").unwrap());
    let mut found = BTreeSet::new();
    for path in paths.captures_iter(code) {
        match path.get(1) {
            Some(name) => {
                found.insert(name.as_str().to_owned());
            }
            None => group(&code[path.get(0).unwrap().end()..], &mut found),
        }
    }
    found
}

/// The first names of a group's members; `code` begins behind the brace.
fn group(code: &str, found: &mut BTreeSet<String>) {
    let mut depth = 1;
    let mut member = String::new();
    for c in code.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => (),
        }
        if depth == 0 || (depth == 1 && c == ',') {
            let name = member.trim().split("::").next().unwrap_or("");
            if !name.is_empty() {
                found.insert(name.to_owned());
            }
            member.clear();
        } else {
            member.push(c);
        }
        if depth == 0 {
            return;
        }
    }
}

fn assert_none(what: &str, problems: &[String]) {
    assert!(problems.is_empty(), "{what}:\n  {}", problems.join("\n  "));
}

#[test]
fn modules_import_only_what_the_page_allows() {
    let allowed = allowed(&page());
    assert!(allowed.len() >= 12, "the table was not found: {allowed:?}");
    let mut problems = Vec::new();
    for source in sources() {
        let Some(module) = source.module() else {
            continue;
        };
        let Some(may) = allowed.get(module) else {
            problems.push(format!(
                "{}: module {module} has no row in the table",
                source.path
            ));
            continue;
        };
        for import in imports(&source.code) {
            if import != module && allowed.contains_key(&import) && !may.contains(&import) {
                problems.push(format!("{}: {module} may not import {import}", source.path));
            }
        }
    }
    assert_none("imports against src/ARCHITECTURE.md", &problems);
}

#[test]
fn every_row_of_the_table_is_a_module() {
    let present: BTreeSet<String> = sources()
        .iter()
        .filter_map(|s| s.module().map(str::to_owned))
        .collect();
    for name in allowed(&page()).keys() {
        assert!(
            present.contains(name),
            "{name} is in the table and not in src"
        );
    }
}

#[test]
fn libraries_stay_where_they_belong() {
    let page = page();
    let rule = Regex::new(r"`(\w+)` only in\s+`([^`]+)`").unwrap();
    let rules: Vec<(String, String)> = rule
        .captures_iter(&page)
        .map(|c| (c[1].to_owned(), c[2].to_owned()))
        .collect();
    assert!(rules.len() >= 4, "the rules were not found: {rules:?}");
    let mut problems = Vec::new();
    for (library, place) in rules {
        let used = Regex::new(&format!(r"\b{library}::|\buse {library}\b")).unwrap();
        for source in sources() {
            if used.is_match(&source.code) && !source.is_in(&place) {
                problems.push(format!(
                    "{}: {library} belongs into {place} only",
                    source.path
                ));
            }
        }
    }
    assert_none("libraries out of place", &problems);
}

#[test]
fn what_decides_is_pure() {
    let page = page();
    let rule =
        Regex::new(r"no tokio, tracing, clock or randomness in ([^.]+(?:\.rs`)?)\.").unwrap();
    let places = quoted(&rule.captures(&page).expect("the rule is on the page")[1]);
    assert!(places.len() >= 4, "{places:?}");
    let mut problems = Vec::new();
    for (text, why) in IMPURE {
        let impure = Regex::new(text).unwrap();
        for source in sources() {
            let decides = places.iter().any(|place| source.is_in(place));
            // A test may read the repository's own files and see how long it took; it still
            // may not wait or guess.
            let is_test = source.path.contains("/tests/") && OF_THE_TEST.contains(&text);
            if decides && !is_test && impure.is_match(&source.code) {
                problems.push(format!("{}: {text}: {why}", source.path));
            }
        }
    }
    assert_none("not pure", &problems);
}

#[test]
fn files_stay_short() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches"] {
        rust_files(&root().join(folder), &mut files);
    }
    let long: Vec<String> = files
        .iter()
        .map(|file| (file, fs::read_to_string(file).unwrap().lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .map(|(file, lines)| format!("{}: {lines} lines", file.display()))
        .collect();
    assert_none("split these along a real seam", &long);
}

#[test]
fn the_top_level_is_tidy() {
    let strange: Vec<String> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()))
        .collect();
    assert_none("not allowed at the top level", &strange);
}

#[test]
fn texts_are_not_code() {
    let text = "a \"crate::x \\\" // y\" b // c \"\n'\"' d r#\"e\"# /* f */ g";
    let code = without_texts(text);
    let words: Vec<&str> = code.split_whitespace().collect();
    assert_eq!(words, ["a", "b", "d", "g"]);
}

#[test]
fn the_reader_of_imports_sees_through_groups() {
    let code = "use crate::{model::{AppKey, plan}, store};\nfn f() { crate::git::x() }";
    let found: Vec<String> = imports(code).into_iter().collect();
    assert_eq!(found, ["git", "model", "store"]);
}
