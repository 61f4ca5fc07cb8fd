//! Collects the problems of one document, each at its node.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::de;
use super::field::Field;
use super::limits;
use super::tree::{self, NodeId, Tree};
use crate::model::Problem;

/// Problems of one document that are kept while it is checked: a few more than are told,
/// so that those told are the first by place in any real file.
pub const KEPT: usize = 2 * limits::PROBLEMS_PER_FILE;

/// What a check of one document works with.
pub struct Cx<'a> {
    pub file: &'a str,
    pub tree: &'a Tree,
    problems: RefCell<Vec<Problem>>,
    /// Problems beyond those kept.
    dropped: Cell<usize>,
}

impl<'a> Cx<'a> {
    /// Starts with what the tree itself already complained about.
    pub fn new(file: &'a str, tree: &'a Tree) -> Cx<'a> {
        let problems = tree
            .faults
            .iter()
            .map(|fault| of_text(file, fault.clone()))
            .collect();
        Cx {
            file,
            tree,
            problems: RefCell::new(problems),
            dropped: Cell::new(tree.dropped_faults),
        }
    }

    /// Nothing is wrong so far.
    pub fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// A problem of the node: its place, its field path, its text.
    pub fn problem(&self, node: NodeId, message: impl Into<String>) {
        self.push(self.make(node, message.into(), None));
    }

    pub fn problem_hint(&self, node: NodeId, message: impl Into<String>, hint: impl Into<String>) {
        self.push(self.make(node, message.into(), Some(hint.into())));
    }

    pub fn push(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        if problems.len() < KEPT {
            problems.push(problem);
        } else {
            self.dropped.set(self.dropped.get() + 1);
        }
    }

    pub fn make(&self, node: NodeId, message: String, hint: Option<String>) -> Problem {
        let place = self.tree.node(node);
        Problem {
            file: self.file.to_owned(),
            line: place.line,
            column: place.column,
            field: self.tree.field_path(node),
            text: shorten(
                self.tree.text(node).unwrap_or_default(),
                limits::PROBLEM_TEXT,
            ),
            message,
            hint,
        }
    }

    pub fn take(&self, sink: de::Sink) {
        self.dropped.set(self.dropped.get() + sink.dropped());
        for fault in sink.into_faults() {
            self.push(self.make(fault.node, fault.message, fault.hint));
        }
    }

    /// Reads a text with `parse`; a refusal is a problem with its own words.
    pub fn parse<R, T, E: std::fmt::Display>(
        &self,
        field: &Field<R>,
        text: impl FnOnce(&R) -> &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let (node, raw) = field.set()?;
        match parse(text(raw)) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(node, error.to_string());
                None
            }
        }
    }

    /// The value of a key that must be there; its absence is a problem of `parent`.
    pub fn required<'f, T>(
        &self,
        parent: NodeId,
        key: &str,
        field: &'f Field<T>,
    ) -> Option<(NodeId, &'f T)> {
        if field.is_absent() {
            let mut problem = self.make(parent, format!("\"{key}\" is missing"), None);
            problem.text = String::new();
            self.push(problem);
        }
        field.set()
    }

    /// Says of a thing that the grammar knows and nothing executes yet.
    pub fn unsupported(&self, node: NodeId, what: &str, instead: &str) {
        self.problem_hint(
            node,
            format!("{what} is not supported yet; it is refused rather than ignored"),
            instead,
        );
    }

    /// Problems ordered by place, each once; and how many more there are.
    pub fn finish(self) -> (Vec<Problem>, usize) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| (p.line, p.column));
        let mut seen = BTreeSet::new();
        problems.retain(|p| seen.insert((p.line, p.column, p.message.clone())));
        (problems, self.dropped.get())
    }
}

/// A problem of the text itself.
pub fn of_text(file: &str, fault: tree::Fault) -> Problem {
    Problem {
        file: file.to_owned(),
        line: fault.line,
        column: fault.column,
        field: fault.field,
        text: shorten(&fault.text, limits::PROBLEM_TEXT),
        message: fault.message,
        hint: fault.hint,
    }
}

/// A problem of the file as a whole.
pub fn of_file(file: &str, message: impl Into<String>, hint: Option<String>) -> Problem {
    Problem {
        file: file.to_owned(),
        line: 0,
        column: 0,
        field: String::new(),
        text: String::new(),
        message: message.into(),
        hint,
    }
}

/// At most `max` characters.
pub fn shorten(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// `did you mean "x"?` for the nearest of the candidates, where one is near enough to be
/// a slip of the hand or another spelling.
pub fn did_you_mean<'c>(text: &str, candidates: impl Iterator<Item = &'c str>) -> Option<String> {
    if text.len() > 64 {
        return None;
    }
    let plain = |t: &str| t.to_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(text);
    candidates
        .map(|c| {
            let known = plain(c);
            // The start of a word is meant to be that word.
            let start = wanted.len() >= 3 && known.starts_with(&wanted);
            let distance = strsim::damerau_levenshtein(&wanted, &known);
            (if start { 0 } else { distance }, c)
        })
        .filter(|(distance, c)| *distance <= (c.len() / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, c)| format!("did you mean \"{c}\"?"))
}
