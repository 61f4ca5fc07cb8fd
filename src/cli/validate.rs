//! `validate` and `schema`: what can be said of specs without a server.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::manifest::{self, Content, Defaults, Lookup, limits, render_problem};
use crate::model::ProjectName;

use super::args::{Format, Global};
use super::exit::{Code, Failure, Outcome};
use super::output::{counted, print, write};

/// Folders below each other; Git's own limit on trees is of the same kind.
const MAX_DEPTH: usize = 64;

/// Exit 1 if there is a problem. Reads the folder as a source would read its tree: no
/// symlinks, nothing outside.
pub fn validate(global: &Global, dir: &Path) -> Outcome {
    let unusable = |e: std::io::Error| Failure::usage(format!("{}: {e}", dir.display()));
    let root = dir.canonicalize().map_err(unusable)?;
    if !root.is_dir() {
        return Err(Failure::usage(format!("{} is not a folder", dir.display())));
    }
    let mut files = Vec::new();
    collect(&root, "", 0, &mut files)?;
    let project = match &global.project {
        Some(p) => p.as_str(),
        None => "default",
    };
    let project = ProjectName::new(project).map_err(|e| Failure::usage(format!("{e}")))?;
    let defaults = Defaults::new(project, "");
    let checked = manifest::validate_files(&defaults, files, &mut |path| look_up(&root, path));
    let apps = checked.catalog.apps.len();
    if global.output == Format::Table {
        for problem in &checked.problems {
            let text = read_text(&root, &problem.file);
            eprint!("{}", render_problem(problem, text.as_deref()));
        }
        let summary = format!(
            "{}, {}, {}",
            counted(checked.catalog.spec_files, "file"),
            counted(apps, "app"),
            counted(checked.problems.len(), "problem")
        );
        if checked.problems.is_empty() {
            write(&format!("{summary}\n"))?;
        } else {
            eprintln!("{summary}");
        }
    } else {
        let names: Vec<String> = checked
            .catalog
            .apps
            .keys()
            .map(ToString::to_string)
            .collect();
        let document = serde_json::json!({
            "valid": checked.problems.is_empty(),
            "files": checked.catalog.spec_files,
            "apps": names,
            "ignoredDocuments": checked.catalog.ignored_documents,
            "problems": checked.problems,
        });
        print(global.output, &document, |_| String::new())?;
    }
    Ok(if checked.problems.is_empty() {
        Code::Done
    } else {
        Code::Failed
    })
}

/// The schema is JSON whatever the format; `-o yaml` is honoured.
pub fn schema(global: &Global) -> Outcome {
    let format = match global.output {
        Format::Yaml => Format::Yaml,
        Format::Json | Format::Table => Format::Json,
    };
    print(format, &manifest::json_schema(), |_| String::new())?;
    Ok(Code::Done)
}

/// All spec files below `folder`, by path below the root.
pub(super) fn collect(
    root: &Path,
    folder: &str,
    depth: usize,
    out: &mut Vec<(String, Content)>,
) -> Result<(), Failure> {
    let path = root.join(folder);
    let failed = |e: std::io::Error| Failure::new(Code::Failed, format!("{}: {e}", path.display()));
    if depth > MAX_DEPTH {
        return Err(Failure::new(
            Code::Failed,
            format!(
                "{}: folders are nested more than {MAX_DEPTH} deep",
                path.display()
            ),
        ));
    }
    for entry in fs::read_dir(&path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let below = if folder.is_empty() {
            name.clone()
        } else {
            format!("{folder}/{name}")
        };
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            if name != ".git" {
                collect(root, &below, depth + 1, out)?;
            }
        } else if manifest::is_spec_path(&below) {
            let content = if kind.is_file() {
                read(&entry.path(), limits::SPEC_FILE_BYTES).map_err(failed)?
            } else {
                Content::NotAFile {
                    what: if kind.is_symlink() {
                        "a symlink"
                    } else {
                        "a special file"
                    }
                    .to_owned(),
                }
            };
            out.push((below, content));
        }
    }
    Ok(())
}

fn read(path: &Path, limit: u64) -> std::io::Result<Content> {
    let file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    if size > limit {
        return Ok(Content::TooLarge { size });
    }
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Ok(Content::TooLarge {
            size: bytes.len() as u64,
        });
    }
    Ok(Content::Bytes(bytes))
}

/// What a spec names in `files`.
pub(super) fn look_up(root: &Path, path: &str) -> Lookup {
    let mut full = PathBuf::from(root);
    // Like a tree of Git: a symlink anywhere on the way is not followed.
    for part in path.split('/') {
        full.push(part);
        match fs::symlink_metadata(&full) {
            Ok(m) if m.is_symlink() => {
                return Lookup::NotAFile {
                    what: "a symlink".to_owned(),
                };
            }
            Ok(_) => {}
            Err(_) => return Lookup::Missing,
        }
    }
    if full.is_dir() {
        return Lookup::NotAFile {
            what: "a folder".to_owned(),
        };
    }
    match read(&full, limits::REFERENCED_FILE_BYTES) {
        Ok(Content::Bytes(bytes)) => Lookup::Found(bytes),
        Ok(Content::TooLarge { size }) => Lookup::TooLarge { size },
        Ok(Content::NotAFile { what }) => Lookup::NotAFile { what },
        Ok(Content::Removed) | Err(_) => Lookup::Missing,
    }
}

pub(super) fn read_text(root: &Path, file: &str) -> Option<String> {
    match look_up(root, file) {
        Lookup::Found(bytes) => String::from_utf8(bytes).ok(),
        Lookup::Missing | Lookup::TooLarge { .. } | Lookup::NotAFile { .. } => None,
    }
}
