//! Who may ask for what.
//!
//! The admin's token may do everything but what agents do, the agents' opens the
//! agent endpoints and nothing else, a named one opens what its role and its
//! projects allow. Which texts are tokens is [`super::credentials`]' business.
//!
//! Invariant: [`guard`] stands before each route and is told its [`Access`]; a
//! handler behind it finds the [`Caller`].

use std::sync::Arc;

use super::credentials::{Holder, Refused};
use super::{AppState, Problem};
use crate::clock;
use crate::model::{ProjectName, Projects, Role, Snapshot};
use crate::store::Seen;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{FromRequestParts, RawPathParams, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;

/// The name under which the admin's token acts.
pub const ADMIN: &str = "admin";

const BEARER: &str = "Bearer realm=\"evenkeel\"";
const BASIC: &str = "Basic realm=\"Evenkeel: any user, a token as password\", charset=\"UTF-8\"";

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No token is asked for.
    Anyone,
    /// The agents' token.
    Agents,
    /// Like [`VIEW`], and browsers may send the token as a password. For what changes nothing
    /// only: browsers send it along with requests that other sites make them send.
    Page,
    Token {
        role: Role,
        reach: Reach,
    },
}

/// Which of the cluster a route touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Things of many projects: the handler leaves out what the caller does not see.
    Seen,
    /// The project that the path names.
    Project,
    /// All of it: not for tokens that are bound to projects.
    Cluster,
}

const fn token(role: Role, reach: Reach) -> Access {
    Access::Token { role, reach }
}

pub const VIEW: Access = token(Role::Viewer, Reach::Seen);
pub const VIEW_APP: Access = token(Role::Viewer, Reach::Project);
pub const VIEW_CLUSTER: Access = token(Role::Viewer, Reach::Cluster);
/// What the path names belongs to a project: the handler checks that the caller sees it.
pub const OPERATE: Access = token(Role::Operator, Reach::Seen);
pub const OPERATE_APP: Access = token(Role::Operator, Reach::Project);
/// Nodes carry every project's instances.
pub const OPERATE_CLUSTER: Access = token(Role::Operator, Reach::Cluster);
pub const ADMINISTER: Access = token(Role::Admin, Reach::Cluster);

/// Who asks. Handlers behind an [`Access::Token`] or [`Access::Page`] take it as an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// `admin`, or the token's name: the actor of events.
    pub name: String,
    pub role: Role,
    pub projects: Projects,
    /// Of the named token; `None`: the admin's.
    token: Option<String>,
}

impl Caller {
    /// Returns once the token that was shown opens nothing any more.
    pub(super) fn ended(&self, state: &AppState) -> impl Future<Output = ()> + Send + use<> {
        Arc::clone(&state.tokens).ended(self.token.clone())
    }

    fn admin() -> Caller {
        Caller {
            name: ADMIN.to_owned(),
            role: Role::Admin,
            projects: Projects::All,
            token: None,
        }
    }

    pub fn sees(&self, project: &ProjectName) -> bool {
        self.projects.contains(project)
    }

    /// What of the record the caller sees; `None`: everything.
    pub(super) fn seen(&self, snapshot: &Snapshot) -> Option<Seen> {
        match &self.projects {
            Projects::All => None,
            Projects::Only(projects) => {
                let sources = snapshot.sources.values();
                let seen = sources.filter(|s| projects.contains(&s.spec.project));
                Some(Seen {
                    projects: projects.clone(),
                    sources: seen.map(|s| s.spec.name.clone()).collect(),
                })
            }
        }
    }

    fn check(&self, role: Role, reach: Reach, path: Option<&RawPathParams>) -> Result<(), Problem> {
        if self.role < role {
            return Err(Problem::forbidden(format!(
                "the token {} has the role {}; this needs the role {role}",
                self.name, self.role
            ))
            .with_hint(format!(
                "ask for a token of the role {role}: evenkeel token create NAME --role {role}"
            )));
        }
        match reach {
            Reach::Seen => Ok(()),
            Reach::Project => {
                let mut path = path.into_iter().flat_map(RawPathParams::iter);
                let named = path.find(|(name, _)| *name == "project");
                let project = named.and_then(|(_, text)| ProjectName::new(text).ok());
                match project {
                    Some(project) if !self.sees(&project) => Err(Problem::forbidden(format!(
                        "the token {} is bound to {}; {project} is not among them",
                        self.name, self.projects
                    ))),
                    // What cannot be a project is told by the handler.
                    Some(_) | None => Ok(()),
                }
            }
            Reach::Cluster if !self.projects.is_all() => Err(Problem::forbidden(format!(
                "the token {} is bound to {}; this concerns the whole cluster",
                self.name, self.projects
            ))
            .with_hint("use a token that is not bound to projects")),
            Reach::Cluster => Ok(()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Problem> {
        let caller = parts.extensions.get::<Caller>().cloned();
        caller.ok_or_else(|| Problem::internal("a route that needs a token does not ask for one"))
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn basic_password(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':')
        .map(|(_, password)| password.to_owned())
}

/// Lets in whom `access` lets in, and tells the handler who it is.
pub async fn guard(
    State((state, access)): State<(AppState, Access)>,
    path: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    // What is no text is told by the handler, to those who get that far.
    let path = path.ok();
    match admitted(&state, access, path.as_ref(), request.headers()) {
        Ok(Some(caller)) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(None) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn admitted(
    state: &AppState,
    access: Access,
    path: Option<&RawPathParams>,
    headers: &HeaderMap,
) -> Result<Option<Caller>, Problem> {
    match access {
        Access::Anyone => Ok(None),
        Access::Agents => agent(state, headers).map(|()| None),
        Access::Page => {
            let given = bearer(headers).map(str::to_owned);
            let given = given.or_else(|| basic_password(headers));
            operator(state, given.as_deref(), BASIC).map(Some)
        }
        Access::Token { role, reach } => {
            let caller = operator(state, bearer(headers), BEARER)?;
            caller.check(role, reach, path)?;
            Ok(Some(caller))
        }
    }
}

fn operator(
    state: &AppState,
    given: Option<&str>,
    challenge: &'static str,
) -> Result<Caller, Problem> {
    match holder(state, given, challenge)? {
        Holder::Admin => Ok(Caller::admin()),
        Holder::Named(token) => Ok(Caller {
            name: token.name,
            role: token.role,
            projects: token.projects,
            token: Some(token.id),
        }),
        Holder::Agents => Err(Problem::forbidden(
            "the agents' token opens the agent endpoints only",
        )
        .with_hint("use the admin's token, or a named one: evenkeel token create NAME")),
    }
}

fn agent(state: &AppState, headers: &HeaderMap) -> Result<(), Problem> {
    match holder(state, bearer(headers), BEARER)? {
        Holder::Agents => Ok(()),
        Holder::Admin | Holder::Named(_) => Err(Problem::forbidden(
            "the agent endpoints take the agents' token only",
        )
        .with_hint("the agents' token is in DATA_DIR/agent-token")),
    }
}

fn holder(
    state: &AppState,
    given: Option<&str>,
    challenge: &'static str,
) -> Result<Holder, Problem> {
    let Some(text) = given else {
        return Err(Problem::unauthorized("a token is missing", challenge));
    };
    let no = |detail: String| Problem::unauthorized(&detail, challenge);
    let ask = "ask an admin for another: evenkeel token create NAME";
    state.tokens.holder(text, clock::now()).map_err(|refused| match refused {
        Refused::Wrong => no("the token is wrong".to_owned()),
        Refused::Expired { name, at } => {
            no(format!("the token {name} expired at {at}")).with_hint(ask)
        }
        Refused::Revoked { name, by } => no(format!(
            "the token {name} was revoked by {} at {}",
            by.by, by.at
        ))
        .with_hint(ask),
        Refused::Unknown => Problem::unavailable(
            "named tokens cannot be checked: the database has not answered since this server started",
        ),
    })
}
