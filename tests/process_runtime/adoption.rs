//! Agents and supervisors die; instances do not notice, or are told of.

use std::time::Duration;

use evenkeel::agent::runtime::process::cgroup::Hierarchy;
use evenkeel::agent::runtime::process::{LogLimits, Process};
use evenkeel::agent::runtime::{FoundState, Runtime};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Host, With, is_alive, sh, until};

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_while_no_agent_runs_is_learnt_later() {
    let host = Host::new();
    let it = sh("echo up; read line < $EVENKEEL_FILES/gate; exit 7").file("/gate", "");
    // A pipe as the gate: the program waits for us.
    host.runtime.create(&host.cluster, &it).await.unwrap();
    let gate = host.folder(it.id).join("files/gate");
    std::fs::remove_file(&gate).unwrap();
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    host.runtime.start(it.id).await.unwrap();
    host.first_line(it.id).await;
    let before = host.found(it.id).await;

    let host = host.restart_agent();
    let after = host.found(it.id).await;
    assert_eq!(after.state, FoundState::Running);
    assert_eq!(
        (&after.handle, after.starts),
        (&before.handle, before.starts)
    );
    assert_eq!(after.published_ports, before.published_ports);

    let pid = host.supervisor_pid(it.id);
    let folder = host.folder(it.id);
    drop(
        tokio::task::spawn_blocking(move || std::fs::write(gate, "go\n"))
            .await
            .unwrap(),
    );
    until("its supervisor is gone", async || !is_alive(pid)).await;
    assert!(folder.join("exit.json").exists());
    let host = host.restart_agent();
    let (exit, by_runtime) = host.exit(it.id).await;
    assert_eq!(
        (exit.code, exit.oom_killed, by_runtime),
        (Some(7), false, false)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_is_nobodys_child() {
    let host = Host::new();
    let it = sh("exec sleep 1000");
    host.run(&it).await.unwrap();
    let parent = std::fs::read_to_string(format!("/proc/{}/status", host.supervisor_pid(it.id)))
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("PPid:\t").map(str::to_owned))
        .unwrap();
    assert_ne!(parent, std::process::id().to_string());
    let environ = std::fs::read(format!("/proc/{}/environ", host.supervisor_pid(it.id))).unwrap();
    assert!(
        environ.is_empty(),
        "nothing of the agent's environment is handed on"
    );
}

async fn check_lost_supervisor(host: Host) {
    let it = sh("setsid sh -c 'sleep 1000 & echo $!; wait' & exec sleep 1000");
    host.run(&it).await.unwrap();
    let orphan: i32 = host.first_line(it.id).await.parse().unwrap();
    let main = host.main_pid(it.id);
    let supervisor = host.supervisor_pid(it.id);
    kill(Pid::from_raw(supervisor), Signal::SIGKILL).unwrap();
    let (exit, by_runtime) = host.exit(it.id).await;
    assert!(by_runtime);
    assert_eq!(exit.code, None);
    assert!(
        !is_alive(main) && !is_alive(orphan),
        "its tree is dead as well"
    );
    // And it can be started again.
    host.runtime.start(it.id).await.unwrap();
    let found = host.found(it.id).await;
    assert_eq!((found.state, found.starts), (FoundState::Running, 2));
    host.runtime.remove(it.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_supervisor_is_the_runtimes_fault_and_leaves_nothing() {
    check_lost_supervisor(Host::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn likewise_without_control_groups() {
    check_lost_supervisor(Host::without_cgroups()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supervisor_that_is_told_to_end_takes_the_instance_along() {
    let host = Host::new();
    let it = sh("trap 'exit 5' TERM; echo up; while :; do sleep 0.05; done");
    host.run(&it).await.unwrap();
    host.first_line(it.id).await;
    kill(Pid::from_raw(host.supervisor_pid(it.id)), Signal::SIGTERM).unwrap();
    let (exit, by_runtime) = host.exit(it.id).await;
    assert_eq!((exit.code, by_runtime), (Some(5), true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reused_pid_is_not_taken_for_the_supervisor() {
    let host = Host::new();
    let it = sh("exit 0");
    host.run(&it).await.unwrap();
    host.exit(it.id).await;
    // As if the host had gone down in mid-run and our own pid were the supervisor's now.
    let mut run = host.run_record(it.id);
    run["supervisor"]["pid"] = std::process::id().into();
    std::fs::write(host.folder(it.id).join("run.json"), run.to_string()).unwrap();
    std::fs::remove_file(host.folder(it.id).join("exit.json")).unwrap();
    let host = host.restart_agent();
    let (_, by_runtime) = host.exit(it.id).await;
    assert!(by_runtime);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_cut_short_counts_as_absent() {
    let host = Host::new();
    let it = sh("exit 0");
    host.run(&it).await.unwrap();
    host.exit(it.id).await;
    std::fs::write(host.folder(it.id).join("launch.json"), "").unwrap();
    let host = host.restart_agent();
    assert_eq!(host.runtime.inspect(it.id).await.unwrap(), None);
    assert!(host.runtime.list().await.unwrap().is_empty());
    host.run(&it).await.unwrap();
    assert_eq!(host.exit(it.id).await.0.code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn starts_at_the_same_moment_make_one_process() {
    let host = Host::new();
    let it = sh("echo up; exec sleep 1000");
    host.runtime.create(&host.cluster, &it).await.unwrap();
    let (a, b, c) = tokio::join!(
        host.runtime.start(it.id),
        host.runtime.start(it.id),
        host.runtime.start(it.id)
    );
    a.and(b).and(c).unwrap();
    host.first_line(it.id).await;
    let found = host.found(it.id).await;
    assert_eq!((found.state, found.starts), (FoundState::Running, 1));
    assert_eq!(host.lines(it.id).await, ["up"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_of_another_cluster_are_not_seen() {
    let host = Host::new();
    let it = sh("exec sleep 1000");
    host.run(&it).await.unwrap();
    let error = host
        .runtime
        .create("another", &sh("exit 0"))
        .await
        .unwrap_err();
    assert!(error.message.contains("another"), "{error}");
    let config = evenkeel::agent::runtime::process::ProcessConfig {
        state_dir: host.runtime.state_dir().to_owned(),
        cluster: "another".into(),
        shim: env!("CARGO_BIN_EXE_evenkeel").into(),
    };
    let other = Process::with(config, Hierarchy::none(), LogLimits::default()).unwrap();
    assert!(other.list().await.unwrap().is_empty());
    other.stop(it.id, Duration::ZERO).await.unwrap();
    assert_eq!(host.found(it.id).await.state, FoundState::Running);
}
