//! The rules, one function each, and the macro that makes tests of them.

use std::time::{Duration, Instant};

use evenkeel::agent::runtime::{FoundState, Hint, LogQuery};
use evenkeel::model::FailureKind;
use evenkeel::model::spec::{Limits, PullPolicy};
use futures_util::StreamExt as _;

pub use crate::commands::*;
use crate::harness::{
    Behaviour, Harness, instance, instance_with, run, until_exited, until_running,
};

/// Puts a runtime under the whole contract: `contract!(expression that makes a Harness)`.
macro_rules! contract {
    ($make:expr) => {
        contract!(@each $make;
            goes_through_its_life
            every_operation_is_idempotent
            an_exit_is_told_with_its_code
            a_restart_is_seen_as_another_start
            a_kill_from_outside_is_an_exit
            the_stubborn_are_killed_after_their_grace
            a_program_that_does_not_exist_is_rejected
            a_missing_image_is_conclusive
            output_is_kept
            output_can_be_followed
            commands_run_inside
            commands_are_heard_while_they_run
            a_command_ends_with_its_reader
            changes_are_hinted
            limits_change_on_the_live_instance
            instances_survive_their_agent
            instances_are_independent
        );
    };
    (@each $make:expr; $($rule:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let harness = $make;
                let limit = std::time::Duration::from_secs(90);
                tokio::time::timeout(limit, crate::rules::$rule(&harness))
                    .await
                    .expect("no rule takes 90 s");
                crate::rules::clean_up(&harness).await;
            }
        )+
    };
}

pub const GRACE: Duration = Duration::from_secs(5);

/// Leaves nothing behind.
pub async fn clean_up(h: &dyn Harness) {
    let runtime = h.runtime();
    for found in runtime.list().await.expect("the runtime answers") {
        runtime.stop(found.id, Duration::ZERO).await.unwrap();
        runtime.remove(found.id).await.unwrap();
    }
}

pub async fn goes_through_its_life(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance(h, Behaviour::RunOn);
    assert_eq!(r.inspect(it.id).await.unwrap(), None);
    if let Some(image) = &it.run.image {
        r.prepare(image, PullPolicy::Missing).await.unwrap();
    }
    r.create(&h.cluster(), &it).await.unwrap();
    let found = r.inspect(it.id).await.unwrap().expect("created");
    assert_eq!(found.state, FoundState::Created);
    assert!(!found.handle.is_empty());
    r.start(it.id).await.unwrap();
    let found = until_running(&*r, it.id).await;
    assert!(found.running_ms < 60_000, "{found:?}");
    assert!(r.list().await.unwrap().iter().any(|f| f.id == it.id));
    r.stop(it.id, GRACE).await.unwrap();
    let (_, by_runtime) = until_exited(&*r, it.id).await;
    assert!(!by_runtime, "we asked for it, the runtime did not go down");
    r.remove(it.id).await.unwrap();
    assert_eq!(r.inspect(it.id).await.unwrap(), None);
    assert!(!r.list().await.unwrap().iter().any(|f| f.id == it.id));
}

pub async fn every_operation_is_idempotent(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance(h, Behaviour::RunOn);
    r.stop(it.id, GRACE).await.expect("nothing to stop");
    r.remove(it.id).await.expect("nothing to remove");
    run(h, &it).await.unwrap();
    let first = until_running(&*r, it.id).await;
    run(h, &it).await.unwrap();
    let second = until_running(&*r, it.id).await;
    assert_eq!(first.starts, second.starts, "it was not started twice");
    assert_eq!(first.handle, second.handle);
    for _ in 0..2 {
        r.stop(it.id, GRACE).await.unwrap();
    }
    for _ in 0..2 {
        r.remove(it.id).await.unwrap();
    }
    assert_eq!(r.inspect(it.id).await.unwrap(), None);
}

pub async fn an_exit_is_told_with_its_code(h: &dyn Harness) {
    for code in [0, 7] {
        let it = instance(h, Behaviour::Exit(code));
        run(h, &it).await.unwrap();
        let told = until_exited(&*h.runtime(), it.id).await;
        assert_eq!(told, (Some(code), false));
    }
}

pub async fn a_restart_is_seen_as_another_start(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance(h, Behaviour::Exit(3));
    run(h, &it).await.unwrap();
    until_exited(&*r, it.id).await;
    let first = r.inspect(it.id).await.unwrap().unwrap();
    let again = r.inspect(it.id).await.unwrap().unwrap();
    assert_eq!(first.starts, again.starts, "looking changes nothing");
    r.start(it.id).await.unwrap();
    crate::harness::until(&*r, it.id, "started again", |f| {
        f.is_some_and(|f| f.starts != first.starts)
    })
    .await;
    until_exited(&*r, it.id).await;
}

pub async fn a_kill_from_outside_is_an_exit(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance(h, Behaviour::RunOn);
    run(h, &it).await.unwrap();
    let found = until_running(&*r, it.id).await;
    h.kill(&found).await;
    assert_eq!(until_exited(&*r, it.id).await, (Some(137), false));
}

pub async fn the_stubborn_are_killed_after_their_grace(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance(h, Behaviour::Stubborn);
    run(h, &it).await.unwrap();
    until_running(&*r, it.id).await;
    wait_for_line(h, it.id, "hello").await;
    let began = Instant::now();
    r.stop(it.id, Duration::from_secs(1)).await.unwrap();
    assert_eq!(until_exited(&*r, it.id).await.0, Some(137));
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(10),
        "{took:?}"
    );
}

pub async fn a_program_that_does_not_exist_is_rejected(h: &dyn Harness) {
    let it = instance(h, Behaviour::NoSuchProgram);
    let error = run(h, &it).await.expect_err("it cannot start");
    assert_eq!(error.kind, FailureKind::Rejected, "{error}");
    assert!(!error.message.is_empty());
}

pub async fn a_missing_image_is_conclusive(h: &dyn Harness) {
    let Some(image) = h.missing_image() else {
        return; // this runtime knows no images
    };
    for policy in [PullPolicy::Never, PullPolicy::Missing] {
        let error = h.runtime().prepare(&image, policy).await.unwrap_err();
        if policy == PullPolicy::Never {
            assert_eq!(error.kind, FailureKind::ImageNotFound, "{error}");
        } else {
            // Without a registry in reach it may pass.
            assert!(
                matches!(
                    error.kind,
                    FailureKind::ImageNotFound | FailureKind::PullFailed
                ),
                "{error}"
            );
        }
        assert!(error.message.contains(&image), "{error}");
    }
}

pub async fn output_is_kept(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance(h, Behaviour::Exit(0));
    run(h, &it).await.unwrap();
    until_exited(&*r, it.id).await;
    wait_for_line(h, it.id, "bye").await;
    let none = LogQuery {
        tail: 0,
        follow: false,
    };
    let lines: Vec<_> = r.logs(it.id, none).await.unwrap().collect().await;
    assert!(lines.is_empty(), "{lines:?}");
}

pub async fn output_can_be_followed(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance_with(h, Behaviour::RunOn, |run| {
        run.workload.env.insert("WORD".into(), "ahoi".into());
    });
    run(h, &it).await.unwrap();
    let follow = LogQuery {
        tail: 100,
        follow: true,
    };
    let mut lines = r.logs(it.id, follow).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap(), "hello");
    assert_eq!(lines.next().await.unwrap().unwrap(), "ahoi");
    r.stop(it.id, GRACE).await.unwrap();
    while let Some(line) = lines.next().await {
        line.expect("it ends with the instance, without an error");
    }
}

pub async fn changes_are_hinted(h: &dyn Harness) {
    let r = h.runtime();
    let mut hints = r.watch();
    let it = instance(h, Behaviour::RunOn);
    // A watch may begin with one hint that asks to look at everything.
    let ours = |hint: &Hint| *hint == Hint::All || *hint == Hint::Instance(it.id);
    run(h, &it).await.unwrap();
    let found = until_running(&*r, it.id).await;
    let deadline = Duration::from_secs(10);
    let next = tokio::time::timeout(deadline, hints.next()).await;
    assert!(next.expect("a hint comes").is_some());
    // Let those of the start pass by, then kill it.
    while let Ok(Some(_)) = tokio::time::timeout(Duration::from_millis(500), hints.next()).await {}
    h.kill(&found).await;
    let next = tokio::time::timeout(deadline, hints.next()).await;
    let hint = next.expect("a hint comes").expect("the watch goes on");
    assert!(ours(&hint), "{hint:?}");
}

pub async fn limits_change_on_the_live_instance(h: &dyn Harness) {
    let r = h.runtime();
    let limits = |mebibytes: u64| Limits {
        cpu_millis: Some(500),
        memory_bytes: Some(mebibytes << 20),
    };
    let it = instance_with(h, Behaviour::RunOn, |run| run.limits = limits(64));
    run(h, &it).await.unwrap();
    let first = until_running(&*r, it.id).await;
    r.set_limits(it.id, limits(128)).await.unwrap();
    let found = until_running(&*r, it.id).await;
    assert_eq!(found.starts, first.starts, "it was not restarted");
    if h.enforces_limits() {
        assert_eq!(first.limits, limits(64));
        assert_eq!(found.limits, limits(128));
    }
}

pub async fn instances_survive_their_agent(h: &dyn Harness) {
    let it = instance(h, Behaviour::RunOn);
    run(h, &it).await.unwrap();
    let before = until_running(&*h.runtime(), it.id).await;
    let again = h.again().await;
    let after = until_running(&*again, it.id).await;
    assert_eq!(before.starts, after.starts);
    assert_eq!(before.handle, after.handle);
    assert!(after.running_ms >= before.running_ms);
    again.stop(it.id, GRACE).await.unwrap();
    until_exited(&*again, it.id).await;
    again.remove(it.id).await.unwrap();
    assert_eq!(again.inspect(it.id).await.unwrap(), None);
}

pub async fn instances_are_independent(h: &dyn Harness) {
    let r = h.runtime();
    let (a, b) = (
        instance(h, Behaviour::RunOn),
        instance(h, Behaviour::Exit(1)),
    );
    run(h, &a).await.unwrap();
    run(h, &b).await.unwrap();
    until_exited(&*r, b.id).await;
    r.remove(b.id).await.unwrap();
    assert!(r.inspect(a.id).await.unwrap().unwrap().is_running());
}

/// Waits until the line is in the instance's output.
async fn wait_for_line(h: &dyn Harness, id: evenkeel::model::InstanceId, line: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    let query = LogQuery {
        tail: 20,
        follow: false,
    };
    loop {
        let lines: Vec<_> = h.runtime().logs(id, query).await.unwrap().collect().await;
        if lines.iter().any(|l| l.as_ref().is_ok_and(|l| l == line)) {
            return;
        }
        assert!(Instant::now() < end, "no line {line:?} in {lines:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
