//! `/`: the cluster on one plain page, for people with a browser and nothing else.

use std::fmt::{self, Write as _};

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{Html, IntoResponse, Response};

use super::auth::Caller;
use super::nodes::heard;
use super::{AppState, Problem};
use crate::api::app_status::app_status;
use crate::api::node::node_view;
use crate::api::source::source_status;
use crate::api::{AppStatus, NodeView, SourceStatus};
use crate::model::Event;
use crate::store::EventQuery;

/// Apps on the page; the API has the rest.
const MAX_APPS: usize = 500;
/// Events on the page.
const EVENTS: u32 = 30;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:75rem;\
padding:0 1rem;color:#1c2128;background:#fff}h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;\
border-bottom:1px solid #d8dee4}th{font-weight:600}code{font:13px ui-monospace,monospace}\
.good{color:#116329}.bad{color:#a40e26;font-weight:600}.wait{color:#7d4e00}small{color:#57606a}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#d1d7e0}th,td{border-color:#30363d}\
.good{color:#56d364}.bad{color:#ff7b72}.wait{color:#e3b341}small{color:#8b949e}}";

pub async fn show(State(state): State<AppState>, caller: Caller) -> Result<Response, Problem> {
    let (apps, total, sources, nodes, may_see) = state.handle.read(|s| {
        let seen = || s.apps.values().filter(|a| caller.sees(&a.key.project));
        let apps: Vec<AppStatus> = seen().take(MAX_APPS).map(|a| app_status(s, a)).collect();
        let sources = s.sources.values().filter(|x| caller.sees(&x.spec.project));
        let sources: Vec<SourceStatus> = sources.map(|x| source_status(s, x)).collect();
        let nodes: Vec<NodeView> = s.nodes.values().map(|n| node_view(s, n)).collect();
        (apps, seen().count(), sources, nodes, caller.seen(s))
    })?;
    let nodes: Vec<NodeView> = nodes.into_iter().map(|n| heard(&state, n)).collect();
    let events = match state.store() {
        Ok(store) => {
            let query = EventQuery {
                seen: may_see,
                limit: EVENTS,
                ..EventQuery::default()
            };
            store.events(&query).await.ok()
        }
        Err(_) => None,
    };
    let html = render(&Content {
        cluster: state.handle.cluster(),
        apps: &apps,
        more_apps: total - apps.len(),
        sources: &sources,
        nodes: &nodes,
        events: events.as_deref(),
    })
    .unwrap_or_default();
    Ok(self::html(html))
}

/// A page of its own with this title.
pub(super) fn answer(title: &str, body: &str) -> Response {
    self::html(format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">\
         <title>Evenkeel: {}</title><style>{STYLE}</style></head><body>{body}</body></html>",
        Escaped(title)
    ))
}

/// An answer that the browser keeps to itself, and that may run and fetch nothing, whatever
/// stands in it.
pub(super) fn html(html: String) -> Response {
    let mut response = Html(html).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

struct Content<'a> {
    cluster: &'a str,
    apps: &'a [AppStatus],
    more_apps: usize,
    sources: &'a [SourceStatus],
    nodes: &'a [NodeView],
    /// Newest first; `None`: they cannot be read at present.
    events: Option<&'a [Event]>,
}

/// Text as HTML shows it.
pub(super) struct Escaped<'a>(pub &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A state's word on the wire, and the class it is painted with.
fn painted(value: impl serde::Serialize) -> String {
    let word = match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(_) | Err(_) => return String::new(),
    };
    let class = match word.as_str() {
        "synced" | "healthy" | "ok" | "ready" | "active" => "good",
        "quarantined" | "invalid" | "failed" | "degraded" | "lost" | "refused" | "unreachable" => {
            "bad"
        }
        _ => "wait",
    };
    format!("<span class=\"{class}\">{}</span>", Escaped(&word))
}

fn commit_of(revision: Option<&crate::api::Revision>) -> String {
    revision.map_or_else(
        || "–".to_owned(),
        |r| format!("<code>{}</code>", Escaped(r.commit.short())),
    )
}

fn render(content: &Content<'_>) -> Result<String, fmt::Error> {
    let mut out = String::new();
    let cluster = Escaped(content.cluster);
    write!(
        out,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><meta http-equiv=\"refresh\" content=\"10\">\
         <title>Evenkeel: {cluster}</title><style>{STYLE}</style></head><body><h1>Cluster {cluster}</h1>"
    )?;
    apps(&mut out, content)?;
    sources(&mut out, content.sources)?;
    nodes(&mut out, content.nodes)?;
    events(&mut out, content.events)?;
    out.push_str("</body></html>");
    Ok(out)
}

fn apps(out: &mut String, content: &Content<'_>) -> fmt::Result {
    out.push_str("<h2>Apps</h2>");
    if content.apps.is_empty() {
        out.push_str("<p>No source declares an app yet.</p>");
        return Ok(());
    }
    out.push_str(
        "<table><tr><th>App</th><th>Sync</th><th>Health</th><th>Ready</th><th>Running</th>\
         <th>Git</th><th>Why</th></tr>",
    );
    for app in content.apps {
        write!(
            out,
            "<tr><td>{}/{}</td><td>{}</td><td>{}</td><td>{}/{}</td><td>{}</td><td>{}</td><td>",
            app.project,
            app.name,
            painted(app.sync),
            painted(app.health),
            app.replicas.ready,
            app.replicas.desired,
            commit_of(app.running.as_ref()),
            commit_of(app.git.as_ref()),
        )?;
        for message in &app.messages {
            write!(out, "{}<br>", Escaped(message))?;
        }
        out.push_str("</td></tr>");
    }
    out.push_str("</table>");
    if content.more_apps > 0 {
        write!(
            out,
            "<p>And {} more: see <code>/api/v1/apps</code>.</p>",
            content.more_apps
        )?;
    }
    Ok(())
}

fn sources(out: &mut String, sources: &[SourceStatus]) -> fmt::Result {
    out.push_str("<h2>Sources</h2>");
    if sources.is_empty() {
        out.push_str("<p>None. Add one: <code>evenkeel source add NAME URL</code></p>");
        return Ok(());
    }
    out.push_str(
        "<table><tr><th>Source</th><th>State</th><th>Applied</th><th>Seen</th><th>Apps</th>\
         <th>Repository</th></tr>",
    );
    for source in sources {
        let short = |c: &Option<crate::model::CommitId>| {
            c.as_ref().map_or("–".to_owned(), |c| c.short().to_owned())
        };
        write!(
            out,
            "<tr><td>{}</td><td>{}</td><td><code>{}</code></td><td><code>{}</code></td><td>{}</td>\
             <td>{} <small>{} {}</small></td></tr>",
            source.name,
            painted(source.state),
            Escaped(&short(&source.last_applied)),
            Escaped(&short(&source.last_seen)),
            source.apps,
            Escaped(&source.url),
            Escaped(&source.branch),
            Escaped(&source.path),
        )?;
    }
    out.push_str("</table>");
    Ok(())
}

fn nodes(out: &mut String, nodes: &[NodeView]) -> fmt::Result {
    out.push_str("<h2>Nodes</h2>");
    if nodes.is_empty() {
        out.push_str("<p>No agent has registered yet.</p>");
        return Ok(());
    }
    out.push_str(
        "<table><tr><th>Node</th><th>Liveness</th><th>Scheduling</th><th>Instances</th>\
         <th>Last heard</th></tr>",
    );
    for node in nodes {
        write!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            node.name,
            painted(node.liveness),
            painted(node.scheduling),
            node.instances,
            node.last_heard
        )?;
    }
    out.push_str("</table>");
    Ok(())
}

fn events(out: &mut String, events: Option<&[Event]>) -> fmt::Result {
    out.push_str("<h2>Last events</h2>");
    let Some(events) = events else {
        out.push_str("<p>They cannot be read at present: the database does not answer.</p>");
        return Ok(());
    };
    out.push_str("<table><tr><th>When</th><th>What</th><th>Message</th></tr>");
    for event in events {
        write!(
            out,
            "<tr><td><small>{}</small></td><td>{}</td><td>{}</td></tr>",
            event.at,
            event.kind.as_str(),
            Escaped(&event.message)
        )?;
    }
    out.push_str("</table>");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_cluster_says_what_to_do() {
        let html = render(&Content {
            cluster: "<b>",
            apps: &[],
            more_apps: 0,
            sources: &[],
            nodes: &[],
            events: Some(&[]),
        })
        .expect("a String takes everything");
        assert!(html.contains("evenkeel source add"));
        assert!(html.contains("&lt;b&gt;") && !html.contains("<b>"));
    }
}
