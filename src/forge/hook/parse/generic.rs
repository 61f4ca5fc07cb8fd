//! A program of the operator's own. It may send anything that it signs: an empty body asks
//! for a look, and an object may narrow that down with `ref` and `after`.

use serde::Deserialize;

use super::super::{Event, Malformed, text};
use super::{Moved, json, moved};

#[derive(Deserialize)]
struct Body {
    r#ref: Option<String>,
    after: Option<String>,
}

pub fn event(body: &[u8]) -> Result<Event, Malformed> {
    if !body.trim_ascii_start().starts_with(b"{") {
        return Ok(Event::Changed);
    }
    let body: Body = json(body)?;
    let Some(full) = body.r#ref else {
        return Ok(Event::Changed);
    };
    let full = match full.starts_with("refs/") {
        true => full,
        false => format!("refs/heads/{full}"),
    };
    match body.after.as_deref() {
        None | Some("") => moved(&full, Moved::Updated, None),
        Some(after) => match text::commit(after)? {
            Some(after) => moved(&full, Moved::Updated, Some(after)),
            None => moved(&full, Moved::Deleted, None),
        },
    }
}
