//! The API's document: pinned, valid, whole.
//!
//! `tests/openapi.json` is what integrations build on: a change of it is read before it is
//! blessed (`EVENKEEL_BLESS=1 cargo test --test openapi`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::path::Path;

use evenkeel::http::{document, routes};
use serde_json::Value;

const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

fn operations() -> impl Iterator<Item = (&'static str, &'static str, &'static Value)> {
    let paths = document()["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, told)| (path.as_str(), method.as_str(), told))
    })
}

#[test]
fn the_document_is_the_one_that_was_blessed() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi.json");
    let text = format!("{:#}\n", document());
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let blessed = std::fs::read_to_string(&path).unwrap_or_default();
    if let Some((n, (was, is))) = (1..)
        .zip(blessed.lines().zip(text.lines()))
        .find(|(_, (was, is))| was != is)
    {
        panic!(
            "line {n} of tests/openapi.json is\n{was}\nand would be\n{is}\n\
             if that is meant: EVENKEEL_BLESS=1 cargo test --test openapi"
        );
    }
    assert_eq!(
        blessed.len(),
        text.len(),
        "one goes on where the other ends"
    );
}

#[test]
fn every_route_is_told_with_its_purpose() {
    let told: BTreeSet<String> = operations()
        .map(|(path, method, _)| format!("{} {path}", method.to_uppercase()))
        .collect();
    assert_eq!(told, routes().into_iter().collect());
    for (path, method, told) in operations() {
        let summary = told["summary"].as_str().unwrap();
        assert!(!summary.is_empty(), "{method} {path}: .says(…) is missing");
    }
}

/// The rules of OpenAPI 3.1.0 (its sections 4.8.1 to 4.8.30) as far as this document goes.
#[test]
fn the_document_is_valid() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    for field in ["title", "version"] {
        assert!(document["info"][field].is_string());
    }
    let mut ids = BTreeSet::new();
    for (path, method, told) in operations() {
        let here = format!("{method} {path}");
        assert!(path.starts_with('/') && METHODS.contains(&method), "{here}");
        let id = told["operationId"].as_str().unwrap();
        assert!(ids.insert(id), "{here}: {id} twice");
        check_parameters(&here, path, told);
        let responses = told["responses"].as_object().unwrap();
        assert!(responses.contains_key("default"), "{here}");
        for (code, response) in responses {
            let three = code.len() == 3 && code.bytes().all(|b| b.is_ascii_digit());
            assert!(three || code == "default", "{here}: {code}");
            let is_reference = response["$ref"].is_string();
            assert!(
                is_reference || response["description"].is_string(),
                "{here}"
            );
            check_content(&here, &response["content"]);
        }
        check_content(&here, &told["requestBody"]["content"]);
        for requirement in told["security"].as_array().unwrap() {
            for (name, scopes) in requirement.as_object().unwrap() {
                let scheme = &document["components"]["securitySchemes"][name];
                assert!(scheme["type"].is_string(), "{here}: {name}");
                assert_eq!(scopes, &Value::Array(Vec::new()), "{here}");
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        assert!(name.bytes().all(fits), "{name}");
        check_schema(name, schema);
    }
}

fn check_parameters(here: &str, path: &str, told: &Value) {
    let mut named = BTreeSet::new();
    let mut in_path = BTreeSet::new();
    for parameter in told["parameters"].as_array().into_iter().flatten() {
        let name = parameter["name"].as_str().unwrap();
        let place = parameter["in"].as_str().unwrap();
        assert!(named.insert((name, place)), "{here}: {name} twice");
        match place {
            "path" => {
                assert_eq!(parameter["required"], true, "{here}: {name}");
                in_path.insert(name);
            }
            "query" | "header" => {}
            other => panic!("{here}: {name} in {other}"),
        }
        check_schema(here, &parameter["schema"]);
    }
    let braces: BTreeSet<&str> = path
        .split('{')
        .skip(1)
        .map(|part| part.split('}').next().unwrap())
        .collect();
    assert_eq!(in_path, braces, "{here}");
}

fn check_content(here: &str, content: &Value) {
    for (media_type, content) in content.as_object().into_iter().flatten() {
        assert!(media_type.contains('/'), "{here}: {media_type}");
        check_schema(here, &content["schema"]);
    }
}

/// Of JSON Schema 2020-12: keywords are known and of their kind, references lead somewhere.
fn check_schema(here: &str, schema: &Value) {
    if schema.is_boolean() {
        return;
    }
    let keywords = schema
        .as_object()
        .unwrap_or_else(|| panic!("{here}: {schema}"));
    for (keyword, value) in keywords {
        let fits = match keyword.as_str() {
            "$ref" => {
                let pointer = value.as_str().unwrap().strip_prefix('#').unwrap();
                document().pointer(pointer).is_some()
            }
            "type" => {
                let known = |t: &Value| {
                    [
                        "null", "boolean", "object", "array", "number", "integer", "string",
                    ]
                    .contains(&t.as_str().unwrap_or_default())
                };
                known(value) || value.as_array().is_some_and(|all| all.iter().all(known))
            }
            "properties" | "patternProperties" => {
                let all = value.as_object().unwrap();
                all.values().for_each(|schema| check_schema(here, schema));
                true
            }
            "items" | "additionalProperties" | "unevaluatedProperties" | "propertyNames" => {
                check_schema(here, value);
                true
            }
            "oneOf" | "anyOf" | "allOf" | "prefixItems" => {
                let all = value.as_array().unwrap();
                all.iter().for_each(|schema| check_schema(here, schema));
                !all.is_empty()
            }
            "required" => value.as_array().unwrap().iter().all(Value::is_string),
            "enum" | "examples" => value.is_array(),
            "description" | "format" | "title" => value.is_string(),
            "pattern" => regex::Regex::new(value.as_str().unwrap()).is_ok(),
            "minimum" | "maximum" | "minItems" | "maxItems" | "minLength" | "maxLength" => {
                value.is_number()
            }
            "const" | "default" => true,
            _ => false,
        };
        assert!(fits, "{here}: {keyword}: {value}");
    }
}

#[test]
fn every_list_is_told_in_bounded_pages() {
    let mut lists = 0;
    for (path, method, told) in operations() {
        let schema = &told["responses"]["200"]["content"]["application/json"]["schema"]["$ref"];
        if !schema.as_str().is_some_and(|name| name.ends_with("Page")) {
            continue;
        }
        let parameters = told["parameters"].as_array().unwrap();
        for wanted in ["after", "limit"] {
            let found = parameters.iter().any(|p| p["name"] == wanted);
            assert!(found, "{method} {path} has no {wanted}");
        }
        lists += 1;
    }
    assert!(lists >= 10, "{lists}");
}

#[test]
fn every_change_of_one_thing_can_be_made_conditional() {
    for (path, method, told) in operations() {
        let one = ["/projects/", "/sources/{name}", "/nodes/{name}/"];
        let changes = method != "get" && one.iter().any(|part| path.contains(part));
        // These change nothing that somebody decided.
        if !changes || ["/sync", "/exec"].iter().any(|verb| path.ends_with(verb)) {
            continue;
        }
        let mut parameters = told["parameters"].as_array().into_iter().flatten();
        let found = parameters.any(|p| p["name"] == "If-Match");
        assert!(found, "{method} {path} takes no If-Match");
    }
}
