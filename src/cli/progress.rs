//! What is told while something is waited for, on standard error.
//!
//! On a terminal it is one line, drawn over and over, with the time that went by; elsewhere,
//! and on a terminal that cannot go back in its line, each change is a line of its own and
//! nothing but text. Who asked for a document and reads no terminal is told nothing.

use std::io::{IsTerminal as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal, raise};
use tokio::time::Instant;

use super::args::Format;
use super::columns::{count, head, tail};
use super::output::{draws, one_line, span, width_of};

/// Back to the line's first column, and all of it away.
const AWAY: &str = "\r\x1b[2K";
/// Of a terminal that does not tell.
const USUAL_WIDTH: usize = 80;

/// Whether a line is drawn just now.
static DRAWN: AtomicBool = AtomicBool::new(false);

fn is_live() -> bool {
    std::io::stderr().is_terminal() && draws()
}

fn erase() {
    let mut err = std::io::stderr().lock();
    let _ = write!(err, "{AWAY}").and_then(|()| err.flush());
}

/// Ctrl-C takes a line that is drawn away, and then ends the program as it always does. To be
/// called before threads are started, which leave the signal to the one that waits here: that
/// one ends with the program, and does so whatever the others hang in.
pub fn clear_on_interrupt() {
    if !is_live() {
        return;
    }
    let mut interrupt = SigSet::empty();
    interrupt.add(Signal::SIGINT);
    if interrupt.thread_block().is_err() {
        return;
    }
    let wait = move || {
        let _ = interrupt.wait();
        if DRAWN.load(Ordering::SeqCst) {
            erase();
        }
        let _ = interrupt.thread_unblock();
        let _ = raise(Signal::SIGINT);
    };
    let waits = std::thread::Builder::new().name("interrupt".to_owned());
    if waits.spawn(wait).is_err() {
        let _ = interrupt.thread_unblock();
    }
}

pub struct Progress {
    live: bool,
    quiet: bool,
    began: Instant,
    last: String,
}

impl Progress {
    pub fn new(format: Format) -> Progress {
        let live = is_live();
        Progress {
            live,
            quiet: format != Format::Table && !live,
            began: Instant::now(),
            last: String::new(),
        }
    }

    pub fn tell(&mut self, text: &str) {
        let mut text = one_line(text);
        if self.live {
            let width = width_of(&std::io::stderr()).unwrap_or(USUAL_WIDTH);
            text = drawn(&text, &span(self.began.elapsed()), width);
        }
        if self.quiet || text == self.last {
            return;
        }
        let mut err = std::io::stderr().lock();
        // Who cannot be written to cannot be told so either.
        let _ = if self.live {
            DRAWN.store(true, Ordering::SeqCst);
            write!(err, "{AWAY}{text}").and_then(|()| err.flush())
        } else {
            writeln!(err, "{text}")
        };
        self.last = text;
    }

    /// Leaves the line for what is printed next.
    pub fn clear(&mut self) {
        if self.live && !self.last.is_empty() {
            erase();
            DRAWN.store(false, Ordering::SeqCst);
            self.last.clear();
        }
    }
}

/// Also where an error ends the wait: it is told on a line of its own.
impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

/// In one line of the terminal, of which the last column stays free: a full line may wrap. Of
/// what is too long the end is shown: there it says how far it is.
fn drawn(text: &str, after: &str, width: usize) -> String {
    let width = width.saturating_sub(1);
    let room = width.saturating_sub(count(after) + 2);
    if count(text) <= room {
        return format!("{text}  {after}");
    }
    let line = format!("…{}  {after}", tail(text, room.saturating_sub(1)));
    head(&line, width).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drawn_line_never_wraps() {
        let text = "shop/web: 1 of 3 instances updated, 0 ready";
        assert_eq!(drawn(text, "12s", 80), format!("{text}  12s"));
        assert_eq!(drawn(text, "12s", 30), "…tances updated, 0 ready  12s");
        for text in [text, "shop/web: 镜像拉取失败，请检查仓库地址与凭据 🚢"] {
            for width in 0..60 {
                let line = drawn(text, "12s", width);
                assert!(count(&line) < width.max(1), "{width}: {line}");
            }
        }
    }
}
