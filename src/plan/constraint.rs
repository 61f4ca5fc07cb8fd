//! Whether a node satisfies a constraint.
//!
//! A node without the attribute satisfies only `notExists`, `!=` and `notIn`:
//! what is not there is not equal. Comparisons of numbers and versions with
//! something that is neither are not satisfied.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use regex::Regex;

use crate::model::Node;
use crate::model::spec::{Constraint, Operator, ValueType};

/// A constraint with its pattern compiled.
pub struct Compiled<'a> {
    constraint: &'a Constraint,
    pattern: Option<Regex>,
}

impl<'a> Compiled<'a> {
    pub fn new(constraint: &'a Constraint) -> Compiled<'a> {
        let pattern = match constraint {
            Constraint::Attribute {
                operator: Operator::Matches,
                values,
                ..
            } => values
                .first()
                .and_then(|p| Regex::new(&format!("^(?:{p})$")).ok()),
            Constraint::Attribute { .. }
            | Constraint::Unique { .. }
            | Constraint::MaxPer { .. } => None,
        };
        Compiled {
            constraint,
            pattern,
        }
    }

    /// The attribute and how many instances may share a value of it; `None`: a rule on nodes alone.
    pub fn group(&self) -> Option<(&'a str, u32)> {
        match self.constraint {
            Constraint::Attribute { .. } => None,
            Constraint::Unique { attribute } => Some((attribute, 1)),
            Constraint::MaxPer { attribute, max } => Some((attribute, *max)),
        }
    }

    /// Whether the node alone satisfies it; grouping rules always do.
    pub fn matches(&self, node: &Node) -> bool {
        let Constraint::Attribute {
            attribute,
            operator,
            values,
            value_type,
        } = self.constraint
        else {
            return true;
        };
        let actual = node.attribute(attribute);
        let first = values.first().map_or("", String::as_str);
        let equal =
            |v: &str| actual.is_some_and(|a| compare(a, v, *value_type) == Some(Ordering::Equal));
        let ordered = |ok: fn(Ordering) -> bool| {
            actual
                .and_then(|a| compare(a, first, *value_type))
                .is_some_and(ok)
        };
        match operator {
            Operator::Eq => equal(first),
            Operator::NotEq => !equal(first),
            Operator::In => values.iter().any(|v| equal(v)),
            Operator::NotIn => !values.iter().any(|v| equal(v)),
            Operator::Matches => actual
                .zip(self.pattern.as_ref())
                .is_some_and(|(a, p)| p.is_match(a)),
            Operator::Lt => ordered(Ordering::is_lt),
            Operator::Le => ordered(Ordering::is_le),
            Operator::Gt => ordered(Ordering::is_gt),
            Operator::Ge => ordered(Ordering::is_ge),
            Operator::Exists => actual.is_some(),
            Operator::NotExists => actual.is_none(),
        }
    }
}

fn compare(left: &str, right: &str, value_type: ValueType) -> Option<Ordering> {
    match value_type {
        ValueType::String => Some(left.cmp(right)),
        ValueType::Number => left
            .trim()
            .parse::<f64>()
            .ok()?
            .partial_cmp(&right.trim().parse::<f64>().ok()?),
        ValueType::Version => {
            match version_compare::compare(numeric_prefix(left), numeric_prefix(right)).ok()? {
                version_compare::Cmp::Lt => Some(Ordering::Less),
                version_compare::Cmp::Eq => Some(Ordering::Equal),
                version_compare::Cmp::Gt => Some(Ordering::Greater),
                version_compare::Cmp::Ne | version_compare::Cmp::Le | version_compare::Cmp::Ge => {
                    None
                }
            }
        }
    }
}

/// Kernels and distributions append words: `5.10.0-28-amd64` compares as `5.10.0`.
fn numeric_prefix(text: &str) -> &str {
    let text = text.trim().trim_start_matches('v');
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    text[..end].trim_end_matches('.')
}

impl fmt::Display for Compiled<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.constraint {
            Constraint::Unique { attribute } => write!(f, "unique {attribute}"),
            Constraint::MaxPer { attribute, max } => write!(f, "at most {max} per {attribute}"),
            Constraint::Attribute {
                attribute,
                operator,
                values,
                ..
            } => {
                let list: Cow<'_, str> = match operator {
                    Operator::In | Operator::NotIn => format!(" [{}]", values.join(", ")).into(),
                    Operator::Exists | Operator::NotExists => "".into(),
                    Operator::Eq
                    | Operator::NotEq
                    | Operator::Matches
                    | Operator::Lt
                    | Operator::Le
                    | Operator::Gt
                    | Operator::Ge => format!(" {}", values.join(", ")).into(),
                };
                let word = match operator {
                    Operator::Eq => "==",
                    Operator::NotEq => "!=",
                    Operator::In => "in",
                    Operator::NotIn => "notIn",
                    Operator::Matches => "matches",
                    Operator::Lt => "<",
                    Operator::Le => "<=",
                    Operator::Gt => ">",
                    Operator::Ge => ">=",
                    Operator::Exists => "exists",
                    Operator::NotExists => "notExists",
                };
                write!(f, "{attribute} {word}{list}")
            }
        }
    }
}
