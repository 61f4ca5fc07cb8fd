//! Files that are whole or not there, with a checksum over their content.
//!
//! One line of head (format and SHA-256 of the body) and the body. A file is
//! replaced by rename, so after a crash it is the old or the new one; what a
//! disk spoils later is noticed by the checksum.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Marks the format; another one is not read.
const MAGIC: &str = "evenkeel-1";

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
pub fn write(path: &Path, body: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{MAGIC} {}", hex::encode(Sha256::digest(body)))?;
    file.write_all(body)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
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
    fs::rename(&temporary, copy)
}
