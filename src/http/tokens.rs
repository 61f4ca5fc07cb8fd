//! `/tokens`: named tokens are made, listed and revoked.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Deserialize;

use super::auth::{ADMIN, Caller};
use super::credentials::{MARK, digest};
use super::extract::{Json as Body, Params, TokenParam};
use super::{AppState, Problem};
use crate::api::Page;
use crate::api::list::bounded;
use crate::api::token::{NewToken, TokenInput, TokenView};
use crate::clock;
use crate::model::id::check_label;
use crate::model::quantity::parse_duration;
use crate::model::{Actor, Event, EventKind, ProjectName, Projects, Role, Token};
use crate::plan::Decision;
use crate::store::{Created, MAX_TOKENS, TokenQuery};

/// Of a token's secret part; beyond what anybody can try.
const SECRET_BYTES: usize = 32;
/// Of its public part: enough that no two are alike.
const ID_BYTES: usize = 8;
/// Projects that one token may be bound to.
const MAX_PROJECTS: usize = 100;

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListParams {
    /// A token's name.
    after: Option<String>,
    limit: Option<usize>,
}

/// By name; those in force, and those expired but not revoked.
pub async fn list(
    State(state): State<AppState>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<TokenView>>, Problem> {
    let limit = bounded(params.limit);
    let query = TokenQuery {
        after: params.after,
        limit: u32::try_from(limit).unwrap_or(u32::MAX).saturating_add(1),
    };
    let tokens = state.store()?.tokens(&query).await?;
    let views = tokens.into_iter().map(|token| {
        let live = state.tokens.last_used(&token.id);
        let mut view = TokenView::from(token);
        view.last_used_at = view.last_used_at.max(live);
        view
    });
    Ok(Json(Page::cut(views, limit, |view| view.name.clone())))
}

fn checked(input: TokenInput) -> Result<(String, Role, Projects, Option<Duration>), Problem> {
    check_label(&input.name).map_err(|e| Problem::invalid(format!("name: {e}")))?;
    if input.name == ADMIN {
        return Err(Problem::invalid(format!(
            "name: {ADMIN} is the name of the data folder's token; choose another"
        )));
    }
    let projects = match input.projects {
        None => Projects::All,
        Some(names) if names.is_empty() => {
            return Err(Problem::invalid(
                "projects: an empty list would open nothing; leave it out to open all",
            ));
        }
        Some(names) if names.len() > MAX_PROJECTS => {
            return Err(Problem::invalid(format!(
                "projects: {} are named; a token may be bound to {MAX_PROJECTS}",
                names.len()
            )));
        }
        Some(names) => {
            let names: Result<BTreeSet<_>, _> = names.into_iter().map(ProjectName::new).collect();
            Projects::Only(names.map_err(|e| Problem::invalid(format!("projects: {e}")))?)
        }
    };
    if input.role == Role::Admin && !projects.is_all() {
        return Err(Problem::invalid(
            "an admin's token cannot be bound to projects: what admins do concerns the cluster",
        )
        .with_hint("--role operator"));
    }
    let lasts = match input.expires_in.as_deref().map(parse_duration) {
        None => None,
        Some(Ok(lasts)) if lasts >= Duration::from_secs(1) => Some(lasts),
        Some(Ok(_)) => {
            return Err(Problem::invalid("expiresIn: it would be over at once"));
        }
        Some(Err(e)) => return Err(Problem::invalid(format!("expiresIn: {e}"))),
    };
    Ok((input.name, input.role, projects, lasts))
}

pub async fn create(
    State(state): State<AppState>,
    caller: Caller,
    Body(input): Body<TokenInput>,
) -> Result<(StatusCode, Json<NewToken>), Problem> {
    let (name, role, projects, lasts) = checked(input)?;
    let random = || Problem::internal("the system gives no random bytes");
    let id = hex::encode(clock::secret::<ID_BYTES>().map_err(|_| random())?);
    let secret = clock::secret::<SECRET_BYTES>().map_err(|_| random())?;
    let text = format!("{MARK}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    let now = clock::now();
    let token = Token {
        id,
        name: name.clone(),
        role,
        projects,
        digest: digest(&text),
        created_at: now,
        created_by: caller.name.clone(),
        expires_at: lasts.map(|lasts| now + lasts),
        last_used_at: None,
        revoked: None,
    };
    match state.store()?.create_token(&token).await? {
        Created::Done => {}
        Created::NameTaken => {
            return Err(
                Problem::conflict(format!("a token named {name} exists already"))
                    .with_hint(format!("evenkeel token revoke {name}")),
            );
        }
        Created::TooMany => {
            return Err(Problem::conflict(format!(
                "{MAX_TOKENS} tokens are in force, which is the most there may be"
            ))
            .with_hint("evenkeel token list; then: evenkeel token revoke NAME"));
        }
    }
    state.tokens.put(token.clone());
    let message = format!(
        "{} made token {name}: {role} of {}",
        caller.name, token.projects
    );
    record(&state, &caller, EventKind::TokenCreated, message).await;
    let made = NewToken {
        token: text,
        view: token.into(),
    };
    Ok((StatusCode::CREATED, Json(made)))
}

pub async fn revoke(
    State(state): State<AppState>,
    caller: Caller,
    TokenParam(name): TokenParam,
) -> Result<StatusCode, Problem> {
    let revoked = state
        .store()?
        .revoke_token(&name, &caller.name, clock::now())
        .await?;
    let Some(token) = revoked else {
        let none = Problem::not_found(format!("there is no token {name}"));
        return Err(none.with_hint("evenkeel token list"));
    };
    state.tokens.put(token);
    let message = format!("{} revoked token {name}", caller.name);
    record(&state, &caller, EventKind::TokenRevoked, message).await;
    Ok(StatusCode::NO_CONTENT)
}

/// What is done is done: a record that cannot be written does not undo it.
async fn record(state: &AppState, caller: &Caller, kind: EventKind, message: String) {
    let cause = format!("operator: {message}");
    let written = state.handle.transact(&cause, |_, now, _| {
        Ok(Decision {
            changes: Vec::new(),
            events: vec![Event::new(
                now,
                Actor::User(caller.name.clone()),
                kind,
                &*message,
            )],
        })
    });
    if let Err(error) = written.await {
        tracing::warn!(%error, message, "an event could not be recorded");
    }
}
