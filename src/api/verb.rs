//! Bodies of the operator's verbs, and the answer to "why".

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::preview::FieldPreview;
use crate::model::{AppName, HealthState, ProjectName, SyncState, Timestamp};

use super::{AppStatus, Revision};

/// Body of the verbs that keep a reason; all of it may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct ReasonInput {
    /// Kept in the event, for those who ask later.
    pub reason: Option<String>,
}

/// Body of `rollback`; all of it may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct RollbackInput {
    /// Kept in the event, for those who ask later.
    pub reason: Option<String>,
    /// Commit of a proven release, or the first digits of it; left out: the latest proven one.
    pub to: Option<String>,
}

/// Body of `suspend`; all of it may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SuspendInput {
    /// Kept in the event, for those who ask later.
    pub reason: Option<String>,
    /// After this time it ends by itself, such as `2h`.
    #[serde(rename = "for")]
    pub duration: Option<String>,
}

/// Body of `scale`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleInput {
    pub replicas: u32,
    /// Kept in the event, for those who ask later.
    #[serde(default)]
    pub reason: Option<String>,
    /// After this time it ends by itself, such as `2h`; left out: with the next commit that
    /// changes the declared number.
    #[serde(default, rename = "for")]
    pub duration: Option<String>,
}

/// What Git declares of an app against what runs, field by field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppDiff {
    pub project: ProjectName,
    pub name: AppName,
    /// `null`: Git no longer declares it.
    pub declared: Option<Revision>,
    /// `null`: nothing runs yet.
    pub running: Option<Revision>,
    /// From what runs to what is declared; values that may be secret are hidden.
    pub fields: Vec<FieldPreview>,
    /// Why it differs, and what an operator set beside it.
    pub messages: Vec<String>,
}

/// Body of the verbs that take nothing; may be left out.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmptyInput {}

/// Why nothing more happens to an app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    pub project: ProjectName,
    pub name: AppName,
    pub sync: SyncState,
    pub health: HealthState,
    /// Answers, most important first; never empty.
    pub reasons: Vec<String>,
    /// What the planner waits for; empty where it has nothing left to do.
    pub waiting: Vec<Waiting>,
    /// Why the next instance cannot be placed.
    pub placement: Option<Funnel>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    pub what: String,
    /// When it is given up, or judged anew.
    pub until: Option<Timestamp>,
}

/// How many nodes each rule left out, each node counted at the first rule it fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Funnel {
    pub considered: usize,
    /// Rule in words → nodes it excluded.
    pub excluded: BTreeMap<String, usize>,
}

impl Funnel {
    /// `2 nodes considered: 1 excluded by zone in [a], 1 by memory`.
    pub fn sentence(&self) -> String {
        if self.considered == 0 {
            return "there is no node to place it on".to_owned();
        }
        let rules: Vec<String> = self
            .excluded
            .iter()
            .filter(|(_, n)| **n > 0)
            .map(|(rule, n)| format!("{n} excluded by {rule}"))
            .collect();
        format!("{} nodes considered: {}", self.considered, rules.join(", "))
    }
}

/// Puts the answer together from the status document and the last planning run's report.
pub fn why(status: &AppStatus, waiting: Vec<Waiting>, placement: Option<Funnel>) -> Why {
    let mut reasons: Vec<String> = Vec::new();
    for message in &status.messages {
        say_once(&mut reasons, message, message.clone());
    }
    for w in &waiting {
        let until = w.until.map(|at| format!(" (until {at})"));
        let text = format!("waits for: {}{}", w.what, until.unwrap_or_default());
        say_once(&mut reasons, &w.what, text);
    }
    // A wait for a node tells the funnel already, in the planner's words.
    let told = waiting
        .iter()
        .any(|w| w.what.starts_with("a node for slot"));
    if let Some(funnel) = placement.as_ref().filter(|_| !told) {
        let sentence = funnel.sentence();
        say_once(&mut reasons, &sentence, sentence.clone());
    }
    if reasons.is_empty() {
        reasons.push(match (status.sync, status.health) {
            (SyncState::Synced, HealthState::Healthy) => {
                "it is synced and healthy: there is nothing to do".to_owned()
            }
            _ => {
                "the planner has not looked at it since this controller started to lead".to_owned()
            }
        });
    }
    Why {
        project: status.project.clone(),
        name: status.name.clone(),
        sync: status.sync,
        health: status.health,
        reasons,
        waiting,
        placement,
    }
}

/// Adds `text` unless something said before it tells `reason` already.
fn say_once(reasons: &mut Vec<String>, reason: &str, text: String) {
    if !reasons.iter().any(|r| r.contains(reason)) {
        reasons.push(text);
    }
}
