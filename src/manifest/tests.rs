//! One `check` turns YAML into rendered problems, or "ok".

use super::*;

mod app;
mod documents;
mod examples;
mod hostile;
mod index;
mod round_trip;

pub fn defaults() -> Defaults {
    Defaults::new(ProjectName::new("shop").unwrap(), "")
}

/// Checks one file `app.yaml`; the repository also holds `conf/web.conf`.
pub fn checked(yaml: &[u8]) -> Checked {
    validate_files(
        &defaults(),
        [("app.yaml".to_owned(), Content::Bytes(yaml.to_vec()))],
        &mut |path| match path {
            "conf/web.conf" => Lookup::Found(b"x".to_vec()),
            "conf/big.bin" => Lookup::TooLarge { size: 1 << 30 },
            "conf/link" => Lookup::NotAFile {
                what: "a symlink".to_owned(),
            },
            _ => Lookup::Missing,
        },
    )
}

/// Every problem as `line:column field: message (hint)`, one per line; "ok" for none.
pub fn check(yaml: &str) -> String {
    let problems = checked(yaml.as_bytes()).problems;
    if problems.is_empty() {
        return "ok".to_owned();
    }
    let line = |p: &crate::model::Problem| {
        let hint = p
            .hint
            .as_ref()
            .map(|h| format!(" ({h})"))
            .unwrap_or_default();
        format!("{}:{} {}: {}{hint}", p.line, p.column, p.field, p.message)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// An app whose spec holds the given lines besides its image; the first is line 7.
pub fn spec(lines: &str) -> String {
    let lines: String = lines.lines().map(|l| format!("  {l}\n")).collect();
    format!(
        "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata:\n  name: web\nspec:\n  image: web:1\n{lines}"
    )
}
