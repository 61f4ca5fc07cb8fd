//! One try at a fetch: its deadline, its cancellation, its credentials and
//! what went wrong in it.
//!
//! libgit2 calls transports back on the thread that fetches and offers no way
//! to hand them context, so the attempt of a thread is found through a
//! thread-local, set for as long as [`Attempt::run`] lasts.

use std::cell::RefCell;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::location::Location;
use super::secret::Secret;
use super::{Error, Refusal};
use crate::model::source::Credentials;

pub(super) struct Attempt {
    pub(super) location: Location,
    /// [`Location`] as text, for messages.
    pub(super) url: String,
    pub(super) credentials: Credentials,
    pub(super) token: Option<Secret>,
    pub(super) client: reqwest::Client,
    pub(super) runtime: Handle,
    /// Cancelled when the caller gave up.
    pub(super) cancelled: CancellationToken,
    pub(super) allowed: Duration,
    pub(super) deadline: Instant,
    pub(super) outcome: Outcome,
}

/// What is noted along the way.
#[derive(Default)]
pub(super) struct Outcome {
    /// The first failure with its full meaning; libgit2 only carries a text.
    failure: Mutex<Option<Error>>,
    warnings: Mutex<Vec<String>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Attempt>>> = const { RefCell::new(None) };
}

/// What libgit2 is told when a transport gives up; the real reason is in the attempt.
pub(super) const GAVE_UP: &str = "gave up";

impl Attempt {
    /// Runs `work` with this attempt as the thread's own.
    pub(super) fn run<T>(self: &Arc<Self>, work: impl FnOnce() -> T) -> T {
        struct Reset;
        impl Drop for Reset {
            fn drop(&mut self) {
                CURRENT.with_borrow_mut(|current| *current = None);
            }
        }
        CURRENT.with_borrow_mut(|current| *current = Some(self.clone()));
        let _reset = Reset;
        work()
    }

    /// The attempt of this thread; `None` outside of [`Attempt::run`].
    pub(super) fn current() -> Option<Arc<Attempt>> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub(super) fn over(&self) -> bool {
        self.cancelled.is_cancelled() || Instant::now() >= self.deadline
    }

    pub(super) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(super) fn timeout(&self) -> Error {
        Error::Timeout {
            url: self.url.clone(),
            after: self.allowed,
        }
    }

    pub(super) fn unreachable(&self, why: impl ToString) -> Error {
        Error::Unreachable {
            url: self.url.clone(),
            why: why.to_string(),
        }
    }

    pub(super) fn refused(&self, why: Refusal) -> Error {
        Error::Refused {
            url: self.url.clone(),
            why,
        }
    }

    /// Waits for `work`, not past the deadline nor the caller's patience.
    pub(super) fn wait<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                () = self.cancelled.cancelled() => Err(self.timeout()),
                outcome = tokio::time::timeout_at(self.deadline, work) =>
                    outcome.unwrap_or_else(|_| Err(self.timeout())),
            }
        })
    }

    /// Keeps the first failure: later ones only follow from it.
    pub(super) fn fail(&self, error: Error) {
        let mut failure = self
            .outcome
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failure.get_or_insert(error);
    }

    /// The kept failure, else what libgit2 itself says.
    pub(super) fn explain(&self, error: &git2::Error) -> Error {
        let kept = self
            .outcome
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        match kept {
            Some(kept) => kept,
            None if self.over() => self.timeout(),
            None => self.unreachable(error.message()),
        }
    }

    pub(super) fn warn(&self, text: String) {
        let mut warnings = self
            .outcome
            .warnings
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    pub(super) fn take_warnings(&self) -> Vec<String> {
        std::mem::take(
            &mut *self
                .outcome
                .warnings
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}
