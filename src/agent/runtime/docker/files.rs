//! Files from the repository, packed for the Engine to copy into a container.

use std::collections::BTreeMap;

use crate::agent::runtime::Error;
use crate::model::FailureKind;
use crate::model::spec::FileContent;

/// Owned by root and readable by all: the process may run as any user and must
/// not be able to change what the repository says.
const FILE_MODE: u32 = 0o444;

/// A tar archive to be unpacked at `/`. Missing folders are made by the Engine.
pub(super) fn archive(files: &BTreeMap<String, FileContent>) -> Result<Vec<u8>, Error> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let inside = path.trim_start_matches('/');
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(FILE_MODE);
        header.set_uid(0);
        header.set_gid(0);
        // A constant: the same files give the same archive.
        header.set_mtime(0);
        header.set_size(content.data.len() as u64);
        tar.append_data(&mut header, inside, content.data.as_slice())
            .map_err(|error| {
                Error::new(
                    FailureKind::Rejected,
                    format!("file {path} cannot be put into a container: {error}"),
                )
            })?;
    }
    tar.into_inner()
        .map_err(|error| Error::new(FailureKind::StartFailed, format!("packing files: {error}")))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn files(path: &str) -> BTreeMap<String, FileContent> {
        BTreeMap::from([(
            path.to_owned(),
            FileContent {
                data: b"hello".to_vec(),
            },
        )])
    }

    #[test]
    fn files_are_root_owned_and_read_only() {
        let bytes = archive(&files("/etc/web/web.conf")).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut entry = archive.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(entry.path().unwrap().to_str(), Some("etc/web/web.conf"));
        assert_eq!(entry.header().mode().unwrap(), 0o444);
        assert_eq!(entry.header().uid().unwrap(), 0);
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        assert_eq!(text, "hello");
    }

    #[test]
    fn a_long_path_fits_and_one_that_climbs_is_refused() {
        assert!(archive(&files(&format!("/{}/x", "a".repeat(200)))).is_ok());
        let error = archive(&files("/../etc/passwd")).unwrap_err();
        assert_eq!(error.kind, FailureKind::Rejected);
    }
}
