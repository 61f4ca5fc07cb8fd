//! What becomes of leases and commits, step by step: one list for every store, so that the
//! simulator's (`src/sim/store.rs`) cannot drift from the real one on Postgres. Both play all of
//! it and have no expectations of their own.
//!
//! Not in it, since the simulator does not have it: events, the outbox.

mod lists;

use evenkeel::model::*;

use super::builders::*;

/// How long a lease lasts from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// Past the end of the case.
    Long,
    /// It is over at once.
    Over,
    /// For longer than any is given: as one from before the database's clock was put back.
    Ages,
}

/// What befalls a request on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Fine,
    /// It is done, and nobody hears so.
    AnswerLost,
    /// It is never done, and nobody hears so.
    Lost,
}

#[derive(Clone, Debug)]
pub enum Ask {
    Acquire {
        who: &'static str,
        lasts: Lasts,
    },
    Renew {
        epoch: i64,
        lasts: Lasts,
    },
    Release {
        epoch: i64,
    },
    /// It lets go for one that is later than `seen`, which a node has obeyed.
    Outrun {
        epoch: i64,
        seen: i64,
    },
    Commit {
        epoch: i64,
        base: i64,
        changes: Vec<Change>,
        way: Way,
    },
}

/// What the asker is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It leads in this epoch.
    Leads(i64),
    /// Somebody else does.
    Follows,
    /// A lease was given up.
    Released,
    /// The state has this generation.
    Written(i64),
    StaleEpoch {
        current: i64,
    },
    StaleGeneration {
        current: i64,
    },
    /// A change names what is not there, or breaks a rule between records.
    DoesNotFit,
    Unknown,
}

pub struct Case {
    pub name: &'static str,
    pub steps: Vec<(Ask, Told)>,
}

/// Holds a store to a case.
pub struct Judge {
    name: &'static str,
    step: usize,
    expected: Snapshot,
}

impl Judge {
    pub fn of(case: &Case) -> Judge {
        Judge {
            name: case.name,
            step: 0,
            expected: Snapshot::default(),
        }
    }

    /// `loaded` is the whole state after the step.
    pub fn judge(&mut self, (ask, expected): &(Ask, Told), told: Told, loaded: &Snapshot) {
        self.step += 1;
        let place = format!("\"{}\", step {}: {ask:?}", self.name, self.step);
        assert_eq!(told, *expected, "{place}");
        if let Ask::Commit { changes, way, .. } = ask {
            let written = match told {
                Told::Written(_) => true,
                Told::Unknown => *way == Way::AnswerLost,
                Told::Leads(_)
                | Told::Follows
                | Told::Released
                | Told::StaleEpoch { .. }
                | Told::StaleGeneration { .. }
                | Told::DoesNotFit => false,
            };
            if written {
                self.expected.apply_all(changes).unwrap();
                self.expected.generation = self.expected.generation.next();
            }
        }
        assert_eq!(loaded.generation, self.expected.generation, "{place}");
        assert_eq!(loaded.sources, self.expected.sources, "{place}");
        assert_eq!(loaded.nodes, self.expected.nodes, "{place}");
        assert_eq!(loaded.apps, self.expected.apps, "{place}");
    }
}

fn acquire(who: &'static str, lasts: Lasts) -> Ask {
    Ask::Acquire { who, lasts }
}

fn renew(epoch: i64) -> Ask {
    Ask::Renew {
        epoch,
        lasts: Lasts::Long,
    }
}

fn outrun(epoch: i64, seen: i64) -> Ask {
    Ask::Outrun { epoch, seen }
}

fn commit(epoch: i64, base: i64, changes: Vec<Change>) -> Ask {
    let way = Way::Fine;
    Ask::Commit {
        epoch,
        base,
        changes,
        way,
    }
}

fn commit_by(way: Way, epoch: i64, base: i64, changes: Vec<Change>) -> Ask {
    Ask::Commit {
        epoch,
        base,
        changes,
        way,
    }
}

/// A source, a node, and an app with a release (1), a rollout to it (3) and an instance (4) of it.
pub fn first_sync() -> Vec<Change> {
    let release = release(0, 1, 1);
    vec![
        Change::PutSource(Box::new(source(0))),
        Change::PutNode(Box::new(node(0))),
        declare(0, 0, 1),
        Change::AddRelease(release.clone()),
        Change::SetTarget {
            app: app(0),
            release: release.id,
        },
        Change::PutRollout(Box::new(rollout(0, 3, release.id, RolloutPhase::Preparing))),
        Change::AddInstance(Box::new(instance(4, &release, 0))),
    ]
}

fn put_source(n: usize) -> Vec<Change> {
    vec![Change::PutSource(Box::new(source(n)))]
}

pub fn cases() -> Vec<Case> {
    let mut cases = leases();
    cases.extend(guards());
    cases.extend(answers());
    cases.extend(lists::lists());
    cases
}

fn leases() -> Vec<Case> {
    use Lasts::*;
    use Told::*;
    vec![
        Case {
            name: "one leads until it lets go",
            steps: vec![
                (acquire("a", Long), Leads(1)),
                (acquire("b", Long), Follows),
                (renew(1), Leads(1)),
                (Ask::Release { epoch: 1 }, Released),
                (acquire("b", Long), Leads(2)),
                (acquire("a", Long), Follows),
                (renew(1), StaleEpoch { current: 2 }),
                (Ask::Release { epoch: 1 }, StaleEpoch { current: 2 }),
                (renew(2), Leads(2)),
            ],
        },
        Case {
            name: "the same holder begins another epoch",
            steps: vec![
                (acquire("a", Long), Leads(1)),
                (acquire("a", Long), Leads(2)),
                (commit(1, 0, first_sync()), StaleEpoch { current: 2 }),
                (renew(1), StaleEpoch { current: 2 }),
                (commit(2, 0, first_sync()), Written(1)),
            ],
        },
        Case {
            name: "an expired lease is taken over",
            steps: vec![
                (acquire("a", Over), Leads(1)),
                (acquire("b", Long), Leads(2)),
                (commit(1, 0, first_sync()), StaleEpoch { current: 2 }),
                (commit(2, 0, first_sync()), Written(1)),
            ],
        },
        Case {
            name: "an expired lease that nobody took is still held",
            steps: vec![
                (acquire("a", Over), Leads(1)),
                (commit(1, 0, first_sync()), Written(1)),
                (renew(1), Leads(1)),
                (acquire("b", Long), Follows),
                (
                    Ask::Renew {
                        epoch: 1,
                        lasts: Over,
                    },
                    Leads(1),
                ),
                (acquire("b", Long), Leads(2)),
            ],
        },
        Case {
            name: "a lease from before the clock was put back is taken over",
            steps: vec![
                (acquire("a", Ages), Leads(1)),
                (acquire("b", Long), Leads(2)),
                (acquire("a", Long), Follows),
                (commit(1, 0, first_sync()), StaleEpoch { current: 2 }),
                (commit(2, 0, first_sync()), Written(1)),
            ],
        },
        Case {
            name: "the next epoch is later than one that a node has seen",
            steps: vec![
                (acquire("a", Long), Leads(1)),
                (commit(1, 0, first_sync()), Written(1)),
                (outrun(1, 7), Released),
                // Decided on what it had loaded when it still led.
                (commit(1, 1, put_source(1)), StaleEpoch { current: 7 }),
                (commit(7, 1, put_source(1)), StaleEpoch { current: 7 }),
                (renew(7), StaleEpoch { current: 7 }),
                (outrun(7, 9), StaleEpoch { current: 7 }),
                (acquire("b", Long), Leads(8)),
                (outrun(1, 9), StaleEpoch { current: 8 }),
                (commit(8, 1, put_source(1)), Written(2)),
                (outrun(8, 3), Released),
                (acquire("a", Long), Leads(9)),
            ],
        },
        Case {
            name: "nobody leads",
            steps: vec![
                (renew(0), StaleEpoch { current: 0 }),
                (commit(0, 0, put_source(0)), StaleEpoch { current: 0 }),
                (acquire("a", Long), Leads(1)),
                (Ask::Release { epoch: 1 }, Released),
                (Ask::Release { epoch: 1 }, StaleEpoch { current: 1 }),
                (renew(1), StaleEpoch { current: 1 }),
                (commit(1, 0, put_source(0)), StaleEpoch { current: 1 }),
            ],
        },
    ]
}

fn guards() -> Vec<Case> {
    use Lasts::*;
    use Told::*;
    vec![
        Case {
            name: "a commit is decided on the latest state",
            steps: vec![
                (acquire("a", Long), Leads(1)),
                (commit(1, 0, first_sync()), Written(1)),
                (commit(1, 0, put_source(1)), StaleGeneration { current: 1 }),
                (commit(1, 2, put_source(1)), StaleGeneration { current: 1 }),
                (commit(1, 1, put_source(1)), Written(2)),
                (commit(1, 2, Vec::new()), Written(3)),
            ],
        },
        Case {
            name: "the epoch is looked at before the state",
            steps: vec![
                (acquire("a", Over), Leads(1)),
                (commit(1, 0, first_sync()), Written(1)),
                (acquire("b", Long), Leads(2)),
                (commit(1, 0, put_source(1)), StaleEpoch { current: 2 }),
                (commit(1, 1, put_source(1)), StaleEpoch { current: 2 }),
                (commit(3, 1, put_source(1)), StaleEpoch { current: 2 }),
                (
                    commit(1, 0, vec![Change::RemoveApp { app: app(9) }]),
                    StaleEpoch { current: 2 },
                ),
                (
                    commit(2, 0, vec![Change::RemoveApp { app: app(9) }]),
                    StaleGeneration { current: 1 },
                ),
                (commit(2, 1, put_source(1)), Written(2)),
            ],
        },
    ]
}

fn answers() -> Vec<Case> {
    use Lasts::*;
    use Told::*;
    vec![
        Case {
            name: "done, and the answer is lost",
            steps: vec![
                (acquire("a", Long), Leads(1)),
                (commit_by(Way::AnswerLost, 1, 0, first_sync()), Unknown),
                (commit(1, 0, first_sync()), StaleGeneration { current: 1 }),
                (commit(1, 1, put_source(1)), Written(2)),
            ],
        },
        Case {
            name: "done, the answer is lost, and another leads",
            steps: vec![
                (acquire("a", Over), Leads(1)),
                (commit_by(Way::AnswerLost, 1, 0, first_sync()), Unknown),
                (acquire("b", Long), Leads(2)),
                (commit(1, 1, put_source(1)), StaleEpoch { current: 2 }),
                (commit(2, 1, put_source(1)), Written(2)),
            ],
        },
        Case {
            name: "never done, and nobody knows",
            steps: vec![
                (acquire("a", Long), Leads(1)),
                (commit_by(Way::Lost, 1, 0, first_sync()), Unknown),
                (commit(1, 0, first_sync()), Written(1)),
            ],
        },
    ]
}
