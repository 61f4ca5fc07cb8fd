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
    packer
        .foreach(|bytes| in_time() && writer.write_all(bytes).is_ok())
        .map_err(git)?;
    failpoint::around(Op::GitRepack, || writer.commit()).map_err(git)?;
    drop(writer);

    let after = packs(&folder).map_err(disk)?;
    // Exactly the same objects in one pack already give the same name: then nothing is new.
    if after.is_subset(&before) {
        return Ok(false);
    }
    for old in before {
        failpoint::around(Op::GitDropPack, || drop_pack(&old)).map_err(disk)?;
    }
    Ok(true)
}

fn drop_pack(pack: &Path) -> io::Result<()> {
    // The index first: without it, a pack is not looked at.
    fs::remove_file(pack.with_extension("idx"))?;
    fs::remove_file(pack)
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
