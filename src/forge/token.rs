//! The token's file, read at each use: a renewed token works at once.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

/// Longest token; the longest in use have some hundred characters.
const MAX_BYTES: u64 = 16 * 1024;

/// Blocks on local disk. The error names the file and what is wrong with it, never its content.
pub(super) fn read(path: &str) -> Result<String, String> {
    let refuse = |why: &str| format!("the token's file {path}: {why}");
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
    let token = text.trim();
    if token.is_empty() {
        return Err(refuse("it is empty; put the token into it"));
    }
    if text.len() as u64 > MAX_BYTES || !token.chars().all(|c| c.is_ascii_graphic()) {
        return Err(refuse("it holds something else than one token"));
    }
    Ok(token.to_owned())
}
