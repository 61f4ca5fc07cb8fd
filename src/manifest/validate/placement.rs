//! Placement: strategy and constraints.

use crate::manifest::field::Field;
use crate::manifest::limits;
use crate::manifest::problems::Cx;
use crate::manifest::raw::placement as raw;
use crate::manifest::tree::NodeId;
use crate::model::spec::{Constraint, Operator, Placement, PlacementStrategy, ValueType};

pub fn placement(cx: &Cx<'_>, field: &Field<raw::Placement>) -> Placement {
    let raw = field.get().cloned().unwrap_or_default();
    for (node, _) in raw.spread_over.items().take(1) {
        cx.unsupported(
            node,
            "spreadOver",
            "remove it; {maxPer: N, attribute: …} bounds the instances per value",
        );
    }
    for (node, _) in raw.affinity.items().take(1) {
        cx.unsupported(
            node,
            "affinity",
            "remove it; constraints on node attributes work",
        );
    }
    Placement {
        strategy: match raw.strategy.get() {
            None | Some(raw::PlacementStrategy::Spread) => PlacementStrategy::Spread,
            Some(raw::PlacementStrategy::Binpack) => PlacementStrategy::Binpack,
            Some(raw::PlacementStrategy::Random) => PlacementStrategy::Random,
        },
        constraints: raw
            .constraints
            .items()
            .filter_map(|(node, raw)| constraint(cx, node, raw))
            .collect(),
    }
}

fn constraint(cx: &Cx<'_>, node: NodeId, raw: &raw::Constraint) -> Option<Constraint> {
    let alone = |kind: &str, others: &[Option<NodeId>]| {
        for at in others.iter().flatten() {
            cx.problem(*at, format!("this key does not go with \"{kind}\""));
        }
    };
    let (operator, value, values, value_type) = (
        raw.operator.node(),
        raw.value.node(),
        raw.values.node(),
        raw.value_type.node(),
    );
    if raw.unique.node().is_some() {
        alone(
            "unique",
            &[
                raw.attribute.node(),
                operator,
                value,
                values,
                value_type,
                raw.max_per.node(),
            ],
        );
        return Some(Constraint::Unique {
            attribute: attribute(cx, node, "unique", &raw.unique)?,
        });
    }
    if let Some((at, &max)) = raw.max_per.set() {
        alone("maxPer", &[operator, value, values, value_type]);
        if max == 0 {
            cx.problem(
                at,
                "maxPer is at least 1; at most 0 instances per value could never be placed",
            );
        }
        return Some(Constraint::MaxPer {
            attribute: attribute(cx, node, "attribute", &raw.attribute)?,
            max,
        });
    }
    let attribute = attribute(cx, node, "attribute", &raw.attribute);
    let operator = *cx.required(node, "operator", &raw.operator)?.1;
    let values = operands(cx, node, operator, raw)?;
    Some(Constraint::Attribute {
        attribute: attribute?,
        operator: convert(operator),
        values,
        value_type: match raw.value_type.get() {
            None | Some(raw::ValueType::String) => ValueType::String,
            Some(raw::ValueType::Number) => ValueType::Number,
            Some(raw::ValueType::Version) => ValueType::Version,
        },
    })
}

fn attribute(cx: &Cx<'_>, node: NodeId, key: &str, field: &Field<String>) -> Option<String> {
    let (at, name) = cx.required(node, key, field)?;
    let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '/');
    if name.is_empty() || name.len() > 128 || !name.chars().all(ok) {
        cx.problem(
            at,
            "an attribute's name has 1 to 128 letters, digits, \".\", \"_\", \"-\" and \"/\"",
        );
        return None;
    }
    Some(name.clone())
}

/// The texts to compare with, as many as the operator takes.
fn operands(
    cx: &Cx<'_>,
    node: NodeId,
    operator: raw::Operator,
    raw: &raw::Constraint,
) -> Option<Vec<String>> {
    use raw::Operator as O;
    let mut given: Vec<(NodeId, &str)> =
        raw.values.items().map(|(n, v)| (n, v.0.as_str())).collect();
    if let Some((at, value)) = raw.value.set() {
        if let Some(values) = raw.values.node() {
            cx.problem(
                values,
                "\"value\" and \"values\" are both set; one of them is enough",
            );
        }
        given.insert(0, (at, &value.0));
    }
    let present = raw.value.node().or(raw.values.node());
    match operator {
        O::Exists | O::NotExists => {
            if let Some(at) = present {
                cx.problem(
                    at,
                    "this operator asks whether the attribute is there; it takes no value",
                );
            }
            if let Some(at) = raw.value_type.node() {
                cx.problem(
                    at,
                    "this operator compares nothing, so there is nothing to read as another type",
                );
            }
            return Some(Vec::new());
        }
        O::In | O::NotIn => {
            if given.is_empty() {
                cx.problem_hint(
                    present.unwrap_or(node),
                    "this operator needs at least one value",
                    "add values: [a, b]",
                );
                return None;
            }
        }
        O::Eq | O::NotEq | O::Matches | O::Lt | O::Le | O::Gt | O::Ge => {
            if given.len() != 1 {
                cx.problem_hint(
                    present.unwrap_or(node),
                    format!(
                        "this operator needs exactly one value, and {} are given",
                        given.len()
                    ),
                    if given.len() > 1 {
                        "for several values use the operator in"
                    } else {
                        "add value: …"
                    },
                );
                return None;
            }
        }
    }
    let mut ok = true;
    for &(at, text) in &given {
        if let Err(why) = readable(text, operator, raw.value_type.get()) {
            cx.problem(at, why);
            ok = false;
        }
    }
    ok.then(|| given.into_iter().map(|(_, text)| text.to_owned()).collect())
}

fn readable(
    text: &str,
    operator: raw::Operator,
    as_type: Option<&raw::ValueType>,
) -> Result<(), String> {
    if operator == raw::Operator::Matches {
        if as_type.is_some_and(|t| *t != raw::ValueType::String) {
            return Err("\"matches\" compares text only; remove \"as\"".to_owned());
        }
        return regex::RegexBuilder::new(text)
            .size_limit(limits::REGEX_BYTES)
            .nest_limit(50)
            .build()
            .map(|_| ())
            .map_err(|error| {
                let error = error.to_string();
                let last = error.lines().last().unwrap_or_default();
                format!(
                    "\"{text}\" is not a regular expression: {}",
                    last.trim_start_matches("error: ")
                )
            });
    }
    match as_type {
        None | Some(raw::ValueType::String) => Ok(()),
        Some(raw::ValueType::Number) => match text.parse::<f64>() {
            Ok(n) if n.is_finite() => Ok(()),
            Ok(_) | Err(_) => Err(format!(
                "\"{text}\" is not a number, which \"as: number\" asks for"
            )),
        },
        Some(raw::ValueType::Version) => match version_compare::Version::from(text) {
            Some(_) if text.contains(|c: char| c.is_ascii_digit()) => Ok(()),
            Some(_) | None => Err(format!(
                "\"{text}\" is not a version, which \"as: version\" asks for"
            )),
        },
    }
}

fn convert(operator: raw::Operator) -> Operator {
    match operator {
        raw::Operator::Eq => Operator::Eq,
        raw::Operator::NotEq => Operator::NotEq,
        raw::Operator::In => Operator::In,
        raw::Operator::NotIn => Operator::NotIn,
        raw::Operator::Matches => Operator::Matches,
        raw::Operator::Lt => Operator::Lt,
        raw::Operator::Le => Operator::Le,
        raw::Operator::Gt => Operator::Gt,
        raw::Operator::Ge => Operator::Ge,
        raw::Operator::Exists => Operator::Exists,
        raw::Operator::NotExists => Operator::NotExists,
    }
}
