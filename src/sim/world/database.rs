//! Requests to the database, and what becomes of them.

use super::World;
use crate::model::{Change, Epoch, Generation};
use crate::sim::controller::{Answer, Ask, ControllerEvent, Fate, Request, Why};
use crate::sim::event::Event;
use crate::sim::rng::Moment;
use crate::sim::store::Refused;

impl World {
    pub(super) fn ask(&mut self, which: usize, life: u64, ask: Ask) {
        let is_commit = matches!(ask, Ask::Commit { .. });
        let fate = if !self.database_up || self.desks[which].cut {
            Fate::Unavailable
        } else if self.database.chance(self.flaky) {
            match self.database.below(4) {
                0 if is_commit => Fate::AnswerLost,
                1 if is_commit => Fate::Late,
                2 if is_commit => Fate::Lost,
                _ => Fate::Unavailable,
            }
        } else {
            Fate::Fine
        };
        let (ms, told) = match fate {
            Fate::Fine => (self.database.between(1, 25), None),
            Fate::AnswerLost => (
                self.database.between(1, 25),
                Some((Answer::Unknown, self.database.between(26, 3_000))),
            ),
            Fate::Late => (
                self.database.between(200, 4_000),
                Some((Answer::Unknown, self.database.between(26, 1_000))),
            ),
            Fate::Lost => (0, Some((Answer::Unknown, self.database.between(26, 3_000)))),
            Fate::Unavailable => {
                let answer = match ask {
                    Ask::Acquire { .. } | Ask::Renew { .. } => Answer::NoLease,
                    Ask::Load | Ask::Commit { .. } => Answer::Unavailable,
                };
                (0, Some((answer, self.database.between(1, 1_500))))
            }
        };
        if fate != Fate::Fine {
            self.log.reach(match fate {
                Fate::AnswerLost => "commit done, answer lost",
                Fate::Late => "commit done late, answer lost",
                Fate::Lost => "commit lost, nobody knows",
                Fate::Fine | Fate::Unavailable => "database unavailable",
            });
        }
        if let Some((answer, ms)) = told {
            self.put(
                self.now.plus(ms),
                Event::Controller(which, life, Box::new(ControllerEvent::Answer(answer))),
            );
        }
        if matches!(fate, Fate::Fine | Fate::AnswerLost | Fate::Late) {
            let request = Request {
                from: which,
                life,
                ask,
                asked: self.now,
                fate,
            };
            self.put(self.now.plus(ms), Event::Store(Box::new(request)));
        }
    }

    pub fn database_now(&self) -> Moment {
        Moment((self.now.0 as i64 + self.database_ms).max(0) as u64)
    }

    pub(super) fn store_event(&mut self, request: Request) {
        let db = self.database_now();
        let ttl = std::time::Duration::from_secs(10);
        let holder = (request.from as u64) << 32 | request.life;
        let answer = match request.ask {
            Ask::Acquire { asked } => {
                let lease = self.store.acquire(holder, ttl, db);
                if let Some(lease) = lease {
                    let (from, epoch) = (request.from, lease.epoch.0);
                    self.log
                        .line(self.now, || format!("c{from} leads, epoch {epoch}"));
                    self.log.reach("leadership");
                }
                Answer::Acquired(lease, asked)
            }
            Ask::Renew { epoch, asked } => Answer::Renewed(self.store.renew(epoch, ttl, db), asked),
            Ask::Load => Answer::Loaded(Box::new(self.store.snapshot.clone())),
            Ask::Commit {
                epoch,
                base,
                changes,
                why,
            } => {
                let result = self.commit(request.from, request.asked, epoch, base, &changes, why);
                Answer::Committed(result)
            }
        };
        if request.fate == Fate::Fine {
            let ms = self.database.between(1, 25);
            self.put(
                self.now.plus(ms),
                Event::Controller(
                    request.from,
                    request.life,
                    Box::new(ControllerEvent::Answer(answer)),
                ),
            );
        }
    }

    pub(super) fn commit(
        &mut self,
        from: usize,
        decided: Moment,
        epoch: Epoch,
        base: Generation,
        changes: &[Change],
        why: Why,
    ) -> Result<Generation, Refused> {
        let now = self.now;
        let led = self.store.holder.is_some().then_some(self.store.epoch);
        let current = self.store.snapshot.generation;
        let seen = self.watch.look(&self.store.snapshot, changes);
        let result = self.store.commit(epoch, base, changes);
        if result.is_err() {
            self.log.reach("commit refused by its guards");
        }
        if result.is_ok() {
            if led != Some(epoch) || base != current {
                self.watch.break_rule(
                    now,
                    "fencing",
                    format!("the store took a commit of epoch {epoch:?} on {base:?}"),
                );
            }
            let since = self.desks[from]
                .controller
                .as_ref()
                .and_then(|c| c.leads_since())
                .unwrap_or(Moment(0));
            let moves = changes.iter().filter(|c| is_move(c)).count();
            self.log.line(now, || {
                let counts = crate::sim::log::count_changes(changes);
                format!("c{from} commits {} {why:?}: {counts}", current.0 + 1)
            });
            if moves > 0 {
                self.moved_at = now;
            }
            let truth = crate::sim::watch::Truth {
                places: &self.places,
                history: &self.history,
                since,
                decided,
            };
            self.watch
                .committed(now, seen, &self.store.snapshot, changes, why, &truth);
            self.log.state(&self.store.snapshot, changes);
        }
        result
    }
}

/// Whether a change decides or does something, and is not only news.
fn is_move(change: &Change) -> bool {
    !matches!(
        change,
        Change::Observe { .. }
            | Change::PutSource(_)
            | Change::SetImage { .. }
            | Change::SetLiveness { .. }
            | Change::PutNode(_)
    )
}
