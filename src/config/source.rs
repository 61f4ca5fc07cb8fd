//! `--git PATH-OR-URL` as a source.

use std::path::Path;

use super::names::label;
use crate::model::{ProjectName, SourceName, SourceSpec};

#[derive(Debug, thiserror::Error)]
pub enum SourceFlagError {
    #[error("--git {text}: there is no such folder; give a path on this machine or a URL")]
    NoFolder {
        text: String,
        #[source]
        source: std::io::Error,
    },
    #[error("--git: no name can be made from it; use `evenkeel source add NAME URL` instead")]
    NoName,
}

/// A source named after the repository's folder. A repository on this machine is followed at
/// the branch it is on, others at `main`.
pub fn source_from_flag(text: &str) -> Result<SourceSpec, SourceFlagError> {
    let is_remote = text.contains("://") || (text.contains(':') && !Path::new(text).exists());
    let (url, branch) = if is_remote {
        (text.to_owned(), None)
    } else {
        let path = std::fs::canonicalize(text).map_err(|source| SourceFlagError::NoFolder {
            text: text.to_owned(),
            source,
        })?;
        (path.to_string_lossy().into_owned(), current_branch(&path))
    };
    let folder = url
        .trim_end_matches('/')
        .trim_end_matches("/.git")
        .trim_end_matches(".git")
        .rsplit(['/', ':'])
        .next()
        .and_then(label);
    let name = folder.and_then(|text| SourceName::new(text).ok());
    let project = ProjectName::new("default").map_err(|_| SourceFlagError::NoName)?;
    let mut spec = SourceSpec::new(name.ok_or(SourceFlagError::NoName)?, url, project);
    if let Some(branch) = branch {
        spec.branch = branch;
    }
    Ok(spec)
}

/// What HEAD names, in a working copy or a bare repository (gitrepository-layout(5)).
fn current_branch(repository: &Path) -> Option<String> {
    [".git/HEAD", "HEAD"].iter().find_map(|head| {
        let text = std::fs::read_to_string(repository.join(head)).ok()?;
        Some(text.strip_prefix("ref: refs/heads/")?.trim().to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_named_after_its_folder() {
        let check = |text: &str, name: &str| {
            let spec = source_from_flag(text).unwrap();
            assert_eq!((spec.name.as_str(), spec.url.as_str()), (name, text));
            assert_eq!(spec.branch, "main");
        };
        check("https://git.example/shop/Deploy_Specs.git", "deploy-specs");
        check("git@git.example:specs.git", "specs");
        check("ssh://git@git.example:2222/a/b/", "b");
        assert!(source_from_flag("/no/such/folder").is_err());
    }

    #[test]
    fn a_local_repository_is_followed_at_its_branch() {
        let folder = tempfile::tempdir().unwrap();
        let repository = folder.path().join("my.specs");
        std::fs::create_dir_all(repository.join(".git")).unwrap();
        std::fs::write(repository.join(".git/HEAD"), "ref: refs/heads/feature/x\n").unwrap();
        let spec = source_from_flag(repository.to_str().unwrap()).unwrap();
        assert_eq!(spec.branch, "feature/x");
        assert_eq!(spec.name.as_str(), "my-specs");
    }
}
