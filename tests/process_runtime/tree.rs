//! Nothing of an instance survives it.

use std::time::{Duration, Instant};

use evenkeel::agent::runtime::Runtime;
use evenkeel::model::InstanceId;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Host, command, is_alive, sh, until};

/// Starts a grandchild in a session of its own whose parent is gone, says its pid, and stays.
const DAEMONISES: &str =
    "setsid sh -c 'trap \"\" TERM HUP; sleep 1000 & echo $!; wait' & exec sleep 1000";

async fn orphan_of(host: &Host, id: InstanceId) -> i32 {
    host.first_line(id).await.parse().unwrap()
}

async fn check_tree_ends(host: &Host) {
    let it = sh(DAEMONISES);
    host.run(&it).await.unwrap();
    let orphan = orphan_of(host, it.id).await;
    let main = host.main_pid(it.id);
    assert!(is_alive(orphan) && is_alive(main));
    host.runtime
        .stop(it.id, Duration::from_secs(5))
        .await
        .unwrap();
    assert!(!is_alive(main) && !is_alive(orphan));
    let (exit, by_runtime) = host.exit(it.id).await;
    assert_eq!((exit.code, by_runtime), (Some(143), false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_left_the_session_goes_too() {
    check_tree_ends(&Host::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn also_where_there_are_no_control_groups() {
    check_tree_ends(&Host::without_cgroups()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_takes_the_tree_along() {
    let host = Host::new();
    let it = sh(DAEMONISES);
    host.run(&it).await.unwrap();
    let orphan = orphan_of(&host, it.id).await;
    kill(Pid::from_raw(host.main_pid(it.id)), Signal::SIGSEGV).unwrap();
    let (exit, by_runtime) = host.exit(it.id).await;
    assert_eq!((exit.code, by_runtime), (Some(139), false));
    assert!(!is_alive(orphan));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_that_forks_all_the_time_is_killed() {
    let host = Host::new();
    // Each new one starts the next and ends: there is never a moment without a young one.
    let it = sh("trap '' TERM; echo up; f() { (f) & }; while :; do (sleep 0.01 &) ; done");
    host.run(&it).await.unwrap();
    host.first_line(it.id).await;
    let group = host.group_file(
        it.id,
        evenkeel::agent::runtime::process::cgroup::Controller::Memory,
        "cgroup.procs",
    );
    assert!(!std::fs::read_to_string(&group).unwrap().is_empty());
    let began = Instant::now();
    host.runtime
        .stop(it.id, Duration::from_millis(200))
        .await
        .unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(host.exit(it.id).await.0.code, Some(137));
    assert!(!group.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_grace_overtakes_a_longer_one() {
    let host = Host::new();
    let it = sh("trap '' TERM; echo up; while :; do sleep 0.05; done");
    host.run(&it).await.unwrap();
    host.first_line(it.id).await;
    let began = Instant::now();
    let (patient, hasty) = tokio::join!(
        host.runtime.stop(it.id, Duration::from_secs(600)),
        host.runtime.stop(it.id, Duration::from_millis(300)),
    );
    patient.unwrap();
    hasty.unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_is_noticed_at_once() {
    use futures_util::StreamExt;
    let host = Host::new();
    let it = command(&["/bin/sleep", "1000"]);
    host.run(&it).await.unwrap();
    let mut hints = host.runtime.watch();
    let began = Instant::now();
    kill(Pid::from_raw(host.main_pid(it.id)), Signal::SIGKILL).unwrap();
    let wanted = evenkeel::agent::runtime::Hint::Instance(it.id);
    let hint = tokio::time::timeout(Duration::from_secs(10), async {
        while hints.next().await.as_ref() != Some(&wanted) {}
    });
    hint.await.unwrap();
    let took = began.elapsed();
    assert!(matches!(
        host.found(it.id).await.state,
        evenkeel::agent::runtime::FoundState::Exited { .. }
    ));
    // Much slower than an idle machine needs, much quicker than any polling.
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_may_close_its_output_and_run_on() {
    let host = Host::new();
    let it = sh("exec sleep 1000 >/dev/null 2>&1");
    host.run(&it).await.unwrap();
    let pid = host.supervisor_pid(it.id);
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<u64> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|n| n.parse().unwrap())
            .collect();
        fields[0] + fields[1]
    };
    until("its output is closed", async || {
        std::fs::read_link(format!("/proc/{}/fd/1", host.main_pid(it.id)))
            .is_ok_and(|target| target.to_str() == Some("/dev/null"))
    })
    .await;
    let before = ticks();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(ticks() - before < 10, "the supervisor does not spin");
    host.runtime.stop(it.id, Duration::ZERO).await.unwrap();
}
