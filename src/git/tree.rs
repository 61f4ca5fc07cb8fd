//! Trees: what differs between two commits, and what stands at a path.
//!
//! Compares object ids, so a subtree that did not change is never opened. The
//! walk is our own: it must see the names and modes as they are, including
//! those that no honest client writes.

use std::collections::BTreeMap;
use std::path::Path;

use git2::{ObjectType, Odb, Oid, Repository};

use super::{BlobId, Entry, Error, Read, TreeEntryChange, limits};
use crate::model::CommitId;

/// One commit of one source, below the source's folder. Blocks on local disk only.
/// Can move between threads but not be shared.
pub struct Reader {
    repository: Repository,
    url: String,
    commit: CommitId,
    tree: Oid,
    /// Without slashes at the ends; empty: the root.
    root: String,
}

/// Modes of tree entries (git's `object.h`): the type is in the upper bits.
const TYPE_MASK: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;
const FOLDER: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const GITLINK: u32 = 0o160_000;
/// Ours, not Git's: an entry that is left alone because of its name.
const AWKWARD: u32 = 0;

#[derive(Clone, Copy, PartialEq, Eq)]
struct Item {
    mode: u32,
    oid: Oid,
}

impl Item {
    fn kind(self) -> u32 {
        self.mode & TYPE_MASK
    }
}

type Items = BTreeMap<String, Item>;

impl Reader {
    pub(super) fn open(
        mirror: &Path,
        url: String,
        commit: &CommitId,
        root: &str,
    ) -> Result<Reader, Error> {
        let missing = || Error::CommitMissing {
            url: url.clone(),
            commit: commit.clone(),
        };
        // Fails as well when the mirror was deleted: the next fetch makes it anew.
        let repository = Repository::open_bare(mirror).map_err(|_| missing())?;
        let tree = tree_of(&repository, commit).ok_or_else(missing)?;
        Ok(Reader {
            repository,
            url,
            commit: commit.clone(),
            tree,
            root: root.trim_matches('/').to_owned(),
        })
    }

    /// Paths below the source's folder that differ from `from` to this commit, in order;
    /// all of them when `from` is `None`. A folder that `from` did not have yet counts as empty there.
    ///
    /// [`Error::PathMissing`]: this commit has no such folder. [`Error::CommitMissing`]:
    /// `from` is unknown; ask again with `None`. [`Error::Hostile`]: names that Git
    /// refuses, or more than the limits allow.
    pub fn changed(&self, from: Option<&CommitId>) -> Result<Vec<TreeEntryChange>, Error> {
        let new = self.folder(self.tree)?.ok_or_else(|| Error::PathMissing {
            commit: self.commit.clone(),
            path: self.root.clone(),
        })?;
        let old = match from {
            None => None,
            Some(from) => {
                let tree = tree_of(&self.repository, from).ok_or_else(|| Error::CommitMissing {
                    url: self.url.clone(),
                    commit: from.clone(),
                })?;
                self.folder(tree)?
            }
        };
        let odb = self.odb()?;
        let mut walk = Walk {
            reader: self,
            odb: &odb,
            visited: 0,
            changes: Vec::new(),
        };
        if old != Some(new) {
            walk.folders(&self.root, old, Some(new), 0)?;
        }
        walk.changes.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(walk.changes)
    }

    /// What stands at `path`, given below the repository's root. What is outside of the
    /// source's folder, or behind a symbolic link, is not a file.
    pub fn read(&self, path: &str, max_bytes: u64) -> Result<Read, Error> {
        if let Some(what) = refused_path(path) {
            return Ok(Read::NotAFile { what });
        }
        let inside = self.root.is_empty()
            || path
                .strip_prefix(&self.root)
                .is_some_and(|rest| rest.starts_with('/'));
        if !inside {
            return Ok(Read::NotAFile {
                what: format!("outside of the source's folder {}", self.root),
            });
        }
        let odb = self.odb()?;
        let mut item = Item {
            mode: FOLDER,
            oid: self.tree,
        };
        let mut at = String::new();
        for name in path.split('/') {
            if let Some(what) = not_a_file(item.kind()) {
                return Ok(Read::NotAFile {
                    what: format!("behind {what} at {at}"),
                });
            }
            if item.kind() != FOLDER {
                return Ok(Read::Missing);
            }
            match self.items(&odb, &at, item.oid)?.get(name) {
                Some(found) => item = *found,
                None => return Ok(Read::Missing),
            }
            join(&mut at, name);
        }
        match item.kind() {
            REGULAR => self.blob(&BlobId(item.oid.to_string()), max_bytes),
            FOLDER => Ok(Read::NotAFile {
                what: "a folder".to_owned(),
            }),
            other => Ok(Read::NotAFile {
                what: not_a_file(other).unwrap_or("of an unknown kind").to_owned(),
            }),
        }
    }

    /// A file's content. Its size is looked up first; what is larger than `max_bytes` is not loaded.
    pub fn blob(&self, blob: &BlobId, max_bytes: u64) -> Result<Read, Error> {
        let Ok(oid) = Oid::from_str(&blob.0) else {
            return Ok(Read::Missing);
        };
        let odb = self.odb()?;
        let (size, kind) = match odb.read_header(oid) {
            Ok(header) => header,
            Err(e) if e.code() == git2::ErrorCode::NotFound => return Ok(Read::Missing),
            Err(e) => return Err(self.broken(&e)),
        };
        if kind != ObjectType::Blob {
            return Ok(Read::NotAFile {
                what: "not a file's content".to_owned(),
            });
        }
        if size as u64 > max_bytes {
            return Ok(Read::TooLarge { size: size as u64 });
        }
        let object = odb.read(oid).map_err(|e| self.broken(&e))?;
        Ok(Read::Found(object.data().to_vec()))
    }

    fn odb(&self) -> Result<Odb<'_>, Error> {
        self.repository.odb().map_err(|e| self.broken(&e))
    }

    /// The source's folder in a commit's tree; `None` if there is none, or it is no folder.
    fn folder(&self, tree: Oid) -> Result<Option<Oid>, Error> {
        let odb = self.odb()?;
        let mut at = String::new();
        let mut folder = tree;
        for name in self.root.split('/').filter(|n| !n.is_empty()) {
            let items = self.items(&odb, &at, folder)?;
            match items.get(name) {
                Some(item) if item.kind() == FOLDER => folder = item.oid,
                Some(_) | None => return Ok(None),
            }
            join(&mut at, name);
        }
        Ok(Some(folder))
    }

    /// The entries of one tree, all of them checked.
    fn items(&self, odb: &Odb<'_>, path: &str, tree: Oid) -> Result<Items, Error> {
        let (size, _) = odb.read_header(tree).map_err(|e| self.broken(&e))?;
        if size > limits::TREE_BYTES {
            return Err(self.hostile(path, "the folder has too many entries"));
        }
        let tree = self
            .repository
            .find_tree(tree)
            .map_err(|e| self.hostile(path, e.message()))?;
        let mut items = Items::new();
        for entry in tree.iter() {
            let mut item = Item {
                mode: entry.filemode_raw().unsigned_abs(),
                oid: entry.id(),
            };
            let name = match entry_name(entry.name_bytes()) {
                Name::Plain(name) => name.to_owned(),
                Name::Awkward(shown) => {
                    item.mode = AWKWARD;
                    shown
                }
                Name::Hostile(shown, why) => {
                    return Err(self.hostile(path, &format!("the name \"{shown}\" {why}")));
                }
            };
            let twice = format!("the name \"{name}\" stands there twice");
            if items.insert(name, item).is_some() {
                return Err(self.hostile(path, &twice));
            }
        }
        Ok(items)
    }

    fn hostile(&self, path: &str, why: &str) -> Error {
        Error::Hostile {
            commit: self.commit.clone(),
            path: if path.is_empty() { "/" } else { path }.to_owned(),
            why: why.to_owned(),
        }
    }

    fn broken(&self, error: &git2::Error) -> Error {
        Error::local(
            format!("cannot read the mirror of {}", self.url),
            error.message(),
        )
    }
}

struct Walk<'a> {
    reader: &'a Reader,
    odb: &'a Odb<'a>,
    visited: usize,
    changes: Vec<TreeEntryChange>,
}

impl Walk<'_> {
    /// The two differ; `None` is a folder that is not there.
    fn folders(
        &mut self,
        path: &str,
        old: Option<Oid>,
        new: Option<Oid>,
        depth: usize,
    ) -> Result<(), Error> {
        if depth > limits::TREE_DEPTH {
            return Err(self.reader.hostile(path, "folders are nested too deeply"));
        }
        let mut items = |tree: Option<Oid>| -> Result<Items, Error> {
            let items = match tree {
                Some(tree) => self.reader.items(self.odb, path, tree)?,
                None => Items::new(),
            };
            self.visited += items.len();
            Ok(items)
        };
        let (mut old, new) = (items(old)?, items(new)?);
        if self.visited > limits::TREE_ENTRIES {
            let why = format!("more than {} entries to compare", limits::TREE_ENTRIES);
            return Err(self.reader.hostile(path, &why));
        }
        for (name, now) in new {
            let before = old.remove(&name);
            if before != Some(now) {
                self.item(path, &name, before, Some(now), depth)?;
            }
        }
        for (name, before) in old {
            self.item(path, &name, Some(before), None, depth)?;
        }
        Ok(())
    }

    fn item(
        &mut self,
        folder: &str,
        name: &str,
        before: Option<Item>,
        now: Option<Item>,
        depth: usize,
    ) -> Result<(), Error> {
        let mut path = folder.to_owned();
        join(&mut path, name);
        let tree = |item: Option<Item>| item.filter(|i| i.kind() == FOLDER).map(|i| i.oid);
        let (old_tree, new_tree) = (tree(before), tree(now));
        if old_tree != new_tree {
            self.folders(&path, old_tree, new_tree, depth + 1)?;
        }
        let entry = match now {
            // A folder took the place of a file, or only its own mode differs.
            Some(now) if now.kind() == FOLDER => match before {
                Some(before) if before.kind() != FOLDER => Entry::Removed,
                Some(_) | None => return Ok(()),
            },
            Some(now) => self.entry(now)?,
            None if old_tree.is_some() => return Ok(()),
            None => Entry::Removed,
        };
        self.changes.push(TreeEntryChange { path, entry });
        Ok(())
    }

    fn entry(&self, item: Item) -> Result<Entry, Error> {
        if item.kind() != REGULAR {
            return Ok(Entry::NotAFile {
                what: not_a_file(item.kind())
                    .unwrap_or("of an unknown kind")
                    .to_owned(),
            });
        }
        let header = self.odb.read_header(item.oid);
        let (size, kind) = header.map_err(|e| self.reader.broken(&e))?;
        if kind != ObjectType::Blob {
            return Ok(Entry::NotAFile {
                what: "not a file's content".to_owned(),
            });
        }
        Ok(Entry::File {
            blob: BlobId(item.oid.to_string()),
            size: size as u64,
            executable: item.mode & 0o111 != 0,
        })
    }
}

fn tree_of(repository: &Repository, commit: &CommitId) -> Option<Oid> {
    let oid = Oid::from_str(&commit.0).ok()?;
    Some(repository.find_commit(oid).ok()?.tree_id())
}

fn join(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('/');
    }
    path.push_str(name);
}

fn not_a_file(kind: u32) -> Option<&'static str> {
    match kind {
        SYMLINK => Some("a symbolic link"),
        GITLINK => Some("a submodule"),
        AWKWARD => Some("a name that is not plain text"),
        REGULAR | FOLDER => None,
        _ => Some("of an unknown kind"),
    }
}

enum Name<'a> {
    Plain(&'a str),
    /// Cannot be said as plain text; with the form to show. Git allows it, nobody needs it.
    Awkward(String),
    /// Git's own checks refuse it: made to lead out of the folder or into Git's own. With why.
    Hostile(String, &'static str),
}

fn entry_name(name: &[u8]) -> Name<'_> {
    let shown = || -> String {
        let text = String::from_utf8_lossy(name);
        text.escape_debug().take(200).collect()
    };
    let why = match name {
        b"" => Some("is empty"),
        b"." | b".." => Some("leads out of its folder"),
        _ if name.contains(&b'/') => Some("holds a slash"),
        _ if name.eq_ignore_ascii_case(b".git") => Some("is Git's own"),
        _ => None,
    };
    if let Some(why) = why {
        return Name::Hostile(shown(), why);
    }
    match std::str::from_utf8(name) {
        Ok(text) if text.len() <= 255 && !text.contains(char::is_control) => Name::Plain(text),
        Ok(_) | Err(_) => Name::Awkward(shown()),
    }
}

/// Why a path that a spec names is not looked up.
fn refused_path(path: &str) -> Option<String> {
    path.split('/')
        .find_map(|name| match entry_name(name.as_bytes()) {
            Name::Plain(_) => None,
            Name::Awkward(_) => Some("is not plain text"),
            Name::Hostile(_, why) => Some(why),
        })
        .map(|why| format!("a path of which one part {why}"))
}
