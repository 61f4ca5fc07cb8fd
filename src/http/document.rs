//! `/openapi.json`: the routes as an OpenAPI 3.1 document.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use schemars::SchemaGenerator;
use serde_json::{Map, Value, json};

use super::auth::{Access, Reach};
use super::describe::{self, Described};
use super::route::Route;
use super::routes;
use crate::api::ProblemDetails;
use crate::api::error::MEDIA_TYPE;
use crate::manifest;

const ABOUT: &str = "Everything that the command line does, and what it shows. Send a token as \
    `Authorization: Bearer TOKEN`. Lists come in pages: pass `next` as `after` for the next one. \
    Errors are problem documents (RFC 9457) whose `hint` says what to do.";

/// The document; the same for every process of one version.
pub fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| build(&routes::all()))
}

pub async fn show() -> Response {
    let mut response = document().to_string().into_response();
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The JSON Schema of spec files, for editors.
pub async fn specs() -> axum::Json<Value> {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    axum::Json(SCHEMA.get_or_init(manifest::json_schema).clone())
}

fn build(routes: &[Route]) -> Value {
    let mut shared = describe::answers();
    let mut paths = Map::new();
    for route in routes {
        let operation = operation(route, &mut shared);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let problem = shared.subschema_for::<ProblemDetails>();
    let mut schemas: Vec<(String, Value)> = shared.take_definitions(true).into_iter().collect();
    schemas.sort_by(|a, b| a.0.cmp(&b.0));
    let schemas: Map<String, Value> = schemas.into_iter().collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Evenkeel",
            "description": ABOUT,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {"problem": {
                "description": "It was refused, or failed: what happened and what to do",
                "content": {MEDIA_TYPE: {"schema": problem}},
            }},
            "securitySchemes": {
                "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "The admin's token, or a named one",
                },
                "agents": {
                    "type": "http", "scheme": "bearer",
                    "description": "The agents' token",
                },
                "password": {
                    "type": "http", "scheme": "basic",
                    "description": "Any user, a token as password: for browsers",
                },
            },
        },
    })
}

fn operation(route: &Route, shared: &mut SchemaGenerator) -> Value {
    let mut told = Described::default();
    (route.describe)(&mut told, shared);
    let mut operation = Map::new();
    operation.insert("operationId".into(), id(route).into());
    operation.insert("tags".into(), json!([tag(route.path)]));
    operation.insert("summary".into(), route.summary.into());
    operation.insert("description".into(), access(route.access).into());
    let names = path_parameters(route.path);
    let parameters: Vec<Value> = names
        .iter()
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .chain(told.parameters)
        .collect();
    if !parameters.is_empty() {
        operation.insert("parameters".into(), parameters.into());
    }
    operation.extend(told.body.map(|body| ("requestBody".to_owned(), body)));
    let schema = match (route.content, route.answer) {
        // Of a stream of lines, that of each.
        (Some(media_type), Some(answer)) => Some((media_type, answer(shared).into())),
        (Some(media_type), None) => Some((media_type, json!({"type": "string"}))),
        (None, Some(answer)) => Some(("application/json", answer(shared).into())),
        (None, None) => told.answer.map(|s| ("application/json", s.into())),
    };
    let mut responses = Map::new();
    for (code, when) in &route.codes {
        let mut response = json!({"description": when});
        // A 204 has no content by its definition.
        if let (Some((media_type, schema)), true) = (&schema, *code != 204) {
            response["content"] = json!({*media_type: {"schema": schema}});
        }
        responses.insert(code.to_string(), response);
    }
    responses.insert(
        "default".into(),
        json!({"$ref": "#/components/responses/problem"}),
    );
    operation.insert("responses".into(), responses.into());
    operation.insert("security".into(), security(route.access));
    operation.into()
}

/// The names in braces.
fn path_parameters(path: &str) -> BTreeSet<&str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .collect()
}

/// `getProjectsProjectAppsApp`.
fn id(route: &Route) -> String {
    let mut id = route.method.as_str().to_ascii_lowercase();
    let path = route.path.strip_prefix(crate::api::PREFIX);
    let path = path.unwrap_or(route.path);
    let words = path.split(['/', '{', '}', '.', '-']);
    for word in words.filter(|w| !w.is_empty()) {
        let (first, rest) = word.split_at(1);
        id.push_str(&first.to_ascii_uppercase());
        id.push_str(rest);
    }
    if route.content == Some("text/html") {
        id.push_str("Page");
    }
    id
}

/// The resource it is about; paths beside the API are about the server.
fn tag(path: &str) -> &str {
    let below = path.strip_prefix(crate::api::PREFIX).map(|p| &p[1..]);
    match below.map(|p| p.split('/').next().unwrap_or(p)) {
        Some("projects") => "apps",
        Some(resource) => resource,
        None => "server",
    }
}

fn access(access: Access) -> String {
    match access {
        Access::Anyone => "Needs no token.".to_owned(),
        Access::Agents => {
            "Needs the agents' token. For agents of the same version only.".to_owned()
        }
        Access::Page => {
            "Needs the role viewer. Browsers may send the token as a password.".to_owned()
        }
        Access::Token { role, reach } => {
            let reach = match reach {
                Reach::Seen => "; what belongs to other projects than the token's is left out",
                Reach::Project => " and a token that is not bound to other projects",
                Reach::Cluster => " and a token that is not bound to projects",
            };
            format!("Needs the role {role}{reach}.")
        }
    }
}

fn security(access: Access) -> Value {
    match access {
        Access::Anyone => json!([]),
        Access::Agents => json!([{"agents": []}]),
        Access::Page => json!([{"token": []}, {"password": []}]),
        Access::Token { .. } => json!([{"token": []}]),
    }
}
