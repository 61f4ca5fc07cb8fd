//! A plan for people: one block per app, what would hold it, and one line at the end.

use std::fmt::Write as _;

use crate::cli::output::{Cell, Paint, Table, Tone, counted, one_line};
use crate::model::{AppPreview, Downtime, Fit, Preview, PreviewAction, PreviewVerdict};

/// Nodes and slots named before the rest is counted.
const SHOWN: usize = 8;

/// `new`: nobody added the source yet.
pub(super) fn render(preview: &Preview, new: bool, paint: Paint) -> String {
    let mut out = String::new();
    if new {
        let _ = writeln!(
            out,
            "There is no source {} yet: planned as if it were just added.\n",
            preview.source
        );
    }
    for app in &preview.apps {
        block(&mut out, app, paint);
        out.push('\n');
    }
    for problem in &preview.problems {
        let text = one_line(&problem.to_string());
        let _ = writeln!(out, "{} {text}", paint.paint(Tone::Bad, "problem"));
    }
    for brake in &preview.brakes {
        let text = one_line(brake);
        let _ = writeln!(out, "{} {text}", paint.paint(Tone::Bad, "brake"));
    }
    for note in &preview.notes {
        let _ = writeln!(
            out,
            "{} {}",
            paint.paint(Tone::Wait, "note"),
            one_line(note)
        );
    }
    let _ = writeln!(out, "{}", last_line(preview, paint));
    out
}

fn block(out: &mut String, app: &AppPreview, paint: Paint) {
    let (sign, word, tone) = words(app.action);
    let size = match (app.replicas.before, app.replicas.after) {
        _ if app.starts + app.stops == 0 => String::new(),
        (before, after) if before == after || before == 0 => {
            format!(", {}", counted(after as usize, "replica"))
        }
        (before, 0) => format!(", {}", counted(before as usize, "replica")),
        (before, after) => format!(", {before} -> {after} replicas"),
    };
    let _ = writeln!(
        out,
        "{} {} {}{size} ({})",
        paint.paint(tone, sign),
        paint.paint(Tone::Strong, &app.app.to_string()),
        paint.paint(tone, word),
        one_line(&app.path)
    );
    let mut table = Table::new(&["", "", ""]);
    for field in &app.fields {
        let value = match (&field.old, &field.new) {
            (None, Some(new)) => new.clone(),
            (Some(old), None) => format!("{old} -> (gone)"),
            (Some(old), Some(new)) => format!("{old} -> {new}"),
            (None, None) => String::new(),
        };
        let why = match app.action {
            PreviewAction::Create => String::new(),
            PreviewAction::Replace
            | PreviewAction::InPlace
            | PreviewAction::Delete
            | PreviewAction::Held
            | PreviewAction::Quarantined
            | PreviewAction::Invalid
            | PreviewAction::Foreign => field.reason.clone(),
        };
        table.row([Cell::new(&field.field), Cell::new(value), Cell::new(why)]);
    }
    if !table.is_empty() {
        let text = table.render(Paint::NONE, "    ");
        // The header has no words.
        out.extend(text.lines().skip(1).flat_map(|line| [line, "\n"]));
    }
    let mut tell = |tone: Tone, what: &str, text: &str| {
        let _ = writeln!(out, "    {} {}", paint.paint(tone, what), one_line(text));
    };
    if let Some(reason) = &app.reason {
        tell(Tone::Bad, "why", reason);
    }
    if app.starts > 0 {
        tell(Tone::Faint, "new instances", &places(app));
    }
    match &app.fit {
        Fit::NothingToDo | Fit::ToItsEnd => {}
        Fit::Waits { what } => tell(Tone::Wait, "waits for", what),
        Fit::Never { reason, fits_alone } => {
            let alone = if *fits_alone {
                " (it would fit without the other changes)"
            } else {
                ""
            };
            tell(Tone::Bad, "does not fit", &format!("{reason}{alone}"));
        }
    }
    match &app.downtime {
        Downtime::None => {}
        Downtime::Reduced {
            at_least,
            of,
            reason,
        } => {
            let text = format!("{at_least} of {of} go on serving: {reason}");
            tell(Tone::Wait, "less capacity", &text);
        }
        Downtime::Outage { reason } => tell(Tone::Bad, "downtime", reason),
    }
}

/// `slot 0 on n1, slot 1 on n2`, or per node where there are many.
fn places(app: &AppPreview) -> String {
    if app.starts <= SHOWN {
        let slots = app.places.iter();
        return slots
            .map(|place| format!("slot {} on {}", place.slot, place.node))
            .collect::<Vec<_>>()
            .join(", ");
    }
    let nodes = app.per_node.iter().take(SHOWN);
    let mut text = nodes
        .map(|(node, n)| format!("{n} on {node}"))
        .collect::<Vec<_>>()
        .join(", ");
    if app.per_node.len() > SHOWN {
        let _ = write!(text, " and on {} more nodes", app.per_node.len() - SHOWN);
    }
    text
}

fn words(action: PreviewAction) -> (&'static str, &'static str, Tone) {
    match action {
        PreviewAction::Create => ("+", "is created", Tone::Good),
        PreviewAction::Replace => ("~", "is replaced", Tone::Wait),
        PreviewAction::InPlace => ("*", "changes in place", Tone::Good),
        PreviewAction::Delete => ("-", "is deleted", Tone::Bad),
        PreviewAction::Held => ("!", "is held", Tone::Bad),
        PreviewAction::Quarantined => ("!", "is quarantined", Tone::Bad),
        PreviewAction::Invalid => ("!", "is invalid", Tone::Bad),
        PreviewAction::Foreign => ("!", "belongs to another source", Tone::Bad),
    }
}

fn last_line(preview: &Preview, paint: Paint) -> String {
    let (tone, word) = match preview.verdict {
        PreviewVerdict::Unchanged => (Tone::Good, "No changes"),
        PreviewVerdict::Changes => (Tone::Good, "Plan"),
        PreviewVerdict::Held => (Tone::Wait, "Plan, held in part"),
        PreviewVerdict::Blocked => (Tone::Bad, "Blocked"),
    };
    let down: Vec<String> = preview
        .apps
        .iter()
        .filter(|app| matches!(app.downtime, Downtime::Outage { .. }))
        .map(|app| app.app.to_string())
        .collect();
    let downtime = match (preview.verdict, down.is_empty()) {
        (PreviewVerdict::Unchanged, _) => String::new(),
        (_, true) => ". Downtime: none".to_owned(),
        (_, false) => format!(". Downtime: {}", down.join(", ")),
    };
    format!(
        "{}: {}{downtime}.",
        paint.paint(tone, word),
        one_line(preview.summary.trim_end_matches('.'))
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preview::{FieldEffect, FieldPreview, Place, PreviewCounts, Replicas};

    fn app(name: &str, action: PreviewAction) -> AppPreview {
        AppPreview {
            app: name.parse().unwrap(),
            action,
            path: "web.yaml".to_owned(),
            reason: None,
            fields: Vec::new(),
            replicas: Replicas {
                before: 1,
                after: 1,
                serving: 1,
            },
            places: Vec::new(),
            per_node: Default::default(),
            starts: 0,
            stops: 0,
            fit: Fit::NothingToDo,
            downtime: Downtime::None,
        }
    }

    #[test]
    fn a_plan_reads_like_one() {
        let mut web = app("shop/web", PreviewAction::Replace);
        web.fields = vec![FieldPreview {
            field: "image".to_owned(),
            old: Some("web:1".to_owned()),
            new: Some("web:2\u{1b}[2J".to_owned()),
            effect: FieldEffect::Replace,
            reason: "another image is another process".to_owned(),
        }];
        web.places = vec![Place {
            slot: 0,
            node: "n1".parse().unwrap(),
        }];
        (web.starts, web.stops) = (1, 1);
        web.fit = Fit::ToItsEnd;
        web.downtime = Downtime::Outage {
            reason: "strategy recreate stops all".to_owned(),
        };
        let mut held = app("shop/old", PreviewAction::Held);
        held.reason = Some("its deletion waits".to_owned());
        let preview = Preview {
            source: "main".parse().unwrap(),
            commit: None,
            verdict: PreviewVerdict::Held,
            summary: "1 replaced, 1 held".to_owned(),
            counts: PreviewCounts::default(),
            apps: vec![web, held],
            brakes: vec!["3 of 4 apps would be deleted".to_owned()],
            problems: Vec::new(),
            problem_count: 0,
            notes: Vec::new(),
        };
        assert_eq!(
            render(&preview, false, Paint::NONE),
            "\
~ shop/web is replaced, 1 replica (web.yaml)
    image  web:1 -> web:2 [2J  another image is another process
    new instances slot 0 on n1
    downtime strategy recreate stops all

! shop/old is held (web.yaml)
    why its deletion waits

brake 3 of 4 apps would be deleted
Plan, held in part: 1 replaced, 1 held. Downtime: shop/web.
"
        );
    }
}
