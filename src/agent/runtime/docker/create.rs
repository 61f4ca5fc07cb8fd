//! What a container is made from: a desired instance in the Engine's words.
//!
//! Pure. Everything not asked for is closed: no new privileges, no
//! capabilities, bounded processes and logs. A container is never privileged,
//! and never restarted by the Engine: restarts are the agent's decision, since
//! they count as evidence.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use bollard::models::{
    ContainerCreateBody, ContainerUpdateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount,
    MountBindOptions, MountTmpfsOptions, MountType, MountVolumeOptions, PortBinding, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::{DockerConfig, labels};
use crate::agent::runtime::Error;
use crate::model::spec::{Limits, Port, Task, Volume};
use crate::model::{AppKey, DesiredInstance, FailureKind};

/// Processes and threads per container: far above what a service needs, far
/// below what a fork bomb needs to take a node down.
const PIDS_LIMIT: i64 = 4096;

/// Three files of 10 MiB per container bound what a talkative one can fill.
const LOG_MAX_SIZE: &str = "10m";
const LOG_MAX_FILES: &str = "3";

/// Stands for "no ceiling" on a live container, where the Engine reads 0 as
/// "leave it"; above every amount a spec may name (2^50), below the kernel's own
/// bound.
const NO_MEMORY_CEILING: i64 = 1 << 60;

/// What depends on the node and not on the instance.
pub(super) struct NodeSettings {
    pub(super) bind_address: IpAddr,
    /// Processors of the node; a cpu ceiling above them is none.
    pub(super) cpus: u64,
}

pub(super) fn body(
    config: &DockerConfig,
    instance: &DesiredInstance,
    node: &NodeSettings,
) -> Result<ContainerCreateBody, Error> {
    let workload = &instance.run.workload;
    let Task::Image {
        image,
        command,
        args,
        working_dir,
    } = &workload.task
    else {
        return Err(Error::new(
            FailureKind::Rejected,
            "a plain process cannot run in a container",
        ));
    };
    // With an entrypoint and no arguments the image's own arguments must go as
    // well: they belong to the entrypoint that was replaced.
    let cmd = (!args.is_empty() || command.is_some()).then(|| args.clone());
    Ok(ContainerCreateBody {
        image: Some(instance.run.image.clone().unwrap_or_else(|| image.clone())),
        entrypoint: command.clone(),
        cmd,
        env: Some(env(instance)),
        user: workload.user.clone(),
        working_dir: working_dir.clone(),
        labels: Some(labels::of_container(config, instance)),
        exposed_ports: Some(exposed_ports(&workload.ports)),
        // The image's own health check would cost processes and decide nothing.
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..Default::default()
        }),
        stop_timeout: i64::try_from(instance.run.stop_grace_period.as_secs()).ok(),
        host_config: Some(host_config(&config.cluster, instance, node)),
        ..Default::default()
    })
}

/// Who it is, as plain processes are told too; the spec's own words win.
fn env(instance: &DesiredInstance) -> Vec<String> {
    let mut all = BTreeMap::from([
        (
            "EVENKEEL_PROJECT".to_owned(),
            instance.app.project.to_string(),
        ),
        ("EVENKEEL_APP".to_owned(), instance.app.name.to_string()),
        ("EVENKEEL_SLOT".to_owned(), instance.slot.to_string()),
        ("EVENKEEL_INSTANCE".to_owned(), instance.id.to_string()),
    ]);
    all.extend(instance.run.workload.env.clone());
    all.iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect()
}

fn host_config(cluster: &str, instance: &DesiredInstance, node: &NodeSettings) -> HostConfig {
    let workload = &instance.run.workload;
    let (nano_cpus, memory, memory_swap) = ceilings(instance.run.limits, node.cpus);
    HostConfig {
        nano_cpus,
        memory,
        memory_swap,
        pids_limit: Some(PIDS_LIMIT),
        init: Some(true),
        privileged: Some(false),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(workload.capabilities.clone()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_MAX_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_MAX_FILES.to_owned()),
            ])),
        }),
        port_bindings: Some(port_bindings(&workload.ports, node.bind_address)),
        mounts: Some(
            workload
                .volumes
                .iter()
                .map(|volume| mount(cluster, &instance.app, volume))
                .collect(),
        ),
        ..Default::default()
    }
}

fn exposed_ports(ports: &[Port]) -> Vec<String> {
    let mut texts: Vec<String> = ports
        .iter()
        .map(|p| labels::engine_port(p.port, p.protocol))
        .collect();
    texts.sort();
    texts.dedup();
    texts
}

fn port_bindings(
    ports: &[Port],
    bind_address: IpAddr,
) -> HashMap<String, Option<Vec<PortBinding>>> {
    let mut bindings: HashMap<String, Option<Vec<PortBinding>>> = HashMap::new();
    for port in ports {
        bindings
            .entry(labels::engine_port(port.port, port.protocol))
            .or_default()
            .get_or_insert_default()
            .push(PortBinding {
                host_ip: Some(bind_address.to_string()),
                // Empty: the Engine picks a free one.
                host_port: Some(port.host_port.map(|p| p.to_string()).unwrap_or_default()),
            });
    }
    bindings
}

fn mount(cluster: &str, app: &AppKey, volume: &Volume) -> Mount {
    match volume {
        // The Engine makes the volume, with these labels, if there is none.
        Volume::Named {
            name,
            path,
            read_only,
        } => Mount {
            typ: Some(MountType::VOLUME),
            source: Some(labels::volume_name(cluster, app, name)),
            target: Some(path.clone()),
            read_only: Some(*read_only),
            volume_options: Some(MountVolumeOptions {
                labels: Some(labels::of_volume(cluster, app, name)),
                ..Default::default()
            }),
            ..Default::default()
        },
        Volume::Tmpfs { size_bytes, path } => Mount {
            typ: Some(MountType::TMPFS),
            target: Some(path.clone()),
            tmpfs_options: Some(MountTmpfsOptions {
                size_bytes: i64::try_from(*size_bytes).ok(),
                ..Default::default()
            }),
            ..Default::default()
        },
        Volume::HostPath {
            host_path,
            path,
            read_only,
        } => Mount {
            typ: Some(MountType::BIND),
            source: Some(host_path.clone()),
            target: Some(path.clone()),
            read_only: Some(*read_only),
            bind_options: Some(MountBindOptions::default()),
            ..Default::default()
        },
    }
}

/// (NanoCpus, Memory, MemorySwap) for a new container. Memory and swap together
/// get what memory gets: a ceiling that pages instead of holding would be none.
fn ceilings(limits: Limits, cpus: u64) -> (Option<i64>, Option<i64>, Option<i64>) {
    let memory = limits.memory_bytes.map(to_i64);
    (
        limits.cpu_millis.map(|m| nano_cpus(m, cpus)),
        memory,
        memory,
    )
}

/// The Engine refuses more processors than the node has.
fn nano_cpus(millis: u64, cpus: u64) -> i64 {
    to_i64(
        millis
            .min(cpus.saturating_mul(1000))
            .saturating_mul(1_000_000),
    )
}

fn to_i64(amount: u64) -> i64 {
    i64::try_from(amount).unwrap_or(i64::MAX)
}

/// The change that puts `limits` in force on a live container.
pub(super) fn update(limits: Limits, cpus: u64) -> ContainerUpdateBody {
    let (nano_cpus, memory, memory_swap) = live_ceilings(limits, cpus);
    ContainerUpdateBody {
        nano_cpus: Some(nano_cpus),
        memory: Some(memory),
        memory_swap: Some(memory_swap),
        ..Default::default()
    }
}

fn live_ceilings(limits: Limits, cpus: u64) -> (i64, i64, i64) {
    let (nano, memory, _) = ceilings(limits, cpus);
    let all_cpus = nano_cpus(u64::MAX, cpus);
    // Swap is raised along explicitly: "unlimited" (-1) the Engine notes down and
    // never puts in force, and the kernel refuses memory above it.
    let memory = memory.unwrap_or(NO_MEMORY_CEILING);
    (nano.unwrap_or(all_cpus), memory, memory)
}

/// The limits that a container's settings mean. `hint`: what was last put in
/// force here; it decides where several limits give the same settings.
pub(super) fn limits_of(host: &HostConfig, hint: Option<Limits>, cpus: u64) -> Limits {
    let nano = host.nano_cpus.unwrap_or(0);
    let memory = host.memory.unwrap_or(0);
    if let Some(hint) = hint {
        let new = ceilings(hint, cpus);
        let live = live_ceilings(hint, cpus);
        if (new.0.unwrap_or(0), new.1.unwrap_or(0)) == (nano, memory)
            || (live.0, live.1) == (nano, memory)
        {
            return hint;
        }
    }
    Limits {
        cpu_millis: u64::try_from(nano / 1_000_000).ok().filter(|&m| m > 0),
        memory_bytes: u64::try_from(memory)
            .ok()
            .filter(|&m| m > 0 && memory < NO_MEMORY_CEILING),
    }
}

#[cfg(test)]
mod tests;
