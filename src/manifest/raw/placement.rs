//! Where instances may run.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::manifest::field::{Dict, Field, List, Scalar};

#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Placement {
    /// Which of the possible nodes is taken. Default: `spread`.
    pub strategy: Field<PlacementStrategy>,
    /// Rules that must hold for a node to be possible.
    pub constraints: List<Constraint>,
    /// Shares of the instances per value of an attribute. Not supported yet.
    pub spread_over: List<SpreadOver>,
    /// Nearness to, or distance from, other apps. Not supported yet.
    pub affinity: List<Affinity>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PlacementStrategy {
    /// The node with the fewest instances of the app, then with the most room.
    Spread,
    /// The fullest node that still has room.
    Binpack,
    /// Any.
    Random,
}

/// A comparison (`attribute`, `operator`, `value` or `values`), or `unique`, or `maxPer`.
#[derive(Clone, Debug, Deserialize, JsonSchema, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Constraint {
    /// Attribute of the node; `node` is its name.
    pub attribute: Field<String>,
    /// How the attribute is compared.
    pub operator: Field<Operator>,
    /// What it is compared with.
    pub value: Field<Scalar>,
    /// What it is compared with, for `in` and `notIn`.
    pub values: List<Scalar>,
    /// How both sides are read for `<`, `<=`, `>` and `>=`. Default: `string`.
    #[serde(rename = "as")]
    pub value_type: Field<ValueType>,
    /// At most one instance per value of this attribute.
    pub unique: Field<String>,
    /// At most this many instances per value of `attribute`.
    #[schemars(range(min = 1))]
    pub max_per: Field<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Operator {
    #[serde(rename = "==")]
    Eq,
    #[serde(rename = "!=")]
    NotEq,
    #[serde(rename = "in")]
    In,
    #[serde(rename = "notIn")]
    NotIn,
    /// A regular expression that matches somewhere in the attribute.
    #[serde(rename = "matches")]
    Matches,
    #[serde(rename = "<")]
    Lt,
    #[serde(rename = "<=")]
    Le,
    #[serde(rename = ">")]
    Gt,
    #[serde(rename = ">=")]
    Ge,
    #[serde(rename = "exists")]
    Exists,
    #[serde(rename = "notExists")]
    NotExists,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ValueType {
    String,
    Number,
    Version,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code)]
pub struct SpreadOver {
    /// Attribute of the node.
    pub attribute: Field<String>,
    /// Value of the attribute → its share.
    #[serde(default)]
    pub weights: Dict<u32>,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[allow(dead_code)]
pub struct Affinity {
    /// The other app; `project/name` for one of another project.
    pub app: Field<String>,
    /// Default: `together`.
    #[serde(default)]
    pub prefer: Field<Prefer>,
    /// Attribute that says what "together" is. Default: `node`.
    #[serde(default)]
    pub over: Field<String>,
    /// 0 to 100. Default: 50.
    #[serde(default)]
    pub weight: Field<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Prefer {
    Together,
    Apart,
}
