//! How containers and volumes are marked and named.
//!
//! Labels decide whose a container is; names are for people. All that a later
//! look needs to know of the spec (port names) travels in labels too, so that a
//! restarted agent understands what it finds.

use std::collections::{BTreeMap, HashMap};

use super::DockerConfig;
use crate::model::spec::{Port, Protocol};
use crate::model::{AppKey, DesiredInstance, InstanceId};

pub const CLUSTER: &str = "dev.evenkeel.cluster";
/// Name of the node whose agent made it.
pub const NODE: &str = "dev.evenkeel.node";
pub const PROJECT: &str = "dev.evenkeel.project";
pub const APP: &str = "dev.evenkeel.app";
pub const SLOT: &str = "dev.evenkeel.slot";
pub const INSTANCE: &str = "dev.evenkeel.instance";
pub const RELEASE: &str = "dev.evenkeel.release";
pub const COMMIT: &str = "dev.evenkeel.commit";
/// `name=port/protocol[@hostPort]`, comma-separated.
pub const PORTS: &str = "dev.evenkeel.ports";
/// Number of files that are copied in before the first start.
pub const FILES: &str = "dev.evenkeel.files";
/// Of a volume: its name in the spec.
pub const VOLUME: &str = "dev.evenkeel.volume";

/// Ours come last: a spec cannot overwrite them.
pub(super) fn of_container(
    config: &DockerConfig,
    instance: &DesiredInstance,
) -> HashMap<String, String> {
    let run = &instance.run;
    let mut labels: HashMap<String, String> = run
        .labels
        .iter()
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    for (key, value) in [
        (CLUSTER, config.cluster.clone()),
        (PROJECT, instance.app.project.to_string()),
        (APP, instance.app.name.to_string()),
        (SLOT, instance.slot.to_string()),
        (INSTANCE, instance.id.to_string()),
        (RELEASE, instance.release.to_string()),
        (COMMIT, instance.commit.to_string()),
        (PORTS, write_ports(&run.workload.ports)),
        (FILES, run.workload.files.len().to_string()),
    ] {
        labels.insert(key.to_owned(), value);
    }
    if let Some(node) = &config.node {
        labels.insert(NODE.to_owned(), node.to_string());
    }
    labels
}

pub(super) fn of_volume(cluster: &str, app: &AppKey, name: &str) -> HashMap<String, String> {
    [
        (CLUSTER, cluster.to_owned()),
        (PROJECT, app.project.to_string()),
        (APP, app.name.to_string()),
        (VOLUME, name.to_owned()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into()
}

/// The instance that a container with these labels is, if it is ours.
pub(super) fn instance_of(
    config: &DockerConfig,
    labels: &HashMap<String, String>,
) -> Option<InstanceId> {
    if labels.get(CLUSTER) != Some(&config.cluster) {
        return None;
    }
    if let (Some(ours), Some(node)) = (&config.node, labels.get(NODE))
        && !std::iter::once(ours)
            .chain(&config.former_nodes)
            .any(|name| name.as_str() == node)
    {
        return None;
    }
    labels.get(INSTANCE)?.parse().ok()
}

/// `evenkeel-shop-web-0-1a2b3c4d`.
pub(super) fn container_name(instance: &DesiredInstance) -> String {
    format!("{}-{}", name_stem(instance), instance.id.short())
}

/// For the case that the short name is taken by another instance.
pub(super) fn long_container_name(instance: &DesiredInstance) -> String {
    format!("{}-{}", name_stem(instance), instance.id.0.simple())
}

fn name_stem(instance: &DesiredInstance) -> String {
    let AppKey { project, name } = &instance.app;
    format!("evenkeel-{project}-{name}-{}", instance.slot)
}

/// Name of a named volume in the Engine; stable, as data hangs on it.
pub fn volume_name(cluster: &str, app: &AppKey, volume: &str) -> String {
    format!("evenkeel.{cluster}.{}.{}.{volume}", app.project, app.name)
}

pub(super) fn protocol_name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// The Engine's name of a container port.
pub(super) fn engine_port(port: u16, protocol: Protocol) -> String {
    format!("{port}/{}", protocol_name(protocol))
}

fn write_ports(ports: &[Port]) -> String {
    let texts: Vec<String> = ports
        .iter()
        .map(|p| {
            let port = engine_port(p.port, p.protocol);
            match p.host_port {
                Some(host) => format!("{}={port}@{host}", p.name),
                None => format!("{}={port}", p.name),
            }
        })
        .collect();
    texts.join(",")
}

/// Port name → port in the Engine's words and the fixed port of the node.
/// Labels can be set by anybody; what cannot be read is left out.
pub(super) fn read_ports(text: &str) -> BTreeMap<String, (String, Option<u16>)> {
    text.split(',')
        .filter_map(|item| {
            let (name, rest) = item.split_once('=')?;
            let (port, host) = match rest.split_once('@') {
                Some((port, host)) => (port, Some(host.parse().ok()?)),
                None => (rest, None),
            };
            Some((name.to_owned(), (port.to_owned(), host)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_survive_the_label() {
        let ports = [
            Port {
                name: "http".into(),
                port: 8080,
                host_port: Some(80),
                protocol: Protocol::Tcp,
            },
            Port {
                name: "dns".into(),
                port: 53,
                host_port: None,
                protocol: Protocol::Udp,
            },
        ];
        let read = read_ports(&write_ports(&ports));
        assert_eq!(read["http"], ("8080/tcp".to_owned(), Some(80)));
        assert_eq!(read["dns"], ("53/udp".to_owned(), None));
        assert!(read_ports("").is_empty());
        assert!(read_ports("x,=,y=1/tcp@z").len() <= 1);
    }

    #[test]
    fn only_our_own_labels_make_an_instance_ours() {
        let id = "7f3c1c1e-52a5-4a4e-9a53-0a4f6b8b4a11";
        let labels = |cluster: &str| {
            HashMap::from([
                (CLUSTER.to_owned(), cluster.to_owned()),
                (INSTANCE.to_owned(), id.to_owned()),
            ])
        };
        let mut config = DockerConfig::new("a");
        assert_eq!(instance_of(&config, &labels("a")), id.parse().ok());
        assert_eq!(instance_of(&config, &labels("b")), None);
        assert_eq!(instance_of(&config, &HashMap::new()), None);

        let on = |node: &str| {
            let mut labels = labels("a");
            labels.insert(NODE.to_owned(), node.to_owned());
            labels
        };
        assert_eq!(instance_of(&config, &on("n1")), id.parse().ok());
        config.node = Some("n1".parse().unwrap());
        config.former_nodes = vec!["n0".parse().unwrap()];
        assert_eq!(instance_of(&config, &labels("a")), id.parse().ok());
        assert_eq!(instance_of(&config, &on("n1")), id.parse().ok());
        assert_eq!(instance_of(&config, &on("n0")), id.parse().ok());
        assert_eq!(instance_of(&config, &on("n2")), None);
    }

    proptest::proptest! {
        /// Whatever marks other programs, other clusters and other nodes leave: only what
        /// carries exactly this cluster's name, and no other node's, is taken for ours.
        #[test]
        fn p08_only_what_we_made_is_ours(
            cluster in proptest::option::of("(prod|Prod|prod2|pro|)"),
            node in proptest::option::of("(n1|n2|)"),
            instance in proptest::option::of("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}|web"),
            more in proptest::collection::hash_map("[a-z.]{1,20}", ".{0,20}", 0..4),
        ) {
            let config = DockerConfig { node: Some("n1".parse().unwrap()), ..DockerConfig::new("prod") };
            let mut labels: HashMap<String, String> = more;
            for (key, value) in [(CLUSTER, &cluster), (NODE, &node), (INSTANCE, &instance)] {
                if let Some(value) = value {
                    labels.insert(key.to_owned(), value.clone());
                }
            }
            let ours = cluster.as_deref() == Some("prod")
                && node.as_deref().is_none_or(|n| n == "n1")
                && instance.as_deref().is_some_and(|i| i != "web");
            proptest::prop_assert_eq!(instance_of(&config, &labels).is_some(), ours);
        }
    }
}
