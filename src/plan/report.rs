//! "Why is nothing happening?", answered by the run that did nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::place::Funnel;
use crate::model::{AppKey, Timestamp};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct PlanReport {
    pub apps: BTreeMap<AppKey, AppReport>,
}

/// What an app waits for. Empty when there is nothing to do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppReport {
    pub waiting: Vec<Waiting>,
    /// Why the next instance cannot be placed.
    pub funnel: Option<Funnel>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// A sentence: what for.
    pub what: String,
    /// When it is given up, or judged anew.
    pub until: Option<Timestamp>,
}
