//! Tables for people: as wide as they need to be, and never wider than the terminal.
//!
//! What names things is cut with `…` where it has to be; the last column, which says why, never
//! is: it goes on in lines below. Nothing is cut where there is no terminal.

use super::columns::{count, head};
use super::output::{Cell, Paint, Tone};

/// Rows under a header, in columns as wide as their widest cell.
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// No column is cut below this where the last one can make room: less says nothing.
const NARROWEST: usize = 8;
/// And none below this at all.
const HARDLY_ANY: usize = 4;
/// A last column that has less goes below its row instead.
const LAST: usize = 24;
/// By how much it then stands in.
const BELOW: usize = 4;
const GAP: usize = 2;

/// Where everything goes.
struct Layout {
    widths: Vec<usize>,
    /// Columns of text in the last column; `None`: it is as long as it is.
    last: Option<usize>,
    /// The last column has its own lines.
    below: bool,
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
        let room = paint.width.map(|w| w.saturating_sub(count(indent)));
        let layout = self.layout(room);
        let mut out = String::new();
        let header = self.header.iter().map(|h| Cell {
            text: (*h).to_owned(),
            tone: Tone::Faint,
        });
        layout.row(&mut out, paint, indent, header.collect());
        for row in &self.rows {
            layout.row(&mut out, paint, indent, row.clone());
        }
        out
    }

    fn layout(&self, room: Option<usize>) -> Layout {
        let natural = |n: usize| {
            let cells = self.rows.iter().filter_map(|r| r.get(n));
            let longest = cells.map(|c| count(&c.text)).max().unwrap_or(0);
            longest.max(self.header.get(n).map_or(0, |h| h.len()))
        };
        let mut widths: Vec<usize> = (0..self.header.len()).map(natural).collect();
        let whole =
            |widths: &[usize]| widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
        let Some(room) = room.filter(|room| whole(&widths) > *room) else {
            return Layout {
                widths,
                last: None,
                below: false,
            };
        };
        let last = widths.pop().unwrap_or(0);
        let beside = room.saturating_sub(last.min(LAST) + GAP);
        if widths.is_empty() || fit(&mut widths, beside, NARROWEST) {
            let rest = room.saturating_sub(whole(&widths) + GAP).max(1);
            widths.push(rest);
            return Layout {
                widths,
                last: Some(rest),
                below: false,
            };
        }
        fit(&mut widths, room, HARDLY_ANY);
        Layout {
            widths,
            last: Some(room.saturating_sub(BELOW).max(1)),
            below: true,
        }
    }
}

/// Takes from the widest column, of several from the last, until all fit; `false`: they do not.
fn fit(widths: &mut [usize], room: usize, narrowest: usize) -> bool {
    let gaps = GAP * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + gaps > room {
        match widths.iter_mut().max_by_key(|w| **w) {
            Some(width) if *width > narrowest => *width -= 1,
            Some(_) | None => return false,
        }
    }
    true
}

impl Layout {
    fn row(&self, out: &mut String, paint: Paint, indent: &str, mut cells: Vec<Cell>) {
        let last = match self.last {
            Some(room) if cells.len() > 1 || self.below => cells
                .pop()
                .map(|cell| (wrapped(&cell.text, room), cell.tone)),
            Some(_) | None => None,
        };
        let mut more = Vec::new();
        let mut tone = Tone::Plain;
        if let Some((mut lines, of)) = last {
            tone = of;
            if !self.below && !lines.is_empty() {
                cells.push(Cell {
                    text: lines.remove(0),
                    tone,
                });
            }
            more = lines;
        }
        line(out, paint, indent, &self.widths, cells);
        let margin = if self.below {
            BELOW
        } else {
            let before = self.widths.len().saturating_sub(1);
            self.widths.iter().take(before).sum::<usize>() + GAP * before
        };
        for text in more {
            out.push_str(indent);
            out.extend(std::iter::repeat_n(' ', margin));
            out.push_str(&paint.paint(tone, &text));
            out.push('\n');
        }
    }
}

/// In lines of at most `room` columns, between words where there are some.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        if let Some(line) = lines.last_mut()
            && count(line) + 1 + count(word) <= room
        {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        let mut rest = word;
        while count(rest) > room {
            // A letter at least, be it too wide: or this had no end.
            let first = rest.chars().next().map_or(0, char::len_utf8);
            let (line, after) = rest.split_at(head(rest, room).len().max(first));
            lines.push(line.to_owned());
            rest = after;
        }
        if !rest.is_empty() {
            lines.push(rest.to_owned());
        }
    }
    lines
}

fn cut(cell: Cell, width: usize) -> Cell {
    if count(&cell.text) <= width {
        return cell;
    }
    let text = format!("{}…", head(&cell.text, width.saturating_sub(1)));
    Cell { text, ..cell }
}

fn line(out: &mut String, paint: Paint, indent: &str, widths: &[usize], cells: Vec<Cell>) {
    let cells: Vec<Cell> = cells
        .into_iter()
        .enumerate()
        .map(|(n, cell)| cut(cell, widths.get(n).copied().unwrap_or(usize::MAX)))
        .collect();
    // Nothing is padded for the sake of columns that are empty to the end of the line.
    let last = cells.iter().rposition(|c| !c.text.is_empty()).unwrap_or(0);
    out.push_str(indent);
    for (n, cell) in cells.iter().take(last + 1).enumerate() {
        out.push_str(&paint.paint(cell.tone, &cell.text));
        if n < last {
            let width = widths.get(n).copied().unwrap_or(0) + GAP;
            let pad = width.saturating_sub(count(&cell.text));
            out.extend(std::iter::repeat_n(' ', pad));
        }
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(width: usize) -> Paint {
        Paint {
            width: Some(width),
            ..Paint::NONE
        }
    }

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
    fn what_says_why_goes_on_below_and_is_never_cut() {
        let mut table = Table::new(&["APP", "WHY"]);
        let why = "the image cannot be had on node a, and never could";
        table.row(["shop/web".into(), why.into()]);
        table.row(["b".into(), "".into()]);
        assert_eq!(
            table.render(at(36), ""),
            "APP       WHY
shop/web  the image cannot be had on
          node a, and never could
b
"
        );
        assert_eq!(
            table.render(at(20), ""),
            "APP
    WHY
shop/web
    the image cannot
    be had on node
    a, and never
    could
b
"
        );
        assert!(table.render(Paint::NONE, "").contains(why));
    }

    #[test]
    fn wide_letters_line_up_too() {
        let mut table = Table::new(&["APP", "WHY"]);
        table.row(["配置".into(), "x".into()]);
        table.row(["web".into(), "y".into()]);
        let text = table.render(Paint::NONE, "");
        assert_eq!(text, "APP   WHY\n配置  x\nweb   y\n");
        assert_eq!(wrapped("配置中心 ok", 5), ["配置", "中心", "ok"]);
        assert_eq!(wrapped("配置", 1), ["配", "置"]);
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let header = [
            "SLOT", "INSTANCE", "NODE", "COMMIT", "PHASE", "READY", "AGE", "RESTARTS", "PORTS",
            "WHY",
        ];
        let mut table = Table::new(&header);
        let ports = "http=192.0.2.7:31415 metrics=192.0.2.7:31416";
        let why =
            "GET http://192.0.2.7:31415/healthz: 503 服务暂时不可用服务暂时不可用 Unavailable";
        let cells = [
            "0",
            "1f3c9a2b",
            "机架-17.rack-2.example",
            "5e6f7a8b",
            "running",
            "no",
            "12m",
            "3",
            ports,
            why,
        ];
        table.row(cells.map(Cell::from));
        for width in [60, 72, 80, 100, 120, 200] {
            let text = table.render(at(width), "  ");
            for line in text.lines() {
                assert!(count(line) <= width, "{width}: {line}");
            }
            let said: String = text.split_whitespace().collect();
            let all: String = why.split_whitespace().collect();
            assert!(said.contains(&all), "{text}");
            assert!(width < 80 || text.contains("1f3c9a2b"), "{text}");
        }
        // A terminal too narrow for anything is not made to show nothing.
        assert!(table.render(at(1), "").contains("1f3"));
    }
}
