//! What of a preview may be read by whoever can read a pull request.
//!
//! The rule, in favour of hiding:
//! - The content of a file is never shown, nor a digest that guesses could be held against:
//!   only its size.
//! - The value of a variable, a label, a command or its arguments is hidden if the name of
//!   the field or the value holds a word that goes with secrets (password, token, key, …),
//!   or if the value looks like one: a URL with a user in it, a PEM block, the prefixes that
//!   forges and clouds give their tokens, a long run of letters mixed with digits.
//! - All else (images, numbers, names, probes, placement) is shown, cut where it is long.

use crate::model::preview::FieldPreview;

pub const HIDDEN: &str = "(value hidden)";

/// In upper case. Too many is better than too few: a hidden value costs a look at the file.
const WORDS: [&str; 12] = [
    "PASS",
    "PWD",
    "SECRET",
    "TOKEN",
    "KEY",
    "CRED",
    "AUTH",
    "PRIVATE",
    "CERT",
    "DSN",
    "SIGN",
    "CONNECTIONSTRING",
];

/// How tokens of forges, clouds and chats begin, and what armours keys.
const MARKS: [&str; 14] = [
    "ghp_",
    "gho_",
    "ghs_",
    "github_pat_",
    "glpat-",
    "AKIA",
    "ASIA",
    "xox",
    "sk-",
    "sk_live",
    "eyJ",
    "-----BEGIN",
    "AIza",
    "hvs.",
];

/// Letters and digits in one run from which on it is taken for a key, in characters.
const RUN: usize = 20;

/// Hides what the rule says. Both sides go together: one value without the other would tell
/// that they are alike.
pub fn mask(field: &mut FieldPreview) {
    if field.field.starts_with("files.") {
        hide_file(field);
        return;
    }
    if !is_free_text(&field.field) {
        return;
    }
    let named = has_word(&field.field);
    let sides = [&field.old, &field.new];
    if named || sides.into_iter().flatten().any(|value| looks_secret(value)) {
        for side in [&mut field.old, &mut field.new] {
            if side.is_some() {
                *side = Some(HIDDEN.to_owned());
            }
        }
    }
}

/// Fields in which people can write anything.
fn is_free_text(field: &str) -> bool {
    let roots = ["env", "labels", "command", "args", "workingDir"];
    let root = field.split('.').next().unwrap_or_default();
    roots.contains(&root) || root == "task" || field.ends_with(".command")
}

/// `412 bytes, sha256 …` → `412 bytes`.
fn hide_file(field: &mut FieldPreview) {
    let size = |side: &Option<String>| {
        let text = side.as_ref()?;
        let size = text.split(',').next().unwrap_or_default();
        Some(if size.ends_with(" bytes") {
            size.to_owned()
        } else {
            HIDDEN.to_owned()
        })
    };
    (field.old, field.new) = (size(&field.old), size(&field.new));
    if field.old == field.new {
        field.new = field
            .new
            .take()
            .map(|size| format!("{size}, other content"));
    }
}

fn has_word(text: &str) -> bool {
    let text: String = text
        .chars()
        .filter(|c| !matches!(c, '_' | '-' | '.' | ' '))
        .collect::<String>()
        .to_ascii_uppercase();
    WORDS.iter().any(|word| text.contains(word))
}

fn looks_secret(value: &str) -> bool {
    has_word(value)
        || MARKS.iter().any(|mark| value.contains(mark))
        || names_a_user(value)
        || has_long_run(value)
}

/// `postgres://app:hunter2@db/shop`.
fn names_a_user(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let end = rest.find(['/', '?', '#', ' ', '"']).unwrap_or(rest.len());
        rest[..end].contains('@')
    })
}

fn has_long_run(value: &str) -> bool {
    let runs = value.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '+' | '=' | '_')));
    runs.filter(|run| run.len() >= RUN).any(|run| {
        run.bytes().any(|b| b.is_ascii_digit()) && run.bytes().any(|b| b.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::preview::FieldEffect;

    fn masked(field: &str, old: Option<&str>, new: &str) -> (Option<String>, Option<String>) {
        let mut field = FieldPreview {
            field: field.to_owned(),
            old: old.map(str::to_owned),
            new: Some(new.to_owned()),
            effect: FieldEffect::Replace,
            reason: String::new(),
        };
        mask(&mut field);
        (field.old, field.new)
    }

    #[test]
    fn what_may_be_secret_is_hidden() {
        for (field, value) in [
            ("env.DB_PASSWORD", "hunter2"),
            ("env.api-key", "hunter2"),
            ("env.Connection.String", "hunter2"),
            ("env.URL", "postgres://app:hunter2@db/shop"),
            ("env.OPTIONS", "user=app password=hunter2"),
            ("env.X", "ghp_hunter2"),
            ("env.X", "-----BEGIN hunter2"),
            ("env.X", "hunter2aaaaaaaaaaaaaaaaaaaa"),
            ("args", "[\"--token\",\"hunter2\"]"),
            ("args", "[\"--url=http://me:hunter2@host/\"]"),
            ("labels.auth", "hunter2"),
            (
                "health.liveness.check.command",
                "[\"check\",\"--secret\",\"hunter2\"]",
            ),
        ] {
            let (old, new) = masked(field, Some("before"), value);
            assert_eq!(old.as_deref(), Some(HIDDEN), "{field} {value}");
            assert_eq!(new.as_deref(), Some(HIDDEN), "{field} {value}");
            assert_eq!(masked(field, None, value).0, None, "{field}");
        }
    }

    #[test]
    fn what_people_review_is_shown() {
        for (field, value) in [
            ("env.LOG", "debug"),
            ("env.URL", "http://db:5432/shop?mode=ro"),
            ("env.FEATURES", "checkout,search-as-you-type"),
            ("args", "[\"--port\",\"8080\"]"),
            (
                "image",
                "registry.local/web@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            ),
            ("placement.constraints", "[{\"attribute\":\"keyboard\"}]"),
            ("replicas", "3"),
        ] {
            assert_eq!(
                masked(field, None, value).1.as_deref(),
                Some(value),
                "{field}"
            );
        }
    }

    #[test]
    fn of_files_only_the_size_is_told() {
        let (old, new) = masked(
            "files./etc/web.conf",
            Some("12 bytes, sha256 aaaaaaaaaaaa"),
            "12 bytes, sha256 bbbbbbbbbbbb",
        );
        assert_eq!(old.as_deref(), Some("12 bytes"));
        assert_eq!(new.as_deref(), Some("12 bytes, other content"));
        assert_eq!(masked("files./x", None, "odd").1.as_deref(), Some(HIDDEN));
    }
}
