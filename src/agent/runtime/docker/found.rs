//! What an inspected container is, in the agent's words.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum, EndpointSettings, PortMap,
};
use chrono::{DateTime, Utc};

use super::{DockerConfig, labels};
use crate::model::instance::Exit;
use crate::model::{InstanceId, Timestamp};

/// An inspected container of ours, before it is known who is to blame for its end.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) id: InstanceId,
    pub(super) container: String,
    pub(super) state: SeenState,
    pub(super) started: Option<Timestamp>,
    /// Files are copied into it before its first start.
    pub(super) has_files: bool,
    pub(super) probe_ports: BTreeMap<String, String>,
    pub(super) published_ports: BTreeMap<String, u16>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum SeenState {
    Created,
    Running,
    Exited {
        exit: Exit,
        finished: Option<Timestamp>,
    },
}

/// `None`: not ours, or on its way out, which is as good as gone.
pub(super) fn read(config: &DockerConfig, container: &ContainerInspectResponse) -> Option<Seen> {
    let labels = container.config.as_ref()?.labels.as_ref()?;
    let id = labels::instance_of(config, labels)?;
    let state = container.state.as_ref()?;
    let started = state.started_at.as_deref().and_then(time);
    let names = labels::read_ports(labels.get(labels::PORTS).map_or("", String::as_str));
    let published = published_ports(container, &names);
    let seen_state = seen_state(state, started)?;
    let probe_ports = if seen_state == SeenState::Running {
        probe_ports(container, &names, &published, config.bind_address)
    } else {
        BTreeMap::new()
    };
    Some(Seen {
        id,
        container: container.id.clone()?,
        state: seen_state,
        started,
        has_files: labels.get(labels::FILES).is_some_and(|n| n != "0"),
        probe_ports,
        published_ports: published,
    })
}

/// `removing` is reported as exited: it still holds its name until it is gone.
fn seen_state(state: &ContainerState, started: Option<Timestamp>) -> Option<SeenState> {
    use ContainerStateStatusEnum as Status;
    match state.status? {
        Status::CREATED | Status::EMPTY => Some(SeenState::Created),
        Status::RUNNING | Status::PAUSED | Status::RESTARTING | Status::STOPPING => {
            Some(SeenState::Running)
        }
        Status::REMOVING | Status::EXITED | Status::DEAD => {
            let finished = state.finished_at.as_deref().and_then(time);
            let ran_for_ms = match (started, finished) {
                (Some(started), Some(finished)) => {
                    u64::try_from(finished.since(started).as_millis()).unwrap_or(u64::MAX)
                }
                (None, _) | (_, None) => 0,
            };
            Some(SeenState::Exited {
                exit: Exit {
                    code: state.exit_code.and_then(|code| i32::try_from(code).ok()),
                    oom_killed: state.oom_killed.unwrap_or(false),
                    ran_for_ms,
                },
                finished,
            })
        }
    }
}

/// The Engine writes the year 1 for "never".
pub(super) fn time(text: &str) -> Option<Timestamp> {
    let time: DateTime<Utc> = DateTime::parse_from_rfc3339(text).ok()?.into();
    Some(Timestamp::from(time)).filter(|t| t.0 > 0)
}

type Names = BTreeMap<String, (String, Option<u16>)>;

fn published_ports(container: &ContainerInspectResponse, names: &Names) -> BTreeMap<String, u16> {
    let empty = PortMap::new();
    let map = container
        .network_settings
        .as_ref()
        .and_then(|n| n.ports.as_ref())
        .unwrap_or(&empty);
    names
        .iter()
        .filter_map(|(name, (port, fixed))| {
            let taken: Vec<u16> = map
                .get(port)?
                .iter()
                .flatten()
                .filter_map(|binding| binding.host_port.as_deref()?.parse().ok())
                .collect();
            // Of two names for one port, the one with a fixed port gets that one
            // and the other what is left.
            let others: Vec<u16> = names
                .iter()
                .filter(|(other, (p, _))| *other != name && p == port)
                .filter_map(|(_, (_, fixed))| *fixed)
                .collect();
            let found = match fixed {
                Some(fixed) => taken.into_iter().find(|p| p == fixed),
                None => taken.into_iter().find(|p| !others.contains(p)),
            };
            Some((name.clone(), found?))
        })
        .collect()
}

/// The container's own address where this host is on its network, else the
/// published port. The own address is better: whoever listens on the published
/// one may be the Engine's proxy, which accepts before the app does.
fn probe_ports(
    container: &ContainerInspectResponse,
    names: &Names,
    published: &BTreeMap<String, u16>,
    bind_address: IpAddr,
) -> BTreeMap<String, String> {
    let own = container
        .network_settings
        .as_ref()
        .and_then(|n| n.networks.as_ref())
        .and_then(|networks| networks.values().find_map(reachable_address));
    let host = if bind_address.is_unspecified() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        bind_address
    };
    names
        .iter()
        .filter_map(|(name, (port, _))| {
            let (number, _) = port.split_once('/')?;
            let number: u16 = number.parse().ok()?;
            let address = match own {
                Some(own) => (own, number),
                None => (host, *published.get(name)?),
            };
            Some((
                name.clone(),
                std::net::SocketAddr::from(address).to_string(),
            ))
        })
        .collect()
}

/// The container's address, if its network's gateway is an address of this host:
/// then, and only then, packets from here get there.
fn reachable_address(endpoint: &EndpointSettings) -> Option<IpAddr> {
    let address = endpoint.ip_address.as_deref()?.parse().ok()?;
    let gateway: IpAddr = endpoint.gateway.as_deref()?.parse().ok()?;
    // Only an address of this host can be bound; nothing is sent.
    UdpSocket::bind((gateway, 0)).ok().map(|_| address)
}

#[cfg(test)]
mod tests;
