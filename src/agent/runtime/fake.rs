//! A runtime in memory with faults to order: for tests and simulations.
//!
//! What an instance does is read from its environment (see [`Script::of`]), so
//! a spec alone tells it; a test may override it per app. Time is tokio's, so
//! it can be paused. It keeps a log of the calls that changed something.

mod script;
mod state;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;

pub use script::Script;
use state::{State, Thing};

use super::{Error, ExecResult, Found, Hint, Image, LogQuery, Runtime, Said, reader_left};
use crate::agent::step::OpKind;
use crate::model::instance::FailureKind;
use crate::model::spec::{Limits, PullPolicy};
use crate::model::{AppKey, DesiredInstance, InstanceId};

/// What an operation does instead of its work.
#[derive(Clone, Debug)]
pub enum Fault {
    Fail(Error),
    /// Never answers.
    Hang,
    /// Works, but later.
    Slow(Duration),
}

/// An operation that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub kind: OpKind,
    /// Instance id or image reference.
    pub what: String,
}

/// Clones share their state.
#[derive(Clone)]
pub struct FakeRuntime {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    state: Mutex<State>,
    hints: broadcast::Sender<Hint>,
}

impl FakeRuntime {
    /// `name`: `docker` or `process`, whose place it takes.
    pub fn new(name: &'static str) -> FakeRuntime {
        FakeRuntime {
            inner: Arc::new(Inner {
                name,
                state: Mutex::new(State::default()),
                hints: broadcast::channel(1024).0,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn hint(&self, hint: Hint) {
        // Nobody listening is fine: who listens later lists first.
        let _ = self.inner.hints.send(hint);
    }

    /// What instances of the app do from their next start on.
    pub fn script(&self, app: &AppKey, script: Script) {
        self.state().scripts.insert(app.clone(), script);
    }

    /// The next call of that kind, for that instance or image (`None`: any), meets the fault.
    pub fn inject(&self, kind: OpKind, what: Option<&str>, fault: Fault) {
        let what = what.map(str::to_owned);
        self.state().faults.push((kind, what, fault));
    }

    /// An image that no registry has (`Some(error)`) or that can be pulled again.
    pub fn registry(&self, image: &str, answer: Option<Error>) {
        let mut state = self.state();
        match answer {
            Some(error) => state.unpullable.insert(image.to_owned(), error),
            None => state.unpullable.remove(image),
        };
    }

    /// As `docker image rm`.
    pub fn forget_image(&self, image: &str) {
        self.state().images.remove(image);
    }

    /// The runtime stops answering; what runs goes on.
    pub fn go_down(&self, why: &str) {
        self.state().down = Some(why.to_owned());
        self.hint(Hint::Down);
    }

    /// It answers again. `took_along`: all that ran died with it.
    pub fn come_up(&self, took_along: bool) {
        {
            let mut state = self.state();
            state.down = None;
            if took_along {
                for thing in state.things.values_mut() {
                    thing.end(255, true);
                }
            }
        }
        self.hint(Hint::All);
    }

    /// The process ends by itself, as with `kill -9` from outside for 137.
    pub fn crash(&self, id: InstanceId, code: i32) {
        if let Some(thing) = self.state().things.get_mut(&id) {
            thing.end(code, false);
        }
        self.hint(Hint::Instance(id));
    }

    /// As `docker rm -f` by somebody else.
    pub fn remove_by_hand(&self, id: InstanceId) {
        self.state().things.remove(&id);
        self.hint(Hint::Instance(id));
    }

    /// An instance with our mark that nobody asked for.
    pub fn plant(&self, instance: &DesiredInstance) {
        let mut thing = Thing::new(instance, Script::of(&instance.run.workload.env));
        thing.start();
        self.state().things.insert(instance.id, thing);
        self.hint(Hint::Instance(instance.id));
    }

    /// Everything done so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    pub fn count(&self, kind: OpKind) -> usize {
        self.state().calls.iter().filter(|c| c.kind == kind).count()
    }

    pub fn running(&self) -> Vec<InstanceId> {
        let state = self.state();
        let ids = state.things.iter().filter(|(_, t)| t.is_running());
        ids.map(|(id, _)| *id).collect()
    }

    fn check_up(&self) -> Result<(), Error> {
        match &self.state().down {
            Some(why) => Err(Error::new(FailureKind::RuntimeUnavailable, why.clone())),
            None => Ok(()),
        }
    }

    /// Notes the call and meets its fault, if one was ordered.
    async fn enter(&self, kind: OpKind, what: &str) -> Result<(), Error> {
        self.check_up()?;
        let fault = {
            let mut state = self.state();
            state.calls.push(Call {
                kind,
                what: what.to_owned(),
            });
            let hit = state
                .faults
                .iter()
                .position(|(k, w, _)| *k == kind && w.as_deref().is_none_or(|w| w == what));
            hit.map(|at| state.faults.remove(at).2)
        };
        match fault {
            None => Ok(()),
            Some(Fault::Fail(error)) => Err(error),
            Some(Fault::Slow(delay)) => {
                tokio::time::sleep(delay).await;
                self.check_up()
            }
            Some(Fault::Hang) => std::future::pending().await,
        }
    }

    /// Ends the run after the script's time, unless another one began.
    fn schedule_exit(&self, id: InstanceId, run: u64, after: Duration, code: i32) {
        let weak = Arc::downgrade(&self.inner);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Some(inner) = weak.upgrade() {
                let fake = FakeRuntime { inner };
                if let Some(thing) = fake.state().things.get_mut(&id)
                    && thing.starts == run
                {
                    thing.end(code, false);
                }
                fake.hint(Hint::Instance(id));
            }
        });
    }
}

fn gone(id: InstanceId) -> Error {
    Error::new(
        FailureKind::StartFailed,
        format!("there is no instance {id}"),
    )
}

#[async_trait]
impl Runtime for FakeRuntime {
    fn name(&self) -> &'static str {
        self.inner.name
    }

    async fn attributes(&self) -> Result<BTreeMap<String, String>, Error> {
        self.check_up()?;
        Ok(BTreeMap::from([(
            format!("runtime.{}", self.inner.name),
            "true".to_owned(),
        )]))
    }

    async fn list(&self) -> Result<Vec<Found>, Error> {
        self.check_up()?;
        let state = self.state();
        Ok(state.things.iter().map(|(id, t)| t.found(*id)).collect())
    }

    async fn inspect(&self, id: InstanceId) -> Result<Option<Found>, Error> {
        self.check_up()?;
        Ok(self.state().things.get(&id).map(|t| t.found(id)))
    }

    async fn prepare(&self, image: &str, policy: PullPolicy) -> Result<Image, Error> {
        self.enter(OpKind::Pull, image).await?;
        let mut state = self.state();
        let here = state.images.contains(image);
        let answer = state.unpullable.get(image).cloned();
        match (policy, here, answer) {
            (PullPolicy::Missing | PullPolicy::Never, true, _) => {}
            (PullPolicy::Never, false, _) => {
                return Err(Error::new(
                    FailureKind::ImageNotFound,
                    format!("{image} is not on this node and its pull policy is never"),
                ));
            }
            (PullPolicy::Always | PullPolicy::Missing, _, Some(error)) => return Err(error),
            (PullPolicy::Always | PullPolicy::Missing, _, None) => {
                state.images.insert(image.to_owned());
            }
        }
        Ok(Image { digest: None })
    }

    async fn create(&self, _cluster: &str, instance: &DesiredInstance) -> Result<(), Error> {
        self.enter(OpKind::Create, &instance.id.to_string()).await?;
        let mut state = self.state();
        if state.things.contains_key(&instance.id) {
            return Ok(());
        }
        let image = instance.run.image.as_deref();
        if let Some(image) = image.or(instance.run.workload.image())
            && !state.images.contains(image)
        {
            return Err(Error::new(
                FailureKind::ImageNotFound,
                format!("no such image: {image}"),
            ));
        }
        let script = state
            .scripts
            .get(&instance.app)
            .cloned()
            .unwrap_or_else(|| Script::of(&instance.run.workload.env));
        state
            .things
            .insert(instance.id, Thing::new(instance, script));
        drop(state);
        self.hint(Hint::Instance(instance.id));
        Ok(())
    }

    async fn start(&self, id: InstanceId) -> Result<(), Error> {
        self.enter(OpKind::Start, &id.to_string()).await?;
        let (app, delay) = {
            let state = self.state();
            let thing = state.things.get(&id).ok_or_else(|| gone(id))?;
            if thing.is_running() {
                return Ok(());
            }
            if let Some(program) = &thing.no_program {
                return Err(Error::new(
                    FailureKind::Rejected,
                    format!("{program}: no such program"),
                ));
            }
            (thing.app.clone(), thing.script.start_delay)
        };
        tokio::time::sleep(delay).await;
        let (run, exit) = {
            let mut state = self.state();
            let script = state.scripts.get(&app).cloned();
            let thing = state.things.get_mut(&id).ok_or_else(|| gone(id))?;
            if let Some(script) = script {
                thing.script = script;
            }
            thing.start();
            (thing.starts, thing.script.exit)
        };
        match exit {
            Some((Duration::ZERO, code)) => {
                if let Some(thing) = self.state().things.get_mut(&id) {
                    thing.end(code, false);
                }
            }
            Some((after, code)) => self.schedule_exit(id, run, after, code),
            None => {}
        }
        self.hint(Hint::Instance(id));
        Ok(())
    }

    async fn stop(&self, id: InstanceId, grace: Duration) -> Result<(), Error> {
        self.enter(OpKind::Stop, &id.to_string()).await?;
        let wait = {
            let state = self.state();
            match state.things.get(&id) {
                Some(thing) if thing.is_running() => {
                    thing.script.stop_delay.map_or(grace, |d| d.min(grace))
                }
                Some(_) | None => return Ok(()),
            }
        };
        let killed = wait == grace;
        tokio::time::sleep(wait).await;
        if let Some(thing) = self.state().things.get_mut(&id) {
            thing.end(if killed { 137 } else { 143 }, false);
        }
        self.hint(Hint::Instance(id));
        Ok(())
    }

    async fn remove(&self, id: InstanceId) -> Result<(), Error> {
        self.enter(OpKind::Remove, &id.to_string()).await?;
        self.state().things.remove(&id);
        self.hint(Hint::Instance(id));
        Ok(())
    }

    async fn set_limits(&self, id: InstanceId, limits: Limits) -> Result<(), Error> {
        self.enter(OpKind::SetLimits, &id.to_string()).await?;
        let mut state = self.state();
        state.things.get_mut(&id).ok_or_else(|| gone(id))?.limits = limits;
        Ok(())
    }

    async fn exec(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, Error> {
        self.check_up()?;
        let script = {
            let state = self.state();
            let thing = state.things.get(&id).filter(|t| t.is_running());
            thing.ok_or_else(|| gone(id))?.script.clone()
        };
        script.exec(command, timeout).await
    }

    async fn exec_streamed(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
        said: mpsc::Sender<Said>,
    ) -> Result<i32, Error> {
        self.check_up()?;
        if let [word, out, err] = command
            && word == "both"
        {
            let pieces = [Said::Out(out.clone().into()), Said::Err(err.clone().into())];
            for piece in pieces {
                let _ = said.send(piece).await;
            }
            return Ok(0);
        }
        let ended = tokio::select! {
            ended = self.exec(id, command, timeout) => ended?,
            () = said.closed() => return Err(reader_left()),
        };
        // A reader that has left misses nothing.
        let _ = said.send(Said::Out(ended.output.into())).await;
        Ok(ended.code)
    }

    async fn logs(
        &self,
        id: InstanceId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        self.check_up()?;
        let mut lines = {
            let state = self.state();
            state.things.get(&id).ok_or_else(|| gone(id))?.log.clone()
        };
        let seen = lines.len();
        let tail = lines.split_off(seen.saturating_sub(query.tail));
        let past = futures_util::stream::iter(tail.into_iter().map(Ok));
        if !query.follow {
            return Ok(past.boxed());
        }
        // Follows by looking at the log whenever something happened to the instance.
        let fake = self.clone();
        let hints = self.watch();
        let rest =
            futures_util::stream::unfold((hints, seen, false), move |(mut hints, seen, ended)| {
                let fake = fake.clone();
                async move {
                    if ended {
                        return None;
                    }
                    loop {
                        let (new, running) = match fake.state().things.get(&id) {
                            Some(t) => (t.log[seen.min(t.log.len())..].to_vec(), t.is_running()),
                            None => (Vec::new(), false),
                        };
                        if !new.is_empty() || !running {
                            let next = seen + new.len();
                            let items = futures_util::stream::iter(new.into_iter().map(Ok));
                            return Some((items, (hints, next, !running)));
                        }
                        hints.next().await?;
                    }
                }
            });
        Ok(past.chain(rest.flatten()).boxed())
    }

    fn watch(&self) -> BoxStream<'static, Hint> {
        let receiver = self.inner.hints.subscribe();
        futures_util::stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(hint) => Some((hint, receiver)),
                Err(broadcast::error::RecvError::Lagged(_)) => Some((Hint::All, receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
        .boxed()
    }
}

/// Now, by the clock that tests can pause.
fn now() -> Instant {
    Instant::now()
}
