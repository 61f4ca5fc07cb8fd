//! `status`: all apps, or one in full.

use std::fmt::Write as _;

use crate::api::app::Rejected;
use crate::api::{AppStatus, RolloutView};
use crate::client::AppFilter;
use crate::clock;
use crate::model::{Evidence, RolloutPhase, Timestamp};

use super::args::{Global, StatusArgs};
use super::exit::{Code, Outcome};
use super::output::{Cell, Paint, Table, Tone, age, counted, one_line, print, tone_of, word};
use super::server::{connect, find_app};
use super::wait;

pub async fn run(global: &Global, args: StatusArgs) -> Outcome {
    let client = connect(global)?;
    let Some(name) = &args.app else {
        let filter = AppFilter {
            project: global.project.clone(),
            ..AppFilter::default()
        };
        let apps = client.apps(&filter).await?;
        print(global.output, &apps, |paint| overview(&apps, paint))?;
        return Ok(Code::Done);
    };
    let (status, code) = if args.wait {
        wait::run(&client, global, name, args.timeout).await?
    } else {
        let key = find_app(&client, global, name).await?;
        (client.app(&key).await?, Code::Done)
    };
    print(global.output, &status, |paint| {
        one(&status, clock::now(), paint)
    })?;
    Ok(code)
}

/// All apps as a table.
pub fn overview(apps: &[AppStatus], paint: Paint) -> String {
    if apps.is_empty() {
        return "no apps; add a source: evenkeel source add NAME URL\n".to_owned();
    }
    let mut table = Table::new(&["APP", "SYNC", "HEALTH", "READY", "RUNNING", "GIT", "WHY"]);
    for app in apps {
        let commit = |r: &Option<crate::api::Revision>| {
            r.as_ref()
                .map_or("-".to_owned(), |r| r.commit.short().to_owned())
        };
        table.row([
            format!("{}/{}", app.project, app.name).into(),
            Cell::state(app.sync),
            Cell::state(app.health),
            format!("{}/{}", app.replicas.ready, app.replicas.desired).into(),
            commit(&app.running).into(),
            commit(&app.git).into(),
            app.messages.first().map_or("", String::as_str).into(),
        ]);
    }
    table.render(paint, "")
}

/// One app in full.
pub fn one(app: &AppStatus, now: Timestamp, paint: Paint) -> String {
    let mut out = String::new();
    let state = |w: String| paint.paint(tone_of(&w), &w);
    let _ = writeln!(
        out,
        "{}  {}  {}  {}/{} ready",
        paint.paint(Tone::Strong, &format!("{}/{}", app.project, app.name)),
        state(word(app.sync)),
        state(word(app.health)),
        app.replicas.ready,
        app.replicas.desired,
    );
    for message in &app.messages {
        let _ = writeln!(out, "  {}", one_line(message));
    }
    let mut field = |name: &str, value: String| {
        let _ = writeln!(
            out,
            "  {}  {value}",
            paint.paint(Tone::Faint, &format!("{name:<8}"))
        );
    };
    field("source", format!("{}, {}", app.source, one_line(&app.path)));
    let revision = |r: &crate::api::Revision| match &r.digest {
        Some(digest) => format!("{}  (spec {})", r.commit.short(), digest.short()),
        None => format!("{}  (invalid)", r.commit.short()),
    };
    let or =
        |r: &Option<crate::api::Revision>, none: &str| r.as_ref().map_or(none.to_owned(), revision);
    field("git", or(&app.git, "removed"));
    field("running", or(&app.running, "nothing yet"));
    field("version", app.version.to_string());
    if let Some(rollout) = &app.rollout {
        field("rollout", rollout_line(rollout, now, paint));
    }
    if let Some(rollout) = &app.last_rollout {
        field("last", rollout_line(rollout, now, paint));
    }
    if let Some(rejected) = app.rejected.as_ref().or_else(|| {
        let last = app.last_rollout.as_ref()?;
        (last.phase == RolloutPhase::Failed)
            .then_some(last.rejected.as_ref())
            .flatten()
    }) {
        rejection(&mut out, rejected, now, paint);
    }
    for problem in &app.problems {
        let _ = writeln!(
            out,
            "  {} {}",
            paint.paint(Tone::Bad, "problem "),
            one_line(&problem.to_string())
        );
    }
    out.push_str(&instances(app, now, paint));
    out
}

fn rollout_line(rollout: &RolloutView, now: Timestamp, paint: Paint) -> String {
    let phase = word(rollout.phase);
    let commit = |r: &Option<crate::api::Revision>| {
        r.as_ref()
            .map_or("nothing".to_owned(), |r| r.commit.short().to_owned())
    };
    let mut line = format!(
        "{} {} {} → {}, {}",
        word(rollout.kind),
        paint.paint(tone_of(&phase), &phase),
        commit(&rollout.from),
        commit(&rollout.to),
        word(rollout.strategy),
    );
    match rollout.finished_at {
        Some(at) => {
            let _ = write!(line, ", ended {} ago", age(now, at));
        }
        None => {
            let _ = write!(
                line,
                ", {}, started {} ago",
                rollout.step,
                age(now, rollout.started_at)
            );
        }
    }
    let why = rollout.outcome.as_ref().unwrap_or(&rollout.reason);
    let _ = write!(line, ": {}", one_line(why));
    line
}

fn rejection(out: &mut String, rejected: &Rejected, now: Timestamp, paint: Paint) {
    let _ = writeln!(
        out,
        "  {} {} {} ago ({}): {}",
        paint.paint(Tone::Bad, "rejected"),
        rejected.commit.short(),
        age(now, rejected.at),
        word(rejected.verdict),
        one_line(&rejected.reason),
    );
    for line in evidence(&rejected.evidence) {
        let _ = writeln!(out, "    {line}");
    }
}

/// What was seen, a line each.
pub fn evidence(evidence: &Evidence) -> Vec<String> {
    let mut lines = Vec::new();
    let mut place = String::new();
    if let Some(instance) = &evidence.instance {
        let _ = write!(place, "instance {}", instance.short());
    }
    if let Some(slot) = evidence.slot {
        let _ = write!(place, ", slot {slot}");
    }
    if let Some(node) = &evidence.node {
        let space = if place.is_empty() { "" } else { " " };
        let _ = write!(place, "{space}on node {node}");
    }
    if !place.is_empty() {
        lines.push(place);
    }
    if let Some(exit) = &evidence.last_exit {
        let code = exit.code.map_or("unknown".to_owned(), |c| c.to_string());
        let oom = if exit.oom_killed {
            ", out of memory"
        } else {
            ""
        };
        lines.push(format!(
            "exit code {code}{oom} after {} ms, {} in all",
            exit.ran_for_ms,
            counted(evidence.exits as usize, "exit"),
        ));
    }
    if let Some(probe) = &evidence.last_probe {
        lines.push(format!(
            "last {} probe: {}",
            word(probe.probe),
            one_line(&probe.answer)
        ));
    }
    if let Some(error) = &evidence.error {
        lines.push(format!("error: {}", one_line(error)));
    }
    if !evidence.log_tail.is_empty() {
        lines.push("last output:".to_owned());
        lines.extend(
            evidence
                .log_tail
                .iter()
                .map(|l| format!("  | {}", one_line(l))),
        );
    }
    lines
}

fn instances(app: &AppStatus, now: Timestamp, paint: Paint) -> String {
    let mut table = Table::new(&[
        "SLOT", "INSTANCE", "NODE", "COMMIT", "PHASE", "READY", "AGE", "RESTARTS", "PORTS", "WHY",
    ]);
    for i in &app.instances {
        let ports: Vec<String> = i
            .ports
            .iter()
            .map(|(name, at)| format!("{name}={at}"))
            .collect();
        let why = match (&i.failure, i.stopping, &i.last_exit) {
            (Some(failure), _, _) => failure.message.clone(),
            (None, true, _) => format!("stopping: {}", i.reason),
            (None, false, Some(exit)) if !i.ready => format!(
                "exited with code {}",
                exit.code.map_or("unknown".to_owned(), |c| c.to_string())
            ),
            (None, false, _) => i
                .last_probe
                .as_ref()
                .filter(|p| !p.passed && !i.ready)
                .map(|p| p.answer.clone())
                .unwrap_or_default(),
        };
        let ready = match i.observed {
            crate::api::app::ObservedWord::Unknown => "unknown",
            _ if i.ready => "ready",
            _ => "no",
        };
        table.row([
            i.slot.to_string().into(),
            i.id.short().into(),
            i.node.to_string().into(),
            i.commit.as_ref().map_or("-", |c| c.short()).into(),
            Cell::state(i.phase),
            ready.into(),
            age(now, i.created_at).into(),
            i.restarts.to_string().into(),
            ports.join(" ").into(),
            why.into(),
        ]);
    }
    if table.is_empty() {
        return "  no instances\n".to_owned();
    }
    table.render(paint, "  ")
}

#[cfg(test)]
#[path = "status_tests.rs"]
pub(super) mod tests;
