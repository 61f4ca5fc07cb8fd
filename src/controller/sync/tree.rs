//! A source's parsed tree, brought from one commit to another at the cost of
//! what differs. Everything here blocks on local disk and runs off the async threads.

use std::sync::Arc;

use super::parse;
use crate::git::{Entry, Error, Mirrors, Read, Reader};
use crate::manifest::{self, ChangedFile, Content, Defaults, Index, Lookup, limits};
use crate::model::{CommitId, SourceSpec};
use crate::plan::following::Differing;

pub(in crate::controller) struct Tree {
    pub index: Index,
    /// Fixed for the process: another policy is another process, which reads all anew.
    allowed_host_paths: Arc<[String]>,
    /// The commit it was read from; `None`: nothing was read yet.
    at: Option<CommitId>,
}

impl Tree {
    pub fn new(allowed_host_paths: Arc<[String]>) -> Tree {
        Tree {
            index: Index::default(),
            allowed_host_paths,
            at: None,
        }
    }

    /// Leaves one behind that has read nothing yet.
    pub fn take(&mut self) -> Tree {
        let empty = Tree::new(Arc::clone(&self.allowed_host_paths));
        std::mem::replace(self, empty)
    }

    pub fn is_at(&self, commit: &CommitId) -> bool {
        self.at.as_ref() == Some(commit)
    }

    /// On an error the tree is either as it was, or empty and read as a whole next time.
    pub fn bring_to(
        &mut self,
        mirrors: &Mirrors,
        spec: &SourceSpec,
        head: &CommitId,
    ) -> Result<Differing, Error> {
        let reader = mirrors.reader(spec, head)?;
        let mut differing = None;
        let changes = match reader.changed(self.at.as_ref()) {
            Ok(changes) => changes,
            Err(Error::CommitMissing { .. }) if self.at.is_some() => {
                self.take();
                differing = Some(Differing::All);
                reader.changed(None)?
            }
            Err(error) => return Err(error),
        };
        if self.at.is_none() {
            differing = Some(Differing::All);
        }
        let mut changed = Vec::with_capacity(changes.len());
        for change in changes {
            changed.push(ChangedFile {
                content: content(&reader, &change.path, change.entry)?,
                path: change.path,
            });
        }
        let defaults = self.defaults(spec);
        let mut failed = None;
        let mut read = |path: &str| match reader.read(path, limits::REFERENCED_FILE_BYTES) {
            Ok(Read::Found(bytes)) => Lookup::Found(bytes),
            Ok(Read::Missing) => Lookup::Missing,
            Ok(Read::TooLarge { size }) => Lookup::TooLarge { size },
            Ok(Read::NotAFile { what }) => Lookup::NotAFile { what },
            Err(error) => {
                failed = Some(error);
                Lookup::Missing
            }
        };
        let prepared = parse::prepare_all(&changed, &defaults);
        let index = &mut self.index;
        let touched = index.update_prepared(&defaults, changed, prepared, &mut read);
        if let Some(error) = failed {
            // What could not be read must not look as if it were not there.
            self.take();
            return Err(error);
        }
        self.at = Some(head.clone());
        Ok(differing.unwrap_or(Differing::Only(touched)))
    }

    fn defaults(&self, spec: &SourceSpec) -> Defaults {
        Defaults {
            allowed_host_paths: self.allowed_host_paths.to_vec(),
            ..Defaults::new(spec.project.clone(), spec.path.clone())
        }
    }
}

fn content(reader: &Reader, path: &str, entry: Entry) -> Result<Content, Error> {
    Ok(match entry {
        Entry::Removed => Content::Removed,
        Entry::NotAFile { what } => Content::NotAFile { what },
        // Of other files only the change counts: the index asks for those that specs name.
        Entry::File { .. } if !manifest::is_spec_path(path) => Content::Bytes(Vec::new()),
        Entry::File { blob, .. } => match reader.blob(&blob, limits::SPEC_FILE_BYTES)? {
            Read::Found(bytes) => Content::Bytes(bytes),
            Read::TooLarge { size } => Content::TooLarge { size },
            Read::NotAFile { what } => Content::NotAFile { what },
            // The tree names it, so the mirror is damaged.
            Read::Missing => {
                return Err(Error::Local {
                    what: format!("cannot read {path}"),
                    why: "its content is not in the mirror".to_owned(),
                });
            }
        },
    })
}
