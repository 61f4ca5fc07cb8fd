//! What the server says: kept in a file that cannot grow for ever, and its last
//! lines in memory for error messages.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::Error;

const FILE_MAX_BYTES: u64 = 4 << 20;
/// Old files beside the present one.
const OLD_FILES: u32 = 3;
const LAST_LINES: usize = 20;
const LINE_MAX_BYTES: u64 = 64 << 10;

#[derive(Clone, Debug)]
pub(super) struct Log(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    file: File,
    size: u64,
    last: VecDeque<String>,
}

impl Log {
    pub(super) fn open(dir: &Path) -> Result<Log, Error> {
        let path = dir.join("postgres.log");
        let (file, size) =
            open_append(&path).map_err(Error::io(format!("opening {}", path.display())))?;
        Ok(Log(Arc::new(Mutex::new(Inner {
            path,
            file,
            size,
            last: VecDeque::new(),
        }))))
    }

    /// Copies lines until the stream ends.
    pub(super) fn pump(&self, from: impl Read) {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        loop {
            line.clear();
            match (&mut from)
                .take(LINE_MAX_BYTES)
                .read_until(b'\n', &mut line)
            {
                Ok(0) | Err(_) => return,
                Ok(_) => self.write(&line),
            }
        }
    }

    fn write(&self, line: &[u8]) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.size + line.len() as u64 > FILE_MAX_BYTES {
            inner.rotate();
        }
        // A full disk must not stop the server for want of its log.
        if inner.file.write_all(line).is_ok() {
            inner.size += line.len() as u64;
        }
        if inner.last.len() == LAST_LINES {
            inner.last.pop_front();
        }
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        inner.last.push_back(text);
    }

    pub(super) fn last_lines(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.last.is_empty() {
            true => "(nothing)".to_owned(),
            false => inner.last.iter().cloned().collect::<Vec<_>>().join("\n"),
        }
    }
}

impl Inner {
    fn rotate(&mut self) {
        let old = |n: u32| self.path.with_extension(format!("log.{n}"));
        for n in (1..OLD_FILES).rev() {
            let _ = fs::rename(old(n), old(n + 1));
        }
        let _ = fs::rename(&self.path, old(1));
        if let Ok((file, size)) = open_append(&self.path) {
            self.file = file;
            self.size = size;
        }
    }
}

fn open_append(path: &Path) -> std::io::Result<(File, u64)> {
    let file = File::options().create(true).append(true).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_rotated_and_the_last_lines_kept() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path()).unwrap();
        let line = format!("{}\n", "x".repeat(1 << 20));
        let mut text = line.repeat(4 * 6);
        text.push_str("the end\n");
        log.pump(text.as_bytes());
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "postgres.log",
                "postgres.log.1",
                "postgres.log.2",
                "postgres.log.3"
            ]
        );
        for name in names {
            let size = fs::metadata(dir.path().join(name)).unwrap().len();
            assert!(size <= FILE_MAX_BYTES, "{size}");
        }
        assert!(log.last_lines().ends_with("the end"));
    }
}
