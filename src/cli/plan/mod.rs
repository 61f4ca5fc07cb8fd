//! `plan DIR`: what the specs in a folder would do to the live cluster.
//!
//! The folder is checked here first, so that problems come with their lines even where no
//! server can be reached. Then the server plans it, with the planner that carries commits out.

mod render;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::api::plan::{MAX_BYTES, MAX_FILES, PlanFile};
use crate::api::{PlanInput, SourceStatus};
use crate::client::Client;
use crate::manifest::{self, Content, Defaults, Lookup, render_problem};
use crate::model::{Preview, PreviewVerdict, Problem, ProjectName, SourceName};

use super::args::{Format, Global, PlanArgs};
use super::exit::{Code, Failure, Outcome};
use super::output::{counted, print};
use super::server::connect;
use super::validate::{collect, look_up, read_text};

pub async fn run(global: &Global, args: PlanArgs) -> Outcome {
    let unusable = |e: std::io::Error| Failure::usage(format!("{}: {e}", args.dir.display()));
    let dir = args.dir.canonicalize().map_err(unusable)?;
    if !dir.is_dir() {
        let message = format!("{} is not a folder", args.dir.display());
        return Err(Failure::usage(message));
    }
    let client = connect(global)?;
    let found = client.sources().await;
    let sources = match found {
        Ok(page) => page.items,
        // Problems in the files can be told without a server.
        Err(error) => {
            let tree = Tree::read(&dir, "", project(global, None)?)?;
            if tree.problems.is_empty() {
                return Err(error.into());
            }
            return tree.refuse(global);
        }
    };
    let name = choose(args.source.as_deref(), &sources, &dir)?;
    let source = sources.iter().find(|s| s.name == name);
    let tree = Tree::read(
        &dir,
        source.map_or("", |s| &s.path),
        project(global, source)?,
    )?;
    if !tree.problems.is_empty() {
        return tree.refuse(global);
    }
    let mut preview = ask(&client, global, name, source, &tree).await?;
    for problem in &mut preview.problems {
        problem.file = tree.here(&problem.file);
    }
    print(global.output, &preview, |paint| {
        render::render(&preview, source.is_none(), paint)
    })?;
    Ok(match (preview.verdict, args.detailed_exitcode) {
        (PreviewVerdict::Blocked, _) => Code::Failed,
        (PreviewVerdict::Changes | PreviewVerdict::Held, true) => Code::Changes,
        (PreviewVerdict::Changes | PreviewVerdict::Held, false)
        | (PreviewVerdict::Unchanged, _) => Code::Done,
    })
}

/// The source whose tree the folder is taken for.
fn choose(
    given: Option<&str>,
    sources: &[SourceStatus],
    dir: &Path,
) -> Result<SourceName, Failure> {
    if let Some(name) = given {
        return SourceName::new(name).map_err(|e| Failure::usage(format!("--source: {e}")));
    }
    match sources {
        [one] => Ok(one.name.clone()),
        [] => {
            let folder = dir.file_name().and_then(|name| name.to_str());
            let name = folder.and_then(|name| SourceName::new(name).ok());
            name.ok_or_else(|| {
                Failure::usage("there is no source yet, and the folder's name cannot be one")
                    .with_hint("evenkeel plan DIR --source NAME")
            })
        }
        many => {
            let names: Vec<&str> = many.iter().map(|s| s.name.as_str()).collect();
            Err(Failure::usage(format!(
                "which source is it the tree of? There are {}",
                names.join(", ")
            ))
            .with_hint(format!("evenkeel plan DIR --source {}", names[0])))
        }
    }
}

fn project(global: &Global, source: Option<&SourceStatus>) -> Result<ProjectName, Failure> {
    if let Some(source) = source {
        return Ok(source.project.clone());
    }
    let name = global.project.as_deref().unwrap_or("default");
    ProjectName::new(name).map_err(|e| Failure::usage(format!("{e}")))
}

async fn ask(
    client: &Client,
    global: &Global,
    name: SourceName,
    source: Option<&SourceStatus>,
    tree: &Tree,
) -> Result<Preview, Failure> {
    let bytes: usize = tree.files.values().map(Vec::len).sum();
    if tree.files.len() > MAX_FILES || bytes > MAX_BYTES * 3 / 4 {
        return Err(Failure::usage(format!(
            "{} with {bytes} bytes are too many to be sent",
            counted(tree.files.len(), "file")
        ))
        .with_hint("git push them to a branch: pull requests are planned where they are"));
    }
    let files = tree.files.iter();
    let input = PlanInput {
        source: name,
        commit: None,
        files: Some(
            files
                .map(|(path, bytes)| PlanFile::new(path.clone(), bytes.clone()))
                .collect(),
        ),
        project: match source {
            Some(_) => None,
            None => global.project.clone(),
        },
    };
    Ok(client.plan(&input).await?)
}

/// The folder, read as a source would read its tree.
struct Tree {
    dir: PathBuf,
    /// What the repository's paths have in front of those below `dir`.
    cut: String,
    /// By their paths in the repository.
    files: BTreeMap<String, Vec<u8>>,
    problems: Vec<Problem>,
    spec_files: usize,
}

impl Tree {
    /// `path` is the source's folder below its repository's root. `dir` may be that root, or
    /// already that folder.
    fn read(dir: &Path, path: &str, project: ProjectName) -> Result<Tree, Failure> {
        let below = dir.join(path);
        let is_root = !path.is_empty() && below.is_dir();
        let (root, prefix) = match (path.is_empty(), is_root) {
            (true, _) => (dir.to_owned(), String::new()),
            (false, true) => (below, format!("{path}/")),
            (false, false) => (dir.to_owned(), format!("{path}/")),
        };
        let mut found = Vec::new();
        collect(&root, "", 0, &mut found)?;
        let specs = found
            .into_iter()
            .map(|(file, content)| (format!("{prefix}{file}"), content));
        let specs: Vec<(String, Content)> = specs.collect();
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (file, content) in &specs {
            if let Content::Bytes(bytes) = content {
                files.insert(file.clone(), bytes.clone());
            }
        }
        let defaults = Defaults {
            // Whether a path of the host may be mounted is the server's to say.
            allowed_host_paths: vec![String::new()],
            ..Defaults::new(project, path)
        };
        let mut named: BTreeSet<String> = BTreeSet::new();
        let checked = manifest::validate_files(&defaults, specs, &mut |file| {
            named.insert(file.to_owned());
            look_up(&root, file.strip_prefix(&prefix).unwrap_or(file))
        });
        for file in named {
            let local = file.strip_prefix(&prefix).unwrap_or(&file);
            if let Lookup::Found(bytes) = look_up(&root, local) {
                files.entry(file).or_insert(bytes);
            }
        }
        // Problems name files below `dir`, as people typed it.
        let mut tree = Tree {
            dir: dir.to_owned(),
            cut: if is_root { String::new() } else { prefix },
            files,
            problems: checked.problems,
            spec_files: checked.catalog.spec_files,
        };
        let mut problems = std::mem::take(&mut tree.problems);
        for problem in &mut problems {
            problem.file = tree.here(&problem.file);
        }
        tree.problems = problems;
        Ok(tree)
    }

    /// A file of the repository by its path below the folder that was named.
    fn here(&self, file: &str) -> String {
        file.strip_prefix(&self.cut).unwrap_or(file).to_owned()
    }

    /// Invalid specs: told like `validate` tells them, and not sent.
    fn refuse(&self, global: &Global) -> Outcome {
        if global.output == Format::Table {
            for problem in &self.problems {
                let text = read_text(&self.dir, &problem.file);
                eprint!("{}", render_problem(problem, text.as_deref()));
            }
            eprintln!(
                "{}, {}: not planned",
                counted(self.spec_files, "file"),
                counted(self.problems.len(), "problem")
            );
        } else {
            let document = serde_json::json!({
                "verdict": PreviewVerdict::Blocked,
                "problems": self.problems,
                "problemCount": self.problems.len(),
            });
            print(global.output, &document, |_| String::new())?;
        }
        Ok(Code::Failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str) -> SourceStatus {
        let spec = crate::api::SourceInput::new(name.parse().unwrap(), "/srv/git");
        let source = crate::model::Source::new(spec.into_spec().unwrap(), None);
        crate::api::source::source_status(&crate::model::Snapshot::default(), &source)
    }

    #[test]
    fn the_source_is_guessed_only_where_there_is_one_answer() {
        let dir = Path::new("/srv/apps");
        let named = |n: Result<SourceName, Failure>| n.map(|n| n.to_string()).map_err(|f| f.code);
        let two = [source("a"), source("b")];
        assert_eq!(named(choose(None, &two[..1], dir)), Ok("a".to_owned()));
        assert_eq!(named(choose(None, &[], dir)), Ok("apps".to_owned()));
        assert_eq!(named(choose(None, &two, dir)), Err(Code::Usage));
        assert_eq!(named(choose(Some("b"), &two, dir)), Ok("b".to_owned()));
        assert_eq!(named(choose(Some("no/name"), &two, dir)), Err(Code::Usage));
        assert_eq!(named(choose(None, &[], Path::new("/"))), Err(Code::Usage));
    }

    #[test]
    fn the_folder_may_be_the_root_or_the_sources_folder() {
        let dir = tempfile::tempdir().unwrap();
        let deploy = dir.path().join("deploy");
        std::fs::create_dir_all(deploy.join("conf")).unwrap();
        let spec = "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {name: web}\nspec:\n  image: web:1\n  files: {/etc/web.conf: conf/web.conf}\n";
        std::fs::write(deploy.join("web.yaml"), spec).unwrap();
        std::fs::write(deploy.join("conf/web.conf"), "x").unwrap();
        std::fs::write(deploy.join("README.md"), "x").unwrap();
        let project = ProjectName::new("shop").unwrap();
        for (folder, path, told) in [
            (dir.path(), "deploy", "deploy/web.yaml"),
            (deploy.as_path(), "deploy", "web.yaml"),
        ] {
            let tree = Tree::read(folder, path, project.clone()).unwrap();
            assert_eq!(tree.problems, [], "{path}");
            let sent: Vec<&str> = tree.files.keys().map(String::as_str).collect();
            assert_eq!(sent, ["deploy/conf/web.conf", "deploy/web.yaml"]);
            assert_eq!(tree.here("deploy/web.yaml"), told);
        }
        std::fs::write(deploy.join("web.yaml"), spec.replace("image", "imago")).unwrap();
        let tree = Tree::read(dir.path(), "deploy", project).unwrap();
        assert_eq!(tree.problems[0].file, "deploy/web.yaml");
        assert!(read_text(&tree.dir, &tree.problems[0].file).is_some());
    }
}
