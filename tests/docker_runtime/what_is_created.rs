//! From spec to container, seen from inside and by the Engine.

use std::net::SocketAddr;
use std::time::Duration;

use bollard::models::RestartPolicyNameEnum;
use bollard::query_parameters::RemoveVolumeOptions;
use evenkeel::agent::runtime::{FoundState, Runtime as _};
use evenkeel::model::spec::{FileContent, Limits, Port, Protocol, Task, Volume};
use evenkeel::model::{FailureKind, RunSpec};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::desired::unique;
use crate::support::{RUN_ON, Site, instance, sh};

fn tcp(name: &str, port: u16, host_port: Option<u16>) -> Port {
    Port {
        name: name.to_owned(),
        port,
        host_port,
        protocol: Protocol::Tcp,
    }
}

fn set_working_dir(run: &mut RunSpec, path: &str) {
    if let Task::Image { working_dir, .. } = &mut run.workload.task {
        *working_dir = Some(path.to_owned());
    }
}

async fn get(address: &str) -> String {
    let address: SocketAddr = address.parse().unwrap();
    let answer = async {
        // The server needs a moment to listen: until then it refuses, or the
        // Engine's proxy hangs up.
        loop {
            if let Ok(mut stream) = tokio::net::TcpStream::connect(address).await {
                let _ = stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await;
                let mut text = String::new();
                if stream.read_to_string(&mut text).await.is_ok() && !text.is_empty() {
                    return text;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answer)
        .await
        .unwrap_or_else(|_| panic!("no answer from {address}"))
}

#[tokio::test]
async fn all_that_is_not_asked_for_is_closed() {
    let site = Site::shared().await;
    let it = instance(RUN_ON, |run| {
        run.workload.capabilities = vec!["NET_BIND_SERVICE".into()];
        run.labels.insert("tier".into(), "front".into());
        let ours = "dev.evenkeel.cluster".to_owned();
        run.labels.insert(ours, "forged".into());
    });
    assert_eq!(site.run(&it).await.state, FoundState::Running);
    let handle = site.docker.list().await.unwrap()[0].handle.clone();
    let client = site.client();
    let container = client.inspect_container(&handle, None).await.unwrap();
    let host = container.host_config.unwrap();
    assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
    assert!(host.cap_add.unwrap()[0].ends_with("NET_BIND_SERVICE"));
    let security = vec!["no-new-privileges".to_owned()];
    assert_eq!(host.security_opt, Some(security));
    assert_eq!(host.privileged, Some(false));
    assert_eq!(host.init, Some(true));
    assert_eq!(host.pids_limit, Some(4096));
    let restart = host.restart_policy.unwrap().name;
    assert_eq!(restart, Some(RestartPolicyNameEnum::NO));
    let log = host.log_config.unwrap().config.unwrap();
    assert_eq!((&*log["max-size"], &*log["max-file"]), ("10m", "3"));
    let labels = container.config.unwrap().labels.unwrap();
    for (key, value) in [
        ("dev.evenkeel.cluster", site.config.cluster.clone()),
        ("dev.evenkeel.project", "shop".into()),
        ("dev.evenkeel.app", "web".into()),
        ("dev.evenkeel.slot", "0".into()),
        ("dev.evenkeel.instance", it.id.to_string()),
        ("dev.evenkeel.release", it.release.to_string()),
        ("dev.evenkeel.commit", it.commit.to_string()),
        ("tier", "front".into()),
    ] {
        assert_eq!(labels[key], value, "{key}");
    }
    let name = format!("/evenkeel-shop-web-0-{}", it.id.short());
    assert_eq!(container.name, Some(name));
    let status = "grep -E 'CapBnd|NoNewPrivs' /proc/self/status";
    let status = site.exec(it.id, status).await;
    assert!(status.contains("0000000000000400"), "{status}");
    site.clean_up().await;
}

#[tokio::test]
async fn the_spec_is_seen_inside() {
    let site = Site::shared().await;
    let host_folder = tempfile::tempdir().unwrap();
    std::fs::write(host_folder.path().join("f"), "from the host").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(host_folder.path(), open).unwrap();
    let it = instance(RUN_ON, |run| {
        set_working_dir(run, "/www");
        let w = &mut run.workload;
        w.env.insert("GREETING".into(), "a=b c".into());
        w.user = Some("65534:65534".into());
        for (path, data) in [("/etc/web/deep/web.conf", "hello"), ("/etc/x", "")] {
            let data = data.as_bytes().to_vec();
            w.files.insert(path.into(), FileContent { data });
        }
        w.volumes = vec![
            Volume::Tmpfs {
                size_bytes: 1 << 20,
                path: "/scratch".into(),
            },
            Volume::HostPath {
                host_path: host_folder.path().display().to_string(),
                path: "/host".into(),
                read_only: true,
            },
        ];
        run.limits = Limits {
            cpu_millis: Some(1_000_000),
            memory_bytes: Some(64 << 20),
        };
    });
    let found = site.run(&it).await;
    assert_eq!(
        found.limits, it.run.limits,
        "though no node has so many cpus"
    );
    let fill = "dd if=/dev/zero of=/scratch/big bs=1024k count=2 2>/dev/null";
    for (script, expected) in [
        ("echo $GREETING", "a=b c"),
        ("id -u", "65534"),
        ("pwd", "/www"),
        ("cat /etc/web/deep/web.conf", "hello"),
        ("stat -c '%a %u:%g' /etc/web/deep/web.conf", "444 0:0"),
        ("cat /host/f", "from the host"),
        ("touch /host/g 2>/dev/null || echo refused", "refused"),
        ("touch /scratch/f && echo written", "written"),
        (&format!("{fill} || echo full"), "full"),
    ] {
        assert_eq!(site.exec(it.id, script).await, expected, "{script}");
    }
    site.clean_up().await;
}

#[tokio::test]
async fn ports_are_reached_from_the_node() {
    let site = Site::shared().await;
    let fixed = crate::free_port::free_port();
    let taken = std::net::TcpListener::bind(("0.0.0.0", fixed)).unwrap();
    let serve = "echo it works > /www/index.html; exec httpd -f -p 8080 -h /www";
    let it = instance(serve, |run| {
        run.workload.ports = vec![tcp("http", 8080, None), tcp("fixed", 8080, Some(fixed))];
    });
    // Somebody else holds the port: that passes, it does not condemn a release.
    site.docker.create(&site.config.cluster, &it).await.unwrap();
    let error = site.docker.start(it.id).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::StartFailed, "{error}");
    drop(taken);
    site.docker.start(it.id).await.unwrap();
    let found = site.docker.inspect(it.id).await.unwrap().unwrap();
    assert_eq!(found.published_ports["fixed"], fixed);
    let dynamic = found.published_ports["http"];
    assert!(dynamic > 1024 && dynamic != fixed, "{dynamic}");
    let own = found.probe_ports["http"].clone();
    assert!(
        !own.starts_with("127."),
        "the container itself, not a proxy: {own}"
    );
    for address in [
        own,
        format!("127.0.0.1:{dynamic}"),
        format!("127.0.0.1:{fixed}"),
    ] {
        assert!(get(&address).await.contains("it works"), "{address}");
    }
    site.docker.stop(it.id, Duration::ZERO).await.unwrap();
    let found = site.docker.inspect(it.id).await.unwrap().unwrap();
    assert!(found.probe_ports.is_empty());
    site.clean_up().await;
}

#[tokio::test]
async fn a_named_volume_outlives_its_instances() {
    let site = Site::shared().await;
    let with_volume = |script: &str| {
        instance(script, |run| {
            run.workload.volumes = vec![Volume::Named {
                name: "data".into(),
                path: "/data".into(),
                read_only: false,
            }];
        })
    };
    let first = with_volume("echo kept > /data/f");
    site.run(&first).await;
    assert_eq!(site.exit(first.id).await.0.code, Some(0));
    site.docker.remove(first.id).await.unwrap();
    let second = with_volume(RUN_ON);
    site.run(&second).await;
    assert_eq!(site.exec(second.id, "cat /data/f").await, "kept");
    site.clean_up().await;
    let name = format!("evenkeel.{}.shop.web.data", site.config.cluster);
    let volume = site.client().inspect_volume(&name).await.unwrap();
    assert_eq!(volume.labels["dev.evenkeel.cluster"], site.config.cluster);
    site.client()
        .remove_volume(&name, None::<RemoveVolumeOptions>)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_can_never_run_is_rejected() {
    let site = Site::shared().await;
    let bad_mount = Volume::HostPath {
        host_path: format!("/does-not-exist-{}", unique()),
        path: "/x".into(),
        read_only: true,
    };
    for (what, it) in [
        (
            "user",
            instance(RUN_ON, |run| run.workload.user = Some("nobody9".into())),
        ),
        (
            "mount",
            instance(RUN_ON, |run| run.workload.volumes = vec![bad_mount]),
        ),
        (
            "limit",
            instance(RUN_ON, |run| run.limits.memory_bytes = Some(1024)),
        ),
        (
            "capability",
            instance(RUN_ON, |run| run.workload.capabilities = vec!["FLY".into()]),
        ),
        (
            "folder",
            instance(RUN_ON, |run| set_working_dir(run, "/bin/busybox")),
        ),
    ] {
        let mut result = site.docker.create(&site.config.cluster, &it).await;
        if result.is_ok() {
            result = site.docker.start(it.id).await;
        }
        let error = result.expect_err(what);
        assert_eq!(error.kind, FailureKind::Rejected, "{what}: {error}");
    }
    site.clean_up().await;
}

#[tokio::test]
async fn an_image_that_vanished_condemns_nothing() {
    let site = Site::shared().await;
    let it = instance(RUN_ON, |run| run.image = Some("evenkeel-test:gone".into()));
    let created = site.docker.create(&site.config.cluster, &it).await;
    let error = created.unwrap_err();
    assert_eq!(error.kind, FailureKind::PullFailed, "{error}");
}

#[tokio::test]
async fn limits_are_lifted_on_a_live_instance_and_enforced() {
    let site = Site::shared().await;
    let tight = Limits {
        cpu_millis: None,
        memory_bytes: Some(16 << 20),
    };
    let it = instance(RUN_ON, |run| {
        run.limits = Limits {
            cpu_millis: Some(100),
            ..tight
        };
    });
    let before = site.run(&it).await;
    for limits in [Limits::default(), tight, Limits::default()] {
        site.docker.set_limits(it.id, limits).await.unwrap();
        let after = site.docker.inspect(it.id).await.unwrap().unwrap();
        assert_eq!((after.limits, after.starts), (limits, before.starts));
    }
    // `tail` keeps all of a line without end.
    let eater = instance("exec tail -n 1 /dev/zero", |run| run.limits = tight);
    site.run(&eater).await;
    let (exit, by_runtime) = site.exit(eater.id).await;
    assert!(!by_runtime);
    assert_eq!((exit.code, exit.oom_killed), (Some(137), true), "{exit:?}");
    site.clean_up().await;
}

#[tokio::test]
async fn a_hanging_command_is_killed_with_its_children() {
    let site = Site::shared().await;
    let it = instance(RUN_ON, |_| {});
    site.run(&it).await;
    let hang = sh("echo begun; sleep 4711 & sleep 4711; true");
    let limit = Duration::from_millis(500);
    let error = site.docker.exec(it.id, &hang, limit).await.unwrap_err();
    assert!(error.message.contains("begun"), "{error}");
    let count = "ps | grep -c '[s]leep 4711' || true";
    assert_eq!(site.exec(it.id, count).await, "0", "nothing of it is left");
    let long = "head -c 10000 /dev/zero | sed 's/./x/g'";
    assert_eq!(site.exec(it.id, long).await.len(), 4096);
    site.clean_up().await;
}

#[tokio::test]
async fn a_node_says_what_engine_it_has() {
    let site = Site::shared().await;
    let attributes = site.docker.attributes().await.unwrap();
    assert_eq!(attributes["runtime.docker"], "true");
    assert!(!attributes["docker.version"].is_empty());
    let minor = attributes["docker.apiVersion"].strip_prefix("1.").unwrap();
    assert!(minor.parse::<u32>().unwrap() >= 41);
    let nowhere = Site::at("/no/such/docker.sock");
    let error = nowhere.docker.attributes().await.unwrap_err();
    assert_eq!(error.kind, FailureKind::RuntimeUnavailable);
}
