//! Between model values and columns.
//!
//! Postgres has no NUL character, in text or in JSON, but a container's output
//! may have one: it is stored as U+FFFD, because a line of a log must never be
//! able to stop the cluster's state from being written.

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::model::Timestamp;

/// A column's value that does not fit its type; becomes `Error::Corrupt`.
#[derive(Debug, thiserror::Error)]
#[error("column {column}: {why}")]
pub(super) struct BadColumn {
    column: &'static str,
    why: String,
}

pub(super) fn bad(column: &'static str, why: impl ToString) -> sqlx::Error {
    sqlx::Error::Decode(Box::new(BadColumn {
        column,
        why: why.to_string(),
    }))
}

/// For a free text.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// For a `jsonb` column, as text: the server parses it.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String, sqlx::Error> {
    let encode = |e: serde_json::Error| sqlx::Error::Encode(Box::new(e));
    let text = serde_json::to_string(value).map_err(encode)?;
    if !text.contains("\\u0000") {
        return Ok(text);
    }
    let mut value = serde_json::to_value(value).map_err(encode)?;
    replace_nul(&mut value);
    serde_json::to_string(&value).map_err(encode)
}

pub(super) fn json_opt<T: Serialize>(value: Option<&T>) -> Result<Option<String>, sqlx::Error> {
    value.map(json).transpose()
}

fn replace_nul(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(s) => {
            if s.contains('\0') {
                *s = text(s);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(replace_nul),
        Value::Object(map) => {
            map.values_mut().for_each(replace_nul);
            if map.keys().any(|k| k.contains('\0')) {
                *map = std::mem::take(map)
                    .into_iter()
                    .map(|(k, v)| (text(&k), v))
                    .collect();
            }
        }
    }
}

/// The name that serde gives a variant without data.
pub(super) fn word<T: Serialize>(value: &T) -> Result<String, sqlx::Error> {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => Ok(word),
        Ok(other) => Err(sqlx::Error::Encode(
            format!("{other} is not one word").into(),
        )),
        Err(e) => Err(sqlx::Error::Encode(Box::new(e))),
    }
}

pub(super) fn from_word<T: DeserializeOwned>(
    column: &'static str,
    word: String,
) -> Result<T, sqlx::Error> {
    serde_json::from_value(Value::String(word)).map_err(|e| bad(column, e))
}

/// A checked name out of a text column.
pub(super) fn name<T>(column: &'static str, text: &str) -> Result<T, sqlx::Error>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e| bad(column, e))
}

pub(super) fn time(at: Timestamp) -> DateTime<Utc> {
    at.into()
}

pub(super) fn time_opt(at: Option<Timestamp>) -> Option<DateTime<Utc>> {
    at.map(time)
}

/// Unsigned amounts in `bigint` columns; what does not fit is capped, never wrapped.
pub(super) fn amount(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

pub(super) fn from_amount<T: TryFrom<i64>>(column: &'static str, n: i64) -> Result<T, sqlx::Error> {
    T::try_from(n).map_err(|_| bad(column, format!("{n} is out of range")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_becomes_the_replacement_character_everywhere() {
        let value = serde_json::json!({"a\u{0}": ["x\u{0}y", {"b": "\\u0000"}], "n": 1});
        let text = json(&value).unwrap();
        assert!(!text.replace("\\\\u0000", "").contains("\\u0000"));
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            back,
            serde_json::json!({"a\u{fffd}": ["x\u{fffd}y", {"b": "\\u0000"}], "n": 1})
        );
    }

    #[test]
    fn amounts_never_wrap() {
        assert_eq!(amount(u64::MAX), i64::MAX);
        assert!(from_amount::<u32>("slot", -1).is_err());
    }
}
