//! Files with secrets, read at each use: a renewed token works at once.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use super::auth::unusable;
use super::failure::Failure;

/// Longest token or key; the longest in use have some thousand characters.
const MAX_BYTES: u64 = 16 * 1024;

/// One token, without the line feed of its file.
pub(super) async fn read(path: &str) -> Result<String, Failure> {
    let text = read_file(path, "token").await?;
    let token = text.trim();
    if !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(unusable(format!(
            "the token's file {path}: it holds something else than one token"
        )));
    }
    Ok(token.to_owned())
}

/// The error names the file and what is wrong with it, never its content.
pub(super) async fn read_file(path: &str, what: &'static str) -> Result<String, Failure> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read_now(&path, what)).await;
    match read {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(reason)) => Err(unusable(reason)),
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// Blocks on local disk.
fn read_now(path: &str, what: &str) -> Result<String, String> {
    let refuse = |why: &str| format!("the {what}'s file {path}: {why}");
    // Not waiting: opening a pipe that nobody writes would.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(|e| refuse(&e.to_string()))?;
    let kind = file.metadata().map_err(|e| refuse(&e.to_string()))?;
    if !kind.is_file() {
        return Err(refuse("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|e| refuse(&e.to_string()))?;
    if text.trim().is_empty() {
        return Err(refuse(&format!("it is empty; put the {what} into it")));
    }
    if text.len() as u64 > MAX_BYTES {
        return Err(refuse(&format!("it is too large for a {what}")));
    }
    Ok(text)
}
