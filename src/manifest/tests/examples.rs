//! The example repository is valid, and its schema is the one of this build.

use std::path::{Path, PathBuf};

use super::*;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples-repo")
}

fn walk(folder: &Path, base: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, base, files);
        } else {
            files.push(
                path.strip_prefix(base)
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned(),
            );
        }
    }
}

#[test]
fn the_example_repository_has_no_problems() {
    for root in ["docker", "process"] {
        let mut paths = Vec::new();
        walk(&folder().join(root), &folder(), &mut paths);
        let files: Vec<_> = paths
            .iter()
            .filter(|path| is_spec_path(path))
            .map(|path| {
                (
                    path.clone(),
                    Content::Bytes(std::fs::read(folder().join(path)).unwrap()),
                )
            })
            .collect();
        for (path, content) in &files {
            let Content::Bytes(bytes) = content else {
                unreachable!()
            };
            let first = String::from_utf8_lossy(bytes)
                .lines()
                .next()
                .unwrap()
                .to_owned();
            let (_, schema) = first
                .split_once("# yaml-language-server: $schema=")
                .expect(path);
            let schema = folder().join(path).parent().unwrap().join(schema);
            let schema = schema.canonicalize().expect(path);
            assert_eq!(
                schema,
                folder()
                    .join(".evenkeel/schema.json")
                    .canonicalize()
                    .unwrap()
            );
        }
        let defaults = Defaults::new(ProjectName::new("default").unwrap(), root);
        let checked = validate_files(&defaults, files, &mut |path| {
            std::fs::read(folder().join(path)).map_or(Lookup::Missing, Lookup::Found)
        });
        assert_eq!(checked.problems, []);
        assert_eq!(checked.catalog.apps.len(), 3);
    }
}

/// After a change of the grammar: `EVENKEEL_BLESS=1 cargo test --lib manifest::` writes it.
#[test]
fn the_schema_of_the_example_repository_is_up_to_date() {
    let path = folder().join(".evenkeel/schema.json");
    let now = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("EVENKEEL_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &now).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap();
    assert!(
        there == now,
        "{} is stale: write it anew with `evenkeel schema`",
        path.display()
    );
}

#[test]
fn the_schema_knows_every_key_and_its_meaning() {
    let schema = json_schema();
    let defs = schema["$defs"].as_object().unwrap();
    let app = &defs["App"]["properties"];
    for key in [
        "image",
        "replicas",
        "routes",
        "dependsOn",
        "priority",
        "onNodeLoss",
    ] {
        assert!(app[key]["description"].is_string(), "{key}: {}", app[key]);
    }
    assert_eq!(defs["App"]["additionalProperties"], false);
    assert_eq!(
        defs["Port"]["required"],
        serde_json::json!(["name", "port"])
    );
    assert_eq!(
        defs["Rollout"]["properties"]["minHealthyTime"]["default"],
        "10s"
    );
}
