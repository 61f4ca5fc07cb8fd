//! `EVENKEEL_BENCH_TRACE=1`: what the Engine did when, within one rollout, for finding out
//! where time goes. With `EVENKEEL_LOG=debug` the product's own log stands beside it.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::query_parameters::EventsOptionsBuilder;
use futures_util::StreamExt as _;

use crate::engine;
use crate::product::Product;

/// `None`: not asked for, costs nothing.
pub struct Trace(Option<Begun>);

struct Begun {
    cluster: String,
    at: Duration,
    log_length: u64,
}

#[allow(
    clippy::disallowed_methods,
    reason = "the Engine's events carry its wall clock"
)]
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

impl Trace {
    pub fn start(product: &Product) -> Trace {
        let wanted = std::env::var_os("EVENKEEL_BENCH_TRACE").is_some();
        Trace(wanted.then(|| Begun {
            cluster: product.cluster.clone(),
            at: now(),
            log_length: std::fs::metadata(product.log_path()).map_or(0, |m| m.len()),
        }))
    }

    /// Prints the containers' events, and the log, since the start.
    pub async fn end(self, product: &Product, took: Duration) {
        let Some(begun) = self.0 else { return };
        let second = |t: Duration| format!("{}.{:09}", t.as_secs(), t.subsec_nanos());
        let filters = HashMap::from([
            ("type", vec!["container".to_owned()]),
            (
                "label",
                vec![format!("dev.evenkeel.cluster={}", begun.cluster)],
            ),
        ]);
        let options = EventsOptionsBuilder::default()
            .since(&second(begun.at))
            .until(&second(now()))
            .filters(&filters)
            .build();
        let docker = engine::client(&product.socket);
        let mut events = std::pin::pin!(docker.events(Some(options)));
        eprintln!("rollout, {} ms:", took.as_millis());
        while let Some(Ok(event)) = events.next().await {
            let at = Duration::from_nanos(u64::try_from(event.time_nano.unwrap_or(0)).unwrap());
            let id = event.actor.and_then(|a| a.id).unwrap_or_default();
            eprintln!(
                "{:8.1} ms  {:<8} {}",
                at.saturating_sub(begun.at).as_secs_f64() * 1000.0,
                event.action.unwrap_or_default(),
                &id[..id.len().min(8)]
            );
        }
        let log = std::fs::read(product.log_path()).unwrap_or_default();
        let from = usize::try_from(begun.log_length)
            .unwrap_or(0)
            .min(log.len());
        eprintln!("{}", String::from_utf8_lossy(&log[from..]));
    }
}
