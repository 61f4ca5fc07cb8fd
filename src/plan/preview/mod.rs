//! What a tree would do to the cluster: the same sync and the same planner that carry
//! commits out, run on a copy.
//!
//! Two steps, so that the cluster's image is held for a moment only: [`outline`] decides what
//! the tree declares anew and takes out of the snapshot what that concerns; [`preview`] runs
//! the planner ahead on that excerpt, for all apps together, and says per app what would
//! come of it. Both are pure. The cost follows the apps that would change, not the cluster.
//!
//! Deliberately absent: reading trees (`manifest`, `git`), and words for people and forges
//! (`cli`, `controller::pulls`).

mod ahead;
mod downtime;
mod fields;
pub mod mask;
mod outline;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use ahead::{Course, End, run_ahead};
pub use outline::{Outline, outline};

use crate::model::preview::{
    FieldPreview, Fit, PLACES_TOLD, PROBLEMS_TOLD, Place, PreviewCounts, PreviewVerdict, Replicas,
};
use crate::model::{
    App, AppKey, AppPreview, AppSpec, Catalog, Change, CommitId, Preview, PreviewAction, Snapshot,
    SourceSpec, Timestamp, Verdict,
};
use crate::plan::Settings;

#[derive(Clone, Copy, Debug)]
pub struct PreviewInput<'a> {
    pub now: Timestamp,
    pub snapshot: &'a Snapshot,
    /// Settings of the source; one that is not there yet is looked at as if it were just added.
    pub source: &'a SourceSpec,
    /// `None`: files that are in no commit.
    pub commit: Option<&'a CommitId>,
    /// All that the tree declares.
    pub catalog: &'a Catalog,
    pub settings: &'a Settings,
}

/// What differs between two specs, field by field, with nothing secret in it.
pub fn compare(old: Option<&AppSpec>, new: &AppSpec) -> Vec<FieldPreview> {
    fields::fields(old, new)
}

/// The whole look: [`outline`] and [`Outline::preview`].
pub fn preview(input: &PreviewInput<'_>) -> Preview {
    outline(input).preview()
}

impl Outline {
    /// Runs the planner ahead and says what would come of it.
    pub fn preview(self) -> Preview {
        let touched = self.touched();
        let mut after = self.declared(None);
        let courses = run_ahead(&mut after, &touched, self.now, &self.settings);
        let mut apps = Vec::new();
        let mut counts = PreviewCounts {
            unchanged: self.unchanged,
            ..PreviewCounts::default()
        };
        for (key, course) in &courses {
            match self.app(key, course, courses.len() > 1) {
                Some(app) => apps.push(app),
                None => counts.unchanged += 1,
            }
        }
        apps.extend(self.kept());
        apps.sort_by(|a, b| a.app.cmp(&b.app));
        for app in &apps {
            *count_of(&mut counts, app.action) += 1;
        }
        let mut brakes: Vec<String> = self.held.iter().map(|held| held.reason.clone()).collect();
        brakes.extend(self.lost.iter().cloned());
        let verdict = self.verdict(&apps);
        let problem_count = self.problems.len();
        let mut problems = self.problems;
        problems.truncate(PROBLEMS_TOLD);
        let mut preview = Preview {
            source: self.source,
            commit: self.commit,
            verdict,
            summary: String::new(),
            counts,
            apps,
            brakes,
            problems,
            problem_count,
            notes: self.notes,
        };
        preview.summary = fields::summary(&preview);
        preview
    }

    fn verdict(&self, apps: &[AppPreview]) -> PreviewVerdict {
        let stuck =
            |app: &AppPreview| app.fit.is_infeasible() || app.action == PreviewAction::Quarantined;
        if !self.problems.is_empty() || self.lost.is_some() || apps.iter().any(stuck) {
            return PreviewVerdict::Blocked;
        }
        let held = apps.iter().any(|app| app.action == PreviewAction::Held);
        match (held, apps.is_empty()) {
            (true, _) => PreviewVerdict::Held,
            (false, false) => PreviewVerdict::Changes,
            (false, true) => PreviewVerdict::Unchanged,
        }
    }

    /// One app whose declaration changes; `None`: only its place in the repository does.
    fn app(&self, key: &AppKey, course: &Course, with_others: bool) -> Option<AppPreview> {
        let before = self.snapshot.apps.get(key);
        let declared = self
            .decision
            .changes
            .iter()
            .find_map(|change| match change {
                Change::Declare {
                    app,
                    path,
                    declared,
                    ..
                } if app == key => Some((path, declared)),
                _ => None,
            });
        let Some((path, declared)) = declared else {
            return Some(self.deleted(key, before?, course));
        };
        let old = before.and_then(runs_or_declares);
        let fields = fields::fields(old, &declared.spec);
        let rejected = before.and_then(|app| app.quarantine.get(&declared.digest));
        let suspended = before.and_then(|app| app.suspended.as_ref());
        let acts = course.stops > 0 || !course.places.is_empty();
        let (action, reason) = match (old, rejected, suspended) {
            (_, Some(rejection), _) => (
                PreviewAction::Quarantined,
                Some(format!(
                    "this version was rejected (commit {}): {}. It is not tried again until the \
                     spec changes or `evenkeel release {key}` is run",
                    rejection.commit.short(),
                    rejection.reason
                )),
            ),
            (_, None, Some(suspension)) => (
                PreviewAction::Held,
                Some(format!(
                    "suspended by {}: not rolled out before `evenkeel resume {key}`",
                    suspension.by
                )),
            ),
            (None, None, None) => (PreviewAction::Create, None),
            (Some(old), None, None) if old.workload != declared.spec.workload => {
                (PreviewAction::Replace, None)
            }
            (Some(_), None, None) if fields.is_empty() && !acts => return None,
            (Some(_), None, None) => (PreviewAction::InPlace, None),
        };
        let stays = rejected.is_some() || suspended.is_some();
        let fit = if stays {
            Fit::NothingToDo
        } else {
            self.fit(key, course, with_others)
        };
        let mut preview = blank(key, action, path.clone(), reason);
        preview.replicas = Replicas {
            before: old.map_or(0, |spec| spec.replicas),
            after: declared.spec.replicas,
            serving: course.served,
        };
        preview.fields = fields;
        fill(&mut preview, course);
        preview.downtime = downtime::of(course, old, &declared.spec, &fit);
        preview.fit = fit;
        Some(preview)
    }

    fn deleted(&self, key: &AppKey, app: &App, course: &Course) -> AppPreview {
        let mut preview = blank(key, PreviewAction::Delete, app.path.clone(), None);
        preview.replicas = Replicas {
            before: runs_or_declares(app).map_or(0, |spec| spec.replicas),
            after: 0,
            serving: course.served,
        };
        fill(&mut preview, course);
        preview.fit = self.fit(key, course, false);
        preview
    }

    fn fit(&self, key: &AppKey, course: &Course, with_others: bool) -> Fit {
        let never = |reason: String| {
            let fits_alone = with_others && self.fits_alone(key);
            Fit::Never { reason, fits_alone }
        };
        match &course.end {
            End::Reached if course.places.is_empty() && course.stops == 0 => Fit::NothingToDo,
            End::Reached => Fit::ToItsEnd,
            End::Refused(rejection) if rejection.verdict == Verdict::Infeasible => {
                never(rejection.reason.clone())
            }
            End::Refused(rejection) => Fit::Waits {
                what: rejection.reason.clone(),
            },
            End::NoRoom(funnel) if funnel.considered == 0 => Fit::Waits {
                what: funnel.to_string(),
            },
            End::NoRoom(funnel) => never(format!(
                "{} of {} new instances find a node, the next one does not: {funnel}",
                course.places.len(),
                course.places.len() + 1,
            )),
            End::Waits(what) => Fit::Waits { what: what.clone() },
        }
    }

    /// Whether the app would come to its end if the commit changed nothing else.
    fn fits_alone(&self, key: &AppKey) -> bool {
        let mut after = self.declared(Some(key));
        let only = BTreeSet::from([key.clone()]);
        let courses = run_ahead(&mut after, &only, self.now, &self.settings);
        courses.values().all(|course| course.end == End::Reached)
    }

    /// Apps that stay as they are although the tree says otherwise.
    fn kept(&self) -> Vec<AppPreview> {
        let mut kept = Vec::new();
        for (key, (path, problems)) in &self.invalid {
            let first = problems.first().map(ToString::to_string);
            let there = self.snapshot.apps.contains_key(key);
            let stays = if there {
                "it stays as it is"
            } else {
                "it is not created"
            };
            let reason = first.map_or_else(|| stays.to_owned(), |why| format!("{stays}: {why}"));
            let action = PreviewAction::Invalid;
            kept.push(blank(key, action, path.clone(), Some(reason)));
        }
        for (key, (path, other)) in &self.foreign {
            let reason = format!("source {other} declares it already; nothing is changed here");
            let action = PreviewAction::Foreign;
            kept.push(blank(key, action, path.clone(), Some(reason)));
        }
        for (key, path) in self.held.iter().flat_map(|held| &held.deletions) {
            let reason = format!(
                "its deletion waits for `evenkeel source approve {}`",
                self.source
            );
            let action = PreviewAction::Held;
            kept.push(blank(key, action, path.clone(), Some(reason)));
        }
        kept
    }
}

/// What its instances are made from now, or will be.
fn runs_or_declares(app: &App) -> Option<&crate::model::AppSpec> {
    let target = app.target_release().map(|release| &*release.spec);
    target.or_else(|| app.declared.as_ref().map(|declared| &*declared.spec))
}

fn blank(key: &AppKey, action: PreviewAction, path: String, reason: Option<String>) -> AppPreview {
    AppPreview {
        app: key.clone(),
        action,
        path,
        reason,
        fields: Vec::new(),
        replicas: Replicas::default(),
        places: Vec::new(),
        per_node: BTreeMap::new(),
        starts: 0,
        stops: 0,
        fit: Fit::NothingToDo,
        downtime: crate::model::Downtime::None,
    }
}

fn fill(preview: &mut AppPreview, course: &Course) {
    preview.starts = course.places.len();
    preview.stops = course.stops;
    for (_, node) in &course.places {
        *preview.per_node.entry(node.clone()).or_default() += 1;
    }
    let mut places: Vec<Place> = course
        .places
        .iter()
        .map(|(slot, node)| Place {
            slot: *slot,
            node: node.clone(),
        })
        .collect();
    places.sort_by_key(|place| place.slot);
    places.truncate(PLACES_TOLD);
    preview.places = places;
}

fn count_of(counts: &mut PreviewCounts, action: PreviewAction) -> &mut usize {
    match action {
        PreviewAction::Create => &mut counts.create,
        PreviewAction::Replace => &mut counts.replace,
        PreviewAction::InPlace => &mut counts.in_place,
        PreviewAction::Delete => &mut counts.delete,
        PreviewAction::Held => &mut counts.held,
        PreviewAction::Quarantined => &mut counts.quarantined,
        PreviewAction::Invalid => &mut counts.invalid,
        PreviewAction::Foreign => &mut counts.foreign,
    }
}
