//! The server's folder: who owns what in it, and making the data on the first run.

use std::fs::{self, File, Metadata};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::{User, geteuid};
use sha2::{Digest, Sha256};

use super::programs::{self, Programs};
use super::{Durability, Error, Options, SUPERUSER};
use crate::failpoint::{self, Op};

const INITDB_DEADLINE: Duration = Duration::from_secs(120);

/// `sun_path` holds 108 bytes with its NUL; the server appends this and a lock's suffix.
const SOCKET_NAME: &str = "/.s.PGSQL.5432.lock";
const SOCKET_PATH_MAX: usize = 107;

/// Everything that is known before the server starts.
#[derive(Debug)]
pub(super) struct Layout {
    pub data: PathBuf,
    pub socket_dir: PathBuf,
    pub log: PathBuf,
    pub programs: Programs,
    pub user: Option<ServerUser>,
    /// Held for as long as this evenkeel works on the folder.
    _lock: File,
}

/// Whom the server runs as when we are root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ServerUser {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
}

impl ServerUser {
    pub(super) fn apply(&self, command: &mut Command) {
        // With the uid, std also drops all supplementary groups.
        command.uid(self.uid).gid(self.gid);
    }
}

pub(super) fn prepare(options: &Options) -> Result<Layout, Error> {
    let dir = make_dir(&options.dir)?;
    let lock = lock(&dir)?;
    let user = server_user()?;
    if let Some(user) = &user {
        check_enterable(&dir, user)?;
    }
    let data = dir.join("data");
    let version = data_version(&data)?;
    let programs = programs::find(options.programs.as_deref(), version, &data)?;
    if version.is_none() {
        make_data(&dir, &data, &programs, user.as_ref(), options.durability)?;
    }
    let socket_dir = make_socket_dir(&dir, user.as_ref())?;
    let log = dir.join("log");
    make_private(&log, None)?;
    Ok(Layout {
        data,
        socket_dir,
        log,
        programs,
        user,
        _lock: lock,
    })
}

fn make_dir(dir: &Path) -> Result<PathBuf, Error> {
    let what = || format!("making {}", dir.display());
    fs::DirBuilder::new()
        .recursive(true)
        // Others may pass through to what they own inside, and see nothing.
        .mode(0o711)
        .create(dir)
        .map_err(Error::io(what()))?;
    fs::canonicalize(dir).map_err(Error::io(what()))
}

fn lock(dir: &Path) -> Result<File, Error> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(Error::io(format!("opening {}", path.display())))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Busy {
            dir: dir.to_owned(),
        }),
        Err(fs::TryLockError::Error(e)) => Err(Error::io(format!("locking {}", path.display()))(e)),
    }
}

fn server_user() -> Result<Option<ServerUser>, Error> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    for name in ["postgres", "nobody"] {
        let user = User::from_name(name)
            .map_err(|e| Error::io(format!("looking up the user {name}"))(e.into()))?;
        if let Some(user) = user {
            return Ok(Some(ServerUser {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
            }));
        }
    }
    Err(Error::NoUser)
}

/// Every folder down to `dir` must let the user pass.
fn check_enterable(dir: &Path, user: &ServerUser) -> Result<(), Error> {
    for path in dir.ancestors() {
        let meta = metadata(path)?;
        if !may_enter(meta.mode(), meta.uid(), meta.gid(), user) {
            return Err(Error::NotEnterable {
                path: path.to_owned(),
                mode: meta.mode() & 0o7777,
                user: user.name.clone(),
            });
        }
    }
    Ok(())
}

fn may_enter(mode: u32, uid: u32, gid: u32, user: &ServerUser) -> bool {
    let bit = if uid == user.uid {
        0o100
    } else if gid == user.gid {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

fn metadata(path: &Path) -> Result<Metadata, Error> {
    fs::symlink_metadata(path).map_err(Error::io(format!("reading {}", path.display())))
}

/// The major version that made the data; `None`: there is none yet.
fn data_version(data: &Path) -> Result<Option<u32>, Error> {
    let path = data.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => match text.trim().parse() {
            Ok(major) => Ok(Some(major)),
            Err(_) => Err(Error::Program {
                what: format!("reading {}", path.display()),
                output: format!("\"{}\" is not a version of PostgreSQL", text.trim()),
            }),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(format!("reading {}", path.display()))(e)),
    }
}

/// Made beside its place and renamed, so that a kill in between leaves no half data.
fn make_data(
    dir: &Path,
    data: &Path,
    programs: &Programs,
    user: Option<&ServerUser>,
    durability: Durability,
) -> Result<(), Error> {
    let new = dir.join("data.new");
    match fs::remove_dir_all(&new) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(Error::io(format!("removing {}", new.display()))(e)),
    }
    make_private(&new, user)?;
    let mut command = programs::clean(&programs.initdb);
    command
        .arg("-D")
        .arg(&new)
        .arg(format!("--username={SUPERUSER}"))
        .args(["--encoding=UTF8", "--locale=C", "--data-checksums"])
        // The socket's folder keeps strangers out, and there is no other way in.
        .args(["--auth-local=trust", "--auth-host=reject"])
        .current_dir(dir);
    match durability {
        Durability::Full => {}
        Durability::ServerCrashOnly => {
            command.arg("--no-sync");
        }
    }
    if let Some(user) = user {
        user.apply(&mut command);
    }
    let run = || programs::run(command, INITDB_DEADLINE);
    let output = failpoint::around(Op::PostgresInitdb, run).map_err(Error::io("initdb"))?;
    if !output.status.success() {
        return Err(Error::Program {
            what: "initdb".to_owned(),
            output: output.text,
        });
    }
    failpoint::around(Op::PostgresPlace, || fs::rename(&new, data))
        .map_err(Error::io(format!("renaming {}", new.display())))?;
    if durability == Durability::Full {
        File::open(dir)
            .and_then(|d| d.sync_all())
            .map_err(Error::io(format!("syncing {}", dir.display())))?;
    }
    Ok(())
}

/// A folder for one user only.
fn make_private(path: &Path, user: Option<&ServerUser>) -> Result<(), Error> {
    let what = || format!("making {}", path.display());
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(Error::io(what())(e)),
    }
    let meta = metadata(path)?;
    let owner = user.map_or(geteuid().as_raw(), |u| u.uid);
    // In a folder that everybody may write to, somebody else may have been first.
    if !meta.is_dir() || (meta.uid() != owner && meta.uid() != geteuid().as_raw()) {
        return Err(Error::Program {
            what: what(),
            output: format!("it belongs to somebody else (uid {})", meta.uid()),
        });
    }
    if let Some(user) = user {
        chown(path, Some(user.uid), Some(user.gid)).map_err(Error::io(what()))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(Error::io(what()))
}

fn make_socket_dir(dir: &Path, user: Option<&ServerUser>) -> Result<PathBuf, Error> {
    let wanted = dir.join("run");
    let path = if usable_for_socket(&wanted) {
        wanted
    } else {
        short_socket_dir(dir)
    };
    make_private(&path, user)?;
    Ok(path)
}

/// Short enough for a socket, and without characters that the server's setting or a URL
/// would read as something else.
fn usable_for_socket(path: &Path) -> bool {
    path.to_str().is_some_and(|text| {
        text.len() + SOCKET_NAME.len() <= SOCKET_PATH_MAX
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b))
    })
}

/// The same folder for the same data on every run.
fn short_socket_dir(dir: &Path) -> PathBuf {
    let digest = hex::encode(Sha256::digest(dir.as_os_str().as_encoded_bytes()));
    let parent = if geteuid().is_root() && Path::new("/run").is_dir() {
        "/run"
    } else {
        "/tmp"
    };
    Path::new(parent).join(format!("evenkeel-pg-{}", &digest[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entering_is_decided_by_the_most_specific_class() {
        let user = ServerUser {
            name: "u".into(),
            uid: 5,
            gid: 6,
        };
        for (mode, uid, gid, may) in [
            (0o755, 0, 0, true),
            (0o700, 0, 0, false),
            (0o700, 5, 0, true),
            (0o077, 5, 6, false),
            (0o710, 0, 6, true),
            (0o701, 0, 6, false),
            (0o711, 0, 0, true),
        ] {
            assert_eq!(
                may_enter(mode, uid, gid, &user),
                may,
                "{mode:o} {uid} {gid}"
            );
        }
    }

    #[test]
    fn sockets_of_deep_or_odd_folders_are_elsewhere() {
        assert!(usable_for_socket(Path::new(
            "/var/lib/evenkeel/postgres/run"
        )));
        assert!(!usable_for_socket(Path::new("/srv/a b/run")));
        assert!(!usable_for_socket(Path::new(&format!(
            "/{}",
            "x".repeat(90)
        ))));
        let (a, b) = (Path::new("/deep/a"), Path::new("/deep/b"));
        assert_eq!(short_socket_dir(a), short_socket_dir(a));
        assert_ne!(short_socket_dir(a), short_socket_dir(b));
        assert!(usable_for_socket(&short_socket_dir(a)));
    }

    #[test]
    fn a_folder_has_one_evenkeel() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(matches!(lock(dir.path()), Err(Error::Busy { .. })));
        drop(first);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn data_of_another_version_is_told_apart_from_no_data() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(data_version(dir.path()).unwrap(), None);
        fs::write(dir.path().join("PG_VERSION"), "9\n").unwrap();
        assert_eq!(data_version(dir.path()).unwrap(), Some(9));
        let error = programs::find(None, Some(9), dir.path()).unwrap_err();
        assert!(matches!(error, Error::VersionMismatch { data: 9, .. }));
        assert!(error.to_string().contains("pg_upgrade"), "{error}");
    }
}
