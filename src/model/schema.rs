//! JSON Schemas of the types that cross the wire as one word or one text.
//!
//! Those of structures are derived where they stand.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::access::Role;
use super::event::{Actor, EventKind};
use super::id::{
    AppKey, AppName, CommitId, InstanceId, NodeName, ProjectName, ReleaseId, RolloutId, SourceName,
    SpecDigest, WorkloadDigest,
};
use super::time::Timestamp;

/// RFC 1123.
const LABEL: &str = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";

macro_rules! text {
    ($($type:ident: $description:literal, {$($key:literal: $value:expr),*};)*) => {$(
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($type).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "description": $description, $($key: $value),*})
            }
        }
    )*};
}

text! {
    ProjectName: "A project's name", {"pattern": LABEL};
    AppName: "An app's name inside its project", {"pattern": LABEL};
    SourceName: "A source's name", {"pattern": LABEL};
    NodeName: "A node's name", {"pattern": LABEL};
    AppKey: "project/app", {"examples": ["shop/web"]};
    CommitId: "A commit's id, in hex", {};
    SpecDigest: "Digest of a spec", {};
    WorkloadDigest: "Digest of what needs a new process when it changes", {};
    ReleaseId: "A release's id", {"format": "uuid"};
    RolloutId: "A rollout's id", {"format": "uuid"};
    InstanceId: "An instance's id", {"format": "uuid"};
    Timestamp: "RFC 3339, UTC", {"format": "date-time"};
    Actor: "controller, agent:NODE, user:NAME or git:SOURCE", {};
    Role: "What a token's holder may do", {"enum": Role::ALL.map(Role::as_str)};
    EventKind: "What happened", {
        "enum": EventKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_fits_its_pattern_exactly_if_it_is_one() {
        let pattern = regex::Regex::new(LABEL).unwrap_or_else(|e| panic!("{e}"));
        for text in [
            "a",
            "a-b",
            "9",
            "",
            "-a",
            "a-",
            "A",
            "a_b",
            &"x".repeat(63),
            &"x".repeat(64),
        ] {
            assert_eq!(
                pattern.is_match(text),
                ProjectName::new(text).is_ok(),
                "{text}"
            );
        }
    }
}
