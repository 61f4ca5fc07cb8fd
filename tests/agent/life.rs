//! The agent as its controller and its node see it.

use std::time::{Duration, Instant};

use evenkeel::agent::runtime::Error;
use evenkeel::agent::runtime::fake::{Fault, Script};
use evenkeel::agent::step::OpKind;
use evenkeel::api::agent::ToAgent;
use evenkeel::model::instance::ProbeKind;
use evenkeel::model::spec::{Check, Probe, PullPolicy};
use evenkeel::model::{EventKind, FailureKind, ImageState, InstancePhase};
use uuid::Uuid;

use crate::controller::Controller;
use crate::model::DesiredInstance;
use crate::node::Node;
use crate::testing::{IMAGE, Tweak as _, id, instance, set, tcp_probe};

fn is_ready(i: &evenkeel::api::agent::InstanceReport) -> bool {
    i.phase == InstancePhase::Running && i.ready_ms.is_some()
}

fn failing(kind: FailureKind, message: &str) -> Fault {
    Fault::Fail(Error::new(kind, message))
}

fn probed(n: u128, change: impl FnOnce(&mut evenkeel::model::spec::Health)) -> DesiredInstance {
    instance(n).with(|run| change(&mut run.health))
}

/// Of any path, and often.
fn http_probe() -> Probe {
    Probe {
        check: Check::Http {
            port: "http".into(),
            path: "/".into(),
            status: vec![(200, 299)],
        },
        interval: Duration::from_millis(50),
        ..tcp_probe()
    }
}

#[tokio::test]
async fn a_set_is_brought_to_life_and_told() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    controller.desire(set(1, [instance(1), instance(2)]));
    for n in [1, 2] {
        let told = controller.until_instance(id(n), "ready", is_ready).await;
        assert_eq!((told.exits, told.restarts), (0, 0));
        assert!(told.container_id.is_some());
    }
    assert_eq!(node.fake.count(OpKind::Pull), 1, "one pull for one image");
    controller
        .until("the image", |h| {
            matches!(h.images.get(IMAGE), Some(ImageState::Present { .. })).then_some(())
        })
        .await;
    controller.heard(|h| {
        let facts = h.facts.as_ref().unwrap();
        assert!(facts.capacity.cpu_millis >= 1000 && facts.capacity.memory_bytes > 1 << 20);
        assert_eq!(facts.attributes["zone"], "a");
        assert_eq!(facts.attributes["runtime.docker"], "true");
        assert_eq!(facts.attributes["os"], "linux");
        let first = &h.reports[0];
        assert!(first.full && first.instances.len() <= 2);
        assert!(h.reports.is_sorted_by_key(|r| r.sequence));
    });
}

#[tokio::test]
async fn what_is_to_stop_is_stopped_removed_and_stays_gone_until_it_is_dropped() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    controller.desire(set(1, [instance(1)]));
    controller.until_instance(id(1), "ready", is_ready).await;
    controller.desire(set(2, [instance(1).stopping()]));
    let gone = |i: &evenkeel::api::agent::InstanceReport| i.phase == InstancePhase::Gone;
    let told = controller.until_instance(id(1), "gone", gone).await;
    assert_eq!(told.exits, 0, "a stop that was asked for is no exit");
    assert!(node.fake.running().is_empty());
    assert_eq!(node.fake.count(OpKind::Remove), 1);
    controller.desire(set(3, []));
    controller
        .until("dropped", |h| {
            let last = h.reports.iter().rev().find(|r| r.full)?;
            (last.applied?.1.0 == 3 && last.instances.is_empty()).then_some(())
        })
        .await;
}

#[tokio::test]
async fn a_crash_is_counted_explained_and_started_again() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    let it = instance(1).with(|run| run.restart.backoff = Duration::from_millis(200));
    node.fake.script(
        &it.app,
        Script {
            output: vec!["about to fail".into(), "x".repeat(2000)],
            ..Script::default()
        },
    );
    controller.desire(set(1, [it]));
    controller.until_instance(id(1), "ready", is_ready).await;
    node.fake.crash(id(1), 3);
    let told = controller
        .until_instance(id(1), "exited", |i| i.exits == 1)
        .await;
    assert_eq!(told.last_exit.unwrap().code, Some(3));
    assert_eq!(told.phase, InstancePhase::BackOff);
    assert_eq!(told.ready_ms, None);
    assert_eq!(told.log_tail[0], "about to fail", "evidence comes with it");
    assert_eq!(told.log_tail[1].len(), 500);
    let again = controller
        .until_instance(id(1), "back", |i| i.restarts == 1 && is_ready(i))
        .await;
    assert_eq!(again.exits, 1);
    let note = controller.until_note("exited with code 3").await;
    assert_eq!(note.kind, EventKind::InstanceExited);
    assert_eq!(node.fake.count(OpKind::Create), 1, "the same container");
}

#[tokio::test]
async fn what_was_removed_by_hand_is_put_back_with_a_reason() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    controller.desire(set(1, [instance(1)]));
    controller.until_instance(id(1), "ready", is_ready).await;
    node.fake.remove_by_hand(id(1));
    let note = controller.until_note("removed by somebody else").await;
    assert_eq!(note.kind, EventKind::InstanceRestarted);
    assert_eq!(note.instance, Some(id(1)));
    controller
        .until_instance(id(1), "back", |i| i.restarts == 1 && is_ready(i))
        .await;
    assert_eq!(node.fake.count(OpKind::Create), 2);
}

#[tokio::test]
async fn what_is_ours_but_unlisted_goes() {
    let controller = Controller::start().await;
    let node = Node::new();
    node.fake.plant(&instance(9));
    let mut node = node;
    node.start(&controller.url());
    // Without a set nothing is touched.
    controller
        .until("a report", |h| h.reports.first().map(|_| ()))
        .await;
    assert_eq!(node.fake.running(), [id(9)]);
    controller.desire(set(1, [instance(1)]));
    controller.until_note("does not list it").await;
    controller.until_instance(id(1), "ready", is_ready).await;
    controller
        .until("removed", |_| {
            (node.fake.count(OpKind::Remove) == 1).then_some(())
        })
        .await;
    assert_eq!(node.fake.running(), [id(1)]);
}

#[tokio::test]
async fn a_hanging_operation_delays_nobody_else() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    let first = id(1).to_string();
    node.fake.inject(OpKind::Create, Some(&first), Fault::Hang);
    controller.desire(set(1, [instance(1), instance(2)]));
    controller.until_instance(id(2), "ready", is_ready).await;
    controller
        .until_instance(id(1), "starting", |i| i.phase == InstancePhase::Starting)
        .await;
}

#[tokio::test]
async fn readiness_follows_its_probe_and_a_bad_answer_is_evidence() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    let door = crate::door::Door::open().await;
    let it = probed(1, |health| {
        let mut probe = http_probe();
        probe.failure_threshold = 2;
        health.readiness = Some(probe);
    });
    node.fake.script(&it.app, door.script());
    door.answer(503);
    controller.desire(set(1, [it]));
    let told = controller
        .until_instance(id(1), "not ready", |i| i.last_probe.is_some())
        .await;
    assert_eq!(told.ready_ms, None);
    let answer = told.last_probe.unwrap();
    assert_eq!(answer.probe, ProbeKind::Readiness);
    assert!(
        answer.answer.ends_with("503 Service Unavailable: no"),
        "{answer:?}"
    );
    door.answer(200);
    controller.until_instance(id(1), "ready", is_ready).await;
    door.answer(500);
    controller
        .until_instance(id(1), "unready", |i| i.ready_ms.is_none())
        .await;
    let note = controller.until_note("no longer ready").await;
    assert!(
        note.message.contains("500 Internal Server Error"),
        "{note:?}"
    );
    assert_eq!(
        node.fake.count(OpKind::Stop),
        0,
        "readiness restarts nothing"
    );
}

#[tokio::test]
async fn a_failing_liveness_probe_restarts_and_counts() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    let door = crate::door::Door::open().await;
    let it = probed(1, |health| {
        health.liveness = Some(http_probe());
    })
    .with(|run| run.restart.backoff = Duration::from_millis(100));
    node.fake.script(&it.app, door.script());
    controller.desire(set(1, [it]));
    controller.until_instance(id(1), "ready", is_ready).await;
    door.answer(500);
    let told = controller
        .until_instance(id(1), "restarted", |i| i.exits == 1)
        .await;
    assert!(told.last_exit.is_some());
    door.answer(200);
    let note = controller.until_note("liveness probe failed 3 times").await;
    assert!(
        note.message.contains("500 Internal Server Error"),
        "{note:?}"
    );
    controller
        .until_instance(id(1), "back", |i| i.restarts >= 1 && is_ready(i))
        .await;
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_told_at_once() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    let no = Error::new(FailureKind::ImageNotFound, format!("{IMAGE}: not found"));
    node.fake.registry(IMAGE, Some(no));
    let mut desired = set(1, [instance(1)]);
    desired.images.insert(IMAGE.into(), PullPolicy::Missing);
    controller.desire(desired);
    let told = controller
        .until_instance(id(1), "failed", |i| i.failure.is_some())
        .await;
    assert_eq!(told.failure.unwrap().kind, FailureKind::ImageNotFound);
    assert_eq!(told.phase, InstancePhase::BackOff);
    controller.heard(|h| assert!(matches!(h.images[IMAGE], ImageState::Failed { .. })));
    assert_eq!(node.fake.count(OpKind::Create), 0);
}

#[tokio::test]
async fn a_program_that_cannot_run_is_told_in_the_runtimes_words() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    let fault = failing(FailureKind::Rejected, "exec: \"/bin/wbe\": no such file");
    node.fake.inject(OpKind::Start, None, fault);
    controller.desire(set(1, [instance(1)]));
    let told = controller
        .until_instance(id(1), "failed", |i| i.failure.is_some())
        .await;
    let failure = told.failure.unwrap();
    assert_eq!(failure.kind, FailureKind::Rejected);
    assert!(failure.message.contains("/bin/wbe"));
    assert_eq!(told.exits, 0, "it never ran");
}

#[tokio::test]
async fn while_the_runtime_is_down_nothing_is_concluded() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    controller.desire(set(1, [instance(1)]));
    controller.until_instance(id(1), "ready", is_ready).await;
    node.fake.go_down("the Engine does not answer");
    let told = controller
        .until_instance(id(1), "unavailable", |i| i.failure.is_some())
        .await;
    assert_eq!(told.failure.unwrap().kind, FailureKind::RuntimeUnavailable);
    assert_eq!(told.phase, InstancePhase::Running);
    let before = node.fake.calls().len();
    node.fake.come_up(true);
    controller
        .until_instance(id(1), "back", |i| i.restarts == 1 && is_ready(i))
        .await;
    let told = controller.heard(|h| h.instances[&id(1)].clone());
    assert_eq!(told.exits, 0, "the Engine took it along");
    assert_eq!(node.fake.calls().len(), before + 1, "one start, no more");
}

#[tokio::test]
async fn instances_outlive_the_agent_and_so_does_what_it_counted() {
    let controller = Controller::start().await;
    let mut node = Node::started(&controller);
    let it = instance(1).with(|run| run.restart.backoff = Duration::from_millis(100));
    controller.desire(set(1, [it]));
    controller.until_instance(id(1), "ready", is_ready).await;
    node.fake.crash(id(1), 1);
    controller
        .until_instance(id(1), "back", |i| i.exits == 1 && is_ready(i))
        .await;
    node.stop().await;
    assert_eq!(node.fake.running(), [id(1)]);
    let calls = node.fake.calls();
    drop(controller);

    // No controller: the ledger and the memory are all there is.
    let controller = Controller::start().await;
    node.start(&controller.url());
    let told = controller.until_instance(id(1), "ready", is_ready).await;
    assert_eq!((told.exits, told.restarts), (1, 1));
    let restarted = node.fake.calls();
    let changing = restarted[calls.len()..]
        .iter()
        .filter(|c| c.kind != OpKind::Pull)
        .count();
    assert_eq!(changing, 0, "nothing is touched that is as it should be");

    // And a crash while no agent looks is counted when one comes back.
    node.kill().await;
    node.fake.crash(id(1), 9);
    node.start(&controller.url());
    let told = controller
        .until_instance(id(1), "counted", |i| i.exits == 2)
        .await;
    assert_eq!(told.last_exit.unwrap().code, Some(9));
}

#[tokio::test]
async fn the_node_keeps_itself_without_a_controller() {
    let controller = Controller::start().await;
    let address = controller.address.clone();
    let node = Node::started(&controller);
    let it = instance(1).with(|run| run.restart.backoff = Duration::from_millis(100));
    controller.desire(set(1, [it.clone()]));
    controller.until_instance(id(1), "ready", is_ready).await;
    drop(controller);
    node.fake.crash(id(1), 5);
    let end = Instant::now() + Duration::from_secs(10);
    while node.fake.count(OpKind::Start) < 2 {
        assert!(Instant::now() < end, "not started again");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Another controller at the same place hears everything, notes too.
    let controller = Controller::start_at(&address).await;
    controller.desire(set(1, [it]));
    controller
        .until_instance(id(1), "told", |i| i.exits == 1 && is_ready(i))
        .await;
    controller.until_note("exited with code 5").await;
    assert_eq!(node.fake.count(OpKind::Create), 1);
}

#[tokio::test]
async fn an_older_set_changes_nothing() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    controller.desire(set(5, [instance(1)]));
    controller.until_instance(id(1), "ready", is_ready).await;
    controller.desire(set(4, []));
    controller.desire(set(5, []));
    controller.desire(set(6, [instance(1), instance(2)]));
    controller.until_instance(id(2), "ready", is_ready).await;
    assert_eq!(node.fake.count(OpKind::Stop), 0);
}

#[tokio::test]
async fn a_damaged_ledger_touches_nothing_until_a_set_comes() {
    let controller = Controller::start().await;
    let mut node = Node::started(&controller);
    controller.desire(set(1, [instance(1)]));
    controller.until_instance(id(1), "ready", is_ready).await;
    controller.desire(set(2, [instance(1), instance(2)]));
    controller.until_instance(id(2), "ready", is_ready).await;
    node.stop().await;
    drop(controller);
    std::fs::write(node.dir.path().join("ledger"), "half a led").unwrap();
    let before = node.fake.calls().len();
    let controller = Controller::start().await;
    node.start(&controller.url());
    controller
        .until("heartbeats", |h| (h.reports.len() >= 2).then_some(()))
        .await;
    assert_eq!(
        node.fake.calls().len(),
        before,
        "the older copy is not acted on"
    );
    controller.desire(set(3, [instance(2)]));
    controller
        .until("obeyed", |_| (node.fake.running() == [id(2)]).then_some(()))
        .await;
}

#[tokio::test]
async fn limits_change_on_the_live_instance() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    controller.desire(set(1, [instance(1)]));
    controller.until_instance(id(1), "ready", is_ready).await;
    let it = instance(1).with(|run| run.limits.memory_bytes = Some(64 << 20));
    controller.desire(set(2, [it]));
    controller
        .until("limits", |_| {
            (node.fake.count(OpKind::SetLimits) == 1).then_some(())
        })
        .await;
    assert_eq!(node.fake.count(OpKind::Stop), 0);
}

#[tokio::test]
async fn output_is_sent_when_asked_for() {
    let controller = Controller::start().await;
    let node = Node::started(&controller);
    let it = instance(1);
    let script = Script {
        output: vec!["one".into(), "two".into(), "three".into()],
        ..Script::default()
    };
    node.fake.script(&it.app, script);
    controller.desire(set(1, [it]));
    controller.until_instance(id(1), "ready", is_ready).await;
    let ask = |stream: u128, n: u128| {
        controller.say(&ToAgent::Logs {
            id: Uuid::from_u128(stream),
            instance: id(n),
            tail: 2,
            follow: false,
        });
    };
    ask(70, 1);
    ask(71, 5);
    let read = |stream: u128| {
        let key = Uuid::from_u128(stream).to_string();
        controller.until("output", move |h| {
            h.streams.get(&key).filter(|t| t.ends_with('\n')).cloned()
        })
    };
    assert_eq!(read(70).await, "two\nthree\n");
    assert!(read(71).await.contains("no instance"));
}
