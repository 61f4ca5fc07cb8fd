//! Who ended a container: the app, or the Engine that went down under it.
//!
//! The Engine leaves no word about this, and there are three ways in which it
//! takes containers along:
//! - it is shut down: it stops them before it goes, so they end before the new
//!   Engine begins;
//! - it is killed and started again: the containers live on until the new Engine
//!   finds and kills them, so they end while it comes up;
//! - the host goes down: the new Engine finds them dead and writes its own
//!   starting time as their end.
//!
//! In all three they end before the new Engine has set up its default network,
//! the last thing it does before it answers. That network is made anew at each
//! start, so its age tells when the Engine became ready; and it stays as it is
//! where containers outlive the Engine (live restore). Where there is no default
//! network, the outages that this process saw for itself must do.
//!
//! An exit is judged once, at the first look: a crash that was seen while the
//! Engine lived stays a crash after the Engine was restarted.

use super::Inner;
use super::engine::CALL_DEADLINE;
use super::error::CallError;
use super::found::{Seen, time};
use super::memory::Known;
use crate::model::Timestamp;

/// The Engine's name for its default network, whatever its interface is called.
const DEFAULT_NETWORK: &str = "bridge";

impl Inner {
    pub(super) async fn was_by_runtime(
        &self,
        seen: &Seen,
        known: &Known,
        finished: Option<Timestamp>,
    ) -> Result<bool, CallError> {
        if known.stopped {
            return Ok(false);
        }
        if let Some((started, by_runtime)) = known.blame
            && started == seen.started
        {
            return Ok(by_runtime);
        }
        let by_runtime = match finished {
            None => false,
            Some(finished) if self.engine.was_down_at(finished) => true,
            Some(finished) => self
                .engine_ready_since()
                .await?
                .is_some_and(|ready| finished <= ready),
        };
        self.memory.blamed(seen.id, seen.started, by_runtime);
        Ok(by_runtime)
    }

    /// When the Engine that runs now had come up; `None`: it cannot be told.
    async fn engine_ready_since(&self) -> Result<Option<Timestamp>, CallError> {
        let network = self
            .engine
            .call(CALL_DEADLINE, |docker| async move {
                docker.inspect_network(DEFAULT_NETWORK, None).await
            })
            .await;
        match network {
            Ok(network) => Ok(network.created.as_deref().and_then(time)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }
}
