//! Text → nodes that know where they stand.
//!
//! Reads YAML 1.2 (and so JSON) from the parser's events, one tree per document.
//! Scalars keep their exact spelling: `5.10` stays `5.10`, and what it means is decided
//! by the field it is in. Aliases and `<<` are expanded by copying, within
//! [`limits::NODES_PER_FILE`] and [`limits::DEPTH`]; a copy stands where its alias stands.
//! A syntax error costs its document only.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span, Tag};

use super::limits;
use super::problems::KEPT;

/// Index into [`Tree::nodes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u32);

#[derive(Debug, Clone)]
pub enum Kind {
    Scalar {
        text: String,
        /// Not quoted and not a block: may stand for a number, a boolean or nothing.
        plain: bool,
    },
    Seq(Vec<NodeId>),
    /// Keys in the order written; duplicates are already out.
    Map(Vec<(NodeId, NodeId)>),
}

/// How a node is reached from its parent.
#[derive(Debug, Clone)]
pub enum Step {
    Root,
    Key(String),
    Index(u32),
}

#[derive(Debug, Clone)]
pub struct Node {
    pub parent: NodeId,
    pub step: Step,
    pub line: u32,
    pub column: u32,
    pub kind: Kind,
}

/// Something wrong with the text itself.
#[derive(Debug, Clone)]
pub struct Fault {
    pub line: u32,
    pub column: u32,
    pub field: String,
    pub text: String,
    pub message: String,
    pub hint: Option<String>,
}

/// One document.
#[derive(Debug)]
pub struct Tree {
    nodes: Vec<Node>,
    pub root: NodeId,
    /// Faults that leave the rest of the document readable.
    pub faults: Vec<Fault>,
    /// Faults beyond those kept.
    pub dropped_faults: usize,
}

/// All documents of a file, and what kept others from being read.
#[derive(Debug, Default)]
pub struct File {
    pub documents: Vec<Tree>,
    pub broken: Vec<Fault>,
}

impl Tree {
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0 as usize]
    }

    /// Nothing, `~` or `null`.
    pub fn is_null(&self, id: NodeId) -> bool {
        match &self.node(id).kind {
            Kind::Scalar { text, plain } => *plain && is_null_text(text),
            Kind::Seq(_) | Kind::Map(_) => false,
        }
    }

    /// The value of a mapping's key.
    pub fn get(&self, id: NodeId, key: &str) -> Option<NodeId> {
        match &self.node(id).kind {
            Kind::Map(entries) => entries
                .iter()
                .find(|(k, _)| self.text(*k) == Some(key))
                .map(|(_, v)| *v),
            Kind::Scalar { .. } | Kind::Seq(_) => None,
        }
    }

    pub fn text(&self, id: NodeId) -> Option<&str> {
        match &self.node(id).kind {
            Kind::Scalar { text, .. } => Some(text),
            Kind::Seq(_) | Kind::Map(_) => None,
        }
    }

    /// `spec.ports[1].name`.
    pub fn field_path(&self, id: NodeId) -> String {
        let mut steps = Vec::new();
        let mut at = id;
        loop {
            let node = self.node(at);
            match &node.step {
                Step::Root => break,
                Step::Key(_) | Step::Index(_) => steps.push(&node.step),
            }
            at = node.parent;
        }
        let mut path = String::new();
        for step in steps.into_iter().rev() {
            match step {
                Step::Key(key) if key.contains(['.', '[', '/']) => {
                    path.push_str(&format!("[{key:?}]"));
                }
                Step::Key(key) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(key);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
                Step::Root => {}
            }
        }
        path
    }
}

pub fn is_null_text(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// Reads every document of `text`.
pub fn read(text: &str) -> File {
    let options = granit_parser::options! {
        emit_comments: false,
        disallow_directives: false,
        // The parser's own stack; our check comes first and says it better.
        flow_nesting_limit: limits::DEPTH * 2,
        block_nesting_limit: limits::DEPTH * 2,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let mut file = File::default();
    let mut budget = limits::NODES_PER_FILE;
    let mut builder = Builder::default();
    builder.nodes.reserve(usual_nodes(text));
    loop {
        let outcome = match parser.next_event() {
            None => return file,
            Some(Ok((event, span))) => builder.take(event, span, &mut budget),
            Some(Err(error)) if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) => {
                Err(too_deep(place(error.marker().line(), error.marker().col())))
            }
            Some(Err(error)) => Err(Stop {
                fault: fault(
                    place(error.marker().line(), error.marker().col()),
                    &format!("this is not valid YAML: {}", error.info()),
                ),
                whole_file: false,
            }),
        };
        match outcome {
            Ok(None) => {}
            Ok(Some(Done::Stream)) => return file,
            Ok(Some(Done::Document(tree))) => {
                if file.documents.len() + file.broken.len() >= limits::DOCUMENTS_PER_FILE {
                    let first = tree.node(tree.root);
                    file.broken.push(fault(
                        (first.line, first.column),
                        &format!(
                            "more than {} documents in one file; this one and what follows is not read",
                            limits::DOCUMENTS_PER_FILE
                        ),
                    ));
                    return file;
                }
                file.documents.push(tree);
                builder = Builder::default();
            }
            Err(stop) => {
                file.broken.push(stop.fault);
                if stop.whole_file || file.broken.len() >= limits::PROBLEMS_PER_FILE {
                    return file;
                }
                builder = Builder::default();
                match parser.proceed_next_document() {
                    Ok(true) => {}
                    Ok(false) | Err(_) => return file,
                }
            }
        }
    }
}

/// About as many nodes as a spec of that length has, and never many: room that is made once
/// instead of doubled again and again.
fn usual_nodes(text: &str) -> usize {
    (text.len() / 10).min(256)
}

fn place(line: usize, column: usize) -> (u32, u32) {
    (
        u32::try_from(line).unwrap_or(u32::MAX),
        u32::try_from(column.saturating_add(1)).unwrap_or(u32::MAX),
    )
}

fn fault((line, column): (u32, u32), message: &str) -> Fault {
    Fault {
        line,
        column,
        field: String::new(),
        text: String::new(),
        message: message.to_owned(),
        hint: None,
    }
}

enum Done {
    Document(Tree),
    Stream,
}

struct Stop {
    fault: Fault,
    /// A budget of the file is used up: reading on would not be bounded.
    whole_file: bool,
}

impl Stop {
    fn document(at: (u32, u32), message: &str) -> Stop {
        Stop {
            fault: fault(at, message),
            whole_file: false,
        }
    }
    fn file(at: (u32, u32), message: &str) -> Stop {
        Stop {
            fault: fault(at, message),
            whole_file: true,
        }
    }
}

#[derive(Default)]
struct Builder {
    nodes: Vec<Node>,
    faults: Vec<Fault>,
    dropped_faults: usize,
    root: Option<NodeId>,
    open: Vec<Open>,
    anchors: HashMap<usize, NodeId>,
}

struct Open {
    id: NodeId,
    /// The key that waits for its value.
    key: Option<NodeId>,
    /// Where the first of each key stands.
    seen: HashMap<String, NodeId>,
    /// `<<` and what it names.
    merges: Vec<(NodeId, NodeId)>,
}

impl Builder {
    fn take(
        &mut self,
        event: Event<'_>,
        span: Span,
        budget: &mut usize,
    ) -> Result<Option<Done>, Stop> {
        let at = place(span.start.line(), span.start.col());
        match event {
            Event::StreamEnd => return Ok(Some(Done::Stream)),
            Event::DocumentEnd => {
                let Some(root) = self.root else {
                    return Ok(None);
                };
                return Ok(Some(Done::Document(Tree {
                    nodes: std::mem::take(&mut self.nodes),
                    root,
                    faults: std::mem::take(&mut self.faults),
                    dropped_faults: self.dropped_faults,
                })));
            }
            Event::Scalar(text, style, anchor, tag) => {
                let text_tag = self.tag(tag.as_deref(), at);
                let kind = Kind::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain && !text_tag,
                };
                self.add(kind, at, anchor, budget)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), at);
                self.open(Kind::Seq(Vec::new()), at, anchor, budget)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag(tag.as_deref(), at);
                self.open(Kind::Map(Vec::new()), at, anchor, budget)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.merge(open)?;
                }
            }
            Event::Alias(anchor) => {
                let Some(&target) = self.anchors.get(&anchor) else {
                    return Err(Stop::document(at, "this alias has no anchor"));
                };
                if self.open.iter().any(|o| o.id == target) {
                    return Err(Stop::document(
                        at,
                        "this alias stands inside its own anchor",
                    ));
                }
                let copy = self.copy(target, at, self.open.len(), budget)?;
                self.attach(copy, at)?;
            }
            // Presentation only, or switched off in the options.
            _ => {}
        }
        Ok(None)
    }

    /// Whether the tag says "text". Other tags would change what a value means.
    fn tag(&mut self, tag: Option<&Tag>, at: (u32, u32)) -> bool {
        let Some(tag) = tag else { return false };
        match tag.core_suffix() {
            Some("str") => true,
            Some(_) => false,
            None => {
                self.fault(Fault {
                    text: tag.original(),
                    hint: Some("remove the tag".to_owned()),
                    ..fault(at, "specs have no YAML tags of their own")
                });
                false
            }
        }
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < KEPT {
            self.faults.push(fault);
        } else {
            self.dropped_faults += 1;
        }
    }

    fn spend(at: (u32, u32), budget: &mut usize) -> Result<(), Stop> {
        *budget = budget.checked_sub(1).ok_or_else(|| {
            Stop::file(
                at,
                &format!(
                    "the file holds more than {} values once its aliases are expanded; it is not read on from here",
                    limits::NODES_PER_FILE
                ),
            )
        })?;
        Ok(())
    }

    fn push(&mut self, kind: Kind, at: (u32, u32)) -> NodeId {
        // Bounded by NODES_PER_FILE, far below u32::MAX.
        let id = NodeId(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX));
        self.nodes.push(Node {
            parent: id,
            step: Step::Root,
            line: at.0,
            column: at.1,
            kind,
        });
        id
    }

    fn add(
        &mut self,
        kind: Kind,
        at: (u32, u32),
        anchor: usize,
        budget: &mut usize,
    ) -> Result<NodeId, Stop> {
        Self::spend(at, budget)?;
        let id = self.push(kind, at);
        if anchor != 0 {
            self.anchors.insert(anchor, id);
        }
        self.attach(id, at)?;
        Ok(id)
    }

    fn open(
        &mut self,
        kind: Kind,
        at: (u32, u32),
        anchor: usize,
        budget: &mut usize,
    ) -> Result<(), Stop> {
        if self.open.len() >= limits::DEPTH {
            return Err(too_deep(at));
        }
        let id = self.add(kind, at, anchor, budget)?;
        self.open.push(Open {
            id,
            key: None,
            seen: HashMap::new(),
            merges: Vec::new(),
        });
        Ok(())
    }

    /// Puts a node where it belongs: at the root, or into the innermost open collection.
    fn attach(&mut self, id: NodeId, at: (u32, u32)) -> Result<(), Stop> {
        let Some(open) = self.open.last_mut() else {
            self.root.get_or_insert(id);
            return Ok(());
        };
        let parent = open.id;
        let step = match (&mut self.nodes[parent.0 as usize].kind, open.key.take()) {
            (Kind::Seq(items), _) => {
                items.push(id);
                Step::Index(u32::try_from(items.len() - 1).unwrap_or(u32::MAX))
            }
            (Kind::Map(_), None) => {
                if !matches!(self.nodes[id.0 as usize].kind, Kind::Scalar { .. }) {
                    return Err(Stop::document(at, "a key must be plain text"));
                }
                open.key = Some(id);
                // A key stands for the mapping it is in, until its value says more.
                let node = &mut self.nodes[id.0 as usize];
                node.parent = parent;
                node.step = match &node.kind {
                    Kind::Scalar { text, .. } => Step::Key(text.clone()),
                    Kind::Seq(_) | Kind::Map(_) => Step::Root,
                };
                return Ok(());
            }
            (Kind::Map(_), Some(key)) => return self.entry(parent, key, id),
            (Kind::Scalar { .. }, _) => return Ok(()),
        };
        let node = &mut self.nodes[id.0 as usize];
        node.parent = parent;
        node.step = step;
        Ok(())
    }

    fn entry(&mut self, parent: NodeId, key: NodeId, value: NodeId) -> Result<(), Stop> {
        let (name, plain) = match &self.nodes[key.0 as usize].kind {
            Kind::Scalar { text, plain } => (text.clone(), *plain),
            Kind::Seq(_) | Kind::Map(_) => return Ok(()),
        };
        if name == "<<" && plain {
            if let Some(open) = self.open.last_mut() {
                open.merges.push((key, value));
            }
            return Ok(());
        }
        let node = &mut self.nodes[value.0 as usize];
        node.parent = parent;
        node.step = Step::Key(name.clone());
        let key_node = &self.nodes[key.0 as usize];
        let (line, column) = (key_node.line, key_node.column);
        let Some(open) = self.open.last_mut() else {
            return Ok(());
        };
        if let Some(first) = open.seen.get(&name) {
            let first = &self.nodes[first.0 as usize];
            let message = format!(
                "\"{name}\" is set twice; the first is in line {}",
                first.line
            );
            self.fault(Fault {
                text: name.clone(),
                hint: Some("keep one of the two".to_owned()),
                ..fault((line, column), &message)
            });
            return Ok(());
        }
        open.seen.insert(name.clone(), key);
        if let Kind::Map(entries) = &mut self.nodes[parent.0 as usize].kind {
            entries.push((key, value));
        }
        Ok(())
    }

    /// `<<`: entries of the merged mappings follow, where the mapping has none of its own.
    fn merge(&mut self, open: Open) -> Result<(), Stop> {
        let mut seen = open.seen;
        for (key, value) in open.merges {
            let sources = match &self.nodes[value.0 as usize].kind {
                Kind::Map(_) => vec![value],
                Kind::Seq(items) => items.clone(),
                Kind::Scalar { .. } => Vec::new(),
            };
            let place = &self.nodes[key.0 as usize];
            let at = (place.line, place.column);
            if sources.is_empty() {
                return Err(Stop::document(at, "\"<<\" takes a mapping to merge"));
            }
            for source in sources {
                let Kind::Map(entries) = &self.nodes[source.0 as usize].kind else {
                    return Err(Stop::document(at, "\"<<\" takes mappings to merge"));
                };
                for (key, value) in entries.clone() {
                    let name = match &self.nodes[key.0 as usize].kind {
                        Kind::Scalar { text, .. } => text.clone(),
                        Kind::Seq(_) | Kind::Map(_) => continue,
                    };
                    if seen.contains_key(&name) {
                        continue;
                    }
                    seen.insert(name.clone(), key);
                    self.nodes[key.0 as usize].parent = open.id;
                    let node = &mut self.nodes[value.0 as usize];
                    node.parent = open.id;
                    node.step = Step::Key(name);
                    if let Kind::Map(entries) = &mut self.nodes[open.id.0 as usize].kind {
                        entries.push((key, value));
                    }
                }
            }
        }
        Ok(())
    }

    /// Copies a subtree to where its alias stands. Recursion is bounded by the depth.
    fn copy(
        &mut self,
        from: NodeId,
        at: (u32, u32),
        depth: usize,
        budget: &mut usize,
    ) -> Result<NodeId, Stop> {
        if depth > limits::DEPTH {
            return Err(too_deep(at));
        }
        Self::spend(at, budget)?;
        let source = &self.nodes[from.0 as usize];
        let (step, kind) = (source.step.clone(), source.kind.clone());
        let kind = match kind {
            Kind::Scalar { .. } => kind,
            Kind::Seq(items) => Kind::Seq(
                items
                    .into_iter()
                    .map(|item| self.copy(item, at, depth + 1, budget))
                    .collect::<Result<_, _>>()?,
            ),
            Kind::Map(entries) => Kind::Map(
                entries
                    .into_iter()
                    .map(|(k, v)| {
                        Ok((
                            self.copy(k, at, depth + 1, budget)?,
                            self.copy(v, at, depth + 1, budget)?,
                        ))
                    })
                    .collect::<Result<_, Stop>>()?,
            ),
        };
        let children: Vec<NodeId> = match &kind {
            Kind::Scalar { .. } => Vec::new(),
            Kind::Seq(items) => items.clone(),
            Kind::Map(entries) => entries.iter().flat_map(|&(k, v)| [k, v]).collect(),
        };
        let id = self.push(kind, at);
        self.nodes[id.0 as usize].step = step;
        for child in children {
            self.nodes[child.0 as usize].parent = id;
        }
        Ok(id)
    }
}

fn too_deep(at: (u32, u32)) -> Stop {
    Stop::document(
        at,
        &format!(
            "nested deeper than {} levels, which no spec needs",
            limits::DEPTH
        ),
    )
}
