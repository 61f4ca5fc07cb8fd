//! `rollout …`, `apps`, `diff`: what an app is at, where it moves, and steering that.

use crate::api::{AppDiff, AppStatus, RolloutView};
use crate::client::AppFilter;
use crate::clock;
use crate::model::preview::{FieldEffect, FieldPreview};
use crate::model::{HealthState, SyncState, Timestamp};

use super::args::{AppArgs, Global};
use super::exit::{Code, Outcome};
use super::follow::{Which, follow};
use super::output::{Cell, Paint, Table, Tone, age, one_line, print, span};
use super::server::{connect, find_app};
use super::status;
use super::verb_args::{AppsArgs, RolloutCommand};
use super::verbs::{finish, show, start};

pub async fn run(global: &Global, command: RolloutCommand) -> Outcome {
    match command {
        RolloutCommand::Watch { app, timeout } => {
            let client = connect(global)?;
            let key = find_app(&client, global, &app).await?;
            let now = client.app_now(&key).await?;
            let (status, code) =
                follow(&client, global, &key, now, Which::Present, timeout).await?;
            show(global, &status)?;
            Ok(code)
        }
        RolloutCommand::Pause(args) => {
            let client = args.ground.seen.guard(connect(global)?);
            let key = find_app(&client, global, &args.app).await?;
            show(global, &client.pause(&key, args.ground.reason).await?)?;
            Ok(Code::Done)
        }
        RolloutCommand::Resume(args) => {
            let (client, key, _) = start(global, &args.app, args.seen).await?;
            let answer = client.resume_rollout(&key).await?;
            finish(&client, global, &key, answer, Which::Present, args.wait).await
        }
        RolloutCommand::Abort(args) => {
            let (client, key, next) = start(global, &args.app, args.ground.seen).await?;
            let answer = client.abort(&key, args.ground.reason).await?;
            // Where there is nothing to go back to, or a restart just ends, nothing begins.
            if answer.rollout.is_none() {
                show(global, &answer)?;
                return Ok(Code::Done);
            }
            finish(&client, global, &key, answer, next, args.wait).await
        }
        RolloutCommand::History(args) => history(global, args).await,
    }
}

async fn history(global: &Global, args: AppArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    let page = client.rollouts(&key).await?;
    print(global.output, &page.items, |paint| {
        history_table(&page.items, clock::now(), paint)
    })?;
    Ok(Code::Done)
}

fn history_table(rollouts: &[RolloutView], now: Timestamp, paint: Paint) -> String {
    if rollouts.is_empty() {
        return "no rollouts yet\n".to_owned();
    }
    let mut table = Table::new(&["STARTED", "TOOK", "KIND", "PHASE", "FROM", "TO", "WHY"]);
    for r in rollouts {
        let commit = |c: &Option<crate::api::Revision>| {
            c.as_ref()
                .map_or("-".to_owned(), |c| c.commit.short().to_owned())
        };
        let took = r
            .finished_at
            .map_or_else(|| "-".to_owned(), |at| span(at.since(r.started_at)));
        table.row([
            format!("{} ago", age(now, r.started_at)).into(),
            took.into(),
            super::output::word(r.kind).into(),
            Cell::state(r.phase),
            commit(&r.from).into(),
            commit(&r.to).into(),
            r.outcome.as_ref().unwrap_or(&r.reason).as_str().into(),
        ]);
    }
    table.render(paint, "")
}

pub async fn apps(global: &Global, args: AppsArgs) -> Outcome {
    let client = connect(global)?;
    let filter = AppFilter {
        project: global.project.clone(),
        ..AppFilter::default()
    };
    let mut apps = client.apps(&filter).await?;
    let of = |a: &AppStatus| {
        let source = args.source.as_deref();
        source.is_none_or(|s| a.source.as_str() == s)
    };
    let well = |a: &AppStatus| a.sync == SyncState::Synced && a.health == HealthState::Healthy;
    apps.retain(|a| of(a) && !(args.unwell && well(a)));
    print(global.output, &apps, |paint| {
        if apps.is_empty() && args.unwell {
            return "all apps are synced and healthy\n".to_owned();
        }
        status::overview(&apps, paint)
    })?;
    Ok(Code::Done)
}

pub async fn diff(global: &Global, args: AppArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    let diff = client.diff(&key).await?;
    print(global.output, &diff, |paint| diff_text(&diff, paint))?;
    Ok(Code::Done)
}

fn diff_text(diff: &AppDiff, paint: Paint) -> String {
    let commit = |r: &Option<crate::api::Revision>, none: &str| {
        r.as_ref()
            .map_or(none.to_owned(), |r| r.commit.short().to_owned())
    };
    let mut out = format!(
        "{}  running {}, Git at {}\n",
        paint.paint(Tone::Strong, &format!("{}/{}", diff.project, diff.name)),
        commit(&diff.running, "nothing"),
        commit(&diff.declared, "nothing"),
    );
    for message in &diff.messages {
        out.push_str(&format!("  {}\n", one_line(message)));
    }
    if diff.fields.is_empty() {
        out.push_str(match &diff.declared {
            Some(_) => "  what runs is what is declared\n",
            None => "  Git no longer declares it: everything of it is taken down\n",
        });
        return out;
    }
    for field in &diff.fields {
        out.push_str(&field_text(field, paint));
    }
    out
}

fn field_text(field: &FieldPreview, paint: Paint) -> String {
    let effect = match field.effect {
        FieldEffect::Replace => "new instances",
        FieldEffect::InPlace => "in place",
    };
    let mut out = format!("  {} ({effect}: {})\n", field.field, field.reason);
    if let Some(old) = &field.old {
        let line = format!("- {}", one_line(old));
        out.push_str(&format!("    {}\n", paint.paint(Tone::Bad, &line)));
    }
    if let Some(new) = &field.new {
        let line = format!("+ {}", one_line(new));
        out.push_str(&format!("    {}\n", paint.paint(Tone::Good, &line)));
    }
    out
}
