//! The repository: what developers push into it, and what a fetch finds there.

use std::sync::Arc;

use super::World;
use crate::model::{AppKey, AppSpec};
use crate::sim::apps::{self, Doc, Tree};
use crate::sim::controller::{ControllerEvent, Head};
use crate::sim::rng::Rng;

impl World {
    pub(super) fn commit_tree(&mut self, seed: u64) {
        let mut rng = Rng::new(seed, 5);
        let version = self.history.len() as u64 + 1;
        let mut tree = Tree::clone(&self.history[self.history.len() - 1]);
        for _ in 0..rng.between(1, 3) {
            let keys: Vec<AppKey> = tree.keys().cloned().collect();
            let Some(key) = rng.pick(&keys).cloned() else {
                continue;
            };
            match rng.below(16) {
                0 => {
                    tree.remove(&key);
                }
                1 => {
                    tree.insert(key, Doc::Invalid);
                }
                2 => {
                    tree.insert(key, Doc::Unreadable);
                }
                3 => {
                    let n = 100 + rng.below(20);
                    if let Ok(app) = format!("shop/app{n}").parse::<AppKey>() {
                        let spec = apps::new_spec(&app, n, &mut rng);
                        tree.insert(app, Doc::Valid(Arc::new(spec)));
                    }
                }
                _ => {
                    let old = match &tree[&key] {
                        Doc::Valid(spec) => Arc::clone(spec),
                        // Mended: as it was before it broke.
                        Doc::Invalid | Doc::Unreadable => match self.last_valid(&key) {
                            Some(spec) => spec,
                            None => continue,
                        },
                    };
                    let next = apps::next_spec(&key, &old, version, &mut rng);
                    tree.insert(key, Doc::Valid(Arc::new(next)));
                }
            }
        }
        self.pushed(tree);
    }

    /// One of those that the repository began with, and not of the smallest: their rollouts take
    /// long enough for something to come in between.
    pub(super) fn first_app(&self, which: usize) -> Option<AppKey> {
        let large = |doc: &Doc| matches!(doc, Doc::Valid(spec) if spec.replicas > 2);
        let apps = self.history[0].iter().filter(|(_, doc)| large(doc));
        let apps: Vec<&AppKey> = apps.map(|(app, _)| app).collect();
        apps.get(which % apps.len().max(1)).copied().cloned()
    }

    /// The next version of one of the first apps, made of the last that could be read.
    pub(super) fn commit_version(
        &mut self,
        which: usize,
        next: impl FnOnce(&AppKey, &AppSpec, u64) -> AppSpec,
    ) {
        let Some(app) = self.first_app(which) else {
            return;
        };
        let mut tree = Tree::clone(&self.history[self.history.len() - 1]);
        let (true, Some(old)) = (tree.contains_key(&app), self.last_valid(&app)) else {
            return;
        };
        let version = self.history.len() as u64 + 1;
        let next = next(&app, &old, version);
        tree.insert(app, Doc::Valid(Arc::new(next)));
        self.pushed(tree);
    }

    fn last_valid(&self, key: &AppKey) -> Option<Arc<AppSpec>> {
        self.history
            .iter()
            .rev()
            .find_map(|tree| match tree.get(key) {
                Some(Doc::Valid(spec)) => Some(Arc::clone(spec)),
                Some(Doc::Invalid | Doc::Unreadable) | None => None,
            })
    }

    pub(super) fn head(&self) -> Head {
        let number = self.history.len() - 1;
        if self.git_empty {
            // Another commit, with nothing in it.
            return Head {
                number: number + 1_000_000,
                tree: Arc::default(),
            };
        }
        Head {
            number,
            tree: Arc::clone(&self.history[number]),
        }
    }

    pub fn pushed(&mut self, tree: Tree) {
        self.history.push(Arc::new(tree));
        for which in 0..self.desks.len() {
            // Hooks get lost: then a poll finds it.
            if self.misc.chance(700) {
                let ms = self.misc.between(20, 2_000);
                self.tell_controller(which, ControllerEvent::Pushed, ms);
            }
        }
    }
}
