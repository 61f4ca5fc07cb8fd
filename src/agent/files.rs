//! Files that are whole or not there, with a checksum over their content.
//!
//! One line of head (format and SHA-256 of the body) and the body. A file is
//! replaced by rename, so after a crash it is the old or the new one; what a
//! disk spoils later is noticed by the checksum. Their owner alone may read them: a
//! desired set holds what apps are given in their environment.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::failpoint::{self, Op};

/// Marks the format; another one is not read.
const MAGIC: &str = "evenkeel-1";

/// Mode of every file.
const MODE: u32 = 0o600;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("{path} cannot be read")]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{path} is damaged: {why}")]
    Damaged { path: PathBuf, why: String },
}

/// Writes `body` so that after a crash the file holds it or what it held before, and it
/// survives a loss of power once this returns.
pub fn write(op: Op, path: &Path, body: &[u8]) -> io::Result<()> {
    failpoint::around(op, || replace(path, body))
}

fn replace(path: &Path, body: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(MODE)
        .open(&temporary)?;
    // One that a crash left keeps the mode it was made with.
    file.set_permissions(Permissions::from_mode(MODE))?;
    writeln!(file, "{MAGIC} {}", hex::encode(Sha256::digest(body)))?;
    file.write_all(body)?;
    file.sync_all()?;
    failpoint::around(Op::AgentFilePlace, || fs::rename(&temporary, path))?;
    File::open(folder)?.sync_all()
}

/// The body; `None`: there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, ReadError> {
    let mut content = match fs::read(path) {
        Ok(content) => content,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(ReadError::Io {
                path: path.to_owned(),
                source,
            });
        }
    };
    let damaged = |why: &str| ReadError::Damaged {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let end = content
        .iter()
        .position(|&b| b == b'\n')
        .ok_or_else(|| damaged("it has no head"))?;
    let body = content.split_off(end + 1);
    let expected = format!("{MAGIC} {}\n", hex::encode(Sha256::digest(&body)));
    if content != expected.as_bytes() {
        return Err(damaged("its checksum does not match its content"));
    }
    Ok(Some(body))
}

/// Makes `copy` hold what `path` holds now; does nothing if there is no such file.
pub fn keep_copy(path: &Path, copy: &Path) -> io::Result<()> {
    let temporary = copy.with_extension("tmp");
    match fs::remove_file(&temporary) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
    }
    match fs::hard_link(path, &temporary) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        // File systems without hard links.
        Err(_) => {
            fs::copy(path, &temporary)?;
        }
    }
    fs::set_permissions(&temporary, Permissions::from_mode(MODE))?;
    failpoint::around(Op::AgentLedgerKeep, || fs::rename(&temporary, copy))
}

/// Closes to others what an earlier version left open: the file and what a crash left
/// beside it. Does nothing where there is none.
pub fn close(path: &Path) -> io::Result<()> {
    for path in [path.to_owned(), path.with_extension("tmp")] {
        match fs::set_permissions(&path, Permissions::from_mode(MODE)) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn only_the_owner_reads_what_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (path, copy) = (
            dir.path().join("ledger"),
            dir.path().join("ledger.previous"),
        );
        let open = |path: &Path| {
            fs::write(path, "left by an earlier version").unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        };
        open(&path.with_extension("tmp"));
        write(Op::AgentLedgerWrite, &path, b"one").unwrap();
        assert_eq!(mode(&path), 0o600);

        open(&path);
        keep_copy(&path, &copy).unwrap();
        assert_eq!(mode(&copy), 0o600);

        open(&copy);
        close(&copy).unwrap();
        assert_eq!(mode(&copy), 0o600);
        close(&dir.path().join("nothing")).unwrap();
    }
}
