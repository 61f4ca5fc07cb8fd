//! Scenarios: scripts in `tests/scenarios/*.txt` with the transcript that each
//! command is expected to give below it. They double as documentation.
//!
//! `EVENKEEL_BLESS=1 cargo test --no-default-features --test scenarios` writes
//! the transcripts anew; read the difference before committing it. One
//! scenario alone: `EVENKEEL_SCENARIO=rolling cargo test …`.
//!
//! A line that starts with `$ ` is a command ([`script::HELP`]), one that starts
//! with two spaces is output, everything else is prose and stays as it is.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod nodes;
mod script;
mod world;

use std::fs;
use std::path::{Path, PathBuf};

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let only = std::env::var("EVENKEEL_SCENARIO").unwrap_or_default();
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .filter(|path| path.to_string_lossy().contains(&only))
        .collect();
    files.sort();
    files
}

#[test]
fn transcripts_are_as_expected() {
    let bless = std::env::var_os("EVENKEEL_BLESS").is_some();
    let mut differing = Vec::new();
    for file in files() {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let expected = fs::read_to_string(&file).unwrap();
        let actual = std::panic::catch_unwind(|| script::run(&expected))
            .unwrap_or_else(|_| panic!("scenario {name} fails; its message is above"));
        if actual == expected {
            continue;
        }
        if bless {
            fs::write(&file, &actual).unwrap();
            continue;
        }
        let line = expected
            .lines()
            .zip(actual.lines())
            .position(|(e, a)| e != a)
            .unwrap_or_else(|| expected.lines().count().min(actual.lines().count()));
        differing.push(format!(
            "{name}.txt:{}\n  expected: {}\n  actual:   {}",
            line + 1,
            expected.lines().nth(line).unwrap_or("the end"),
            actual.lines().nth(line).unwrap_or("the end"),
        ));
    }
    assert!(
        differing.is_empty(),
        "transcripts differ; read, then bless with EVENKEEL_BLESS=1:\n{}",
        differing.join("\n")
    );
}

#[test]
fn there_are_enough_of_them() {
    if std::env::var_os("EVENKEEL_SCENARIO").is_none() {
        assert!(files().len() >= 40, "only {} scenarios", files().len());
    }
}
