//! The parsed tree of one source, kept up to date at the cost of what changed.
//!
//! Per file it holds what the file declares and what is wrong with it; the
//! [`Catalog`] is patched from the files an update touches. An app that two documents
//! declare belongs to the first by (path, place in the file); the others are refused
//! until the first is gone.
//!
//! The result depends on the tree alone, never on the order of updates, as long as the
//! tree stays below [`limits::SPEC_FILES`] (beyond, who came last is refused).
//! [`Defaults`] must be the same in every update; build a new index when they change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::{Declares, Parsed};
use super::files;
use super::limits;
use super::prepared::{Prepared, prepare};
use super::problems::of_file;
use super::validate::AppDraft;
use super::{ChangedFile, Content, Defaults, Lookup, is_spec_path};
use crate::model::{AppKey, Catalog, Declaration, Problem, SourceName, SourceSpec};

#[derive(Debug, Default)]
pub struct Index {
    files: BTreeMap<String, Entry>,
    /// Path that specs name in `files` → those specs.
    references: BTreeMap<String, BTreeSet<String>>,
    apps: BTreeMap<AppKey, BTreeSet<Claim>>,
    sources: BTreeMap<SourceName, BTreeSet<Claim>>,
    /// Problems of all files, also those that the catalog has no room for.
    problems: usize,
    catalog: Catalog,
}

/// Path and place of a declaring document.
type Claim = (String, usize);

#[derive(Debug, Default)]
struct Entry {
    documents: Vec<Held>,
    /// Of the file as a whole.
    problems: Vec<Problem>,
    unreadable: bool,
    ignored: u32,
    /// How many of its problems are in the index's count.
    counted: usize,
}

#[derive(Debug)]
struct Held {
    line: u32,
    what: What,
    problems: Vec<Problem>,
    dropped: usize,
}

#[derive(Debug)]
enum What {
    App {
        key: AppKey,
        /// Valid apart from its files.
        draft: Option<Box<AppDraft>>,
        /// Valid with its files.
        valid: Option<Box<Declaration>>,
        /// What is wrong with its files.
        file_problems: Vec<Problem>,
    },
    Source(SourceName, Option<Box<SourceSpec>>),
    Nothing,
}

/// What an update has to look at again.
#[derive(Default)]
struct Dirty {
    files: BTreeSet<String>,
    apps: BTreeSet<AppKey>,
    sources: BTreeSet<SourceName>,
}

impl Index {
    pub fn new() -> Index {
        Index::default()
    }

    /// Takes over changed files: specs, and any path for which [`Index::is_referenced`]
    /// holds. Other paths are ignored, so the whole list of a commit may be given.
    /// `read` answers for the state after the change, for paths below the repository's
    /// root. Returns the apps whose entry in the catalog is not what it was.
    pub fn update(
        &mut self,
        defaults: &Defaults,
        changed: Vec<ChangedFile>,
        read: &mut dyn FnMut(&str) -> Lookup,
    ) -> BTreeSet<AppKey> {
        self.update_prepared(defaults, changed, BTreeMap::new(), read)
    }

    /// The same, with some of the spec files parsed already, under the same defaults.
    pub fn update_prepared(
        &mut self,
        defaults: &Defaults,
        changed: Vec<ChangedFile>,
        mut prepared: BTreeMap<String, Prepared>,
        read: &mut dyn FnMut(&str) -> Lookup,
    ) -> BTreeSet<AppKey> {
        // One entry per path, in path order: the result must not depend on the caller's.
        let changed: BTreeMap<String, Content> =
            changed.into_iter().map(|c| (c.path, c.content)).collect();
        let mut dirty = Dirty::default();
        let mut reload = BTreeSet::new();
        for (path, content) in changed {
            if let Some(specs) = self.references.get(&path) {
                reload.extend(specs.iter().cloned());
            }
            if is_spec_path(&path) && is_inside(&path, &defaults.root) {
                self.drop_file(&path, &mut dirty);
                if content != Content::Removed {
                    let prepared = prepared.remove(&path);
                    self.add_file(&path, &content, defaults, prepared, &mut dirty);
                }
                reload.insert(path.clone());
                dirty.files.insert(path);
            }
        }
        for path in reload {
            self.load_files(&path, read, &mut dirty);
        }
        let mut touched = BTreeSet::new();
        for key in std::mem::take(&mut dirty.apps) {
            if self.settle_app(&key, &mut dirty.files) {
                touched.insert(key);
            }
        }
        for name in std::mem::take(&mut dirty.sources) {
            self.settle_source(&name, &mut dirty.files);
        }
        self.settle_problems(&dirty.files);
        self.catalog.spec_files = self.files.len();
        touched
    }

    /// What the tree declares now.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Whether a spec names the path (below the repository's root) in its `files`.
    pub fn is_referenced(&self, path: &str) -> bool {
        self.references.contains_key(path)
    }

    fn drop_file(&mut self, path: &str, dirty: &mut Dirty) {
        let Some(entry) = self.files.remove(path) else {
            return;
        };
        self.problems -= entry.counted;
        self.catalog.ignored_documents -= entry.ignored;
        self.catalog.unreadable.remove(path);
        for (place, document) in entry.documents.into_iter().enumerate() {
            let claim = (path.to_owned(), place);
            match document.what {
                What::App { key, draft, .. } => {
                    if let Some(claims) = self.apps.get_mut(&key) {
                        claims.remove(&claim);
                    }
                    for file in draft.iter().flat_map(|d| &d.files) {
                        self.forget_reference(&file.path, path);
                    }
                    dirty.apps.insert(key);
                }
                What::Source(name, _) => {
                    if let Some(claims) = self.sources.get_mut(&name) {
                        claims.remove(&claim);
                    }
                    dirty.sources.insert(name);
                }
                What::Nothing => {}
            }
        }
    }

    fn forget_reference(&mut self, file: &str, spec: &str) {
        if let Some(specs) = self.references.get_mut(file) {
            specs.remove(spec);
            if specs.is_empty() {
                self.references.remove(file);
            }
        }
    }

    fn add_file(
        &mut self,
        path: &str,
        content: &Content,
        defaults: &Defaults,
        prepared: Option<Prepared>,
        dirty: &mut Dirty,
    ) {
        let prepared = if self.files.len() < limits::SPEC_FILES {
            prepared.unwrap_or_else(|| prepare(path, content, defaults))
        } else {
            let refused = Parsed {
                documents: Vec::new(),
                problems: vec![of_file(
                    path,
                    format!(
                        "the source has more than {} spec files; this one is not read",
                        limits::SPEC_FILES
                    ),
                    Some("divide the repository into several sources by path".to_owned()),
                )],
                unreadable: true,
            };
            Prepared {
                parsed: refused,
                complete: BTreeMap::new(),
            }
        };
        let Prepared {
            parsed,
            mut complete,
        } = prepared;
        let mut entry = Entry {
            problems: parsed.problems,
            unreadable: parsed.unreadable,
            ..Entry::default()
        };
        for (place, document) in parsed.documents.into_iter().enumerate() {
            let claim = (path.to_owned(), place);
            let what = match document.declares {
                Declares::App(key, draft) => {
                    self.apps.entry(key.clone()).or_default().insert(claim);
                    dirty.apps.insert(key.clone());
                    for file in draft.iter().flat_map(|d| &d.files) {
                        self.references
                            .entry(file.path.clone())
                            .or_default()
                            .insert(path.to_owned());
                    }
                    What::App {
                        key,
                        draft,
                        valid: complete.remove(&place),
                        file_problems: Vec::new(),
                    }
                }
                Declares::Source(name, spec) => {
                    self.sources.entry(name.clone()).or_default().insert(claim);
                    dirty.sources.insert(name.clone());
                    What::Source(name, spec)
                }
                Declares::Ignored => {
                    entry.ignored += 1;
                    What::Nothing
                }
                Declares::Nothing | Declares::Unknown => What::Nothing,
            };
            entry.documents.push(Held {
                line: document.line,
                what,
                problems: document.problems,
                dropped: document.dropped,
            });
        }
        self.catalog.ignored_documents += entry.ignored;
        if entry.unreadable {
            self.catalog.unreadable.insert(path.to_owned());
        }
        self.files.insert(path.to_owned(), entry);
    }

    /// Reads the `files` of every app in a spec file again.
    fn load_files(&mut self, path: &str, read: &mut dyn FnMut(&str) -> Lookup, dirty: &mut Dirty) {
        let Some(entry) = self.files.get_mut(path) else {
            return;
        };
        for held in &mut entry.documents {
            let What::App {
                key,
                draft: Some(draft),
                valid,
                file_problems,
            } = &mut held.what
            else {
                continue;
            };
            // Without files nothing of it depends on others: it was complete when it was parsed.
            if !(draft.files.is_empty() && valid.is_some()) {
                match files::load(draft, read) {
                    Ok(spec) => {
                        *valid = Some(Box::new(Declaration {
                            app: key.clone(),
                            path: path.to_owned(),
                            line: held.line,
                            digest: spec.digest(),
                            spec: Arc::new(spec),
                        }));
                        file_problems.clear();
                    }
                    Err(problems) => {
                        *valid = None;
                        *file_problems = problems;
                    }
                }
            }
            dirty.apps.insert(key.clone());
            dirty.files.insert(path.to_owned());
        }
    }

    /// Brings one app's entry up to date; says whether it changed.
    fn settle_app(&mut self, key: &AppKey, dirty_files: &mut BTreeSet<String>) -> bool {
        let claims = self.apps.get(key);
        let winner = claims.and_then(BTreeSet::first);
        let now = winner.and_then(|(path, place)| {
            let held = self.files.get(path)?.documents.get(*place)?;
            match &held.what {
                What::App {
                    valid: Some(valid), ..
                } => Some(Ok((**valid).clone())),
                What::App { file_problems, .. } => {
                    let problems = held.problems.iter().chain(file_problems).cloned().collect();
                    Some(Err((path.clone(), problems)))
                }
                What::Source(..) | What::Nothing => None,
            }
        });
        // Those refused name the first, which may have moved; one of them may be the first now.
        for (path, _) in claims.into_iter().flatten() {
            dirty_files.insert(path.clone());
        }
        if claims.is_some_and(BTreeSet::is_empty) {
            self.apps.remove(key);
        }
        let (valid, invalid) = match now {
            Some(Ok(valid)) => (Some(valid), None),
            Some(Err(invalid)) => (None, Some(invalid)),
            None => (None, None),
        };
        put(&mut self.catalog.apps, key, valid) | put(&mut self.catalog.invalid, key, invalid)
    }

    fn settle_source(&mut self, name: &SourceName, dirty_files: &mut BTreeSet<String>) {
        let claims = self.sources.get(name);
        let now = claims.and_then(BTreeSet::first).and_then(|(path, place)| {
            match &self.files.get(path)?.documents.get(*place)?.what {
                What::Source(_, Some(spec)) => Some(((**spec).clone(), path.clone())),
                What::Source(_, None) | What::App { .. } | What::Nothing => None,
            }
        });
        for (path, _) in claims.into_iter().flatten() {
            dirty_files.insert(path.clone());
        }
        if claims.is_some_and(BTreeSet::is_empty) {
            self.sources.remove(name);
        }
        put(&mut self.catalog.sources, name, now);
    }

    /// Patches the catalog's problems where `paths` changed.
    fn settle_problems(&mut self, paths: &BTreeSet<String>) {
        let mut overflow = self.problems > limits::PROBLEMS;
        for path in paths {
            let fresh = self.problems_of(path);
            if let Some(entry) = self.files.get_mut(path) {
                self.problems = self.problems - entry.counted + fresh.len();
                entry.counted = fresh.len();
            }
            if !overflow {
                let problems = &mut self.catalog.problems;
                let start = problems.partition_point(|p| p.file.as_str() < path.as_str());
                let end = problems.partition_point(|p| p.file.as_str() <= path.as_str());
                problems.splice(start..end, fresh);
            }
            overflow |= self.problems > limits::PROBLEMS;
        }
        // Too many to keep, now or before: gather the first ones anew.
        if overflow || self.catalog.problems.len() != self.problems {
            self.gather_problems();
        }
    }

    fn gather_problems(&mut self) {
        let mut kept = Vec::new();
        for (path, entry) in &self.files {
            if entry.counted == 0 {
                continue;
            }
            kept.extend(self.problems_of(path));
            if kept.len() >= limits::PROBLEMS {
                break;
            }
        }
        kept.truncate(limits::PROBLEMS);
        self.catalog.problems = kept;
    }

    /// All problems of a file, ordered by place, cut at the limit.
    fn problems_of(&self, path: &str) -> Vec<Problem> {
        let Some(entry) = self.files.get(path) else {
            return Vec::new();
        };
        let mut problems = entry.problems.clone();
        for (place, held) in entry.documents.iter().enumerate() {
            problems.extend(held.problems.iter().cloned());
            match &held.what {
                What::App {
                    key, file_problems, ..
                } => {
                    problems.extend(file_problems.iter().cloned());
                    let name = format!("app {key}");
                    problems.extend(self.refusal(self.apps.get(key), path, place, &name));
                }
                What::Source(name, _) => {
                    let claims = self.sources.get(name);
                    let name = format!("source {name}");
                    problems.extend(self.refusal(claims, path, place, &name));
                }
                What::Nothing => {}
            }
        }
        problems.sort_by_key(|p| (p.line, p.column));
        let dropped: usize = entry.documents.iter().map(|d| d.dropped).sum();
        if problems.len() > limits::PROBLEMS_PER_FILE || dropped > 0 {
            let more = dropped + problems.len().saturating_sub(limits::PROBLEMS_PER_FILE);
            problems.truncate(limits::PROBLEMS_PER_FILE);
            if let Some(last) = problems.last().cloned() {
                problems.push(Problem {
                    line: last.line,
                    column: last.column,
                    ..of_file(path, format!("and {more} more problems in this file"), None)
                });
            }
        }
        problems
    }

    /// Why a document that came second is refused.
    fn refusal(
        &self,
        claims: Option<&BTreeSet<Claim>>,
        path: &str,
        place: usize,
        name: &str,
    ) -> Option<Problem> {
        let (first, first_place) = claims?.first()?;
        if first == path && *first_place == place {
            return None;
        }
        let line = |path: &str, place: usize| {
            self.files
                .get(path)
                .and_then(|e| e.documents.get(place))
                .map_or(0, |d| d.line)
        };
        Some(Problem {
            line: line(path, place),
            column: 1,
            field: "metadata.name".to_owned(),
            text: name.to_owned(),
            ..of_file(
                path,
                format!(
                    "{name} is declared twice: first in {first}:{}, and again here, which is refused",
                    line(first, *first_place)
                ),
                Some("give one of the two another name or project, or remove it".to_owned()),
            )
        })
    }
}

fn is_inside(path: &str, root: &str) -> bool {
    root.is_empty()
        || path
            .strip_prefix(root)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// Sets or removes an entry; says whether that changed anything.
fn put<K: Ord + Clone, V: PartialEq>(map: &mut BTreeMap<K, V>, key: &K, value: Option<V>) -> bool {
    let changed = map.get(key) != value.as_ref();
    if changed {
        match value {
            Some(value) => map.insert(key.clone(), value),
            None => map.remove(key),
        };
    }
    changed
}
