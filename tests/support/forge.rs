//! A forge that records each call and answers as it is told to.
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use tokio::net::TcpListener;

#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    pub method: String,
    /// As it stood on the wire.
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
    /// What it was answered with.
    pub answered: u16,
}

#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

impl Reply {
    pub fn new(status: u16) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: "{}".to_owned(),
        }
    }
    pub fn json(status: u16, body: Value) -> Reply {
        Reply {
            body: body.to_string(),
            ..Reply::new(status)
        }
    }
    pub fn header(mut self, name: &'static str, value: impl ToString) -> Reply {
        self.headers.push((name, value.to_string()));
        self
    }
}

#[derive(Default)]
struct Record {
    calls: Mutex<Vec<Call>>,
    /// Used up first to last; then everything is taken with 201.
    replies: Mutex<VecDeque<Reply>>,
    /// After those, to whatever path ends so (its query left out), each time.
    standing: Mutex<Vec<(&'static str, Reply)>>,
}

#[derive(Clone)]
pub struct Forge {
    pub url: String,
    record: Arc<Record>,
}

impl Forge {
    pub async fn start(replies: &[Reply]) -> Forge {
        let record = Arc::new(Record::default());
        record.replies.lock().unwrap().extend(replies.to_vec());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&record));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Forge { url, record }
    }

    /// Answers this from now on to paths that end so.
    pub fn always(&self, ending: &'static str, reply: Reply) {
        self.record.standing.lock().unwrap().push((ending, reply));
    }

    pub fn calls(&self) -> Vec<Call> {
        self.record.calls.lock().unwrap().clone()
    }

    /// Of a commit, what was taken: state and description, in order.
    pub fn taken(&self, commit: &str) -> Vec<(String, String)> {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        self.calls()
            .iter()
            .filter(|c| c.answered < 300 && c.path.ends_with(commit))
            .map(|c| (text(&c.body["state"]), text(&c.body["description"])))
            .collect()
    }
}

async fn answer(
    State(record): State<Arc<Record>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let reply = record.replies.lock().unwrap().pop_front();
    let reply = reply.or_else(|| {
        let standing = record.standing.lock().unwrap();
        let found = standing.iter().find(|(end, _)| uri.path().ends_with(end));
        found.map(|(_, reply)| reply.clone())
    });
    let reply = reply.unwrap_or(Reply::new(201));
    let headers = headers
        .iter()
        .map(|(n, v)| (n.to_string(), v.to_str().unwrap_or("?").to_owned()));
    record.calls.lock().unwrap().push(Call {
        method: method.to_string(),
        path: uri.to_string(),
        headers: headers.collect(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        answered: reply.status,
    });
    let status = StatusCode::from_u16(reply.status).unwrap();
    let mut response = (status, reply.body).into_response();
    for (name, value) in reply.headers {
        response.headers_mut().insert(
            HeaderName::from_static(name),
            HeaderValue::from_str(&value).unwrap(),
        );
    }
    response
}
