//! Follows the open pull requests into one source's branch.
//!
//! A round asks the forge which are open, plans those that are new or whose plan may be
//! another by now, and says a last word on those that are over. It wakes on deliveries, when
//! the branch or the cluster changed, and on the source's interval, since deliveries get lost.
//! What fails is tried again in the next round; nobody waits for any of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::super::leadership::chain;
use super::super::sync::Tree;
use super::super::{Error, Handle, lock};
use super::comment;
use super::plan::{Plan, plan};
use super::signals::Signals;
use crate::clock;
use crate::forge::{Again, Failure};
use crate::model::{
    CommitId, CommitStatus, ForgeSpec, OutboxEntry, PreviewVerdict, PullComment, PullRequest,
    PullState, SourceSpec,
};
use crate::plan::statuses::{context, plan_context};
use crate::store::PullRecord;

/// Pull requests that are planned, the ones changed last first. More are told so.
const MOST: usize = 50;
/// For one pull request: fetch, merge, read, plan.
const EACH: Duration = Duration::from_secs(120);
/// Between two rounds, whatever wakes them.
const GAP: Duration = Duration::from_secs(1);
/// Between two looks at all plans because the cluster changed; more where looking takes long.
const CLUSTER_GAP: Duration = Duration::from_secs(10);
/// Share of the time that such looks may take: one part in this many.
const SHARE: u32 = 20;
/// Share of the interval by which polls are spread, both ways.
const JITTER: f64 = 0.1;
/// First pause after the forge or the database failed; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

pub(super) struct Worker {
    pub handle: Handle,
    pub spec: SourceSpec,
    pub forge: ForgeSpec,
    pub signals: Arc<Signals>,
    tree: Tree,
    /// What was told of the open ones; `None`: not read from the database yet.
    known: Option<BTreeMap<u64, PullRecord>>,
    /// The mirror holds no commits of pull requests that are over. Not known at the start:
    /// whoever led before may have died in between.
    swept: bool,
}

/// Why a round ended early.
enum Trouble {
    Forge(Failure),
    Ours(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Ours(error)
    }
}

impl Worker {
    pub fn new(
        handle: Handle,
        spec: SourceSpec,
        forge: ForgeSpec,
        signals: Arc<Signals>,
    ) -> Worker {
        let tree = Tree::new(handle.0.options.allowed_host_paths.as_slice().into());
        Worker {
            handle,
            spec,
            forge,
            signals,
            tree,
            known: None,
            swept: false,
        }
    }

    pub async fn run(mut self, end: CancellationToken) {
        end.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&mut self) {
        let mut failures = 0;
        // The settings, or the cluster, may be others than when they were planned.
        let mut replan = true;
        let mut not_before = Instant::now();
        loop {
            let began = Instant::now();
            let result = self.round(replan).await;
            if replan {
                if result.is_err() {
                    self.signals.change_cluster();
                }
                let share = began.elapsed() * SHARE;
                not_before = Instant::now() + share.max(CLUSTER_GAP);
            }
            let pause = match result {
                Ok(()) => {
                    lock(&self.handle.0.pull_troubles).remove(&self.spec.name);
                    failures = 0;
                    self.spec.interval
                }
                Err(trouble) => {
                    failures += 1;
                    self.note(trouble, failures)
                }
            };
            sleep(GAP).await;
            let spread = 1.0 + JITTER * (2.0 * fastrand::f64() - 1.0);
            let poll = Instant::now() + pause.mul_f64(spread);
            replan = tokio::select! {
                _ = self.signals.asked() => false,
                _ = async { sleep_until(not_before).await; self.signals.cluster_changed().await } => true,
                _ = sleep_until(poll) => false,
            };
        }
    }

    /// Shown with the source; told once in the log. Returns how long to wait.
    fn note(&self, trouble: Trouble, failures: u32) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << failures.saturating_sub(1).min(16));
        let (reason, pause) = match trouble {
            Trouble::Forge(failure) => {
                let pause = match failure.again {
                    Again::After(pause) => pause,
                    Again::Soon => doubled,
                    Again::Never => LONGEST_PAUSE,
                };
                (failure.reason, pause)
            }
            Trouble::Ours(error) => (chain(&error), doubled),
        };
        let source = &self.spec.name;
        let known = lock(&self.handle.0.pull_troubles).insert(source.clone(), reason.clone());
        if known.as_ref() != Some(&reason) {
            tracing::warn!(%source, reason, "pull requests cannot be planned, trying again later");
        }
        pause.min(LONGEST_PAUSE)
    }

    /// `replan`: plans may be others than they were, although no commit is new.
    async fn round(&mut self, replan: bool) -> Result<(), Trouble> {
        if self.known.is_none() {
            let stored = self.handle.0.store.pulls(&self.spec.name).await;
            let stored = stored.map_err(unavailable)?;
            self.known = Some(stored.into_iter().map(|p| (p.number, p)).collect());
        }
        let base = self.handle.read(|s| {
            let source = s.sources.get(&self.spec.name)?;
            source.last_seen.clone()
        })?;
        // Nothing was fetched yet: the first sync wakes us.
        let Some(base) = base else { return Ok(()) };
        let forge = self.handle.forge();
        let open = forge
            .open_pull_requests(&self.forge, &self.spec.branch, clock::now())
            .await
            .map_err(Trouble::Forge)?;
        if open.pulls.len() > MOST {
            tracing::debug!(source = %self.spec.name, open = open.pulls.len(), planned = MOST, "only some pull requests are planned");
        }
        let mut first_trouble = None;
        for pull in open.pulls.iter().take(MOST) {
            let known = self.known.as_ref().and_then(|k| k.get(&pull.number));
            let same = known.is_some_and(|k| k.head == pull.head && k.base == base);
            if same && !replan {
                continue;
            }
            let done = timeout(EACH, self.plan_one(pull, &base)).await;
            // One that fails does not keep the others from being planned.
            if let Err(error) = done.unwrap_or_else(|_| Err(too_slow(pull.number))) {
                first_trouble.get_or_insert(error);
            }
        }
        if open.complete {
            let numbers = open.pulls.iter().map(|p| p.number).collect();
            self.close_others(&numbers).await?;
        }
        match first_trouble {
            Some(error) => Err(Trouble::Ours(error)),
            None => Ok(()),
        }
    }

    async fn plan_one(&mut self, pull: &PullRequest, base: &CommitId) -> Result<(), Error> {
        let before = self
            .known
            .as_ref()
            .and_then(|k| k.get(&pull.number))
            .cloned();
        let Some(plan) = plan(
            &self.handle,
            &self.spec,
            &self.forge,
            &mut self.tree,
            pull,
            base,
        )
        .await?
        else {
            return Ok(());
        };
        let news = before
            .as_ref()
            .is_none_or(|b| b.told != plan.told || b.head != plan.head);
        let commented = plan.comment.is_some() || before.as_ref().is_some_and(|b| b.commented);
        if news {
            self.tell(pull, &plan).await?;
        }
        let record = PullRecord {
            source: self.spec.name.clone(),
            number: pull.number,
            head: plan.head,
            base: base.clone(),
            title: pull.title.clone(),
            url: pull.html_url.clone(),
            verdict: plan
                .verdict
                .map_or("notPlanned", PreviewVerdict::as_str)
                .to_owned(),
            summary: plan.summary,
            plan: plan.preview.and_then(|p| serde_json::to_value(p).ok()),
            told: plan.told,
            commented,
            planned_at: clock::now(),
        };
        // After it was told: who dies in between tells it twice, which changes nothing.
        let epoch = self.handle.0.image.leading()?.epoch;
        let put = self.handle.0.store.put_pull(epoch, &record).await;
        put.map_err(unavailable)?;
        if let Some(known) = &mut self.known {
            known.insert(pull.number, record);
        }
        Ok(())
    }

    async fn tell(&self, pull: &PullRequest, plan: &Plan) -> Result<(), Error> {
        let source = &self.spec.name;
        let link = Some(pull.html_url.clone()).filter(|url| url.starts_with("http"));
        let status = OutboxEntry {
            source: source.clone(),
            commit: plan.head.clone(),
            context: plan_context(self.handle.cluster(), source),
            status: CommitStatus {
                state: plan.state,
                description: plan.summary.clone(),
                target_url: link,
            },
            follow_up: false,
        };
        tracing::info!(%source, pull_request = pull.number, commit = plan.head.short(), summary = plan.summary, "pull request planned");
        let comment = plan.comment.as_ref();
        let comments: Vec<_> = comment
            .map(|body| (source.clone(), pull.number, self.comment(body.clone())))
            .into_iter()
            .collect();
        self.handle.tell_forge(&[status], &comments).await
    }

    fn comment(&self, body: String) -> PullComment {
        PullComment {
            marker: plan_context(self.handle.cluster(), &self.spec.name),
            body,
        }
    }

    /// Those that were planned and are open no more.
    async fn close_others(&mut self, open: &BTreeSet<u64>) -> Result<(), Trouble> {
        let Some(known) = &self.known else {
            return Ok(());
        };
        let gone: Vec<PullRecord> = known
            .values()
            .filter(|record| !open.contains(&record.number))
            .cloned()
            .collect();
        if gone.is_empty() && self.swept {
            return Ok(());
        }
        for record in gone {
            let (number, source) = (record.number, &self.spec.name);
            let found = self
                .handle
                .forge()
                .pull_request(&self.forge, number, clock::now())
                .await;
            let state = match found {
                Ok(pull) if pull.state == PullState::Open && pull.base == self.spec.branch => {
                    continue;
                }
                Ok(pull) => Some(pull.state),
                // Deleted, with its comments.
                Err(failure) if failure.kind == crate::forge::FailureKind::NotFound => None,
                Err(failure) => return Err(Trouble::Forge(failure)),
            };
            if let Some(state) = state.filter(|_| record.commented) {
                let context = context(self.handle.cluster(), source);
                let body = comment::over(state, &self.spec.branch, &context);
                let comment = (source.clone(), number, self.comment(body));
                self.handle.tell_forge(&[], &[comment]).await?;
            }
            let epoch = self.handle.0.image.leading()?.epoch;
            let store = &self.handle.0.store;
            let forgotten = store.forget_pull(epoch, source, number).await;
            forgotten.map_err(unavailable)?;
            tracing::info!(%source, pull_request = number, ?state, "pull request is over");
            if let Some(known) = &mut self.known {
                known.remove(&number);
            }
        }
        let mirrors = &self.handle.0.mirrors;
        let forgotten = mirrors.forget_pulls(&self.spec, open.clone()).await;
        self.swept = forgotten.is_ok();
        if let Err(error) = forgotten {
            tracing::warn!(source = %self.spec.name, error = %chain(&error), "commits of closed pull requests stay in the mirror for now");
        }
        Ok(())
    }
}

fn unavailable(error: crate::store::Error) -> Error {
    Error::Unavailable(Box::new(error))
}

fn too_slow(number: u64) -> Error {
    let seconds = EACH.as_secs();
    let what = format!("pull request {number} could not be planned within {seconds} s");
    Error::Internal(what.into())
}
