//! A plan as the comment of a pull request: Markdown that every forge shows alike.
//!
//! Whatever comes from a repository is hostile: it may not end a code span, name people or
//! make links and headings. Where all of it does not fit, fields go first, then apps.

use std::fmt::Write as _;

use crate::model::preview::{FieldPreview, PLACES_TOLD};
use crate::model::{
    AppPreview, CommitId, Downtime, Fit, Preview, PreviewAction, PreviewVerdict, PullState,
};

/// Of what a comment speaks.
pub(super) struct About<'a> {
    pub cluster: &'a str,
    pub source: &'a str,
    pub branch: &'a str,
    pub head: &'a CommitId,
    pub base: &'a CommitId,
}

impl About<'_> {
    fn line(&self) -> String {
        format!(
            "Source {} in cluster {}: commit {} merged with {} ({}).",
            code(self.source),
            code(self.cluster),
            code(self.head.short()),
            code(self.branch),
            code(self.base.short())
        )
    }
}

/// Slots, problems and fields listed before the rest is counted.
const SLOTS: usize = 8;
// So few are all listed.
const _: () = assert!(SLOTS <= PLACES_TOLD);
const PROBLEMS: usize = 50;
const FIELDS: usize = 40;

/// Of at most `limit` characters.
pub(super) fn plan(preview: &Preview, about: &About<'_>, limit: usize) -> String {
    for fields in [FIELDS, 4, 0] {
        let text = whole(preview, about, fields, preview.apps.len());
        if text.chars().count() <= limit {
            return text;
        }
    }
    let mut apps = preview.apps.len();
    loop {
        apps /= 2;
        let text = whole(preview, about, 0, apps);
        if apps == 0 || text.chars().count() <= limit {
            return text.chars().take(limit).collect();
        }
    }
}

fn whole(preview: &Preview, about: &About<'_>, fields: usize, apps: usize) -> String {
    let head = match preview.verdict {
        PreviewVerdict::Unchanged => "no changes",
        PreviewVerdict::Changes => "it would be carried out",
        PreviewVerdict::Held => "part of it would wait for a person",
        PreviewVerdict::Blocked => "blocked",
    };
    let mut out = format!(
        "### Evenkeel plan: {head}\n\n{}\n\n{}\n",
        plain(&preview.summary),
        about.line()
    );
    section(&mut out, "Problems", preview.problem_count, |out| {
        for problem in preview.problems.iter().take(PROBLEMS) {
            let _ = writeln!(out, "- {}", plain(&problem.to_string()));
        }
        more(out, preview.problem_count, PROBLEMS, "problems");
    });
    section(&mut out, "Brakes", preview.brakes.len(), |out| {
        for brake in &preview.brakes {
            let _ = writeln!(out, "- {}", plain(brake));
        }
    });
    section(&mut out, "Apps", preview.apps.len(), |out| {
        for app in preview.apps.iter().take(apps) {
            block(out, app, fields);
        }
        more(out, preview.apps.len(), apps, "apps");
    });
    section(&mut out, "Notes", preview.notes.len(), |out| {
        for note in &preview.notes {
            let _ = writeln!(out, "- {}", plain(note));
        }
    });
    if preview.counts.unchanged > 0 {
        let _ = writeln!(out, "\n{} apps stay as they are.", preview.counts.unchanged);
    }
    out.push_str(
        "\nThe planner was run to its end on the cluster as it is now; values that may be secret \
         are hidden. This comment is kept up to date.\n",
    );
    out
}

fn section(out: &mut String, title: &str, n: usize, fill: impl FnOnce(&mut String)) {
    if n > 0 {
        let _ = write!(out, "\n**{title}**\n\n");
        fill(out);
    }
}

fn more(out: &mut String, all: usize, shown: usize, what: &str) {
    if all > shown {
        let _ = writeln!(out, "- and {} more {what}", all - shown);
    }
}

fn block(out: &mut String, app: &AppPreview, fields: usize) {
    let what = match app.action {
        PreviewAction::Create => "is created",
        PreviewAction::Replace => "is replaced",
        PreviewAction::InPlace => "changes in place",
        PreviewAction::Delete => "is deleted",
        PreviewAction::Held => "is held",
        PreviewAction::Quarantined => "is quarantined",
        PreviewAction::Invalid => "is invalid",
        PreviewAction::Foreign => "belongs to another source",
    };
    let replicas = match (app.replicas.before, app.replicas.after) {
        _ if app.starts + app.stops == 0 => String::new(),
        (before, after) if before == after || before == 0 => format!(", replicas {after}"),
        (before, after) => format!(", replicas {before} to {after}"),
    };
    let name = app.app.to_string();
    let _ = writeln!(
        out,
        "- **{}** {what}{replicas} ({})",
        plain(&name),
        code(&app.path)
    );
    if let Some(reason) = &app.reason {
        let _ = writeln!(out, "  - why: {}", plain(reason));
    }
    match &app.fit {
        Fit::NothingToDo | Fit::ToItsEnd => {}
        Fit::Waits { what } => {
            let _ = writeln!(out, "  - waits for: {}", plain(what));
        }
        Fit::Never { reason, fits_alone } => {
            let alone = match fits_alone {
                true => " (it would fit without the other changes)",
                false => "",
            };
            let _ = writeln!(out, "  - **does not fit**: {}{alone}", plain(reason));
        }
    }
    for field in app.fields.iter().take(fields) {
        let _ = writeln!(out, "  - {}", told(field, app.action));
    }
    if app.fields.len() > fields {
        let _ = writeln!(out, "  - and {} more fields", app.fields.len() - fields);
    }
    if app.starts > 0 {
        let _ = writeln!(out, "  - new instances: {}", places(app));
    }
    let downtime = match &app.downtime {
        Downtime::None if app.starts + app.stops == 0 || app.replicas.serving == 0 => return,
        Downtime::None => "none".to_owned(),
        Downtime::Reduced {
            at_least,
            of,
            reason,
        } => format!(
            "none, but only {at_least} of {of} go on serving: {}",
            plain(reason)
        ),
        Downtime::Outage { reason } => format!("**yes**: {}", plain(reason)),
    };
    if app.action != PreviewAction::Delete {
        let _ = writeln!(out, "  - downtime: {downtime}");
    }
}

fn told(field: &FieldPreview, action: PreviewAction) -> String {
    let name = code(&field.field);
    let change = match (&field.old, &field.new) {
        (None, Some(new)) => format!("{name}: {}", code(new)),
        (Some(old), None) => format!("{name}: {} is removed", code(old)),
        (Some(old), Some(new)) => format!("{name}: {} → {}", code(old), code(new)),
        (None, None) => name,
    };
    match action {
        PreviewAction::Create => change,
        PreviewAction::Replace
        | PreviewAction::InPlace
        | PreviewAction::Delete
        | PreviewAction::Held
        | PreviewAction::Quarantined
        | PreviewAction::Invalid
        | PreviewAction::Foreign => format!("{change} ({})", field.reason),
    }
}

fn places(app: &AppPreview) -> String {
    if app.starts <= SLOTS {
        let slots = app.places.iter();
        let slots =
            slots.map(|place| format!("slot {} on {}", place.slot, code(place.node.as_str())));
        return slots.collect::<Vec<_>>().join(", ");
    }
    let nodes = app.per_node.iter().take(SLOTS);
    let mut text = nodes
        .map(|(node, n)| format!("{n} on {}", code(node.as_str())))
        .collect::<Vec<_>>()
        .join(", ");
    if app.per_node.len() > SLOTS {
        let _ = write!(text, " and on {} more nodes", app.per_node.len() - SLOTS);
    }
    text
}

/// Where no plan could be made, and why.
pub(super) fn obstacle(reason: &str, about: &About<'_>) -> String {
    format!(
        "### Evenkeel plan: blocked\n\n{}\n\n{}\n\nThis comment is kept up to date.\n",
        plain(reason),
        about.line()
    )
}

/// The last word on a pull request.
pub(super) fn over(state: PullState, branch: &str, context: &str) -> String {
    let what = match state {
        PullState::Merged => format!(
            "The pull request is merged. The status {} tells how its commit fares.",
            code(context)
        ),
        PullState::Closed => "The pull request is closed: nothing of it is carried out.".to_owned(),
        PullState::Open => format!(
            "The pull request is no longer one into {}: it is not planned any more.",
            code(branch)
        ),
    };
    format!("### Evenkeel plan: over\n\n{what}\n")
}

/// A code span that its text cannot leave.
fn code(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| match c {
            '`' => '\'',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    format!("`{}`", text.trim())
}

/// Text without any meaning to Markdown, that calls nobody.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '~' | '!' => {
                out.push('\\');
                out.push(c);
            }
            '@' => out.push_str("@\u{200b}"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preview::{FieldEffect, PreviewCounts, Replicas};

    fn app(n: usize, fields: usize) -> AppPreview {
        AppPreview {
            app: format!("shop/app{n}").parse().unwrap(),
            action: PreviewAction::Replace,
            path: format!("app{n}.yaml"),
            reason: None,
            fields: (0..fields)
                .map(|field| FieldPreview {
                    field: format!("env.V{field}"),
                    old: Some("a".to_owned()),
                    new: Some("`@all` <b>\n# b".to_owned()),
                    effect: FieldEffect::Replace,
                    reason: "why".to_owned(),
                })
                .collect(),
            replicas: Replicas {
                before: 1,
                after: 1,
                serving: 1,
            },
            places: Vec::new(),
            per_node: Default::default(),
            starts: 1,
            stops: 1,
            fit: Fit::ToItsEnd,
            downtime: Downtime::None,
        }
    }

    fn preview(apps: Vec<AppPreview>) -> Preview {
        Preview {
            source: "shop".parse().unwrap(),
            commit: None,
            verdict: PreviewVerdict::Changes,
            summary: "see [here](http://x) @team *now*".to_owned(),
            counts: PreviewCounts::default(),
            apps,
            brakes: Vec::new(),
            problems: Vec::new(),
            problem_count: 0,
            notes: Vec::new(),
        }
    }

    fn render(preview: &Preview, limit: usize) -> String {
        let (head, base) = (CommitId("a".repeat(40)), CommitId("b".repeat(40)));
        let about = About {
            cluster: "test",
            source: "shop",
            branch: "main",
            head: &head,
            base: &base,
        };
        plan(preview, &about, limit)
    }

    #[test]
    fn nothing_of_a_repository_has_a_meaning() {
        let text = render(&preview(vec![app(1, 1)]), 60_000);
        assert!(
            text.contains("see \\[here\\](http://x) @\u{200b}team \\*now\\*"),
            "{text}"
        );
        assert!(
            text.contains("`env.V0`: `a` → `'@all' <b> # b` (why)"),
            "{text}"
        );
        assert!(
            text.contains("- **shop/app1** is replaced, replicas 1 (`app1.yaml`)"),
            "{text}"
        );
        assert!(text.contains("  - downtime: none"), "{text}");
    }

    #[test]
    fn a_long_plan_loses_fields_before_apps_and_never_passes_the_limit() {
        let long = preview((0..100).map(|n| app(n, 30)).collect());
        for limit in [400_000, 60_000, 32_768, 5_000, 300] {
            let text = render(&long, limit);
            assert!(text.chars().count() <= limit, "{limit}: {}", text.len());
            assert!(text.starts_with("### Evenkeel plan"), "{text}");
        }
        let some = render(&long, 20_000);
        assert!(
            some.contains("shop/app99") && some.contains("and 30 more fields"),
            "{some}"
        );
        let few = render(&long, 3_000);
        assert!(few.contains("more apps"), "{few}");
    }

    #[test]
    fn the_last_word_says_what_became_of_it() {
        for (state, word) in [
            (PullState::Merged, "is merged"),
            (PullState::Closed, "is closed"),
            (PullState::Open, "no longer one into `main`"),
        ] {
            let text = over(state, "main", "evenkeel/c/shop");
            assert!(text.contains(word), "{text}");
        }
    }
}
