//! The tables of routes: what may be asked, and what may be sent.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;

use crate::readme;

/// What may be asked of a route and told to it, as the API's own document has it.
#[test]
fn the_tables_of_routes_tell_their_queries_and_bodies() {
    let readme = readme();
    let row = Regex::new(r"(?m)^\| `([A-Z]+) (/\S*)` \|(.*)\|$").unwrap();
    let query = Regex::new(r"`\?([a-z=&A-Z]+)`").unwrap();
    let word = Regex::new(r#"[`"]([a-zA-Z]+)[`"]"#).unwrap();
    let key = Regex::new(r#""([a-zA-Z]+)": "#).unwrap();
    let document = evenkeel::http::document();
    assert!(readme.contains("(`?limit=`)") && readme.contains("the `?after=` of"));
    let mut checked = 0;
    for found in row.captures_iter(&readme) {
        let (method, path, text) = (&found[1], &found[2], &found[3]);
        let prefixed = format!("{}{path}", evenkeel::api::PREFIX);
        let operation = |path: &str| &document["paths"][path][method.to_lowercase()];
        let told = match operation(&prefixed) {
            Value::Null => operation(path),
            told => told,
        };
        assert!(told.is_object(), "{method} {path}");
        // Between our own programs.
        if path.starts_with("/agent") {
            continue;
        }
        let parameters = told["parameters"].as_array().into_iter().flatten();
        let known: BTreeSet<&str> = parameters
            .filter(|p| p["in"] == "query")
            .map(|p| p["name"].as_str().unwrap())
            .collect();
        let here: BTreeSet<&str> = query
            .captures_iter(text)
            .flat_map(|c| c.get(1).unwrap().as_str().split('&'))
            .map(|pair| pair.split('=').next().unwrap())
            .collect();
        // Of all lists they are told below the table.
        let paged = |name: &&str| !["after", "limit"].contains(name);
        let (here, known): (BTreeSet<&str>, BTreeSet<&str>) = (
            here.into_iter().filter(paged).collect(),
            known.into_iter().filter(paged).collect(),
        );
        assert_eq!(here, known, "{method} {path}");
        let schema = &told["requestBody"]["content"]["application/json"]["schema"];
        let Some(properties) = schema["properties"].as_object() else {
            continue;
        };
        for found in key.captures_iter(text) {
            let key = &found[1];
            assert!(
                properties.contains_key(key),
                "{method} {path} takes no {key}"
            );
        }
        let here: BTreeSet<&str> = word
            .captures_iter(text)
            .map(|c| c.get(1).unwrap().as_str())
            .collect();
        for key in properties.keys() {
            // Of the three of nodes the first row tells it; what replaces is as what adds.
            let shared = path.starts_with("/nodes/") && key == "reason" || method == "PUT";
            assert!(
                here.contains(key.as_str()) || shared,
                "{method} {path}: {key}"
            );
            checked += 1;
        }
    }
    assert!(checked > 25, "{checked}");
}
