//! Copies the wanted branch out of a repository on this host.
//!
//! libgit2's own local transport copies every branch and packs again, at each
//! change, what other branches hold.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use git2::{ErrorCode, Oid, Repository};

use super::{Attempt, Error};
use crate::failpoint::{self, Op};

/// The head of `branch` at `path`, with everything the mirror lacks of it.
pub(in crate::git) fn fetch(
    attempt: &Arc<Attempt>,
    path: &Path,
    mirror: &Repository,
    branch: &str,
    previous: Option<Oid>,
) -> Result<Oid, Error> {
    let broken = |e: git2::Error| attempt.explain(&e);
    let remote = open(attempt, path)?;
    let head = match remote.refname_to_id(&format!("refs/heads/{branch}")) {
        Ok(head) => head,
        Err(e) if e.code() == ErrorCode::NotFound => {
            return Err(missing(attempt, &remote, branch));
        }
        Err(e) => return Err(broken(e)),
    };
    if Some(head) == previous || mirror.find_commit(head).is_ok() {
        return Ok(head);
    }
    failpoint::around(Op::GitDownload, || copy(attempt, &remote, mirror, head)).map_err(broken)?;
    Ok(head)
}

/// What `reference` points to at `path`, with everything the mirror lacks of it; `None`:
/// there is no such reference.
pub(in crate::git) fn fetch_named(
    attempt: &Arc<Attempt>,
    path: &Path,
    mirror: &Repository,
    reference: &str,
) -> Result<Option<Oid>, Error> {
    let broken = |e: git2::Error| attempt.explain(&e);
    let remote = open(attempt, path)?;
    let head = match remote.refname_to_id(reference) {
        Ok(head) => head,
        Err(e) if e.code() == ErrorCode::NotFound => return Ok(None),
        Err(e) => return Err(broken(e)),
    };
    if mirror.find_commit(head).is_err() {
        let copied = || copy(attempt, &remote, mirror, head);
        failpoint::around(Op::GitDownloadPull, copied).map_err(broken)?;
    }
    Ok(Some(head))
}

fn open(attempt: &Attempt, path: &Path) -> Result<Repository, Error> {
    if !path.is_dir() {
        return Err(attempt.unreachable("there is no such folder on this host"));
    }
    // Not searching upwards: a folder inside a repository is not that repository.
    let flags = git2::RepositoryOpenFlags::NO_SEARCH;
    Repository::open_ext(path, flags, &[] as &[&std::ffi::OsStr]).map_err(|e| attempt.explain(&e))
}

fn missing(attempt: &Attempt, remote: &Repository, branch: &str) -> Error {
    let known = remote
        .branches(Some(git2::BranchType::Local))
        .map(|branches| {
            branches
                .filter_map(Result::ok)
                .filter_map(|(branch, _)| branch.name().ok().flatten().map(str::to_owned))
                .take(super::BRANCHES_SHOWN)
                .collect()
        })
        .unwrap_or_default();
    Error::BranchMissing {
        url: attempt.url.clone(),
        branch: branch.to_owned(),
        known,
    }
}

fn copy(
    attempt: &Arc<Attempt>,
    remote: &Repository,
    mirror: &Repository,
    head: Oid,
) -> Result<(), git2::Error> {
    let mut walk = remote.revwalk()?;
    walk.push(head)?;
    for reference in mirror.references()?.filter_map(Result::ok) {
        if let Some(have) = reference.target() {
            // Unknown there after a force push and a clean-up: nothing to leave out.
            let _ = walk.hide(have);
        }
    }
    let mut packer = remote.packbuilder()?;
    // As many threads as there are cores: comparing objects is most of the work.
    packer.set_threads(0);
    let progress = attempt.clone();
    packer.set_progress_callback(move |_, _, _| !progress.over())?;
    packer.insert_walk(&mut walk)?;
    let odb = mirror.odb()?;
    let mut writer = odb.packwriter()?;
    packer.foreach(|bytes| !attempt.over() && writer.write_all(bytes).is_ok())?;
    writer.commit()?;
    Ok(())
}
