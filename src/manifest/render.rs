//! Problems as a compiler prints them.

use crate::model::Problem;

/// Longest part of a source line shown, in characters.
const WIDTH: usize = 160;

/// The problem with its place, the line it stands in (where `source`, the file's text, is
/// given) and what to do. Ends with a line feed.
///
/// ```text
/// apps/web.yaml:9:3: unknown key "replica"
///   |
/// 9 |   replica: 3
///   |   ^^^^^^^
///   = spec: did you mean "replicas"?
/// ```
pub fn render_problem(problem: &Problem, source: Option<&str>) -> String {
    let mut out = match problem.line {
        0 => format!("{}: {}\n", problem.file, problem.message),
        line => format!(
            "{}:{line}:{}: {}\n",
            problem.file, problem.column, problem.message
        ),
    };
    let number = problem.line.to_string();
    let margin = " ".repeat(number.len());
    let line = (problem.line as usize)
        .checked_sub(1)
        .and_then(|n| source?.lines().nth(n));
    if let Some(line) = line {
        let column = (problem.column as usize).saturating_sub(1);
        // A long line is shown around the place that matters.
        let skip = if column + 20 > WIDTH {
            column - WIDTH / 2
        } else {
            0
        };
        let shown: String = line
            .chars()
            .skip(skip)
            .take(WIDTH)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let indent = " ".repeat(column - skip);
        let rest: String = line.chars().skip(column).collect();
        let width = if !problem.text.is_empty() && rest.starts_with(&problem.text) {
            problem.text.chars().count()
        } else {
            1
        };
        let carets = "^".repeat(width.min(WIDTH.saturating_sub(column - skip)).max(1));
        out.push_str(&format!(
            "{margin} |\n{number} | {}\n{margin} | {indent}{carets}\n",
            shown.trim_end()
        ));
    }
    if let Some(hint) = &problem.hint {
        out.push_str(&format!("{margin} = {hint}\n"));
    }
    out
}
