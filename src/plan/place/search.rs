//! Finds the best node without looking at all of them.
//!
//! Instances that ask for the same (a [`Shape`]: requests, ports, constraints,
//! strategy) rank the nodes alike, but for where their own app already runs. So
//! there is one tournament per shape, in which the nodes that hold instances of the
//! app at hand are ranked for that app, and put back when another one comes.
//! What changes on a node is noted once, in order; a tournament takes in what it
//! has not seen when it is asked next.
//!
//! Nodes that share the values of the grouping constraints (`unique`, `maxPer`) form a
//! group with a tournament of its own: one whose value is used up leaves as a whole.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::Request;
use super::overlay::Held;
use super::shape::{Eligible, Row, Shape, row_of};
use super::tournament::{NONE, Tournament};
use crate::model::spec::AppSpec;
use crate::model::{NodeName, Snapshot};

/// Tournaments that are kept: each takes 32 bytes per node.
const SHAPES: usize = 32;

#[derive(Debug)]
pub(super) struct Search {
    ideal: bool,
    ground: Ground,
    eligible: Vec<Rc<Eligible>>,
    indexes: Vec<Index>,
    /// Counts the searches.
    turn: u64,
}

/// What the nodes are and hold.
#[derive(Debug)]
struct Ground {
    /// By name: the order of rows is the order of names.
    rows: Vec<Row>,
    /// Rows that changed, oldest first.
    log: Vec<u32>,
    /// The row that was chosen last: it is asked for by name next.
    last: usize,
}

#[derive(Debug)]
struct Index {
    shape: Shape,
    eligible: Rc<Eligible>,
    groups: Vec<Tournament>,
    /// The best of each group.
    heads: Tournament,
    /// How much of the log it has seen.
    seen: usize,
    session: Session,
    /// The turn in which it was used last.
    used: u64,
}

/// The app for which the index ranks its nodes.
#[derive(Debug, Default)]
struct Session {
    siblings: u64,
    /// How many of those added since it has seen.
    seen: usize,
    ranks: BTreeMap<u32, (u32, u32)>,
    /// Per limit: value → instances of the app.
    used: Vec<BTreeMap<u32, u32>>,
    /// Groups whose value is used up: they have no head.
    full: BTreeSet<u32>,
}

impl Search {
    pub fn new(snapshot: &Snapshot, ideal: bool, held: impl Fn(&NodeName) -> Held) -> Search {
        let row = |node: &crate::model::Node| Row {
            name: node.name.clone(),
            capacity: node.facts.capacity,
            held: held(&node.name),
        };
        Search {
            ideal,
            ground: Ground {
                rows: snapshot.nodes.values().map(row).collect(),
                log: Vec::new(),
                last: 0,
            },
            eligible: Vec::new(),
            indexes: Vec::new(),
            turn: 0,
        }
    }

    pub fn row(&self, node: &NodeName) -> Option<usize> {
        self.ground.row(node)
    }

    pub fn held(&self, node: &NodeName) -> Option<&Held> {
        let row = self.ground.row(node)?;
        Some(&self.ground.rows[row].held)
    }

    /// To be changed.
    pub fn held_mut(&mut self, row: usize) -> &mut Held {
        self.ground.log.push(row as u32);
        &mut self.ground.rows[row].held
    }

    pub fn best(&mut self, snapshot: &Snapshot, request: &Request<'_>) -> Option<NodeName> {
        let index = self.index_for(snapshot, request);
        self.turn += 1;
        let index = &mut self.indexes[index];
        index.used = self.turn;
        index.catch_up(&self.ground, request);
        let row = index.pick()? as usize;
        self.ground.last = row;
        Some(self.ground.rows[row].name.clone())
    }

    fn index_for(&mut self, snapshot: &Snapshot, request: &Request<'_>) -> usize {
        let spec = request.spec;
        let known = self
            .indexes
            .iter()
            .position(|index| index.shape.is_of(spec, request.app) && index.eligible.is_of(spec));
        if let Some(known) = known {
            return known;
        }
        if self.indexes.len() == SHAPES {
            let used = self.indexes.iter().map(|index| index.used);
            let oldest = used.enumerate().min_by_key(|(_, used)| *used);
            self.indexes
                .swap_remove(oldest.map_or(0, |(place, _)| place));
        }
        let eligible = self.eligible_for(snapshot, spec);
        let shape = Shape::of(spec, request.app);
        self.indexes.push(Index::new(shape, eligible, &self.ground));
        self.indexes.len() - 1
    }

    fn eligible_for(&mut self, snapshot: &Snapshot, spec: &AppSpec) -> Rc<Eligible> {
        if let Some(known) = self.eligible.iter().find(|e| e.is_of(spec)) {
            return Rc::clone(known);
        }
        if self.eligible.len() == SHAPES {
            self.eligible.remove(0);
        }
        let made = Rc::new(Eligible::of(snapshot, spec, self.ideal));
        self.eligible.push(Rc::clone(&made));
        made
    }
}

impl Ground {
    fn row(&self, node: &NodeName) -> Option<usize> {
        if self
            .rows
            .get(self.last)
            .is_some_and(|row| row.name == *node)
        {
            return Some(self.last);
        }
        self.rows.binary_search_by(|row| row.name.cmp(node)).ok()
    }
}

impl Index {
    fn new(shape: Shape, eligible: Rc<Eligible>, ground: &Ground) -> Index {
        let mut index = Index {
            shape,
            eligible,
            groups: Vec::new(),
            heads: Tournament::new(std::iter::empty()),
            seen: 0,
            session: Session::default(),
            used: 0,
        };
        index.fill(ground);
        index
    }

    /// From the rows as they are.
    fn fill(&mut self, ground: &Ground) {
        let (shape, ranks) = (&self.shape, &self.session.ranks);
        let key = |number: &u32| {
            let ranks = ranks.get(number).copied().unwrap_or_default();
            shape.key(*number, &ground.rows[*number as usize], ranks)
        };
        let groups = &self.eligible.groups;
        self.groups = groups
            .iter()
            .map(|rows| Tournament::new(rows.iter().map(key)))
            .collect();
        self.heads = Tournament::new(self.groups.iter().map(Tournament::least));
        for group in &self.session.full {
            self.heads.set(*group as usize, NONE);
        }
        self.seen = ground.log.len();
    }

    /// Takes in what changed on the nodes, and of the app's instances.
    fn catch_up(&mut self, ground: &Ground, request: &Request<'_>) {
        let siblings = request.siblings;
        let mut stale: Vec<u32> = Vec::new();
        if self.session.siblings == siblings.id {
            for node in &siblings.added[self.session.seen..] {
                if let Some(row) = ground.row(node) {
                    self.session.ranks.insert(row as u32, siblings.on(node));
                    self.session.use_up(&self.eligible, row, 1);
                    stale.push(row as u32);
                }
            }
        } else {
            stale.extend(self.session.ranks.keys());
            for group in std::mem::take(&mut self.session.full) {
                let least = self.groups[group as usize].least();
                self.heads.set(group as usize, least);
            }
            self.session = Session {
                siblings: siblings.id,
                used: vec![BTreeMap::new(); self.eligible.limits.len()],
                ..Session::default()
            };
            for (node, ranks) in &siblings.on {
                if let Some(row) = ground.row(node) {
                    self.session.ranks.insert(row as u32, *ranks);
                    self.session.use_up(&self.eligible, row, ranks.1);
                    stale.push(row as u32);
                }
            }
        }
        self.session.seen = siblings.added.len();
        if ground.log.len() - self.seen > ground.rows.len() {
            self.fill(ground);
            return;
        }
        stale.extend(&ground.log[self.seen..]);
        self.seen = ground.log.len();
        for row in stale {
            self.rank(ground, row);
        }
    }

    fn rank(&mut self, ground: &Ground, number: u32) {
        let Some((group, place)) = self.eligible.places[number as usize] else {
            return;
        };
        let ranks = self.session.ranks.get(&number).copied();
        let row = &ground.rows[number as usize];
        let key = self.shape.key(number, row, ranks.unwrap_or_default());
        let tournament = &mut self.groups[group as usize];
        if tournament.set(place as usize, key) && !self.session.full.contains(&group) {
            let least = tournament.least();
            self.heads.set(group as usize, least);
        }
    }

    fn pick(&mut self) -> Option<u32> {
        loop {
            let best = self.heads.least();
            if best == NONE {
                return None;
            }
            let row = row_of(best);
            let (group, _) = self.eligible.places[row as usize]?;
            if !self.session.is_used_up(&self.eligible, row as usize) {
                return Some(row);
            }
            // Until the app's instances are counted anew: more only come.
            self.heads.set(group as usize, NONE);
            self.session.full.insert(group);
        }
    }
}

impl Session {
    fn use_up(&mut self, eligible: &Eligible, row: usize, instances: u32) {
        for (limit, used) in eligible.limits.iter().zip(&mut self.used) {
            if let Some(value) = limit.values[row] {
                *used.entry(value).or_default() += instances;
            }
        }
    }

    fn is_used_up(&self, eligible: &Eligible, row: usize) -> bool {
        let mut limits = eligible.limits.iter().zip(&self.used);
        limits.any(|(limit, used)| {
            let used = limit.values[row].and_then(|value| used.get(&value));
            used.copied().unwrap_or(0) >= limit.max
        })
    }
}
