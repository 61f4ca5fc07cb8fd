//! The record of what forges delivered: in the leader's memory, saved in batches.
//!
//! Invariants: its size is bounded per source, and only sources that exist have one. A
//! flood writes no more than one row per source and period. What was not saved when a
//! controller dies is lost: it tells people something and decides nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::leadership::chain;
use super::{Handle, lock};
use crate::model::{DeliveryLog, DeliveryRecord, DeliveryVerdict, Epoch, SourceName};

/// From one batch to the next.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// The same where all that is new is forged: whoever forges causes less work still.
const SAVE_FORGED_EVERY: u32 = 12;
/// For the last batch of a leadership.
const LAST_SAVE: Duration = Duration::from_millis(500);

#[derive(Default)]
pub(super) struct Deliveries {
    logs: BTreeMap<SourceName, DeliveryLog>,
    /// Has authentic news that are not saved.
    news: BTreeSet<SourceName>,
    /// Has forged news that are not saved.
    forged: BTreeSet<SourceName>,
    /// What was saved before this leadership is in here.
    loaded: bool,
}

impl Handle {
    /// Keeps a delivery in the record of `source`, which exists.
    pub fn record_delivery(&self, source: &SourceName, record: DeliveryRecord) {
        let counted = (source.clone(), record.verdict);
        self.meter(|counts| *counts.deliveries.entry(counted).or_default() += 1);
        let mut deliveries = lock(&self.0.deliveries);
        let news = match record.verdict == DeliveryVerdict::Forged {
            true => &mut deliveries.forged,
            false => &mut deliveries.news,
        };
        if !news.contains(source) {
            news.insert(source.clone());
        }
        match deliveries.logs.get_mut(source) {
            Some(log) => log.add(record),
            None => {
                let mut log = DeliveryLog::default();
                log.add(record);
                deliveries.logs.insert(source.clone(), log);
            }
        }
    }

    /// What was delivered to `source`; `None` where this controller does not lead, or has
    /// not read yet what was saved: then the store has it.
    pub fn deliveries(&self, source: &SourceName) -> Option<DeliveryLog> {
        self.0.image.leading().ok()?;
        let deliveries = lock(&self.0.deliveries);
        deliveries
            .loaded
            .then(|| deliveries.logs.get(source).cloned().unwrap_or_default())
    }
}

impl Deliveries {
    /// Puts what was saved behind what came since.
    fn load(&mut self, saved: BTreeMap<SourceName, DeliveryLog>) {
        for (source, mut log) in saved {
            if let Some(new) = self.logs.remove(&source) {
                log.put_before(new);
            }
            self.logs.insert(source, log);
        }
        self.loaded = true;
    }

    /// What is to be saved now.
    fn batch(&mut self, with_forged: bool) -> Vec<(SourceName, DeliveryLog)> {
        let mut due = std::mem::take(&mut self.news);
        if with_forged {
            due.append(&mut self.forged);
        }
        due.iter().for_each(|source| {
            self.forged.remove(source);
        });
        due.into_iter()
            .filter_map(|source| {
                let log = self.logs.get(&source)?.clone();
                Some((source, log))
            })
            .collect()
    }
}

/// Until the leadership ends.
pub(super) async fn run(handle: Handle, term: CancellationToken) {
    let Ok(leading) = handle.0.image.leading() else {
        return;
    };
    *lock(&handle.0.deliveries) = Deliveries::default();
    let mut round = 0u32;
    while !term.is_cancelled() {
        let loaded = lock(&handle.0.deliveries).loaded;
        if !loaded {
            match handle.0.store.deliveries().await {
                Ok(saved) => lock(&handle.0.deliveries).load(saved),
                Err(error) => {
                    tracing::debug!(error = %chain(&error), "the last deliveries cannot be read yet");
                }
            }
        }
        tokio::select! {
            _ = term.cancelled() => break,
            _ = sleep(SAVE_EVERY) => {}
        }
        round = round.wrapping_add(1);
        save(
            &handle,
            leading.epoch,
            round.is_multiple_of(SAVE_FORGED_EVERY),
        )
        .await;
    }
    // The lease may be another's by now: then it is refused.
    let _ = tokio::time::timeout(LAST_SAVE, save(&handle, leading.epoch, true)).await;
}

async fn save(handle: &Handle, epoch: Epoch, with_forged: bool) {
    let Ok(known) = handle.read(|s| s.sources.keys().cloned().collect::<BTreeSet<_>>()) else {
        return;
    };
    let batch = {
        let mut deliveries = lock(&handle.0.deliveries);
        if !deliveries.loaded {
            return;
        }
        // Records go with their sources.
        deliveries.logs.retain(|source, _| known.contains(source));
        deliveries.batch(with_forged)
    };
    if batch.is_empty() {
        return;
    }
    if let Err(error) = handle.0.store.save_deliveries(epoch, &batch).await {
        tracing::debug!(error = %chain(&error), "the last deliveries could not be saved");
        let mut deliveries = lock(&handle.0.deliveries);
        let sources = batch.into_iter().map(|(source, _)| source);
        deliveries.news.extend(sources);
    }
}
