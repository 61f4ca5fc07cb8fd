use std::collections::HashMap;

use bollard::models::{ContainerConfig, NetworkSettings, PortBinding};

use super::*;

const ID: &str = "7f3c1c1e-52a5-4a4e-9a53-0a4f6b8b4a11";

fn container(state: ContainerState) -> ContainerInspectResponse {
    let label = |k: &str, v: &str| (k.to_owned(), v.to_owned());
    ContainerInspectResponse {
        id: Some("c0ffee".to_owned()),
        config: Some(ContainerConfig {
            labels: Some(HashMap::from([
                label(labels::CLUSTER, "test"),
                label(labels::INSTANCE, ID),
                label(labels::PORTS, "http=8080/tcp@80,admin=8080/tcp"),
            ])),
            ..Default::default()
        }),
        state: Some(state),
        network_settings: Some(NetworkSettings {
            ports: Some(HashMap::from([(
                "8080/tcp".to_owned(),
                Some(
                    ["32768", "80"]
                        .map(|port| PortBinding {
                            host_ip: Some("0.0.0.0".to_owned()),
                            host_port: Some(port.to_owned()),
                        })
                        .to_vec(),
                ),
            )])),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn seen(state: ContainerState) -> Option<Seen> {
    read(&DockerConfig::new("test"), &container(state))
}

#[test]
fn two_names_of_one_port_keep_their_host_ports() {
    let seen = seen(ContainerState {
        status: Some(ContainerStateStatusEnum::RUNNING),
        started_at: Some("2026-01-02T03:04:05.678901234Z".to_owned()),
        ..Default::default()
    })
    .unwrap();
    assert_eq!(seen.published_ports["http"], 80);
    assert_eq!(seen.published_ports["admin"], 32768);
    assert_eq!(seen.probe_ports["http"], "127.0.0.1:80");
    assert_eq!(seen.started, Some(Timestamp(1_767_323_045_678)));
}

#[test]
fn an_exit_has_code_and_duration() {
    let seen = seen(ContainerState {
        status: Some(ContainerStateStatusEnum::EXITED),
        exit_code: Some(137),
        oom_killed: Some(true),
        started_at: Some("2026-01-02T03:04:05Z".to_owned()),
        finished_at: Some("2026-01-02T03:04:06.5Z".to_owned()),
        ..Default::default()
    })
    .unwrap();
    let SeenState::Exited { exit, .. } = seen.state else {
        panic!("{:?}", seen.state)
    };
    assert_eq!(
        exit,
        Exit {
            code: Some(137),
            oom_killed: true,
            ran_for_ms: 1500
        }
    );
    assert!(seen.probe_ports.is_empty());
}

#[test]
fn never_is_no_time_and_a_stranger_is_not_seen() {
    assert_eq!(time("0001-01-01T00:00:00Z"), None);
    let state = ContainerState {
        status: Some(ContainerStateStatusEnum::RUNNING),
        ..Default::default()
    };
    assert!(read(&DockerConfig::new("other"), &container(state)).is_none());
}
