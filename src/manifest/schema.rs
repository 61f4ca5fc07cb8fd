//! The JSON Schema of spec files, from the same structs that read them.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Value, json};

use super::document::{API_VERSION, KINDS};
use super::raw;

/// JSON Schema (2020-12) of one document: the kinds told apart by `kind`. Documents of
/// another `apiVersion` pass, as they do when specs are read.
pub fn json_schema() -> Value {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let metadata = generator.subschema_for::<raw::Metadata>();
    let kinds = [
        (KINDS[0], spec::<raw::app::App>(&mut generator)),
        (KINDS[1], spec::<raw::source::Source>(&mut generator)),
    ];
    let branches: Vec<Value> = kinds
        .into_iter()
        .map(|(kind, spec)| {
            json!({
                "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                "then": {
                    "properties": {
                        "apiVersion": true,
                        "kind": true,
                        "metadata": metadata,
                        "spec": spec,
                    },
                    "required": ["metadata", "spec"],
                    "additionalProperties": false,
                },
            })
        })
        .collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("https://{API_VERSION}/schema.json"),
        "title": "Evenkeel spec",
        "description": "What an Evenkeel source may declare.",
        "type": "object",
        "properties": {
            "apiVersion": {"type": "string", "description": format!("{API_VERSION}; documents of other APIs are ignored.")},
            "kind": {"type": "string", "description": "What the document declares."},
        },
        "required": ["apiVersion", "kind"],
        "if": {"properties": {"apiVersion": {"const": API_VERSION}}},
        "then": {
            "properties": {"kind": {"enum": KINDS}},
            "allOf": branches,
        },
        "$defs": generator.take_definitions(true),
    })
}

fn spec<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}
