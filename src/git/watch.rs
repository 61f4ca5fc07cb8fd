//! Notices at once that a local repository's branches moved.
//!
//! Only a hint: polling remains the safety net, so a watch that is lost (the
//! folder was replaced) costs time and nothing else.

use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::Error;
use super::libgit2;

/// Yields once per burst of changes to the repository's refs. Changes that
/// happen while nobody polls collapse into one item, so a slow reader is never
/// behind by more than one. Stops watching when dropped.
pub struct LocalWatch {
    changes: mpsc::Receiver<()>,
    _watcher: RecommendedWatcher,
}

impl Stream for LocalWatch {
    type Item = ();
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<()>> {
        self.changes.poll_recv(context)
    }
}

/// Watches HEAD, the branches and the packed refs of the repository at `path`,
/// bare or not. Fails with [`Error::Local`] if there is no repository.
pub fn watch_local(path: &Path) -> Result<LocalWatch, Error> {
    let failed = |why: &dyn ToString| {
        Error::local(
            format!("cannot watch the repository {}", path.display()),
            why.to_string(),
        )
    };
    libgit2::prepare();
    let repository = git2::Repository::open(path).map_err(|e| failed(&e.message()))?;
    let (sender, changes) = mpsc::channel(1);
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // An error means that events were missed: look, to be sure.
        if event.map_or(true, |event| concerns_refs(&event)) {
            // Full: somebody will look anyway.
            let _ = sender.try_send(());
        }
    })
    .map_err(|e| failed(&e))?;
    // Git replaces these files by renaming, so their folder is watched, not they.
    let common = repository.commondir().to_owned();
    let mut folders = vec![(common.clone(), RecursiveMode::NonRecursive)];
    if repository.path() != common {
        folders.push((repository.path().to_owned(), RecursiveMode::NonRecursive));
    }
    folders.push((common.join("refs").join("heads"), RecursiveMode::Recursive));
    for (folder, mode) in folders {
        watcher.watch(&folder, mode).map_err(|e| failed(&e))?;
    }
    Ok(LocalWatch {
        changes,
        _watcher: watcher,
    })
}

/// Lock files and the index come and go without a ref having moved.
fn concerns_refs(event: &Event) -> bool {
    if matches!(event.kind, EventKind::Access(_)) {
        return false;
    }
    event.need_rescan()
        || event.paths.iter().any(|path| {
            let is_lock = path.extension().is_some_and(|e| e == "lock");
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
            let in_refs = path.components().any(|c| c.as_os_str() == "refs");
            !is_lock && (in_refs || name == "HEAD" || name == "packed-refs")
        })
}
