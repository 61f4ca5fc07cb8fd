//! `files` of an app: from a path beside the spec to content.

use std::collections::BTreeMap;

use super::Lookup;
use super::limits;
use super::validate::{AppDraft, FileRef};
use crate::model::Problem;
use crate::model::spec::{AppSpec, FileContent};

/// The path below the repository's root that `path`, written in the file `spec`, means.
/// It stays inside the source's folder `root`.
pub fn resolve(spec: &str, root: &str, path: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("\"{path}\" cannot be read: {why}"));
    if path.is_empty() {
        return bad("it is empty");
    }
    if path.starts_with('/') {
        return bad("files are named relative to the folder of this spec, not absolutely");
    }
    if path.len() > 4000 || path.contains('\\') || path.chars().any(char::is_control) {
        return bad("it holds characters that no file here has");
    }
    let mut parts: Vec<&str> = spec
        .rsplit_once('/')
        .map_or(Vec::new(), |(folder, _)| folder.split('/').collect());
    let outside = "it leads out of the source's folder, and nothing outside of it is read";
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return bad(outside);
                }
            }
            name => parts.push(name),
        }
    }
    let inside = root.is_empty()
        || parts.len() > root.split('/').count()
            && root.split('/').zip(&parts).all(|(a, b)| a == *b);
    if !inside {
        return bad(outside);
    }
    if parts.iter().any(|part| part.eq_ignore_ascii_case(".git")) {
        return bad("it is inside .git");
    }
    if path.ends_with('/') || parts.is_empty() {
        return bad("it is a folder");
    }
    Ok(parts.join("/"))
}

/// The draft's spec with its files' content, or every problem with them.
pub fn load(
    draft: &AppDraft,
    read: &mut dyn FnMut(&str) -> Lookup,
) -> Result<AppSpec, Vec<Problem>> {
    let mut files = BTreeMap::new();
    let mut problems = Vec::new();
    let mut total: u64 = 0;
    for file in &draft.files {
        match content(file, read(&file.path)) {
            Err(problem) => problems.push(*problem),
            Ok(data) => {
                total = total.saturating_add(data.len() as u64);
                if total > limits::REFERENCED_BYTES_PER_APP {
                    problems.push(*problem(
                        file,
                        format!(
                            "the files of this app together exceed {}; they travel inside the spec to every node",
                            size(limits::REFERENCED_BYTES_PER_APP)
                        ),
                        "put large data into the image or a volume",
                    ));
                    break;
                }
                files.insert(file.target.clone(), FileContent { data });
            }
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let mut spec = draft.spec.clone();
    spec.workload.files = files;
    Ok(spec)
}

fn content(file: &FileRef, found: Lookup) -> Result<Vec<u8>, Box<Problem>> {
    let too_large = |bytes: u64| {
        problem(
            file,
            format!(
                "\"{}\" has {bytes} bytes, more than the {} of one file; files travel inside the spec to every node",
                file.path,
                size(limits::REFERENCED_FILE_BYTES)
            ),
            "put large data into the image or a volume",
        )
    };
    match found {
        Lookup::Found(data) if data.len() as u64 > limits::REFERENCED_FILE_BYTES => {
            Err(too_large(data.len() as u64))
        }
        Lookup::Found(data) => Ok(data),
        Lookup::Missing => Err(problem(
            file,
            format!("there is no file \"{}\" in this commit", file.path),
            "the path is relative to the folder of this spec",
        )),
        Lookup::TooLarge { size } => Err(too_large(size)),
        Lookup::NotAFile { what } => Err(problem(
            file,
            format!("\"{}\" is {what}, and only plain files are read", file.path),
            "name a file of the repository itself",
        )),
    }
}

fn problem(file: &FileRef, message: String, hint: &str) -> Box<Problem> {
    Box::new(Problem {
        message,
        hint: Some(hint.to_owned()),
        ..file.place.clone()
    })
}

/// Bytes with a binary unit.
pub fn size(bytes: u64) -> String {
    crate::model::quantity::format_memory(bytes) + "B"
}
