//! What a running instance is made from: image or process, env, files, volumes, ports.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::app::{FileRef, words, working_dir};
use super::text;
use crate::manifest::Defaults;
use crate::manifest::field::{Either, Field, List};
use crate::manifest::files;
use crate::manifest::limits;
use crate::manifest::problems::{Cx, did_you_mean};
use crate::manifest::raw::app as raw;
use crate::manifest::tree::NodeId;
use crate::model::quantity::parse_memory;
use crate::model::spec::{Port, Protocol, PullPolicy, Task, Volume, Workload};

pub fn workload(
    cx: &Cx<'_>,
    node: NodeId,
    raw: &raw::App,
    defaults: &Defaults,
) -> (Workload, Vec<FileRef>) {
    let workload = Workload {
        task: task(cx, node, raw),
        env: env(cx, raw),
        files: BTreeMap::new(),
        volumes: volumes(cx, &raw.volumes, defaults),
        ports: ports(cx, &raw.ports),
        user: cx.parse(&raw.user, |t| &t.0, text::user),
        capabilities: capabilities(cx, &raw.capabilities),
    };
    let files = file_refs(cx, raw, defaults);
    let targets: BTreeSet<&str> = files.iter().map(|f| f.target.as_str()).collect();
    for (node, volume) in raw.volumes.items() {
        if let Some(path) = volume.path.get()
            && targets.contains(path.as_str())
        {
            cx.problem(
                volume.path.node().unwrap_or(node),
                format!("\"{path}\" is also a target of \"files\""),
            );
        }
    }
    (workload, files)
}

pub fn pull_policy(raw: &raw::App) -> PullPolicy {
    match raw.image_pull_policy.get() {
        Some(raw::PullPolicy::Always) => PullPolicy::Always,
        None | Some(raw::PullPolicy::Missing) => PullPolicy::Missing,
        Some(raw::PullPolicy::Never) => PullPolicy::Never,
    }
}

fn task(cx: &Cx<'_>, node: NodeId, raw: &raw::App) -> Task {
    match (raw.image.node(), raw.process.node()) {
        (Some(_), Some(process)) => cx.problem_hint(
            process,
            "an app runs an image or a process, and this one names both",
            "remove one of \"image\" and \"process\"",
        ),
        (None, None) => cx.problem_hint(
            node,
            "nothing to run: neither \"image\" nor \"process\" is set",
            "add image: NAME:TAG",
        ),
        (Some(_), None) | (None, Some(_)) => {}
    }
    if let (Some((node, process)), None) = (raw.process.set(), raw.image.node()) {
        return process_task(cx, node, process, raw);
    }
    let command = words(cx, &raw.command);
    if let (Some(node), Some(true)) = (raw.command.node(), command.as_ref().map(Vec::is_empty)) {
        cx.problem_hint(
            node,
            "an empty command runs nothing",
            "remove it to run the image's own entrypoint",
        );
    }
    Task::Image {
        image: cx.parse(&raw.image, |t| t, text::image).unwrap_or_default(),
        command,
        args: words(cx, &raw.args).unwrap_or_default(),
        working_dir: working_dir(cx, &raw.working_dir),
    }
}

fn process_task(cx: &Cx<'_>, node: NodeId, process: &raw::Process, raw: &raw::App) -> Task {
    let refused = [
        (
            "imagePullPolicy",
            raw.image_pull_policy.node(),
            "there is no image to pull",
        ),
        (
            "command",
            raw.command.node(),
            "a process has its program in \"process.command\"",
        ),
        (
            "args",
            raw.args.node(),
            "a process has its arguments in \"process.command\"",
        ),
        (
            "workingDir",
            raw.working_dir.node(),
            "a process has its own in \"process.workingDir\"",
        ),
        (
            "volumes",
            raw.volumes.node(),
            "a process sees the node's own files, nothing is mounted for it",
        ),
        (
            "capabilities",
            raw.capabilities.node(),
            "they are set up for containers only",
        ),
    ];
    for (key, at, why) in refused {
        if let Some(at) = at {
            cx.problem(at, format!("\"{key}\" has no meaning for a process: {why}"));
        }
    }
    cx.required(node, "command", &process.command);
    let command = words(cx, &process.command).unwrap_or_default();
    if let (Some(at), true) = (process.command.node(), command.is_empty()) {
        cx.problem(at, "an empty command runs nothing");
    }
    if let Some((at, first)) = process.command.items().next()
        && first.0.is_empty()
    {
        cx.problem(at, "the program's name is empty");
    }
    Task::Process {
        command,
        working_dir: working_dir(cx, &process.working_dir),
    }
}

fn env(cx: &Cx<'_>, raw: &raw::App) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (key, name, value) in raw.env.entries() {
        if let Err(why) = text::env_name(name) {
            cx.problem(key, why);
        }
        if raw.process.get().is_some() && name.starts_with("PORT_") {
            cx.problem_hint(
                key,
                "variables that start with PORT_ tell a process its ports",
                "choose another name",
            );
        }
        match value {
            Field::Absent => cx.problem_hint(
                key,
                format!("\"{name}\" has no value"),
                "write \"\" for an empty one",
            ),
            Field::Set(node, Either::Scalar(text)) => {
                if text.0.contains('\0') {
                    // The text itself is not repeated: it may be a secret.
                    cx.problem(
                        key,
                        format!("the value of \"{name}\" holds a NUL character"),
                    );
                } else {
                    env.insert(name.to_owned(), text.0.clone());
                }
                let _ = node;
            }
            Field::Set(node, Either::Mapping(from)) => {
                let at = from.secret_ref.node().unwrap_or(*node);
                cx.unsupported(
                    at,
                    "a value from a secret (\"secretRef\")",
                    "for now, let the app read the secret from where it is kept; do not write it here",
                );
            }
            Field::Bad(_) => {}
        }
    }
    env
}

fn file_refs(cx: &Cx<'_>, raw: &raw::App, defaults: &Defaults) -> Vec<FileRef> {
    let mut refs = Vec::new();
    for (key, target, value) in raw.files.entries() {
        if refs.len() >= limits::FILES_PER_APP {
            cx.problem(
                key,
                format!("more than {} files for one app", limits::FILES_PER_APP),
            );
            return refs;
        }
        let target = text::absolute_path(target).map_err(|why| cx.problem(key, why));
        let Some((node, path)) = value.set() else {
            if value.is_absent() {
                cx.problem(key, "it names no file of the repository");
            }
            continue;
        };
        let path =
            files::resolve(cx.file, &defaults.root, path).map_err(|why| cx.problem(node, why));
        if let (Ok(target), Ok(path)) = (target, path) {
            refs.push(FileRef {
                target,
                path,
                place: cx.make(node, String::new(), None),
            });
        }
    }
    refs
}

fn volumes(cx: &Cx<'_>, list: &List<raw::Volume>, defaults: &Defaults) -> Vec<Volume> {
    let mut volumes = Vec::new();
    let mut paths = HashMap::new();
    let mut names = HashMap::new();
    for (index, (node, raw)) in list.items().enumerate() {
        cx.required(node, "path", &raw.path);
        let path = cx
            .parse(&raw.path, |t| t, text::absolute_path)
            .unwrap_or_default();
        if let Some(at) = raw.path.node()
            && let Some(first) = paths.insert(path.clone(), index)
            && !path.is_empty()
        {
            cx.problem(
                at,
                format!("\"{path}\" is also the path of volumes[{first}]"),
            );
        }
        let read_only = raw.read_only.get().copied().unwrap_or(false);
        match (raw.name.node(), raw.tmpfs.node(), raw.host_path.node()) {
            (Some(at), None, None) => {
                let name = cx.parse(&raw.name, |t| t, text::label).unwrap_or_default();
                if let Some(first) = names.insert(name.clone(), index) {
                    cx.problem(
                        at,
                        format!("volume \"{name}\" is mounted already by volumes[{first}]"),
                    );
                }
                volumes.push(Volume::Named {
                    name,
                    path,
                    read_only,
                });
            }
            (None, Some(at), None) => {
                let size_bytes = cx.parse(&raw.tmpfs, |t| &t.0, parse_memory).unwrap_or(4096);
                if size_bytes < 4096 {
                    cx.problem_hint(
                        at,
                        "a tmpfs has at least 4096 bytes",
                        "a unit such as Mi may be missing",
                    );
                }
                if let Some(at) = raw.read_only.node() {
                    cx.problem(
                        at,
                        "a tmpfs starts empty, so read-only it would be of no use",
                    );
                }
                volumes.push(Volume::Tmpfs { size_bytes, path });
            }
            (None, None, Some(at)) => {
                let host_path = cx.parse(&raw.host_path, |t| t, text::absolute_path);
                if let Some(host_path) = &host_path
                    && !allowed(host_path, defaults)
                {
                    refuse_host_path(cx, at, host_path, defaults);
                }
                volumes.push(Volume::HostPath {
                    host_path: host_path.unwrap_or_default(),
                    path,
                    read_only,
                });
            }
            (None, None, None) => cx.problem_hint(
                node,
                "a volume has one of \"name\", \"tmpfs\" and \"hostPath\", and this one has none",
                "add name: … for data that is kept",
            ),
            (Some(_), _, _) | (None, Some(_), Some(_)) => cx.problem(
                node,
                "a volume has exactly one of \"name\", \"tmpfs\" and \"hostPath\"",
            ),
        }
    }
    volumes
}

fn allowed(path: &str, defaults: &Defaults) -> bool {
    defaults.allowed_host_paths.iter().any(|folder| {
        path.strip_prefix(folder.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

fn refuse_host_path(cx: &Cx<'_>, at: NodeId, path: &str, defaults: &Defaults) {
    let why = if defaults.allowed_host_paths.is_empty() {
        "no folder of a node may be mounted here, because it would give whoever writes to this repository the node's files".to_owned()
    } else {
        format!(
            "only folders below {} may be mounted",
            defaults.allowed_host_paths.join(", ")
        )
    };
    cx.problem_hint(
        at,
        format!("hostPath \"{path}\" is not allowed: {why}"),
        "use a named volume, or have an operator start the controller with --allow-host-path FOLDER",
    );
}

fn ports(cx: &Cx<'_>, list: &List<raw::Port>) -> Vec<Port> {
    let mut ports = Vec::new();
    let (mut names, mut inside, mut outside) = (HashMap::new(), HashMap::new(), HashMap::new());
    for (index, (node, raw)) in list.items().enumerate() {
        cx.required(node, "name", &raw.name);
        cx.required(node, "port", &raw.port);
        let name = cx.parse(&raw.name, |t| t, text::label).unwrap_or_default();
        let protocol = match raw.protocol.get() {
            None | Some(raw::Protocol::Tcp) => Protocol::Tcp,
            Some(raw::Protocol::Udp) => Protocol::Udp,
        };
        let port = number(cx, &raw.port);
        let host_port = number(cx, &raw.host_port);
        if let Some(at) = raw.name.node()
            && !name.is_empty()
            && let Some(first) = names.insert(name.clone(), index)
        {
            cx.problem(
                at,
                format!("port name \"{name}\" is taken by ports[{first}]"),
            );
        }
        if let (Some(at), Some(port)) = (raw.port.node(), port)
            && let Some(first) = inside.insert((port, protocol), index)
        {
            cx.problem(at, format!("port {port} is taken by ports[{first}]"));
        }
        if let (Some(at), Some(port)) = (raw.host_port.node(), host_port)
            && let Some(first) = outside.insert((port, protocol), index)
        {
            cx.problem(at, format!("hostPort {port} is taken by ports[{first}]"));
        }
        ports.push(Port {
            name,
            port: port.unwrap_or(1),
            host_port,
            protocol,
        });
    }
    ports
}

fn number(cx: &Cx<'_>, field: &Field<u32>) -> Option<u16> {
    let (node, &number) = field.set()?;
    match u16::try_from(number) {
        Ok(port) if port > 0 => Some(port),
        Ok(_) | Err(_) => {
            cx.problem(
                node,
                format!("{number} is not a port: ports go from 1 to 65535"),
            );
            None
        }
    }
}

fn capabilities(cx: &Cx<'_>, field: &Field<raw::Capabilities>) -> Vec<String> {
    let mut names = BTreeSet::new();
    let Some(raw) = field.get() else {
        return Vec::new();
    };
    for (node, name) in raw.add.items() {
        if text::CAPABILITIES.contains(&name.as_str()) {
            names.insert(name.clone());
            continue;
        }
        let upper = name.to_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let message = if bare == "ALL" {
            "all capabilities together make a container's root the node's root; name the ones it needs".to_owned()
        } else {
            format!("\"{name}\" is not a Linux capability")
        };
        match did_you_mean(bare, text::CAPABILITIES.into_iter()) {
            Some(hint) => cx.problem_hint(node, message, hint),
            None => cx.problem(node, message),
        }
    }
    names.into_iter().collect()
}
