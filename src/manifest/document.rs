//! One file → its documents: which are ours, what they declare, what is wrong.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::de;
use super::field::Field;
use super::files::size;
use super::limits;
use super::problems::{Cx, did_you_mean, of_file, of_text};
use super::raw;
use super::tree::{self, NodeId, Tree};
use super::validate::{self, AppDraft};
use super::{Content, Defaults};
use crate::model::{AppKey, Problem, SourceName, SourceSpec};

pub const API_VERSION: &str = "evenkeel.dev/v1";
/// Kinds that are read, then kinds that are known and come later.
pub const KINDS: [&str; 2] = ["App", "Source"];
const LATER: [&str; 3] = ["Job", "Project", "Secret"];

/// The frame around every spec.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[serde(bound = "T: Deserialize<'de>")]
struct Envelope<T> {
    #[allow(dead_code)]
    api_version: Field<String>,
    #[allow(dead_code)]
    kind: Field<String>,
    metadata: Field<raw::Metadata>,
    spec: Field<T>,
}

/// What one document says.
#[derive(Clone, Debug)]
pub struct Document {
    /// Line of its first key.
    pub line: u32,
    pub declares: Declares,
    pub problems: Vec<Problem>,
    /// Problems beyond those kept.
    pub dropped: usize,
}

#[derive(Clone, Debug)]
pub enum Declares {
    /// `None`: invalid.
    App(AppKey, Option<Box<AppDraft>>),
    Source(SourceName, Option<Box<SourceSpec>>),
    /// Of another API.
    Ignored,
    /// Ours, and surely neither an app nor a source.
    Nothing,
    /// Ours, but whom it is about cannot be said.
    Unknown,
}

/// What one file says.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    pub documents: Vec<Document>,
    /// Of the file, or of documents that could not be read at all.
    pub problems: Vec<Problem>,
    /// Part of it, or all, says nobody knows what.
    pub unreadable: bool,
}

/// Reads a spec file. Never fails: what is wrong is in the problems.
pub fn parse_source(path: &str, content: &Content, defaults: &Defaults) -> Parsed {
    let text = match text_of(path, content) {
        Ok(text) => text,
        Err(problem) => {
            return Parsed {
                documents: Vec::new(),
                problems: vec![*problem],
                unreadable: true,
            };
        }
    };
    let file = tree::read(text);
    let mut documents: Vec<Document> = file
        .documents
        .iter()
        .filter_map(|tree| document(path, tree, defaults))
        .collect();
    // Many documents together must not hold what one may not; each keeps its first.
    let mut room = limits::PROBLEMS_PER_FILE;
    for document in &mut documents {
        let keep = document.problems.len().min(room.max(1));
        document.dropped += document.problems.len() - keep;
        document.problems.truncate(keep);
        room = room.saturating_sub(keep);
    }
    Parsed {
        unreadable: !file.broken.is_empty()
            || documents.iter().any(|d| match d.declares {
                Declares::Unknown | Declares::Source(_, None) => true,
                Declares::App(..)
                | Declares::Source(_, Some(_))
                | Declares::Ignored
                | Declares::Nothing => false,
            }),
        documents,
        problems: file.broken.into_iter().map(|f| of_text(path, f)).collect(),
    }
}

fn text_of<'c>(path: &str, content: &'c Content) -> Result<&'c str, Box<Problem>> {
    let too_large = |bytes: u64| {
        Box::new(of_file(
            path,
            format!(
                "the file has {bytes} bytes, more than the {} of a spec file, and is not read",
                size(limits::SPEC_FILE_BYTES)
            ),
            Some("split it, or keep it outside of the source's folder".to_owned()),
        ))
    };
    match content {
        Content::Removed => Ok(""),
        Content::TooLarge { size } => Err(too_large(*size)),
        Content::NotAFile { what } => Err(Box::new(of_file(
            path,
            format!("this is {what}, and only plain files are read"),
            Some("put the file itself here".to_owned()),
        ))),
        Content::Bytes(bytes) if bytes.len() as u64 > limits::SPEC_FILE_BYTES => {
            Err(too_large(bytes.len() as u64))
        }
        Content::Bytes(bytes) => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let at = |index: usize, message: &str| {
                let before = &bytes[..index];
                let line_start = before
                    .iter()
                    .rposition(|&b| b == b'\n')
                    .map_or(0, |i| i + 1);
                let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
                Box::new(Problem {
                    line: count(1 + before.iter().filter(|&&b| b == b'\n').count()),
                    column: count(
                        1 + String::from_utf8_lossy(&before[line_start..])
                            .chars()
                            .count(),
                    ),
                    ..of_file(
                        path,
                        message,
                        Some("save the file as UTF-8 text".to_owned()),
                    )
                })
            };
            if let Some(index) = bytes.iter().position(|&b| b == 0) {
                return Err(at(index, "there is a NUL byte here, so this is not text"));
            }
            std::str::from_utf8(bytes)
                .map_err(|error| at(error.valid_up_to(), "the bytes here are not UTF-8 text"))
        }
    }
}

fn document(path: &str, tree: &Tree, defaults: &Defaults) -> Option<Document> {
    if tree.is_null(tree.root) {
        return None;
    }
    let cx = Cx::new(path, tree);
    let declares = declares(&cx, tree, defaults);
    let (problems, dropped) = match declares {
        // Nobody asked us about other people's documents.
        Declares::Ignored => (Vec::new(), 0),
        Declares::App(..) | Declares::Source(..) | Declares::Nothing | Declares::Unknown => {
            cx.finish()
        }
    };
    Some(Document {
        line: tree.node(tree.root).line,
        declares,
        problems,
        dropped,
    })
}

fn declares(cx: &Cx<'_>, tree: &Tree, defaults: &Defaults) -> Declares {
    let root = tree.root;
    let kind = tree.get(root, "kind");
    let kind_text = kind.and_then(|k| tree.text(k)).unwrap_or_default();
    let ours = KINDS.contains(&kind_text) || LATER.contains(&kind_text);
    match tree.get(root, "apiVersion") {
        None => {
            // Without a version it is ours only when the rest says so plainly.
            if !(ours && tree.get(root, "metadata").is_some() && tree.get(root, "spec").is_some()) {
                return Declares::Ignored;
            }
            cx.problem_hint(
                root,
                format!("\"apiVersion\" is missing from what looks like kind {kind_text}"),
                format!("add apiVersion: {API_VERSION}"),
            );
            return Declares::Unknown;
        }
        Some(version) => match tree.text(version) {
            Some(API_VERSION) => {}
            Some(text) if is_nearly_ours(text) => {
                cx.problem_hint(
                    version,
                    format!("apiVersion \"{text}\" is not known"),
                    format!("did you mean \"{API_VERSION}\"?"),
                );
                return Declares::Unknown;
            }
            Some(_) | None => return Declares::Ignored,
        },
    }
    match kind_text {
        "App" => app(cx, root, defaults),
        "Source" => source(cx, root),
        later if LATER.contains(&later) => {
            cx.unsupported(
                kind.unwrap_or(root),
                &format!("kind {later}"),
                "remove the document until it is",
            );
            Declares::Nothing
        }
        other => {
            match kind {
                None => cx.problem_hint(root, "\"kind\" is missing", "add kind: App"),
                Some(kind) => cx.problem_hint(
                    kind,
                    format!("kind \"{other}\" is not known"),
                    did_you_mean(other, KINDS.into_iter().chain(LATER))
                        .unwrap_or_else(|| format!("known: {}", KINDS.join(", "))),
                ),
            }
            Declares::Unknown
        }
    }
}

/// A slip, or another version of ours: not somebody else's API.
fn is_nearly_ours(text: &str) -> bool {
    let group = text.split('/').next().unwrap_or_default();
    group == "evenkeel.dev"
        || group == "evenkeel"
        || text.len() < 40 && strsim::levenshtein(&text.to_lowercase(), API_VERSION) <= 3
}

/// The envelope, read as one kind.
fn envelope<T: DeserializeOwned>(cx: &Cx<'_>, root: NodeId) -> Option<Envelope<T>> {
    let sink = de::Sink::default();
    let envelope = de::read(cx.tree, root, &sink);
    cx.take(sink);
    envelope
}

fn app(cx: &Cx<'_>, root: NodeId, defaults: &Defaults) -> Declares {
    let Some(envelope) = envelope::<raw::app::App>(cx, root) else {
        return Declares::Unknown;
    };
    let metadata = envelope.metadata.set();
    let key = validate::app_key(cx, root, metadata, defaults);
    let spec = cx.required(root, "spec", &envelope.spec);
    let draft = match (spec, metadata) {
        (Some((node, spec)), Some((_, metadata))) => {
            validate::app(cx, node, metadata, spec, defaults)
        }
        (Some((node, spec)), None) => {
            // The name is lost, the rest is still worth checking.
            let metadata = raw::Metadata {
                name: Field::Absent,
                project: Field::Absent,
                labels: Field::Absent,
            };
            validate::app(cx, node, &metadata, spec, defaults)
        }
        (None, _) => None,
    };
    match key {
        Some(key) => Declares::App(key, draft.map(Box::new)),
        None => Declares::Unknown,
    }
}

fn source(cx: &Cx<'_>, root: NodeId) -> Declares {
    let Some(envelope) = envelope::<raw::source::Source>(cx, root) else {
        return Declares::Unknown;
    };
    let name = match envelope.metadata.set() {
        None => {
            cx.required(root, "metadata", &envelope.metadata);
            None
        }
        Some((node, metadata)) => {
            for at in [metadata.project.node(), metadata.labels.node()]
                .into_iter()
                .flatten()
            {
                cx.problem(
                    at,
                    "the metadata of a source is its name only; \"spec.project\" is for its apps",
                );
            }
            cx.required(node, "name", &metadata.name);
            cx.parse(&metadata.name, |t| t, |t| SourceName::new(t))
        }
    };
    let spec = cx.required(root, "spec", &envelope.spec);
    let Some(name) = name else {
        return Declares::Unknown;
    };
    let spec = spec.and_then(|(node, raw)| validate::source(cx, node, name.clone(), raw));
    Declares::Source(name, spec.map(Box::new))
}
