//! Reading secrets from files, at use, and keeping them out of every text.

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

use super::{Refusal, limits};

/// A value whose `Debug` does not show it. Has no `Display`.
#[derive(Clone)]
pub(super) struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl Secret {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

/// Reads a token, without white space around it; the warning says that others can read it too.
pub(super) fn read_token(path: &str) -> Result<(Secret, Option<String>), Refusal> {
    let text = read_bounded(path, limits::TOKEN_BYTES)?;
    let token = text.trim();
    let refuse = |why: &str| Refusal::File {
        file: path.to_owned(),
        why: why.to_owned(),
    };
    if token.is_empty() {
        return Err(refuse("it is empty; put the token into it"));
    }
    if token.chars().any(char::is_control) {
        return Err(refuse(
            "it holds more than one line; put only the token into it",
        ));
    }
    Ok((Secret(token.to_owned()), too_open(path)))
}

/// A sentence if others than the owner and group may read the file.
pub(super) fn too_open(path: &str) -> Option<String> {
    let mode = std::fs::metadata(path).ok()?.mode();
    (mode & 0o007 != 0)
        .then(|| format!("{path} can be read by everybody on this host; run: chmod o= {path}"))
}

/// A text file of at most `max` bytes.
pub(super) fn read_bounded(path: &str, max: u64) -> Result<String, Refusal> {
    let refuse = |why: String| Refusal::File {
        file: path.to_owned(),
        why,
    };
    // Not waiting: opening a pipe that nobody writes would.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| refuse(e.to_string()))?;
    // Opening first and asking the open file: the answer cannot change in between.
    let kind = file.metadata().map_err(|e| refuse(e.to_string()))?;
    if !kind.is_file() {
        return Err(refuse("it is not a regular file".to_owned()));
    }
    let mut text = String::new();
    file.take(max + 1)
        .read_to_string(&mut text)
        .map_err(|e| refuse(e.to_string()))?;
    if text.len() as u64 > max {
        return Err(refuse(format!("it is larger than {max} bytes")));
    }
    Ok(text)
}
