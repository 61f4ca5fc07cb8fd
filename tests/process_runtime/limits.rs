//! Ceilings: in force, changed live, told when they killed.

use std::fs;
use std::time::Duration;

use evenkeel::agent::runtime::Runtime;
use evenkeel::agent::runtime::process::cgroup::Controller;
use evenkeel::model::FailureKind;
use evenkeel::model::spec::Limits;

use crate::support::{Host, With, sh, until};

/// Grows until something stops it.
const GLUTTON: &str = "x=1234567890123456; while :; do x=$x$x; done";

/// Memory and processor limits as the kernel has them, in bytes and thousandths of a processor.
fn in_force(host: &Host, id: evenkeel::model::InstanceId) -> (u64, u64) {
    let read = |controller, file: &str| fs::read_to_string(host.group_file(id, controller, file));
    let number = |text: &str| {
        text.split_whitespace()
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let memory = read(Controller::Memory, "memory.limit_in_bytes")
        .or_else(|_| read(Controller::Memory, "memory.max"))
        .unwrap();
    let cpu = read(Controller::Cpu, "cpu.cfs_quota_us")
        .or_else(|_| read(Controller::Cpu, "cpu.max"))
        .unwrap();
    (number(&memory), number(&cpu) / 100)
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_in_force_and_change_on_the_live_instance() {
    let host = Host::new();
    let it = sh("exec sleep 1000").limits(Some(250), Some(64 << 20));
    host.run(&it).await.unwrap();
    assert_eq!(in_force(&host, it.id), (64 << 20, 250));
    let pids = fs::read_to_string(host.group_file(it.id, Controller::Pids, "pids.max")).unwrap();
    assert_eq!(pids.trim(), "4096");
    let procs =
        fs::read_to_string(host.group_file(it.id, Controller::Memory, "cgroup.procs")).unwrap();
    assert_eq!(procs.trim(), host.main_pid(it.id).to_string());

    let pid = host.main_pid(it.id);
    for (cpu, memory) in [(500, 256 << 20), (100, 32 << 20)] {
        let limits = Limits {
            cpu_millis: Some(cpu),
            memory_bytes: Some(memory),
        };
        host.runtime.set_limits(it.id, limits).await.unwrap();
        assert_eq!(in_force(&host, it.id), (memory, cpu));
        assert_eq!(host.found(it.id).await.limits, limits);
    }
    assert_eq!(host.main_pid(it.id), pid, "the process is the same");
    assert_eq!(host.found(it.id).await.starts, 1);

    // They hold for the next start as well.
    host.runtime.stop(it.id, Duration::ZERO).await.unwrap();
    host.runtime.start(it.id).await.unwrap();
    assert_eq!(in_force(&host, it.id), (32 << 20, 100));
    host.runtime
        .set_limits(it.id, Limits::default())
        .await
        .unwrap();
    let quota = host.group_file(it.id, Controller::Cpu, "cpu.cfs_quota_us");
    if let Ok(quota) = fs::read_to_string(quota) {
        assert_eq!(quota.trim(), "-1");
    }
    host.runtime.remove(it.id).await.unwrap();
    until("its groups are gone", async || {
        !host.group_file(it.id, Controller::Memory, "").exists()
            && !host.group_file(it.id, Controller::Cpu, "").exists()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_for_want_of_memory_is_told() {
    let host = Host::new();
    let it = sh(GLUTTON).limits(None, Some(16 << 20));
    host.run(&it).await.unwrap();
    let (exit, by_runtime) = host.exit(it.id).await;
    assert_eq!(
        (exit.code, exit.oom_killed, by_runtime),
        (Some(137), true, false)
    );

    // Also if only a child was killed and the program itself says so.
    let it = sh(&format!("sh -c '{GLUTTON}'; exit 3")).limits(None, Some(16 << 20));
    host.run(&it).await.unwrap();
    let (exit, _) = host.exit(it.id).await;
    assert_eq!((exit.code, exit.oom_killed), (Some(3), true));

    // And not once the next run ended well.
    let it = sh("exit 0").limits(None, Some(16 << 20));
    host.run(&it).await.unwrap();
    assert!(!host.exit(it.id).await.0.oom_killed);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_control_groups_limits_are_refused_and_the_rest_runs() {
    let host = Host::without_cgroups();
    let attributes = host.runtime.attributes().await.unwrap();
    assert_eq!(attributes["process.limits"], "false");
    assert_eq!(attributes["runtime.process"], "true");
    let limited = sh("exit 0").limits(Some(100), Some(1 << 20));
    let error = host.run(&limited).await.unwrap_err();
    assert_eq!(error.kind, FailureKind::Rejected);
    assert!(error.message.contains("cpu or memory limit"), "{error}");
    let free = sh("exit 4");
    host.run(&free).await.unwrap();
    assert_eq!(host.exit(free.id).await.0.code, Some(4));
}

#[tokio::test(flavor = "multi_thread")]
async fn this_machine_tells_what_it_can() {
    let host = Host::new();
    let attributes = host.runtime.attributes().await.unwrap();
    assert_eq!(attributes["process.limits"], "true");
    assert!(["v1", "v2"].contains(&attributes["process.cgroups"].as_str()));
}
