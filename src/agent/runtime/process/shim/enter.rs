//! How a process becomes part of an instance: session, control groups, user,
//! limits, working directory. The same for the instance's main process and for
//! commands run inside later.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{
    AccessFlags, Gid, Group, Uid, User, access, chdir, execve, getgrouplist, setgid, setgroups,
    setsid, setuid,
};

use super::super::layout::{InstanceDir, Launch};
use crate::model::instance::{Failure, FailureKind};

pub fn rejected(message: impl Into<String>) -> Failure {
    Failure {
        kind: FailureKind::Rejected,
        message: message.into(),
    }
}

pub fn start_failed(message: impl Into<String>) -> Failure {
    Failure {
        kind: FailureKind::StartFailed,
        message: message.into(),
    }
}

/// Whose rights the program gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub uid: Uid,
    pub gid: Gid,
    pub groups: Vec<Gid>,
}

impl Identity {
    /// Reads `user`, `user:group`, each by name or number. `None`: the agent's own.
    pub fn resolve(user: Option<&str>) -> Result<Option<Identity>, Failure> {
        let Some(text) = user else { return Ok(None) };
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let entry = match user.parse::<u32>() {
            Ok(uid) => User::from_uid(Uid::from_raw(uid)),
            Err(_) => User::from_name(user),
        };
        let entry = entry.map_err(|e| start_failed(format!("cannot look up user {user}: {e}")))?;
        let uid = match (&entry, user.parse::<u32>()) {
            (Some(entry), _) => entry.uid,
            (None, Ok(uid)) => Uid::from_raw(uid),
            (None, Err(_)) => {
                return Err(rejected(format!(
                    "user \"{user}\" does not exist on this node"
                )));
            }
        };
        let gid = match group {
            Some(group) => match group.parse::<u32>() {
                Ok(gid) => Gid::from_raw(gid),
                Err(_) => {
                    Group::from_name(group)
                        .map_err(|e| start_failed(format!("cannot look up group {group}: {e}")))?
                        .ok_or_else(|| {
                            rejected(format!("group \"{group}\" does not exist on this node"))
                        })?
                        .gid
                }
            },
            None => {
                entry
                    .as_ref()
                    .ok_or_else(|| {
                        rejected(format!(
                            "user {uid} has no entry on this node, so its group is unknown: write \"{uid}:GROUP\""
                        ))
                    })?
                    .gid
            }
        };
        // Further groups belong to a user as a whole; an explicit group stands alone.
        let groups = match (&entry, group) {
            (Some(entry), None) => CString::new(entry.name.as_str())
                .ok()
                .and_then(|name| getgrouplist(&name, gid).ok())
                .unwrap_or_else(|| vec![gid]),
            (Some(_) | None, Some(_)) | (None, None) => vec![gid],
        };
        let own = Uid::effective();
        if !own.is_root() {
            if own == uid {
                return Ok(None);
            }
            return Err(rejected(format!(
                "it asks for user {text}, but the agent runs as user {own} and not as root"
            )));
        }
        Ok(Some(Identity { uid, gid, groups }))
    }

    /// Gives it the folders that are the instance's own.
    pub fn own(&self, path: &Path) -> Result<(), Failure> {
        let failed = |error| start_failed(format!("cannot hand over {}: {error}", path.display()));
        let (uid, gid) = (Some(self.uid.as_raw()), Some(self.gid.as_raw()));
        std::os::unix::fs::lchown(path, uid, gid).map_err(failed)?;
        if fs::symlink_metadata(path).map_err(failed)?.is_dir() {
            for entry in fs::read_dir(path).map_err(failed)?.flatten() {
                self.own(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// What a process does to itself before it becomes the program.
#[derive(Debug, Clone)]
pub struct Entry {
    pub joins: Vec<PathBuf>,
    pub identity: Option<Identity>,
    pub working_dir: PathBuf,
    pub private_dir: PathBuf,
    /// Dies with the supervisor: the last resort where there are no control groups.
    pub dies_with_parent: bool,
}

impl Entry {
    pub fn new(dir: &InstanceDir, launch: &Launch, joins: Vec<PathBuf>) -> Result<Entry, Failure> {
        Ok(Entry {
            joins,
            identity: Identity::resolve(launch.user.as_deref())?,
            working_dir: match &launch.working_dir {
                // Relative to the instance's own folder.
                Some(path) => dir.work().join(path),
                None => dir.work(),
            },
            private_dir: dir.tmp(),
            dies_with_parent: false,
        })
    }

    /// Runs in the process itself, between fork and exec.
    pub fn enter(&self) -> Result<(), Failure> {
        let step = |what: &str, result: Result<(), Errno>| {
            result.map_err(|error| start_failed(format!("cannot {what}: {error}")))
        };
        step("start a session", setsid().map(drop))?;
        for file in &self.joins {
            fs::write(file, "0").map_err(|error| {
                start_failed(format!(
                    "cannot enter the control group {}: {error}",
                    file.display()
                ))
            })?;
        }
        // The supervisor is spared by the out-of-memory killer, its program is not.
        let _ = fs::write("/proc/self/oom_score_adj", "0");
        step(
            "switch core dumps off",
            setrlimit(Resource::RLIMIT_CORE, 0, 0),
        )?;
        umask(Mode::from_bits_truncate(0o022));
        if let Some(identity) = &self.identity {
            step("set the groups", setgroups(&identity.groups))?;
            step("set the group", setgid(identity.gid))?;
            step("set the user", setuid(identity.uid))?;
            access(&self.private_dir, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|error| {
                start_failed(format!(
                    "user {} cannot reach its folder {} ({error}): the folders above the agent's state must be searchable for others",
                    identity.uid,
                    self.private_dir.display()
                ))
            })?;
        }
        if self.dies_with_parent {
            // After the change of user, which would undo it.
            step(
                "bind to the supervisor",
                prctl::set_pdeathsig(Signal::SIGKILL),
            )?;
        }
        step("give up new privileges", prctl::set_no_new_privs())?;
        step("unblock signals", SigSet::empty().thread_set_mask())?;
        chdir(&self.working_dir).map_err(|error| {
            rejected(format!(
                "cannot use the working directory {}: {}",
                self.working_dir.display(),
                error.desc()
            ))
        })
    }
}

/// A program ready to be become, everything in the form that the kernel takes.
pub struct Program {
    path: PathBuf,
    file: CString,
    words: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// `words` with the program's name first.
    pub fn new(
        path: PathBuf,
        words: &[String],
        env: &BTreeMap<String, String>,
    ) -> Result<Program, Failure> {
        let c = |text: Vec<u8>| {
            CString::new(text).map_err(|_| rejected("the command or environment holds a NUL byte"))
        };
        let words: Result<_, _> = words.iter().map(|w| c(w.clone().into_bytes())).collect();
        let env: Result<_, _> = env
            .iter()
            .map(|(name, value)| c(format!("{name}={value}").into_bytes()))
            .collect();
        Ok(Program {
            file: c(path.as_os_str().as_bytes().to_vec())?,
            words: words?,
            env: env?,
            path,
        })
    }

    /// Returns only if that fails. The kernel's own exec: the one of the standard library
    /// hands what it cannot run to a shell, which then fails in its own, later way.
    pub fn become_it(&self) -> Failure {
        match execve(&self.file, &self.words, &self.env) {
            Ok(never) => match never {},
            Err(error) => exec_failure(&self.path, &error.into()),
        }
    }
}

/// The program's file: a path as it is (from the working directory), a bare name along PATH.
pub fn find_program(
    name: &str,
    working_dir: &Path,
    env: &BTreeMap<String, String>,
) -> Result<PathBuf, Failure> {
    if name.contains('/') {
        let path = working_dir.join(name);
        return match fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {
                Err(rejected(format!("program {} is a folder", path.display())))
            }
            Ok(meta) if meta.permissions().mode() & 0o111 == 0 => Err(rejected(format!(
                "program {} is not executable",
                path.display()
            ))),
            Ok(_) => Ok(path),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(rejected(format!(
                "program {} does not exist on this node",
                path.display()
            ))),
            Err(error) => Err(rejected(format!(
                "program {} cannot be run: {error}",
                path.display()
            ))),
        };
    }
    let search = env.get("PATH").map_or("", String::as_str);
    let is_program = |p: &PathBuf| {
        fs::metadata(p).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    search
        .split(':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| working_dir.join(folder).join(name))
        .find(is_program)
        .ok_or_else(|| {
            rejected(format!(
                "there is no program \"{name}\" on this node; searched PATH {search}"
            ))
        })
}

/// What a failed exec of an existing file says.
pub fn exec_failure(program: &Path, error: &std::io::Error) -> Failure {
    let name = program.display();
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOEXEC) => rejected(format!(
            "program {name} has no format this node can run (a script needs a #! line)"
        )),
        Some(Errno::ENOENT) => rejected(format!(
            "program {name} cannot be run: its interpreter or loader does not exist on this node"
        )),
        Some(Errno::EACCES | Errno::EPERM) => {
            rejected(format!("program {name} cannot be run: {error}"))
        }
        Some(_) | None => start_failed(format!("program {name} could not be started: {error}")),
    }
}
