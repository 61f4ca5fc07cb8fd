//! How things are printed: tables for people, JSON and YAML for programs.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde::Serialize;

use crate::model::Timestamp;

use super::args::Format;
use super::exit::{Code, Failure};

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
    colour: bool,
    /// Columns of the terminal; `None`: it is none, and nothing is cut.
    width: Option<usize>,
}

impl Paint {
    pub const NONE: Paint = Paint {
        colour: false,
        width: None,
    };

    /// For standard output: colours on a terminal, unless `NO_COLOR` is set
    /// (<https://no-color.org>) or the terminal can show none.
    pub fn for_stdout() -> Paint {
        let set = |name: &str| std::env::var_os(name).is_some_and(|v| !v.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|t| t == "dumb");
        Paint {
            colour: std::io::stdout().is_terminal() && !set("NO_COLOR") && !dumb,
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
    text: String,
    tone: Tone,
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

/// Rows under a header, in columns as wide as their widest cell.
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub fn new(header: &[&'static str]) -> Table {
        Table {
            header: header.to_vec(),
            rows: Vec::new(),
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = Cell>) {
        self.rows.push(cells.into_iter().collect());
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Each line starts with `indent` and ends with a line feed.
    pub fn render(&self, paint: Paint, indent: &str) -> String {
        let width = |n: usize| {
            let cells = self.rows.iter().filter_map(|r| r.get(n));
            cells
                .map(|c| c.text.chars().count())
                .chain(self.header.get(n).map(|h| h.len()))
                .max()
                .unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        if let Some(room) = paint.width {
            fit(&mut widths, room.saturating_sub(indent.chars().count()));
        }
        let mut out = String::new();
        let header = self.header.iter().map(|h| Cell {
            text: (*h).to_owned(),
            tone: Tone::Faint,
        });
        line(&mut out, paint, indent, &widths, header);
        for row in &self.rows {
            line(&mut out, paint, indent, &widths, row.iter().cloned());
        }
        out
    }
}

/// Columns of the terminal behind a stream.
pub fn width_of(stream: &impl std::os::fd::AsFd) -> Option<usize> {
    terminal_size::terminal_size_of(stream).map(|(width, _)| usize::from(width.0))
}

/// No column is cut below this: less says nothing.
const NARROWEST: usize = 8;

/// Takes from the widest column, of several from the last, until all fit.
fn fit(widths: &mut [usize], room: usize) {
    let gaps = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > room {
        let widest = widths.iter_mut().max_by_key(|w| **w);
        match widest {
            Some(width) if *width > NARROWEST => *width -= 1,
            Some(_) | None => return,
        }
    }
}

fn cut(cell: Cell, width: usize) -> Cell {
    if cell.text.chars().count() <= width {
        return cell;
    }
    let mut text: String = cell.text.chars().take(width.saturating_sub(1)).collect();
    text.push('…');
    Cell { text, ..cell }
}

fn line(
    out: &mut String,
    paint: Paint,
    indent: &str,
    widths: &[usize],
    cells: impl Iterator<Item = Cell>,
) {
    let cells: Vec<Cell> = cells
        .enumerate()
        .map(|(n, cell)| cut(cell, widths.get(n).copied().unwrap_or(usize::MAX)))
        .collect();
    // Nothing is padded for the sake of columns that are empty to the end of the line.
    let last = cells.iter().rposition(|c| !c.text.is_empty()).unwrap_or(0);
    out.push_str(indent);
    for (n, cell) in cells.iter().take(last + 1).enumerate() {
        out.push_str(&paint.paint(cell.tone, &cell.text));
        if n < last {
            let pad = widths.get(n).copied().unwrap_or(0) + 2 - cell.text.chars().count();
            out.extend(std::iter::repeat_n(' ', pad));
        }
    }
    out.push('\n');
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

/// Writes to standard output. A reader that has left (`| head`) is no failure of ours.
pub fn write(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
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
    fn columns_line_up_and_lines_do_not_trail() {
        let mut table = Table::new(&["APP", "SYNC", "WHY"]);
        table.row(["a".into(), "synced".into(), "".into()]);
        table.row(["longer".into(), "held".into(), "a person".into()]);
        assert_eq!(
            table.render(Paint::NONE, ""),
            "APP     SYNC    WHY\na       synced\nlonger  held    a person\n"
        );
    }

    #[test]
    fn a_table_fits_the_terminal_and_is_cut_nowhere_else() {
        let mut table = Table::new(&["APP", "WHY"]);
        table.row([
            "shop/web".into(),
            "the image cannot be had on node a".into(),
        ]);
        let narrow = Paint {
            width: Some(24),
            ..Paint::NONE
        };
        assert_eq!(
            table.render(narrow, ""),
            "APP       WHY\nshop/web  the image can…\n"
        );
        assert!(table.render(Paint::NONE, "").contains("on node a"));
        // A terminal too narrow for anything is not made to show nothing.
        let none = Paint {
            width: Some(1),
            ..Paint::NONE
        };
        assert!(table.render(none, "").contains("shop/web"));
    }

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
