//! How things are printed: tables for people, JSON and YAML for programs.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde::Serialize;

use crate::model::Timestamp;

use super::args::Format;
use super::exit::{Code, Failure};
pub use super::table::Table;

/// What a word means; painted on a terminal, and never the only sign of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Wait,
    Bad,
    Faint,
    Strong,
}

/// Whether colours may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paint {
    pub(super) colour: bool,
    /// Columns of the terminal; `None`: it is none, and nothing is cut.
    pub(super) width: Option<usize>,
}

impl Paint {
    pub const NONE: Paint = Paint {
        colour: false,
        width: None,
    };

    /// For standard output: colours on a terminal, unless `NO_COLOR` is set
    /// (<https://no-color.org>) or the terminal can show none.
    pub fn for_stdout() -> Paint {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Paint {
            colour: std::io::stdout().is_terminal() && !no_colour && draws(),
            width: width_of(&std::io::stdout()),
        }
    }

    pub fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Wait => "33",
            Tone::Bad => "1;31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Whether the terminal, if it is one, knows more than text: colours, and going back in its line.
pub fn draws() -> bool {
    std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb")
}

/// A value's word on the wire, so that all surfaces say the same.
pub fn word(value: impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    }
}

/// The tone of a state's word.
pub fn tone_of(word: &str) -> Tone {
    match word {
        "synced" | "healthy" | "ok" | "ready" | "active" | "running" | "succeeded" | "stable"
        | "accepted" | "pong" => Tone::Good,
        "quarantined" | "invalid" | "failed" | "degraded" | "lost" | "refused" | "unreachable"
        | "rolledBack" | "rejected" | "backOff" | "forged" | "malformed" => Tone::Bad,
        _ => Tone::Wait,
    }
}

/// A cell: text and what it means.
#[derive(Clone, Debug)]
pub struct Cell {
    pub(super) text: String,
    pub(super) tone: Tone,
}

impl Cell {
    pub fn new(text: impl Into<String>) -> Cell {
        Cell {
            text: one_line(&text.into()),
            tone: Tone::Plain,
        }
    }

    /// A state's word in its tone.
    pub fn state(value: impl Serialize) -> Cell {
        let text = word(value);
        Cell {
            tone: tone_of(&text),
            text,
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::new(text)
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::new(text)
    }
}

/// Control characters (of a commit's author, a container's log) must not steer the terminal.
pub fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Columns of the terminal behind a stream.
pub fn width_of(stream: &impl std::os::fd::AsFd) -> Option<usize> {
    terminal_size::terminal_size_of(stream).map(|(width, _)| usize::from(width.0))
}

/// `3m` ago, in the largest unit that tells something.
pub fn age(now: Timestamp, then: Timestamp) -> String {
    span(now.since(then))
}

/// A duration for people: `45s`, `12m`, `3h`, `2d`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5_999 => format!("{}m", seconds / 60),
        6_000..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// `1 app`, `2 apps`.
pub fn counted(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

pub fn write(text: &str) -> Result<(), Failure> {
    write_bytes(text.as_bytes())
}

/// Writes to standard output. A reader that has left (`| head`) is no failure of ours.
pub fn write_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => Err(Failure::new(
            Code::Failed,
            format!("cannot write to standard output: {error}"),
        )),
    }
}

/// A document in the asked-for form; `table` renders it for people.
pub fn print<T: Serialize>(
    format: Format,
    document: &T,
    table: impl FnOnce(Paint) -> String,
) -> Result<(), Failure> {
    write(&match format {
        Format::Table => table(Paint::for_stdout()),
        Format::Json => json(document)?,
        Format::Yaml => yaml(document)?,
    })
}

/// One of many documents that come one by one: a line of JSON, or a document of YAML.
pub fn write_one<T: Serialize>(format: Format, document: &T) -> Result<(), Failure> {
    write(&match format {
        Format::Table | Format::Json => serde_json::to_string(document)
            .map(|text| text + "\n")
            .map_err(|e| Failure::new(Code::Failed, format!("cannot be shown as JSON: {e}")))?,
        Format::Yaml => format!("---\n{}", yaml(document)?),
    })
}

fn json<T: Serialize>(document: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(document)
        .map(|text| text + "\n")
        .map_err(|e| Failure::new(Code::Failed, format!("cannot be shown as JSON: {e}")))
}

pub fn yaml<T: Serialize>(document: &T) -> Result<String, Failure> {
    serde_yaml::to_string(document)
        .map(|text| {
            if text.ends_with('\n') {
                text
            } else {
                text + "\n"
            }
        })
        .map_err(|e| Failure::new(Code::Failed, format!("cannot be shown as YAML: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        assert_eq!(Cell::new("a\x1b[2J\nb").text, "a [2J b");
    }

    #[test]
    fn spans_use_the_largest_unit_that_tells_something() {
        for (seconds, text) in [
            (5, "5s"),
            (99, "99s"),
            (150, "2m"),
            (7200, "2h"),
            (200_000, "2d"),
        ] {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn yaml_reads_back() {
        let text = yaml(&serde_json::json!({"a": [1, "x: y"], "b": null})).expect("plain data");
        let back: serde_json::Value = serde_yaml::from_str(&text).expect("our own YAML");
        assert_eq!(back, serde_json::json!({"a": [1, "x: y"], "b": null}));
    }
}
