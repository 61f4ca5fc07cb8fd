//! What an operator asks to be done, whatever it is done to: who asks, of which subject, as of
//! which version of it, and what they are told where they come second.

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use super::apps::document;
use super::auth::Caller;
use super::extract::{App, NodeParam};
use super::if_match::{IfMatch, refused};
use super::{AppState, Problem};
use crate::api::AppStatus;
use crate::controller::Subject;
use crate::model::{AppKey, NodeName, Snapshot, Timestamp};
use crate::plan::{Decision, IdSource, Refusal};

/// Longest reason that is kept, in bytes.
const MAX_REASON_BYTES: usize = 1000;

pub fn checked_reason(reason: Option<String>) -> Result<Option<String>, Problem> {
    let reason = reason.map(|r| r.trim().to_owned());
    match reason {
        Some(r) if r.len() > MAX_REASON_BYTES => Err(Problem::invalid(format!(
            "the reason has {} bytes; at most {MAX_REASON_BYTES} are kept",
            r.len()
        ))),
        other => Ok(other.filter(|r| !r.is_empty())),
    }
}

/// Makes it so, as far as nobody was faster.
pub async fn act(
    state: &AppState,
    subject: Subject,
    verb: &str,
    if_match: IfMatch,
    decide: impl FnOnce(&Snapshot, Timestamp, &mut IdSource) -> Result<Decision, Refusal> + Send,
) -> Result<(), Problem> {
    let name = match &subject {
        Subject::App(key) => key.to_string(),
        Subject::Source(name) => name.to_string(),
        Subject::Node(name) => name.to_string(),
    };
    let as_of = if_match.of(subject.clone());
    let cause = format!("operator: {verb} {name}");
    match state.handle.transact_as_of(&cause, as_of, decide).await {
        Ok(_) => Ok(()),
        Err(error) => Err(refused(state, subject, error).await),
    }
}

/// What a decision on an app is made of.
pub struct Asked<'a> {
    pub now: Timestamp,
    pub snapshot: &'a Snapshot,
    pub app: &'a AppKey,
    pub by: &'a str,
}

/// An operator at an app; each verb answers with the app's status after it.
pub struct AtApp {
    pub state: AppState,
    app: AppKey,
    caller: Caller,
    if_match: IfMatch,
}

impl FromRequestParts<AppState> for AtApp {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<AtApp, Problem> {
        let App(app) = App::from_request_parts(parts, state).await?;
        Ok(AtApp {
            app,
            caller: Caller::from_request_parts(parts, state).await?,
            if_match: IfMatch::from_request_parts(parts, state).await?,
            state: state.clone(),
        })
    }
}

impl AtApp {
    pub async fn act(
        self,
        verb: &str,
        decide: impl FnOnce(Asked<'_>, &mut IdSource) -> Result<Decision, Refusal> + Send,
    ) -> Result<Json<AppStatus>, Problem> {
        let subject = Subject::App(self.app.clone());
        act(
            &self.state,
            subject,
            verb,
            self.if_match,
            |snapshot, now, ids| {
                let asked = Asked {
                    now,
                    snapshot,
                    app: &self.app,
                    by: &self.caller.name,
                };
                decide(asked, ids)
            },
        )
        .await?;
        document(&self.state, &self.app).map(Json)
    }
}

/// An operator at a node.
pub struct AtNode {
    pub state: AppState,
    pub node: NodeName,
    pub caller: Caller,
    pub if_match: IfMatch,
}

impl FromRequestParts<AppState> for AtNode {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<AtNode, Problem> {
        let NodeParam(node) = NodeParam::from_request_parts(parts, state).await?;
        Ok(AtNode {
            node,
            caller: Caller::from_request_parts(parts, state).await?,
            if_match: IfMatch::from_request_parts(parts, state).await?,
            state: state.clone(),
        })
    }
}
