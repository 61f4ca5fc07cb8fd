//! Bounds the history that only people read (events, ended rollouts, commits), and
//! the mirrors' room on disk.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::Handle;
use super::leadership::chain;

/// From one run to the next. The first waits as well: a leader has more urgent things to do.
const PERIOD: Duration = Duration::from_secs(10 * 60);

/// Between the bounded parts of one run.
const BREATH: Duration = Duration::from_millis(500);

pub(super) async fn run(handle: Handle, term: CancellationToken) {
    let mut pause = PERIOD;
    loop {
        tokio::select! {
            _ = term.cancelled() => return,
            _ = sleep(pause) => {}
        }
        let Ok(leading) = handle.0.image.leading() else {
            return;
        };
        if pause == PERIOD {
            // It may take long: the end of the leadership does not wait for it.
            term.run_until_cancelled(tidy_mirrors(&handle)).await;
        }
        let retention = &handle.0.options.retention;
        pause = match handle.0.store.collect(leading.epoch, retention).await {
            Ok(collected) if collected.more => BREATH,
            Ok(_) => PERIOD,
            Err(error) => {
                tracing::debug!(error = %chain(&error), "old history could not be removed, trying again later");
                PERIOD
            }
        };
    }
}

async fn tidy_mirrors(handle: &Handle) {
    let specs = handle.read(|s| {
        s.sources
            .values()
            .map(|s| s.spec.clone())
            .collect::<Vec<_>>()
    });
    if let Ok(specs) = specs
        && let Err(error) = handle.0.mirrors.tidy(&specs).await
    {
        tracing::warn!(error = %chain(&error), "the mirrors could not be tidied, trying again later");
    }
}
