//! Ports of the node.

use std::net::TcpListener;
use std::time::Duration;

use evenkeel::agent::runtime::Runtime;
use evenkeel::model::FailureKind;

use crate::support::{Host, With, command, sh};

#[tokio::test(flavor = "multi_thread")]
async fn a_dynamic_port_is_told_and_kept_until_it_is_taken() {
    let host = Host::new();
    let it =
        command(&["echo", "--listen=$PORT_HTTP", "$PORT_NONE", "${PORT_HTTP}"]).port("http", None);
    host.run(&it).await.unwrap();
    host.exit(it.id).await;
    let found = host.found(it.id).await;
    let port = found.published_ports["http"];
    assert_eq!(found.probe_ports["http"], format!("127.0.0.1:{port}"));
    assert_eq!(
        host.lines(it.id).await,
        [format!("--listen={port} $PORT_NONE {port}")]
    );

    let host = host.restart_agent();
    host.runtime.start(it.id).await.unwrap();
    host.exit(it.id).await;
    assert_eq!(host.found(it.id).await.published_ports["http"], port);

    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    host.runtime.start(it.id).await.unwrap();
    host.exit(it.id).await;
    assert_ne!(host.found(it.id).await.published_ports["http"], port);
    drop(taken);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_never_share_a_dynamic_port() {
    let host = Host::new();
    let mut ports = std::collections::BTreeSet::new();
    for _ in 0..5 {
        let it = sh("exec sleep 1000").port("a", None).port("b", None);
        host.run(&it).await.unwrap();
        ports.extend(host.found(it.id).await.published_ports.into_values());
    }
    assert_eq!(ports.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fixed_port_must_be_free() {
    let host = Host::new();
    let port = crate::free_port::free_port();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let it = sh("exec sleep 1000").port("http", Some(port));
    let error = host.run(&it).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::StartFailed, "it may pass");
    assert!(error.message.contains(&port.to_string()), "{error}");
    drop(listener);
    host.runtime.start(it.id).await.unwrap();
    assert_eq!(host.found(it.id).await.published_ports["http"], port);
    host.runtime.stop(it.id, Duration::ZERO).await.unwrap();
}
