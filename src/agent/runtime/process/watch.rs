//! Tells at once that a supervisor ended: it holds its file in `live/` open for
//! writing, and the kernel reports the close, however the supervisor came to die.

use std::path::Path;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt};
use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, IntervalStream};

use super::super::Hint;
use crate::model::InstanceId;

/// Hints that a slow listener may be behind before it is told to look at everything.
const BACKLOG: usize = 1024;

/// How often to look where the kernel gives no watch (its per-user limit is used up).
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Watches for as long as it lives.
pub struct Watch {
    hints: broadcast::Sender<Hint>,
    /// `None`: there is no watch, listeners look every now and then.
    watcher: Option<RecommendedWatcher>,
    error: Option<String>,
}

impl Watch {
    pub fn start(live_dir: &Path) -> Watch {
        let (hints, _) = broadcast::channel(BACKLOG);
        let sender = hints.clone();
        let started = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Nobody listening is fine.
            let _ = match event {
                Ok(event) if event.need_rescan() => sender.send(Hint::All),
                Ok(event) => match event.kind {
                    EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                        for id in event.paths.iter().filter_map(|path| instance_of(path)) {
                            let _ = sender.send(Hint::Instance(id));
                        }
                        return;
                    }
                    _ => return,
                },
                Err(_) => sender.send(Hint::All),
            };
        })
        .and_then(|mut watcher| {
            watcher.watch(live_dir, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        let (watcher, error) = match started {
            Ok(watcher) => (Some(watcher), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Watch {
            hints,
            watcher,
            error,
        }
    }

    /// Why there is no watch.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Tells listeners of something that the agent did itself.
    pub fn tell(&self, id: InstanceId) {
        // Nobody listening is fine.
        let _ = self.hints.send(Hint::Instance(id));
    }

    pub fn hints(&self) -> BoxStream<'static, Hint> {
        if self.watcher.is_none() {
            let every = tokio::time::interval(LOOK_PERIOD);
            return IntervalStream::new(every).map(|_| Hint::All).boxed();
        }
        // What is lost is made up for by looking at everything.
        BroadcastStream::new(self.hints.subscribe())
            .map(|hint| hint.unwrap_or(Hint::All))
            .boxed()
    }
}

fn instance_of(path: &Path) -> Option<InstanceId> {
    path.file_name()?.to_str()?.parse().ok()
}
