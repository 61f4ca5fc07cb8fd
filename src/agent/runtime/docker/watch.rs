//! Hints from the Engine's event stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::engine::CALL_DEADLINE;
use super::error::CallError;
use super::{DockerConfig, Inner, labels};
use crate::agent::runtime::Hint;
use crate::clock;

/// Between two attempts to reach the Engine; it is a local socket, asking is cheap.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Events are asked for from a little before the moment at which everything is
/// to be looked at, so that nothing falls between the two.
const OVERLAP: Duration = Duration::from_secs(1);

/// What can change an instance's `Found`. Deliberately without `exec_*`: each
/// exec probe would make three.
const EVENTS: &[&str] = &[
    "create", "start", "die", "destroy", "oom", "pause", "unpause", "update",
];

type Events = BoxStream<'static, Result<EventMessage, CallError>>;

struct Watch {
    inner: Arc<Inner>,
    events: Option<Events>,
    pause: Duration,
    /// `Down` was told and `All` not yet since.
    down: bool,
}

/// Ends never; holds one connection while it is alive.
pub(super) fn hints(inner: Arc<Inner>) -> BoxStream<'static, Hint> {
    let watch = Watch {
        inner,
        events: None,
        pause: Duration::ZERO,
        down: false,
    };
    stream::unfold(watch, |mut watch| async move {
        let hint = watch.next().await;
        Some((hint, watch))
    })
    .boxed()
}

impl Watch {
    async fn next(&mut self) -> Hint {
        loop {
            match &mut self.events {
                Some(events) => match events.next().await {
                    Some(Ok(event)) => {
                        if let Some(hint) = hint_of(&self.inner.config, event) {
                            return hint;
                        }
                    }
                    Some(Err(_)) | None => {
                        self.events = None;
                        self.pause = FIRST_PAUSE;
                    }
                },
                None => {
                    tokio::time::sleep(self.pause).await;
                    match Watch::subscribe(&self.inner).await {
                        Ok(events) => {
                            self.events = Some(events);
                            self.down = false;
                            return Hint::All;
                        }
                        Err(error) => {
                            self.pause = (self.pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                            if !self.down {
                                self.down = true;
                                tracing::warn!(%error, "the Docker Engine is down");
                                return Hint::Down;
                            }
                        }
                    }
                }
            }
        }
    }

    async fn subscribe(inner: &Arc<Inner>) -> Result<Events, CallError> {
        let engine = &inner.engine;
        // The stream itself says nothing until something happens; this says that
        // the Engine is there.
        engine
            .call(CALL_DEADLINE, |docker| async move { docker.ping().await })
            .await?;
        let client = engine.client().await?;
        let since = clock::now() - OVERLAP;
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            ("label", vec![inner.cluster_filter()]),
            ("event", EVENTS.iter().map(|&e| e.to_owned()).collect()),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(&format!("{}.{:03}000000", since.0 / 1000, since.0 % 1000))
            .filters(&filters)
            .build();
        // The Engine sends the head of its answer at once, so the deadline of a
        // call is right for that, and the body may last for ever.
        Ok(client
            .docker
            .events(Some(options))
            .map(|event| event.map_err(CallError::from))
            .boxed())
    }
}

fn hint_of(config: &DockerConfig, event: EventMessage) -> Option<Hint> {
    let attributes = event.actor?.attributes?;
    labels::instance_of(config, &attributes).map(Hint::Instance)
}
