//! The blocking part of a fetch: from refs to objects to our own ref.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use git2::{AutotagOption, Direction, ErrorCode, FetchOptions, Oid, RemoteCallbacks, Repository};

use super::attempt::Attempt;
use super::location::Location;
use super::transport;
use super::{CommitInfo, Error, Fetched, Refusal, limits};
use crate::failpoint::{self, Op};
use crate::model::{CommitId, Timestamp};

/// Our own name for the branch's last head. Hashed, because Git cannot hold
/// `a` and `a/b` at once and a source may change from one to the other.
fn head_ref(branch: &str) -> String {
    let digest = hex::encode(Sha256::digest(branch.as_bytes()));
    format!("refs/heads/{}", &digest[..16])
}

pub(super) fn fetch(attempt: &Arc<Attempt>, folder: &Path, branch: &str) -> Result<Fetched, Error> {
    let reference = head_ref(branch);
    if !git2::Reference::is_valid_name(&format!("refs/heads/{branch}")) {
        return Err(attempt.refused(Refusal::Url {
            why: format!("\"{branch}\" is not a possible branch name"),
        }));
    }
    let repository = open_or_create(folder)?;
    let local = |what: &str, e: &git2::Error| Error::local(what, e.message());
    let previous = match repository.refname_to_id(&reference) {
        Ok(oid) => Some(oid),
        Err(e) if e.code() == ErrorCode::NotFound => None,
        Err(e) => return Err(local("cannot read the mirror's head", &e)),
    };

    let head = download(attempt, &repository, branch, previous)?;
    let commit = repository.find_commit(head).map_err(|_| Error::Hostile {
        commit: CommitId(head.to_string()),
        path: format!("refs/heads/{branch}"),
        why: "the branch does not point to a commit".to_owned(),
    })?;
    let rewritten = match previous {
        Some(previous) if previous != head => {
            match repository.graph_descendant_of(head, previous) {
                Ok(descends) => !descends,
                Err(_) => {
                    attempt.warn(format!(
                        "{} has an incomplete history; whether its branch was rewritten is not known",
                        attempt.url
                    ));
                    false
                }
            }
        }
        Some(_) | None => false,
    };
    if previous != Some(head) {
        failpoint::around(Op::GitMoveHead, || {
            repository.reference(&reference, head, true, "fetch")
        })
        .map_err(|e| local("cannot move the mirror's head", &e))?;
    }
    Ok(Fetched {
        head: CommitId(head.to_string()),
        previous: previous.map(|oid| CommitId(oid.to_string())),
        info: info(&commit),
        rewritten,
        warnings: attempt.take_warnings(),
    })
}

/// Asks for the branch's head and gets what the mirror lacks of it.
fn download(
    attempt: &Arc<Attempt>,
    mirror: &Repository,
    branch: &str,
    previous: Option<Oid>,
) -> Result<Oid, Error> {
    if let Location::Local(path) = &attempt.location {
        return transport::local::fetch(attempt, path, mirror, branch, previous);
    }
    let reference = format!("refs/heads/{branch}");
    let mut remote = mirror
        .remote_anonymous(&transport::url_for_libgit2(&attempt.location))
        .map_err(|e| attempt.explain(&e))?;
    let mut connection = remote
        .connect_auth(
            Direction::Fetch,
            Some(callbacks(attempt, limits::PACK_BYTES)),
            None,
        )
        .map_err(|e| attempt.explain(&e))?;
    let heads = connection.list().map_err(|e| attempt.explain(&e))?;
    let Some(head) = heads
        .iter()
        .find(|h| h.name() == reference)
        .map(|h| h.oid())
    else {
        return Err(Error::BranchMissing {
            url: attempt.url.clone(),
            branch: branch.to_owned(),
            known: heads
                .iter()
                .filter_map(|h| h.name().strip_prefix("refs/heads/"))
                .map(str::to_owned)
                .take(transport::BRANCHES_SHOWN)
                .collect(),
        });
    };
    if Some(head) == previous {
        return Ok(head);
    }
    let mut options = FetchOptions::new();
    options
        .remote_callbacks(callbacks(attempt, limits::PACK_BYTES))
        .download_tags(AutotagOption::None)
        .update_fetchhead(false);
    failpoint::around(Op::GitDownload, || {
        let remote = connection.remote();
        remote.download(&[reference], Some(&mut options))
    })
    .map_err(|e| attempt.explain(&e))?;
    Ok(head)
}

/// Ends the transfer at the deadline, when nobody waits any more, or when it grows too large.
pub(super) fn callbacks(attempt: &Arc<Attempt>, most: usize) -> RemoteCallbacks<'static> {
    let mut callbacks = RemoteCallbacks::new();
    let (transfer, sideband) = (attempt.clone(), attempt.clone());
    callbacks
        .transfer_progress(move |progress| {
            if progress.received_bytes() > most {
                transfer
                    .fail(transfer.unreachable(format!("it sends more than {most} bytes at once")));
                return false;
            }
            !transfer.over()
        })
        .sideband_progress(move |_| !sideband.over());
    callbacks
}

/// Opens the mirror; one that cannot be opened is made anew, as it is only a cache.
fn open_or_create(folder: &Path) -> Result<Repository, Error> {
    if let Ok(repository) = Repository::open_bare(folder) {
        return Ok(repository);
    }
    let failed = |why: String| {
        Error::local(
            format!("cannot create the mirror {}", folder.display()),
            why,
        )
    };
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(|e| failed(e.to_string()))?;
    }
    create_private(folder).map_err(|e| failed(e.to_string()))?;
    failpoint::around(Op::GitInitMirror, || Repository::init_bare(folder))
        .map_err(|e| failed(e.message().to_owned()))
}

/// A folder that only its owner can enter.
pub(super) fn create_private(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Lock files and half-written packs of a process that was killed: nobody else
/// uses this folder, so at the start they belong to nobody.
pub(super) fn clear_leftovers(folder: &Path) -> io::Result<()> {
    for mirror in fs::read_dir(folder)? {
        let mirror = mirror?.path();
        if !mirror.is_dir() {
            continue;
        }
        clear(&mirror, &|name| name.ends_with(".lock"), Depth::Files)?;
        clear(
            &mirror.join("refs"),
            &|name| name.ends_with(".lock"),
            Depth::All,
        )?;
        clear(
            &mirror.join("objects").join("pack"),
            &|name| !name.ends_with(".pack") && !name.ends_with(".idx"),
            Depth::Files,
        )?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    Files,
    All,
}

fn clear(folder: &Path, stale: &dyn Fn(&str) -> bool, depth: Depth) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if depth == Depth::All {
                clear(&entry.path(), stale, depth)?;
            }
        } else if entry.file_name().to_str().is_some_and(stale) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn info(commit: &git2::Commit<'_>) -> CommitInfo {
    let author = commit.author();
    let subject = commit.summary_bytes().unwrap_or_default();
    CommitInfo {
        author: printable(author.name_bytes()),
        subject: printable(subject),
        committed_at: Timestamp(commit.time().seconds().saturating_mul(1000)),
    }
}

/// Text from a repository, fit for a terminal and a log line.
fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(limits::INFO_CHARS)
        .collect::<String>()
        .trim()
        .to_owned()
}
