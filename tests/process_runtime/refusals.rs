//! What can never run is told as such, with what is wrong.

use std::os::unix::fs::PermissionsExt;

use evenkeel::agent::runtime::{FoundState, Runtime};
use evenkeel::model::spec::{PullPolicy, Task, Volume};
use evenkeel::model::{DesiredInstance, FailureKind};

use crate::support::{Host, With, command, sh};

async fn check(it: DesiredInstance, says: &str) {
    let host = Host::new();
    let error = host.run(&it).await.expect_err(says);
    assert_eq!(error.kind, FailureKind::Rejected, "{error}");
    assert!(error.message.contains(says), "{error}");
    if let Some(found) = host.runtime.inspect(it.id).await.unwrap() {
        assert_eq!((found.state, found.starts), (FoundState::Created, 0));
    }
    host.runtime.remove(it.id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_cannot_run() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    check(
        command(&["/no/such/program"]),
        "/no/such/program does not exist",
    )
    .await;
    check(
        command(&["no-such-program"]),
        "no program \"no-such-program\"",
    )
    .await;
    check(command(&["/tmp"]), "is a folder").await;
    check(command(&[&file("plain", "x", 0o644)]), "not executable").await;
    check(command(&[&file("odd", "x", 0o755)]), "no format").await;
    check(
        command(&[&file("script", "#!/no/such/shell\n", 0o755)]),
        "interpreter",
    )
    .await;
    check(command(&[]), "command is empty").await;
    check(sh("x").env("BAD", "a\0b"), "NUL").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_and_users_that_do_not_exist() {
    check(
        sh("x").working_dir("/no/such/folder"),
        "working directory /no/such/folder",
    )
    .await;
    check(sh("x").user("no-such-user"), "user \"no-such-user\"").await;
    check(sh("x").user("0:no-such-group"), "group \"no-such-group\"").await;
    check(sh("x").user("54321"), "54321:GROUP").await;
    check(sh("x").file("/../x", "x"), "leaves the instance's folder").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_a_container() {
    let image = sh("x").change(|run| {
        run.workload.task = Task::Image {
            image: "registry.invalid/app:1".into(),
            command: None,
            args: Vec::new(),
            working_dir: None,
        };
    });
    check(image, "needs an image").await;
    let tmpfs = sh("x").change(|run| {
        run.workload.volumes.push(Volume::Tmpfs {
            size_bytes: 1,
            path: "/tmp".into(),
        });
    });
    check(tmpfs, "tmpfs").await;
    check(
        sh("x").change(|run| run.workload.capabilities.push("NET_ADMIN".into())),
        "capabilities",
    )
    .await;
    let host = Host::new();
    let error = host
        .runtime
        .prepare("registry.invalid/app:1", PullPolicy::Missing)
        .await;
    assert_eq!(error.unwrap_err().kind, FailureKind::Rejected);
}
