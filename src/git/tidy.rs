//! Keeps mirrors from growing without end: every fetch leaves a pack behind,
//! and looking an object up asks each pack in turn.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use git2::Repository;
use tokio::time::Instant;

use super::{Error, limits};
use crate::failpoint::{self, Op};

/// Of SHA-1, Git's own.
const HASH_BYTES: usize = 20;

/// Packs everything that the mirror's heads reach into one pack when there are many;
/// what nothing reaches is dropped. Says whether it did. Gives up at `deadline`,
/// leaving the mirror as it was. Nobody may fetch into the mirror meanwhile.
pub(super) fn repack(mirror: &Path, deadline: Instant) -> Result<bool, Error> {
    let failed =
        |why: String| Error::local(format!("cannot pack the mirror {}", mirror.display()), why);
    let disk = |e: io::Error| failed(e.to_string());
    let git = |e: git2::Error| failed(e.message().to_owned());
    let folder = mirror.join("objects").join("pack");
    let before = packs(&folder).map_err(disk)?;
    if before.len() < limits::PACKS {
        return Ok(false);
    }
    let repository = Repository::open_bare(mirror).map_err(git)?;
    let mut walk = repository.revwalk().map_err(git)?;
    walk.push_glob("refs/*").map_err(git)?;
    let mut packer = repository.packbuilder().map_err(git)?;
    let in_time = move || Instant::now() < deadline;
    packer
        .set_progress_callback(move |_, _, _| in_time())
        .map_err(git)?;
    packer.insert_walk(&mut walk).map_err(git)?;
    let odb = repository.odb().map_err(git)?;
    let mut writer = odb.packwriter().map_err(git)?;
    // A pack ends with the hash that libgit2 also names it by.
    let mut end: Vec<u8> = Vec::new();
    packer
        .foreach(|bytes| {
            end.extend_from_slice(bytes);
            end.drain(..end.len().saturating_sub(HASH_BYTES));
            in_time() && writer.write_all(bytes).is_ok()
        })
        .map_err(git)?;
    failpoint::around(Op::GitRepack, || writer.commit()).map_err(git)?;
    drop(writer);

    let whole = folder.join(format!("pack-{}.pack", hex::encode(end)));
    // Without it under the name that was expected, nothing tells which pack holds everything.
    if !packs(&folder).map_err(disk)?.contains(&whole) {
        return Ok(false);
    }
    // It may have been there: made by a process that died before it dropped the others.
    for old in before.into_iter().filter(|pack| *pack != whole) {
        // The index first: without it, a pack is not looked at.
        for file in [old.with_extension("idx"), old] {
            failpoint::around(Op::GitDropPack, || drop_file(&file)).map_err(disk)?;
        }
    }
    Ok(true)
}

/// What a process that died half-way has dropped already is fine.
fn drop_file(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn packs(folder: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "pack") {
            found.insert(path);
        }
    }
    Ok(found)
}
