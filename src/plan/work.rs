//! The working copy of one app while it is planned.

use super::place::Overlay;
use super::{AppReport, IdSource, Plan, PlanInput};
use crate::model::{App, Change, Event, Timestamp};

pub struct Work<'a> {
    pub input: &'a PlanInput<'a>,
    pub app: App,
    pub overlay: &'a mut Overlay,
    pub ids: &'a mut IdSource,
    pub changes: Vec<Change>,
    pub events: Vec<Event>,
    pub report: AppReport,
    pub wake_at: Option<Timestamp>,
}

impl<'a> Work<'a> {
    pub fn new(
        input: &'a PlanInput<'a>,
        app: &App,
        overlay: &'a mut Overlay,
        ids: &'a mut IdSource,
    ) -> Work<'a> {
        Work {
            input,
            app: app.clone(),
            overlay,
            ids,
            changes: Vec::new(),
            events: Vec::new(),
            report: AppReport::default(),
            wake_at: None,
        }
    }

    pub fn finish(self, plan: &mut Plan) {
        plan.changes.extend(self.changes);
        plan.events.extend(self.events);
        plan.report.apps.insert(self.app.key.clone(), self.report);
        if let Some(at) = self.wake_at {
            plan.wake_at.insert(self.app.key, at);
        }
    }
}
