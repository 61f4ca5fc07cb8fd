//! Output of an instance out of its files: the last lines, and what follows.
//!
//! A reader holds its file by descriptor, so a rotation under it loses nothing
//! as long as it is not more than all kept files behind.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::rotate::{LINE_BYTES, path_of};

/// More files than this were never kept.
const AGES: u32 = 64;
const BLOCK: usize = 64 << 10;

/// Reads lines from a place near the end, on and on.
pub struct Tail {
    dir: PathBuf,
    file: Option<File>,
    inode: u64,
    partial: Vec<u8>,
}

impl Tail {
    /// Starts `lines` lines before the end of what is there.
    pub fn open(dir: &Path, lines: usize) -> io::Result<Tail> {
        let mut tail = Tail {
            dir: dir.to_owned(),
            file: None,
            inode: 0,
            partial: Vec::new(),
        };
        // All of them held open while counting.
        let files: Vec<_> = newest_first(dir).collect::<io::Result<_>>()?;
        let mut missing = lines;
        for (mut file, inode) in files {
            let (offset, found) = offset_of_last(&mut file, missing)?;
            file.seek(SeekFrom::Start(offset))?;
            tail.file = Some(file);
            tail.inode = inode;
            missing -= found;
            if missing == 0 {
                break;
            }
        }
        Ok(tail)
    }

    /// Complete lines up to what is written now. Empty: nothing new at present.
    pub fn read(&mut self) -> io::Result<VecDeque<String>> {
        let mut lines = VecDeque::new();
        loop {
            // Looked at before reading: what is written to a file after its rotation is nothing.
            let next = self.next_file()?;
            if let Some(file) = &mut self.file {
                let mut block = vec![0; BLOCK];
                let length = file.read(&mut block)?;
                if length > 0 {
                    self.push(&block[..length], &mut lines);
                    if lines.len() >= 1000 {
                        return Ok(lines);
                    }
                    continue;
                }
            }
            match next {
                Some((file, inode)) => {
                    self.file = Some(file);
                    self.inode = inode;
                }
                None => return Ok(lines),
            }
        }
    }

    /// The rest of a line whose end was never written.
    pub fn rest(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.partial);
        (!rest.is_empty()).then(|| text_of(&rest))
    }

    /// The file after the present one, if the present one is complete.
    fn next_file(&self) -> io::Result<Option<(File, u64)>> {
        let mut newer = None;
        for opened in newest_first(&self.dir) {
            let (file, inode) = opened?;
            if self.file.is_some() && inode == self.inode {
                return Ok(newer);
            }
            newer = Some((file, inode));
        }
        // Ours was dropped meanwhile: go on with the oldest that is left.
        Ok(newer)
    }

    fn push(&mut self, bytes: &[u8], lines: &mut VecDeque<String>) {
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            self.partial.extend_from_slice(piece);
            if self.partial.ends_with(b"\n") {
                self.partial.pop();
                lines.push_back(text_of(&self.partial));
                self.partial.clear();
            } else if self.partial.len() > LINE_BYTES {
                lines.push_back(text_of(&self.partial));
                self.partial.clear();
            }
        }
    }
}

/// The files that are kept, each once, also while they are being renamed.
///
/// A rotation renames the oldest first and leaves one age without a file until
/// it comes to the next, at last the age that is written. So one gap is not
/// the end, and a file may be met again at the age after.
fn newest_first(dir: &Path) -> impl Iterator<Item = io::Result<(File, u64)>> {
    let mut gap = false;
    let mut last = None;
    (0..AGES)
        .map_while(move |age| match open(&path_of(dir, age)).transpose() {
            None if gap => None,
            None => {
                gap = true;
                Some(None)
            }
            found => {
                gap = false;
                Some(found)
            }
        })
        .flatten()
        .filter(move |opened| match opened {
            Ok((_, inode)) => last.replace(*inode) != Some(*inode),
            Err(_) => true,
        })
}

fn open(path: &Path) -> io::Result<Option<(File, u64)>> {
    match File::open(path) {
        Ok(file) => {
            let inode = file.metadata()?.ino();
            Ok(Some((file, inode)))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Bytes as text; what is not UTF-8 is shown as such, a carriage return at the end dropped.
fn text_of(line: &[u8]) -> String {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8_lossy(line).into_owned()
}

/// Where the last `lines` lines begin, and how many there are of them.
fn offset_of_last(file: &mut File, lines: usize) -> io::Result<(u64, usize)> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 || end == 0 {
        return Ok((end, 0));
    }
    let mut found = 0;
    let mut position = end;
    while position > 0 {
        let length = position.min(BLOCK as u64);
        position -= length;
        let mut block = vec![0; usize::try_from(length).unwrap_or(BLOCK)];
        file.seek(SeekFrom::Start(position))?;
        file.read_exact(&mut block)?;
        for (at, byte) in block.iter().enumerate().rev() {
            let after = position + at as u64 + 1;
            // The feed that ends the very last line starts none.
            if *byte == b'\n' && after < end {
                found += 1;
                if found == lines {
                    return Ok((after, found));
                }
            }
        }
    }
    Ok((0, found + 1))
}

#[cfg(test)]
mod tests {
    use super::super::layout::LogLimits;
    use super::super::rotate::Rotating;
    use super::*;

    fn limits() -> LogLimits {
        LogLimits {
            file_bytes: 60,
            files: 3,
        }
    }
    fn read(tail: &mut Tail) -> Vec<String> {
        tail.read().unwrap().into()
    }

    #[test]
    fn the_last_lines_are_found_over_files() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path(), limits());
        for n in 0..12 {
            log.write(format!("line {n:02}\n").as_bytes());
        }
        for lines in 0..=12usize {
            let expected: Vec<String> = (12 - lines..12).map(|n| format!("line {n:02}")).collect();
            let got = read(&mut Tail::open(dir.path(), lines).unwrap());
            assert_eq!(got, expected, "{lines} lines");
        }
        assert_eq!(read(&mut Tail::open(dir.path(), 99).unwrap()).len(), 12);
    }

    /// As a rotation leaves them between two of its renames.
    #[test]
    fn a_rotation_that_is_half_done_hides_nothing() {
        for gap in 0..3 {
            let dir = tempfile::tempdir().unwrap();
            let mut log = Rotating::open(dir.path(), limits());
            for n in 0..20 {
                log.write(format!("line {n:02}\n").as_bytes());
            }
            let before = read(&mut Tail::open(dir.path(), 99).unwrap());
            assert_eq!(before.len(), 20);
            for age in (gap..3).rev() {
                std::fs::rename(path_of(dir.path(), age), path_of(dir.path(), age + 1)).unwrap();
            }
            let mut tail = Tail::open(dir.path(), 99).unwrap();
            assert_eq!(read(&mut tail), before, "no file of age {gap}");
        }
    }

    #[test]
    fn a_file_met_twice_counts_once() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path(), limits());
        log.write(b"one\ntwo\nthree\n");
        std::fs::hard_link(path_of(dir.path(), 0), path_of(dir.path(), 1)).unwrap();
        let mut tail = Tail::open(dir.path(), 4).unwrap();
        assert_eq!(read(&mut tail), ["one", "two", "three"]);
    }

    #[test]
    fn following_goes_on_over_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let mut tail = Tail::open(dir.path(), 5).unwrap();
        assert!(read(&mut tail).is_empty());
        let mut log = Rotating::open(dir.path(), limits());
        let mut got = Vec::new();
        let mut expected = Vec::new();
        for n in 0..50 {
            log.write(format!("line {n}\n").as_bytes());
            expected.push(format!("line {n}"));
            if n % 7 == 0 {
                got.extend(read(&mut tail));
            }
        }
        got.extend(read(&mut tail));
        assert_eq!(got, expected);
    }

    #[test]
    fn bytes_that_are_no_text_come_through() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Rotating::open(dir.path(), LogLimits::default());
        log.write(b"\0\x01\xff\r\nhalf");
        let mut tail = Tail::open(dir.path(), 10).unwrap();
        assert_eq!(read(&mut tail), ["\0\x01\u{fffd}"]);
        assert_eq!(tail.rest().as_deref(), Some("half"));
    }
}
