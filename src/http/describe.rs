//! What handlers take and answer, read off their own signatures.
//!
//! A handler whose argument or answer has no description cannot become a
//! [`super::route::Route`], so the document cannot leave anything out.

use axum::Json as JsonAnswer;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::act::{AtApp, AtNode};
use super::auth::Caller;
use super::etag::Document;
use super::extract::{
    App, CommitParam, Json, NodeParam, OptionalJson, Params, RawBody, SourceParam, TokenParam,
};
use super::if_match::IfMatch;
use super::{AppState, Problem};

/// One operation of the document, as far as its handler tells.
#[derive(Default)]
pub struct Described {
    /// Parameters beside those of the path, in the form of the document.
    pub parameters: Vec<Value>,
    /// The body that is taken.
    pub body: Option<Value>,
    /// The schema of a JSON answer; `None`: what the route says instead.
    pub answer: Option<Schema>,
}

/// Collects the schemas that answers share.
pub fn answers() -> SchemaGenerator {
    SchemaSettings::draft2020_12()
        .with(|s| {
            s.definitions_path = "/components/schemas".into();
            s.meta_schema = None;
        })
        .for_serialize()
        .into_generator()
}

/// What is taken is written out in place: there, what has a default may be left out, so the
/// shared schemas of answers would say too much.
fn taken<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize().with(|s| {
        s.inline_subschemas = true;
        s.meta_schema = None;
    });
    settings.into_generator().into_root_schema_for::<T>().into()
}

/// An argument of a handler.
pub trait Takes {
    fn describe(_: &mut Described) {}
}

impl Takes for State<AppState> {}
impl Takes for Caller {}
impl Takes for HeaderMap {}
// What stands in the path is told by the path.
impl Takes for App {}
impl Takes for SourceParam {}
impl Takes for CommitParam {}
impl Takes for NodeParam {}
impl Takes for TokenParam {}
impl<T> Takes for Path<T> {}

impl<T: JsonSchema> Takes for Params<T> {
    fn describe(to: &mut Described) {
        let mut schema = taken::<T>();
        let required: Vec<Value> = match schema.get("required") {
            Some(Value::Array(names)) => names.clone(),
            Some(_) | None => Vec::new(),
        };
        let Some(Value::Object(fields)) = schema.get_mut("properties").map(Value::take) else {
            return;
        };
        for (name, mut schema) in fields {
            let description = schema
                .as_object_mut()
                .and_then(|schema| schema.shift_remove("description"));
            let mut parameter = Map::new();
            parameter.insert("required".into(), required.contains(&json!(name)).into());
            parameter.insert("name".into(), name.into());
            parameter.insert("in".into(), "query".into());
            parameter.extend(description.map(|text| ("description".to_owned(), text)));
            parameter.insert("schema".into(), schema);
            to.parameters.push(parameter.into());
        }
    }
}

impl Takes for IfMatch {
    fn describe(to: &mut Described) {
        to.parameters.push(json!({
            "name": "If-Match", "in": "header", "required": false,
            "description": "The `ETag` (or, in quotes, the version) of the document as the \
                caller has seen it: refused with 412 if somebody acted on it since",
            "schema": {"type": "string"},
        }));
    }
}

impl Takes for AtApp {
    fn describe(to: &mut Described) {
        IfMatch::describe(to);
    }
}

impl Takes for AtNode {
    fn describe(to: &mut Described) {
        IfMatch::describe(to);
    }
}

fn body(required: bool, media_type: &str, schema: Value) -> Option<Value> {
    Some(json!({"required": required, "content": {media_type: {"schema": schema}}}))
}

impl<T: JsonSchema> Takes for Json<T> {
    fn describe(to: &mut Described) {
        to.body = body(true, "application/json", taken::<T>());
    }
}

impl<T: JsonSchema> Takes for OptionalJson<T> {
    fn describe(to: &mut Described) {
        to.body = body(false, "application/json", taken::<T>());
    }
}

impl Takes for RawBody {
    fn describe(to: &mut Described) {
        to.body = body(true, "application/json", json!(true));
    }
}

impl Takes for Body {
    fn describe(to: &mut Described) {
        to.body = body(true, "application/octet-stream", json!({}));
    }
}

/// What a handler answers.
pub trait Answers {
    fn describe(_: &mut Described, _: &mut SchemaGenerator) {}
}

impl Answers for Response {}
impl Answers for StatusCode {}
impl Answers for &'static str {}

impl<T: JsonSchema> Answers for JsonAnswer<T> {
    fn describe(to: &mut Described, shared: &mut SchemaGenerator) {
        to.answer = Some(shared.subschema_for::<T>());
    }
}

impl<T: JsonSchema> Answers for Document<T> {
    fn describe(to: &mut Described, shared: &mut SchemaGenerator) {
        to.answer = Some(shared.subschema_for::<T>());
    }
}

impl<T: Answers> Answers for (StatusCode, T) {
    fn describe(to: &mut Described, shared: &mut SchemaGenerator) {
        T::describe(to, shared);
    }
}

impl<T: Answers> Answers for Result<T, Problem> {
    fn describe(to: &mut Described, shared: &mut SchemaGenerator) {
        T::describe(to, shared);
    }
}

/// A handler whose arguments and answer are all described.
pub trait Tells<A> {
    fn describe(to: &mut Described, shared: &mut SchemaGenerator);
}

macro_rules! tells {
    ($($arg:ident),*) => {
        impl<F, Fut, $($arg,)*> Tells<($($arg,)*)> for F
        where
            F: Fn($($arg),*) -> Fut,
            Fut: Future<Output: Answers>,
            $($arg: Takes,)*
        {
            fn describe(to: &mut Described, shared: &mut SchemaGenerator) {
                $($arg::describe(to);)*
                <Fut::Output as Answers>::describe(to, shared);
            }
        }
    };
}
tells!();
tells!(A);
tells!(A, B);
tells!(A, B, C);
tells!(A, B, C, D);
tells!(A, B, C, D, E);
tells!(A, B, C, D, E, G);
