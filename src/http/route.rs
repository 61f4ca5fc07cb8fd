//! A route: its path, who may use it, what bounds it, and what it says of itself.
//!
//! Invariant: this is the only way to a handler. So no route is without an
//! [`Access`], a deadline, a limit and a place in the document, and the list of
//! routes is complete.

use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use axum::{Extension, Router};

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::auth::{self, Access};
use super::describe::{Described, Tells};
use super::extract::BodyLimit;
use super::wait::MAX_WAIT;
use super::{AppState, MAX_BODY_BYTES, Problem, etag, forward, hooks};

/// From the end of a request's head to the start of its answer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub access: Access,
    /// What it is for.
    pub summary: &'static str,
    /// Codes of success, and what each means where there are several.
    pub codes: Vec<(u16, &'static str)>,
    /// Media type of an answer that is not JSON.
    pub content: Option<&'static str>,
    /// The answer's schema, where the handler's signature does not tell it.
    pub answer: Option<fn(&mut SchemaGenerator) -> Schema>,
    pub describe: fn(&mut Described, &mut SchemaGenerator),
    handler: MethodRouter<AppState>,
    /// Followers pass it on.
    leader: bool,
    /// Followers pass it on where that is asked for.
    fresh: bool,
    /// The body is taken in before anything else, within what all such bodies may hold.
    taken_in: bool,
    /// Largest body in bytes; `None`: the handler takes it piece by piece.
    body: Option<usize>,
    /// To the start of the answer; `None`: as long as the body lasts.
    deadline: Option<Duration>,
}

impl Route {
    fn new<H, T, A>(
        method: Method,
        filter: MethodFilter,
        path: &'static str,
        access: Access,
        handler: H,
    ) -> Route
    where
        H: Handler<T, AppState> + Tells<A>,
        T: 'static,
    {
        Route {
            summary: "",
            codes: vec![(200, "Done")],
            content: None,
            answer: None,
            describe: <H as Tells<A>>::describe,
            leader: method != Method::GET,
            fresh: false,
            taken_in: false,
            method,
            path,
            access,
            handler: on(filter, handler),
            body: Some(MAX_BODY_BYTES),
            deadline: Some(REQUEST_DEADLINE),
        }
    }

    /// What it is for, in one line.
    pub fn says(mut self, summary: &'static str) -> Route {
        self.summary = summary;
        self
    }

    /// Success is this code instead of 200.
    pub fn code(mut self, code: u16) -> Route {
        self.codes = vec![(code, "Done")];
        self
    }

    /// Another code of success, and when it is given.
    pub fn or_code(mut self, code: u16, when: &'static str) -> Route {
        self.codes.push((code, when));
        self
    }

    /// Its answer is not JSON.
    pub fn content(mut self, media_type: &'static str) -> Route {
        self.content = Some(media_type);
        self
    }

    /// Its answer is a `T` as JSON, also where its handler builds it by hand.
    pub fn answers<T: JsonSchema>(mut self) -> Route {
        self.answer = Some(SchemaGenerator::subschema_for::<T>);
        self
    }

    /// A read that only the leader can answer: it alone plans, and agents are connected to it.
    pub fn on_leader(mut self) -> Route {
        self.leader = true;
        self
    }

    /// Takes a body of up to `bytes`.
    pub fn body(mut self, bytes: usize) -> Route {
        self.body = Some(bytes);
        self
    }

    /// For what anybody may send: bodies of all such requests share one budget.
    pub fn taken_in(mut self) -> Route {
        self.taken_in = true;
        self
    }

    /// May be asked for as the leader has it: others hang what they do on it.
    pub fn fresh(mut self) -> Route {
        self.fresh = true;
        self
    }

    /// May be asked to answer later.
    pub fn waits(mut self) -> Route {
        self.deadline = Some(REQUEST_DEADLINE + MAX_WAIT);
        self
    }

    /// Its body is a stream that lasts as long as somebody reads; bounded piece by piece.
    pub fn streamed(mut self) -> Route {
        self.body = None;
        self.deadline = None;
        self
    }

    /// Puts it into `router`.
    pub fn serve(self, router: Router<AppState>, state: &AppState) -> Router<AppState> {
        let limit = match self.body {
            Some(bytes) => DefaultBodyLimit::max(bytes),
            None => DefaultBodyLimit::disable(),
        };
        let told = Extension(BodyLimit(self.body.unwrap_or(MAX_BODY_BYTES)));
        let mut handler = self.handler.route_layer(limit).route_layer(told);
        if self.method == Method::GET {
            handler = handler.route_layer(from_fn(etag::tag));
        }
        if self.leader {
            handler = handler.route_layer(from_fn_with_state(state.clone(), forward::to_leader));
        }
        if self.fresh {
            handler = handler.route_layer(from_fn_with_state(state.clone(), forward::fresh));
        }
        if self.taken_in {
            handler = handler.route_layer(from_fn_with_state(state.clone(), hooks::take_in));
        }
        let guard = from_fn_with_state((state.clone(), self.access), auth::guard);
        handler = handler.route_layer(guard);
        if let Some(limit) = self.deadline {
            handler = handler.route_layer(from_fn_with_state(limit, deadline));
        }
        router.route(self.path, handler)
    }
}

macro_rules! methods {
    ($($name:ident $method:ident),*) => {$(
        /// A route of this method.
        pub fn $name<H, T, A>(path: &'static str, access: Access, handler: H) -> Route
        where
            H: Handler<T, AppState> + Tells<A>,
            T: 'static,
        {
            Route::new(Method::$method, MethodFilter::$method, path, access, handler)
        }
    )*};
}
methods!(get GET, post POST, put PUT, delete DELETE);

/// Bounds the time to the start of an answer. What is streamed after that has its own rules.
async fn deadline(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Problem::too_slow().into_response(),
    }
}
