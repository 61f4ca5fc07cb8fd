//! From a desired instance to what is run: checks, environment, arguments.
//!
//! Pure. What a plain process cannot have (an image, mounts, capabilities) is
//! refused here with the reason, never left out silently.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::model::DesiredInstance;
use crate::model::spec::{Task, Volume};

use super::cgroup::Hierarchy;
use super::layout::{Launch, LaunchPort, LogLimits, StateDir};

/// A program finds the usual ones; the agent's own environment is not passed on.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("it needs an image, and this node runs plain processes")]
    NeedsImage,
    #[error("process.command is empty")]
    NoCommand,
    #[error("process.command, working directory or environment holds a NUL byte")]
    NulByte,
    #[error("a tmpfs volume ({0}) needs a container; a process has its own folder in $TMPDIR")]
    Tmpfs(String),
    #[error(
        "volume {path}: a process sees the node's own folders, so hostPath must be the same path and not {host_path}"
    )]
    HostPath { host_path: String, path: String },
    #[error("volume {0} is read-only, which cannot be enforced for a process")]
    ReadOnly(String),
    #[error("volume name \"{0}\" is not one folder name")]
    VolumeName(String),
    #[error("capabilities cannot be given to a process that runs as another user")]
    Capabilities,
    #[error("file path \"{0}\" leaves the instance's folder")]
    FilePath(String),
}

/// What to run and which files to put beside it (path below `files/` → content).
pub fn plan_launch<'a>(
    cluster: &str,
    instance: &'a DesiredInstance,
    state: &StateDir,
    hierarchy: &Hierarchy,
    logs: LogLimits,
) -> Result<(Launch, BTreeMap<PathBuf, &'a [u8]>), Error> {
    let workload = &instance.run.workload;
    let (command, working_dir) = match &workload.task {
        Task::Process {
            command,
            working_dir,
        } => (command, working_dir),
        Task::Image { .. } => return Err(Error::NeedsImage),
    };
    if command.first().is_none_or(String::is_empty) {
        return Err(Error::NoCommand);
    }
    if !workload.capabilities.is_empty() {
        return Err(Error::Capabilities);
    }
    let dir = state.instance(instance.id);
    let mut env = BTreeMap::from(
        [
            ("PATH", PATH.to_owned()),
            ("LANG", "C.UTF-8".to_owned()),
            ("HOME", text(&dir.work())),
            ("TMPDIR", text(&dir.tmp())),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let mut volumes = Vec::new();
    for volume in &workload.volumes {
        match volume {
            Volume::Tmpfs { path, .. } => return Err(Error::Tmpfs(path.clone())),
            Volume::Named {
                read_only: true,
                name,
                ..
            } => return Err(Error::ReadOnly(name.clone())),
            Volume::HostPath {
                read_only: true,
                path,
                ..
            } => return Err(Error::ReadOnly(path.clone())),
            Volume::HostPath {
                host_path, path, ..
            } if host_path != path => {
                return Err(Error::HostPath {
                    host_path: host_path.clone(),
                    path: path.clone(),
                });
            }
            Volume::HostPath { .. } => {}
            Volume::Named { name, .. } => {
                let mut parts = Path::new(name).components();
                if !matches!(
                    (parts.next(), parts.next()),
                    (Some(Component::Normal(_)), None)
                ) {
                    return Err(Error::VolumeName(name.clone()));
                }
                let folder = state.volume(name);
                env.insert(variable("VOLUME_", name), text(&folder));
                volumes.push(folder);
            }
        }
    }
    env.extend(workload.env.clone());
    let own = [
        ("EVENKEEL_PROJECT", instance.app.project.to_string()),
        ("EVENKEEL_APP", instance.app.name.to_string()),
        ("EVENKEEL_SLOT", instance.slot.to_string()),
        // Also how stragglers are found where there are no control groups.
        ("EVENKEEL_INSTANCE", instance.id.to_string()),
        ("EVENKEEL_FILES", text(&dir.files())),
    ];
    env.extend(own.map(|(name, value)| (name.to_owned(), value)));

    let nul = |text: &str| text.contains('\0');
    if command.iter().any(|c| nul(c))
        || working_dir.iter().any(|d| nul(d))
        || env
            .iter()
            .any(|(name, value)| nul(name) || nul(value) || name.contains('='))
    {
        return Err(Error::NulByte);
    }
    let mut files = BTreeMap::new();
    for (path, content) in &workload.files {
        files.insert(below_files(path)?, content.data.as_slice());
    }
    let ports = workload.ports.iter().map(|port| LaunchPort {
        name: port.name.clone(),
        fixed: port.host_port,
        protocol: port.protocol,
    });
    let launch = Launch {
        id: instance.id,
        cluster: cluster.to_owned(),
        command: command.clone(),
        working_dir: working_dir.clone(),
        env,
        user: workload.user.clone(),
        ports: ports.collect(),
        volumes,
        stop_grace_ms: u64::try_from(instance.run.stop_grace_period.as_millis())
            .unwrap_or(u64::MAX),
        logs,
        hierarchy: hierarchy.clone(),
    };
    Ok((launch, files))
}

impl Launch {
    /// The environment with the ports of this start.
    pub fn environment(&self, ports: &BTreeMap<String, u16>) -> BTreeMap<String, String> {
        let mut env = self.env.clone();
        env.extend(
            ports
                .iter()
                .map(|(name, port)| (variable("PORT_", name), port.to_string())),
        );
        env
    }
}

/// `$PORT_HTTP`, `${EVENKEEL_FILES}` and the like in an argument, since no shell
/// is involved. Only names that begin with `PORT_`, `VOLUME_` or `EVENKEEL_` and
/// are set; everything else stays as it is, for a shell that the program may be.
pub fn expand(argument: &str, env: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut rest = argument;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, length) = match after.strip_prefix('{') {
            Some(braced) => match braced.find('}') {
                Some(end) => (&braced[..end], end + 2),
                None => ("", 0),
            },
            None => {
                let end = after
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(after.len());
                (&after[..end], end)
            }
        };
        let ours = ["PORT_", "VOLUME_", "EVENKEEL_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
        match env.get(name).filter(|_| ours) {
            Some(value) => {
                out.push_str(value);
                rest = &after[length..];
            }
            None => {
                out.push('$');
                rest = after;
            }
        }
    }
    out + rest
}

/// `PORT_` and `web-api` → `PORT_WEB_API`.
fn variable(prefix: &str, name: &str) -> String {
    let name = name.chars().map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' => c.to_ascii_uppercase(),
        _ => '_',
    });
    prefix.chars().chain(name).collect()
}

fn below_files(path: &str) -> Result<PathBuf, Error> {
    let bad = || Error::FilePath(path.to_owned());
    let mut below = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => below.push(name),
            Component::ParentDir | Component::Prefix(_) => return Err(bad()),
        }
    }
    if below.as_os_str().is_empty() || path.contains('\0') {
        return Err(bad());
    }
    Ok(below)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_variables_are_expanded_in_arguments_and_no_others() {
        let env: BTreeMap<String, String> = [
            ("PORT_HTTP", "20001"),
            ("PORT_HTTP_ADMIN", "20002"),
            ("EVENKEEL_FILES", "/s/files"),
            ("SECRET", "x"),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        for (argument, expected) in [
            ("--listen=127.0.0.1:$PORT_HTTP", "--listen=127.0.0.1:20001"),
            ("${PORT_HTTP}x", "20001x"),
            ("$PORT_HTTP_ADMIN/$PORT_HTTP", "20002/20001"),
            ("${EVENKEEL_FILES}/etc/web.conf", "/s/files/etc/web.conf"),
            ("$SECRET $HOME $PORT_NONE", "$SECRET $HOME $PORT_NONE"),
            ("100$ ${ ${PORT_HTTP", "100$ ${ ${PORT_HTTP"),
            ("$$PORT_HTTP é$", "$20001 é$"),
        ] {
            assert_eq!(expand(argument, &env), expected, "{argument}");
        }
    }

    #[test]
    fn names_become_variables() {
        assert_eq!(variable("PORT_", "web-api2"), "PORT_WEB_API2");
    }

    #[test]
    fn files_stay_below_their_folder() {
        assert_eq!(
            below_files("/etc/web.conf").unwrap(),
            Path::new("etc/web.conf")
        );
        assert_eq!(below_files("./web.conf").unwrap(), Path::new("web.conf"));
        for bad in ["/etc/../../x", "..", "/", ""] {
            assert!(below_files(bad).is_err(), "{bad}");
        }
    }
}
