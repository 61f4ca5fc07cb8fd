//! `/sources/{name}/commits/{commit}`: what became of a commit, as a document and as a page.
//! Commit statuses at forges link to the page.

use std::fmt::{self, Write as _};

use axum::Json;
use axum::extract::State;
use axum::response::Response;

use super::auth::Caller;
use super::extract::CommitParam;
use super::page::{self, Escaped};
use super::{AppState, Problem};
use crate::api::app_status::rejected;
use crate::api::commit::{AppVerdict, Delivery, StatusView, ToldView, TouchedApp};
use crate::api::source::HeldView;
use crate::api::{CommitReport, CommitView, PREFIX};
use crate::model::{AppKey, CommitId, SourceName, StatusState};
use crate::plan::commit::{Fate, status, touched};
use crate::store;

/// Messages to the forge that are shown.
const TOLD: u32 = 50;
const HIDDEN: &str = "it touches apps of projects that this token does not see";

pub async fn show(
    State(state): State<AppState>,
    caller: Caller,
    CommitParam(source, prefix): CommitParam,
) -> Result<Json<CommitReport>, Problem> {
    report(&state, &caller, &source, &prefix).await.map(Json)
}

pub async fn page(
    State(state): State<AppState>,
    caller: Caller,
    CommitParam(source, prefix): CommitParam,
) -> Result<Response, Problem> {
    let report = report(&state, &caller, &source, &prefix).await?;
    let mut body = String::new();
    let _ = render(&mut body, &report);
    let title = format!("commit {} of {source}", report.id.short());
    Ok(page::answer(&title, &body))
}

async fn report(
    state: &AppState,
    caller: &Caller,
    source: &SourceName,
    prefix: &str,
) -> Result<CommitReport, Problem> {
    let heads = state
        .handle
        .read(|s| {
            let source = s.sources.get(source)?;
            let seen = caller.sees(&source.spec.project);
            seen.then(|| (source.last_applied.clone(), source.last_seen.clone()))
        })?
        .ok_or_else(|| {
            Problem::not_found(format!("there is no source {source}"))
                .with_hint("evenkeel source list")
        })?;
    let store = state.store()?;
    let mut known = store.commit_by_prefix(source, prefix).await?;
    let seen = match known.len() {
        0 | 1 => known.pop(),
        _ => {
            return Err(Problem::bad_request(format!(
                "more than one commit of source {source} begins with {prefix}; give more of it"
            )));
        }
    };
    // The list of commits is cut, and is written a moment after the commit was applied.
    let head = [&heads.0, &heads.1].into_iter().flatten();
    let id = seen.as_ref().map(|c| c.commit.clone());
    let id = id.or_else(|| head.into_iter().find(|c| c.0.starts_with(prefix)).cloned());
    let id = id.unwrap_or_else(|| CommitId(prefix.to_owned()));
    let told = store.told(source, &id, TOLD).await?;
    let (now, apps, held, hidden) = state.handle.read(|s| {
        let touched = touched(s, source, &id);
        let all = touched.len();
        let apps: Vec<TouchedApp> = touched
            .into_iter()
            .filter(|t| caller.sees(&t.app.project))
            .map(view)
            .collect();
        let held = s.sources.get(source).and_then(|s| s.held.as_ref());
        let held = held.filter(|h| h.commit == id).map(HeldView::from);
        let hidden = all > apps.len();
        (status(s, source, &id), apps, held, hidden)
    })?;
    let applied = heads.0.as_ref() == Some(&id);
    if seen.is_none()
        && told.is_empty()
        && apps.is_empty()
        && !applied
        && heads.1 != Some(id.clone())
    {
        return Err(
            Problem::not_found(format!("source {source} has not seen commit {prefix}"))
                .with_hint(format!("evenkeel source show {source}")),
        );
    }
    let context = crate::plan::statuses::context(state.handle.cluster(), source);
    let last = told.iter().find(|t| t.context == context);
    let mut status = now
        .or_else(|| last.map(|t| t.status.clone()))
        .map(|s| StatusView {
            state: s.state,
            description: s.description,
        });
    let mut told: Vec<ToldView> = told.into_iter().map(told_view).collect();
    let mut held = held;
    if hidden {
        let texts = told.iter_mut().map(|t| &mut t.description);
        for text in texts.chain(status.iter_mut().map(|s| &mut s.description)) {
            HIDDEN.clone_into(text);
        }
        held = None;
    }
    Ok(CommitReport {
        source: source.clone(),
        id,
        applied,
        status,
        apps,
        held,
        seen: seen.map(seen_view),
        told,
    })
}

pub(super) fn seen_view(c: store::CommitRecord) -> CommitView {
    CommitView {
        id: c.commit,
        author: c.author,
        subject: c.subject,
        committed_at: c.committed_at,
        seen_at: c.seen_at,
        valid: c.valid,
        problem_count: c.problem_count,
        problems: c.problems,
    }
}

fn view(touched: crate::plan::commit::Touched) -> TouchedApp {
    TouchedApp {
        path: path_of(&touched.app),
        app: touched.app,
        verdict: match touched.fate {
            Fate::Moving => AppVerdict::Progressing,
            Fate::Healthy => AppVerdict::Healthy,
            Fate::Failed => AppVerdict::Failed,
            Fate::Invalid => AppVerdict::Invalid,
            Fate::Leaving => AppVerdict::Removed,
            Fate::Held => AppVerdict::Held,
            Fate::Superseded => AppVerdict::Superseded,
        },
        reason: touched.reason,
        rejected: touched.rejection.as_ref().map(rejected),
    }
}

fn path_of(app: &AppKey) -> String {
    format!("{PREFIX}/projects/{}/apps/{}", app.project, app.name)
}

fn told_view(told: store::Told) -> ToldView {
    ToldView {
        context: told.context,
        state: told.status.state,
        description: told.status.description,
        delivery: match told.delivery {
            store::Delivery::Queued => Delivery::Queued,
            store::Delivery::Sent => Delivery::Sent,
            store::Delivery::Failed => Delivery::Failed,
            store::Delivery::Superseded => Delivery::Superseded,
        },
        attempts: told.attempts,
        error: told.last_error,
        at: told.at,
    }
}

fn class(state: StatusState) -> (&'static str, &'static str) {
    match state {
        StatusState::Pending => ("wait", "pending"),
        StatusState::Success => ("good", "success"),
        StatusState::Failure => ("bad", "failure"),
        StatusState::Superseded => ("wait", "superseded"),
    }
}

fn render(out: &mut String, report: &CommitReport) -> fmt::Result {
    write!(
        out,
        "<h1>Commit <code>{}</code> of source {}</h1>",
        Escaped(&report.id.0),
        report.source
    )?;
    if let Some(seen) = &report.seen {
        write!(
            out,
            "<p>{}<br><small>{}, {}</small></p>",
            Escaped(&seen.subject),
            Escaped(&seen.author),
            seen.committed_at
        )?;
    }
    match &report.status {
        Some(status) => {
            let (class, word) = class(status.state);
            write!(
                out,
                "<p><span class=\"{class}\">{word}</span>: {}</p>",
                Escaped(&status.description)
            )?;
        }
        None => out.push_str("<p>Nothing was said of it yet.</p>"),
    }
    apps(out, &report.apps)?;
    if let Some(held) = &report.held {
        write!(out, "<h2>Held</h2><p>{}</p><ul>", Escaped(&held.reason))?;
        for deletion in &held.deletions {
            write!(
                out,
                "<li>{} <small>{}</small></li>",
                deletion.app,
                Escaped(&deletion.file)
            )?;
        }
        write!(
            out,
            "</ul><p>To let them through: <code>evenkeel source approve {}</code></p>",
            report.source
        )?;
    }
    if let Some(seen) = report.seen.as_ref().filter(|s| !s.problems.is_empty()) {
        out.push_str("<h2>Problems</h2><ul>");
        for problem in &seen.problems {
            write!(out, "<li>{}</li>", Escaped(&problem.to_string()))?;
        }
        out.push_str("</ul>");
    }
    if !report.told.is_empty() {
        out.push_str(
            "<h2>Told to the forge</h2><table><tr><th>When</th><th>Context</th><th>Status</th>\
             <th>Delivery</th></tr>",
        );
    }
    for told in &report.told {
        let (class, word) = class(told.state);
        let delivery = match told.delivery {
            Delivery::Queued => "queued",
            Delivery::Sent => "sent",
            Delivery::Failed => "failed",
            Delivery::Superseded => "superseded",
        };
        write!(
            out,
            "<tr><td><small>{}</small></td><td><code>{}</code></td><td><span class=\"{class}\">\
             {word}</span> {}</td><td>{delivery} {}</td></tr>",
            told.at,
            Escaped(&told.context),
            Escaped(&told.description),
            Escaped(told.error.as_deref().unwrap_or_default()),
        )?;
    }
    if !report.told.is_empty() {
        out.push_str("</table>");
    }
    Ok(())
}

fn apps(out: &mut String, apps: &[TouchedApp]) -> fmt::Result {
    out.push_str("<h2>Apps it touched</h2>");
    if apps.is_empty() {
        out.push_str("<p>None that is remembered.</p>");
    }
    for app in apps {
        let (class, word) = match app.verdict {
            AppVerdict::Progressing => ("wait", "progressing"),
            AppVerdict::Healthy => ("good", "healthy"),
            AppVerdict::Failed => ("bad", "failed"),
            AppVerdict::Invalid => ("bad", "invalid"),
            AppVerdict::Removed => ("wait", "removed"),
            AppVerdict::Held => ("bad", "held"),
            AppVerdict::Superseded => ("wait", "superseded"),
        };
        write!(
            out,
            "<h3>{} <span class=\"{class}\">{word}</span></h3><p>{}</p>",
            app.app,
            Escaped(&app.reason)
        )?;
        let Some(rejected) = &app.rejected else {
            continue;
        };
        let seen = &rejected.evidence;
        out.push_str("<ul>");
        if let (Some(instance), Some(slot), Some(node)) = (seen.instance, seen.slot, &seen.node) {
            write!(
                out,
                "<li>instance <code>{instance}</code>, slot {slot} on node {node}</li>"
            )?;
        }
        if let Some(exit) = &seen.last_exit {
            let how = match (exit.oom_killed, exit.code) {
                (true, _) => "out of memory".to_owned(),
                (false, Some(code)) => format!("exit code {code}"),
                (false, None) => "an unknown exit code".to_owned(),
            };
            write!(
                out,
                "<li>{} exits; the last one with {how}, after {} ms</li>",
                seen.exits, exit.ran_for_ms
            )?;
        }
        if let Some(probe) = &seen.last_probe {
            let word = if probe.passed { "passed" } else { "failed" };
            write!(
                out,
                "<li>the last probe {word}: {}</li>",
                Escaped(&probe.answer)
            )?;
        }
        if let Some(error) = &seen.error {
            write!(out, "<li>{}</li>", Escaped(error))?;
        }
        out.push_str("</ul>");
        if !seen.log_tail.is_empty() {
            write!(out, "<pre>{}</pre>", Escaped(&seen.log_tail.join("\n")))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_shown_as_text() {
        let report = CommitReport {
            source: "shop".parse().expect("a label"),
            id: CommitId("a".repeat(40)),
            applied: true,
            status: Some(StatusView {
                state: StatusState::Failure,
                description: "<script>".to_owned(),
            }),
            apps: vec![TouchedApp {
                app: "shop/web".parse().expect("a key"),
                verdict: AppVerdict::Failed,
                reason: "<img>".to_owned(),
                rejected: None,
                path: String::new(),
            }],
            held: None,
            seen: None,
            told: Vec::new(),
        };
        let mut out = String::new();
        render(&mut out, &report).expect("a String takes everything");
        assert!(out.contains("failure") && out.contains("&lt;script&gt;"));
        assert!(!out.contains("<script>") && !out.contains("<img>"), "{out}");
    }
}
