//! Tree objects of any bytes, read as those of a fetched commit.

use std::path::PathBuf;
use std::time::Duration;

use evenkeel::git::{Entry, Mirrors};
use evenkeel::model::{CommitId, SourceSpec};
use git2::{ObjectType, Oid, Repository};

use crate::git_http::TestRepo;

/// A mirror into which objects are put behind everybody's back.
pub struct Place {
    dir: tempfile::TempDir,
    mirrors: Mirrors,
    spec: SourceSpec,
    mirror: PathBuf,
    blob: Oid,
}

impl Place {
    pub fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let repo = TestRepo::create(dir.path().join("repo.git"));
        repo.commit("first", &[("a.yaml", Some("1"))]);
        let spec = SourceSpec::new(
            "fuzz".parse().unwrap(),
            repo.path.display().to_string(),
            "shop".parse().unwrap(),
        );
        let mirrors = Mirrors::open(dir.path().join("mirrors")).unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let fetched = mirrors.fetch(&spec, Duration::from_secs(30));
        runtime.block_on(fetched).unwrap();
        let mut found = std::fs::read_dir(dir.path().join("mirrors")).unwrap();
        let mirror = found.next().unwrap().unwrap().path();
        let blob = Repository::open_bare(&mirror).unwrap().blob(b"1").unwrap();
        Place {
            dir,
            mirrors,
            spec,
            mirror,
            blob,
        }
    }

    /// `data` is the root's tree; where it holds the name of [`FOLDER`], a tree of the same
    /// bytes is meant. Whatever it is: paths that are told stay below the root, and are read
    /// without a surprise.
    pub fn read(&self, data: &[u8]) {
        assert!(self.dir.path().exists());
        let repository = Repository::open_bare(&self.mirror).unwrap();
        let odb = repository.odb().unwrap();
        let mut data = data.to_vec();
        replace(&mut data, &[BLOB; 20], self.blob.as_bytes());
        let inner = odb.write(ObjectType::Tree, &data).unwrap();
        replace(&mut data, &[FOLDER; 20], inner.as_bytes());
        let tree = odb.write(ObjectType::Tree, &data).unwrap();
        let text = format!("tree {tree}\nauthor a <a@b> 1 +0000\ncommitter a <a@b> 1 +0000\n\nx\n");
        let commit = odb.write(ObjectType::Commit, text.as_bytes()).unwrap();
        let commit = CommitId(commit.to_string());
        let Ok(reader) = self.mirrors.reader(&self.spec, &commit) else {
            return;
        };
        let Ok(changes) = reader.changed(None) else {
            return;
        };
        for change in changes {
            let path = &change.path;
            assert!(
                !path.is_empty() && !path.starts_with('/') && !path.contains('\0'),
                "{path:?}"
            );
            if let Entry::File { blob, .. } = &change.entry {
                let strange = |part: &str| {
                    matches!(part, "" | "." | "..") || part.eq_ignore_ascii_case(".git")
                };
                assert!(!path.split('/').any(strange), "{path:?}");
                let _ = reader.blob(blob, 10);
                let _ = reader.read(path, 10);
            }
        }
    }
}

const BLOB: u8 = 0x11;
const FOLDER: u8 = 0x22;

fn replace(data: &mut [u8], what: &[u8; 20], by: &[u8]) {
    let mut at = 0;
    while at + 20 <= data.len() {
        if &data[at..at + 20] == what {
            data[at..at + 20].copy_from_slice(by);
            at += 20;
        } else {
            at += 1;
        }
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let tree = |entries: &[(&str, &[u8], u8)]| {
        let mut bytes = Vec::new();
        for (mode, name, id) in entries {
            bytes.extend_from_slice(mode.as_bytes());
            bytes.push(b' ');
            bytes.extend_from_slice(name);
            bytes.push(0);
            bytes.extend_from_slice(&[*id; 20]);
        }
        bytes
    };
    vec![
        tree(&[
            ("100644", b"a.yaml", BLOB),
            ("40000", b"dir", FOLDER),
            ("100755", b"run", BLOB),
        ]),
        tree(&[("120000", b"link", BLOB), ("160000", b"module", BLOB)]),
        tree(&[("100644", b"..", BLOB), ("40000", b".git", FOLDER)]),
        tree(&[
            ("100644", b"a/b", BLOB),
            ("100644", b"/etc", BLOB),
            ("100644", b"", BLOB),
        ]),
        tree(&[
            ("100644", b"A", BLOB),
            ("100644", b"a", BLOB),
            ("40000", b"a", FOLDER),
        ]),
        tree(&[
            ("100644", b"\xff\xfe", BLOB),
            ("0", b"x", BLOB),
            ("77777777", b"y", BLOB),
        ]),
    ]
}
