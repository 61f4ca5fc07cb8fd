//! Output of an instance on its way into files, in its supervisor.
//!
//! `output.log` is being written, `output.log.1` is the one before, and so on.
//! Bytes are kept as they come. A file ends at the end of a line, unless a
//! line is longer than [`LINE_BYTES`]. Losing output (a full disk) never stops
//! the program.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::layout::LogLimits;

/// A longer line is cut in pieces of this size, in the files and for readers.
pub const LINE_BYTES: usize = 16 << 10;

/// The file of this age; 0 is the one being written.
pub fn path_of(dir: &Path, age: u32) -> PathBuf {
    match age {
        0 => dir.join("output.log"),
        age => dir.join(format!("output.log.{age}")),
    }
}

pub struct Rotating {
    dir: PathBuf,
    limits: LogLimits,
    file: Option<File>,
    length: u64,
    /// Bytes since the last line feed.
    line: usize,
}

impl Rotating {
    /// Goes on where an earlier run of the instance ended.
    pub fn open(dir: &Path, limits: LogLimits) -> Rotating {
        let mut log = Rotating {
            dir: dir.to_owned(),
            limits,
            file: None,
            length: 0,
            line: 0,
        };
        log.reopen();
        log
    }

    pub fn write(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let (part, ends_line) = match bytes.iter().position(|b| *b == b'\n') {
                Some(at) => (&bytes[..=at], true),
                None => (bytes, false),
            };
            let room = LINE_BYTES - self.line;
            let (part, ends_line) = if part.len() > room + usize::from(ends_line) {
                (&bytes[..room], false)
            } else {
                (part, ends_line)
            };
            self.append(part);
            bytes = &bytes[part.len()..];
            self.line += part.len();
            if ends_line || self.line >= LINE_BYTES {
                if !ends_line {
                    self.append(b"\n");
                }
                self.line = 0;
                if self.length >= self.limits.file_bytes {
                    self.rotate();
                }
            }
        }
    }

    /// Ends a line that the program left open, so that the next run starts its own.
    pub fn finish(&mut self) {
        if self.line > 0 {
            self.append(b"\n");
            self.line = 0;
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.file.is_none() {
            self.reopen();
        }
        if let Some(file) = &mut self.file
            && file.write_all(bytes).is_err()
        {
            self.file = None;
        }
        self.length += bytes.len() as u64;
    }

    fn reopen(&mut self) {
        let opened = || -> io::Result<(File, u64)> {
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .open(path_of(&self.dir, 0))?;
            let length = file.metadata()?.len();
            Ok((file, length))
        };
        if let Ok((file, length)) = opened() {
            self.file = Some(file);
            self.length = length;
        }
    }

    fn rotate(&mut self) {
        self.file = None;
        let oldest = self.limits.files.max(1) - 1;
        if oldest == 0 {
            let _ = fs::remove_file(path_of(&self.dir, 0));
        }
        for age in (0..oldest).rev() {
            let _ = fs::rename(path_of(&self.dir, age), path_of(&self.dir, age + 1));
        }
        self.length = 0;
        self.reopen();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn small() -> LogLimits {
        LogLimits {
            file_bytes: 100,
            files: 3,
        }
    }

    #[test]
    fn files_end_at_lines_and_the_oldest_go() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path(), small());
        for n in 0..100 {
            log.write(format!("line {n}\n").as_bytes());
        }
        let read = |age| fs::read_to_string(path_of(dir.path(), age)).unwrap();
        assert!(read(0).ends_with("line 99\n"));
        for age in 0..3 {
            assert!(read(age).starts_with("line ") && read(age).ends_with('\n'));
            assert!(read(age).len() < 110);
        }
        assert!(!path_of(dir.path(), 3).exists());
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path(), LogLimits::default());
        log.write(&vec![b'x'; LINE_BYTES * 2 + 5]);
        log.finish();
        log.write(b"\0\xff next\n");
        let text = fs::read(path_of(dir.path(), 0)).unwrap();
        let lengths: Vec<usize> = text.split(|b| *b == b'\n').map(<[u8]>::len).collect();
        assert_eq!(lengths, [LINE_BYTES, LINE_BYTES, 5, 7, 0]);
    }

    #[test]
    fn a_line_of_just_the_limit_is_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path(), LogLimits::default());
        let mut line = vec![b'x'; LINE_BYTES];
        line.push(b'\n');
        log.write(&line);
        assert_eq!(fs::read(path_of(dir.path(), 0)).unwrap(), line);
    }

    #[test]
    fn a_later_run_appends() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path(), small());
        log.write(b"first, unfinished");
        log.finish();
        Rotating::open(dir.path(), small()).write(b"second\n");
        let text = fs::read_to_string(path_of(dir.path(), 0)).unwrap();
        assert_eq!(text, "first, unfinished\nsecond\n");
    }
}
