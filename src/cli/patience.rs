//! A wait outlives a server that restarts, or hands over to another.
//!
//! That a server which answered before does not answer for a moment says nothing of what is
//! waited for. Refusals end a wait at once.

use std::time::Duration;

use tokio::time::Instant;

use crate::client::Error;

use super::progress::Progress;

/// For as long as a restart of the server, or the way to another leader, may take.
const PATIENCE: Duration = Duration::from_secs(60);
const TRY_EVERY: Duration = Duration::from_secs(1);

pub struct Patience {
    /// What is waited for.
    name: String,
    deadline: Option<Instant>,
    /// The server answered before.
    met: bool,
}

impl Patience {
    /// Of a wait whose first question may find no server at all: that is told at once.
    pub fn new(name: impl Into<String>, deadline: Option<Instant>) -> Patience {
        Patience {
            name: name.into(),
            deadline,
            met: false,
        }
    }

    /// Of a wait for what the server was just asked to do.
    pub fn after_an_answer(name: impl Into<String>, deadline: Option<Instant>) -> Patience {
        Patience {
            met: true,
            ..Patience::new(name, deadline)
        }
    }

    /// Asks again while there is no answer.
    pub async fn ask<T>(
        &mut self,
        progress: &mut Progress,
        call: impl AsyncFn() -> Result<T, Error>,
    ) -> Result<T, Error> {
        let end = Instant::now() + PATIENCE;
        let end = self.deadline.map_or(end, |deadline| deadline.min(end));
        loop {
            let answer = call().await;
            let again = matches!(&answer, Err(error) if self.met && passes(error));
            if !again || Instant::now() + TRY_EVERY > end {
                self.met |= answer.is_ok();
                return answer;
            }
            let name = &self.name;
            progress.tell(&format!("{name}: no answer from the server, trying again"));
            tokio::time::sleep(TRY_EVERY).await;
        }
    }
}

/// Whether it may be another answer in a moment.
pub fn passes(error: &Error) -> bool {
    match error {
        Error::Unreachable { .. } | Error::Timeout { .. } => true,
        Error::Problem(problem) => matches!(problem.status, 502..=504),
        Error::Protocol { .. } | Error::Missed(_) | Error::Address { .. } => false,
    }
}
