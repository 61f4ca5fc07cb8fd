//! `init DIR`: a repository to start from, that `validate` finds nothing wrong with.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use serde::Serialize;

use crate::manifest::json_schema;

use super::args::Global;
use super::exit::{Code, Failure, Outcome};
use super::output::print;
use super::verb_args::{Ci, InitArgs};

const APP: &str = "# yaml-language-server: $schema=../.evenkeel/schema.json
apiVersion: evenkeel.dev/v1
kind: App
metadata:
  name: hello
spec:
  image: nginx:1.27-alpine
  replicas: 2
  ports:
    - {name: http, port: 80}
  health:
    readiness: {http: {port: http, path: /}, interval: 2s}
  resources:
    requests: {cpu: 50m, memory: 32Mi}
  rollout:
    maxSurge: 1
    maxUnavailable: 0
    minHealthyTime: 5s
";

const README: &str = "# What runs

Evenkeel keeps a cluster equal to this repository: each file below `apps/` declares what
runs. Commit a change, and it is rolled out behind health checks; a version that does not
become healthy is rolled back by itself.

    evenkeel validate .                     check the files
    evenkeel plan .                         what they would do to the live cluster
    evenkeel explain spec.rollout.maxSurge  what a field means
    evenkeel source add NAME URL --path apps
";

const GITHUB: &str = "# Makes invalid specs fail the check of a pull request.
name: evenkeel
on: [push, pull_request]
permissions: {contents: read}
jobs:
  validate:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      # evenkeel must be on the path: install it in a step before, or use a runner that has it.
      - run: evenkeel validate apps
";

const GITLAB: &str = "# Makes invalid specs fail the pipeline.
evenkeel:
  stage: test
  # A runner or an image that has evenkeel.
  script:
    - evenkeel validate apps
";

#[derive(Serialize)]
struct Written<'a> {
    folder: String,
    files: Vec<&'a str>,
}

pub fn run(global: &Global, args: InitArgs) -> Outcome {
    let mut schema = serde_json::to_string_pretty(&json_schema())
        .map_err(|e| Failure::new(Code::Failed, e.to_string()))?;
    schema.push('\n');
    let mut files: Vec<(&str, &str)> = vec![
        (".evenkeel/schema.json", &schema),
        ("README.md", README),
        ("apps/hello.yaml", APP),
    ];
    match args.ci {
        Ci::Github => files.push((".github/workflows/evenkeel.yml", GITHUB)),
        Ci::Forgejo => files.push((".forgejo/workflows/evenkeel.yml", GITHUB)),
        Ci::Gitlab => files.push((".gitlab-ci.yml", GITLAB)),
        Ci::None => {}
    }
    // Nothing is written where anything would be lost.
    for (path, _) in &files {
        if fs::symlink_metadata(args.dir.join(path)).is_ok() {
            return Err(Failure::usage(format!(
                "{} is there already, and nothing is overwritten",
                args.dir.join(path).display()
            ))
            .with_hint("evenkeel init FOLDER, one that is not there or is empty"));
        }
    }
    for (path, text) in &files {
        let file = args.dir.join(path);
        put(&file, text)
            .map_err(|e| Failure::new(Code::Failed, format!("{}: {e}", file.display())))?;
    }
    let written = Written {
        folder: args.dir.display().to_string(),
        files: files.iter().map(|(path, _)| *path).collect(),
    };
    print(global.output, &written, |_| {
        let mut out = String::new();
        for path in &written.files {
            out.push_str(&format!("wrote {}\n", args.dir.join(path).display()));
        }
        let dir = &written.folder;
        out.push_str(&format!("next: evenkeel validate {dir}\n"));
        out
    })?;
    Ok(Code::Done)
}

/// Only where there is none: somebody else may write at the same time.
fn put(file: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)?;
    out.write_all(text.as_bytes())
}
