//! What a program finds: environment, files, folders, user, descriptors.

use std::time::Duration;

use crate::support::{Host, With, command, sh};

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_clean_and_says_who_it_is() {
    let host = Host::new();
    let it = command(&["/usr/bin/env"])
        .env("LOG", "info")
        .port("web-api", None);
    host.run(&it).await.unwrap();
    host.exit(it.id).await;
    let port = host.found(it.id).await.published_ports["web-api"];
    let folder = host.folder(it.id);
    let mut lines = host.lines(it.id).await;
    lines.sort();
    let expected = [
        "EVENKEEL_APP=web".to_owned(),
        format!("EVENKEEL_FILES={}/files", folder.display()),
        format!("EVENKEEL_INSTANCE={}", it.id),
        "EVENKEEL_PROJECT=shop".to_owned(),
        "EVENKEEL_SLOT=2".to_owned(),
        format!("HOME={}/work", folder.display()),
        "LANG=C.UTF-8".to_owned(),
        "LOG=info".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        format!("PORT_WEB_API={port}"),
        format!("TMPDIR={}/tmp", folder.display()),
    ];
    assert_eq!(lines, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_there_and_programs_are_found_on_the_path() {
    let host = Host::new();
    let it =
        command(&["cat", "${EVENKEEL_FILES}/etc/web.conf"]).file("/etc/web.conf", "listen 80\n");
    host.run(&it).await.unwrap();
    assert_eq!(host.exit(it.id).await.0.code, Some(0));
    assert_eq!(host.lines(it.id).await, ["listen 80"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_has_nothing_of_ours_open_and_a_session_of_its_own() {
    let host = Host::new();
    let script = "ls /proc/self/fd | tr '\\n' ' '; echo; readlink /proc/self/fd/0; \
                  cut -d' ' -f1,5,6 /proc/$$/stat; ulimit -c; grep -E 'NoNewPrivs|SigBlk|SigIgn' /proc/self/status; \
                  cat /proc/$$/oom_score_adj; pwd";
    let it = sh(script);
    host.run(&it).await.unwrap();
    host.exit(it.id).await;
    let lines = host.lines(it.id).await;
    // The fourth descriptor is the listing's own.
    assert_eq!(lines[0].trim(), "0 1 2 3");
    assert_eq!(lines[1], "/dev/null");
    let ids: Vec<&str> = lines[2].split(' ').collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "{ids:?}");
    assert_eq!(lines[3], "0", "no core dumps");
    assert_eq!(lines[4], "SigBlk:\t0000000000000000");
    let ignored = u64::from_str_radix(lines[5].strip_prefix("SigIgn:\t").unwrap(), 16).unwrap();
    assert_eq!(
        ignored & (1 << 12),
        0,
        "our own disregard of SIGPIPE is not handed on"
    );
    assert_eq!(lines[6], "NoNewPrivs:\t1");
    assert_eq!(lines[7], "0");
    assert_eq!(lines[8], host.folder(it.id).join("work").to_str().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_taken_on_with_all_it_owns() {
    let host = Host::new();
    let it = sh("id -u; id -g; id -G; echo x > $TMPDIR/x && cat $EVENKEEL_FILES/a")
        .user("12345:12346")
        .file("/a", "readable");
    host.run(&it).await.unwrap();
    assert_eq!(host.exit(it.id).await.0.code, Some(0));
    assert_eq!(
        host.lines(it.id).await,
        ["12345", "12346", "12346", "readable"]
    );

    let by_name = sh("id -un").user("nobody");
    host.run(&by_name).await.unwrap();
    host.exit(by_name.id).await;
    assert_eq!(host.lines(by_name.id).await, ["nobody"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_program_wrote_is_there_after_a_restart_and_gone_after_remove() {
    let host = Host::new();
    let it = sh("echo again >> notes; wc -l < notes");
    host.run(&it).await.unwrap();
    host.exit(it.id).await;
    evenkeel::agent::runtime::Runtime::start(&host.runtime, it.id)
        .await
        .unwrap();
    crate::support::until("it ran twice", async || host.lines(it.id).await.len() == 2).await;
    assert_eq!(host.lines(it.id).await, ["1", "2"]);
    evenkeel::agent::runtime::Runtime::remove(&host.runtime, it.id)
        .await
        .unwrap();
    assert!(!host.folder(it.id).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_named_volume_outlives_its_instance() {
    use evenkeel::agent::runtime::Runtime;
    use evenkeel::model::spec::Volume;
    let host = Host::new();
    let with_volume = |script: &str| {
        sh(script).change(|run| {
            run.workload.volumes.push(Volume::Named {
                name: "data".into(),
                path: "/var/lib/web".into(),
                read_only: false,
            });
        })
    };
    let first = with_volume("echo kept > $VOLUME_DATA/x");
    host.run(&first).await.unwrap();
    assert_eq!(host.exit(first.id).await.0.code, Some(0));
    host.runtime.remove(first.id).await.unwrap();
    let second = with_volume("cat $VOLUME_DATA/x");
    host.run(&second).await.unwrap();
    assert_eq!(host.first_line(second.id).await, "kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_inside_share_everything_but_the_process() {
    use evenkeel::agent::runtime::Runtime;
    let host = Host::new();
    let it = sh("echo mine > notes; echo up; exec sleep 1000")
        .env("WORD", "hi")
        .user("12345:12346")
        .port("http", None);
    host.run(&it).await.unwrap();
    host.first_line(it.id).await;
    let limit = Duration::from_secs(10);
    let run = async |words: &[&str]| {
        let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
        host.runtime.exec(it.id, &words, limit).await.unwrap()
    };
    let port = host.found(it.id).await.published_ports["http"];
    let result = run(&[
        "/bin/sh",
        "-c",
        "cat notes; echo $WORD; id -u; echo ${PORT_HTTP} >&2",
    ])
    .await;
    assert_eq!(result.output, format!("mine\nhi\n12345\n{port}\n"));
    let group = run(&["cat", "/proc/self/cgroup"]).await.output;
    assert!(group.contains(&it.id.to_string()), "{group}");
    let result = run(&["sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; exit 9"]).await;
    assert_eq!((result.code, result.output.len()), (9, 4096));
    let result = run(&["no-such-program"]).await;
    assert_eq!(result.code, 127, "{}", result.output);
    assert!(result.output.contains("no-such-program"));
    // A child that stays behind with the output open keeps nobody waiting.
    let result = run(&["sh", "-c", "sleep 1000 & echo $!"]).await;
    assert_eq!(result.code, 0);

    let began = std::time::Instant::now();
    let slow = ["sh", "-c", "echo $$; sleep 1000"].map(str::to_owned);
    let error = host
        .runtime
        .exec(it.id, &slow, Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    let pid: i32 = error
        .message
        .rsplit(": ")
        .next()
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    crate::support::until("it was killed", async || !crate::support::is_alive(pid)).await;

    let left: i32 = result.output.trim().parse().unwrap();
    assert!(crate::support::is_alive(left));
    host.runtime.stop(it.id, Duration::ZERO).await.unwrap();
    assert!(!crate::support::is_alive(left), "it goes with the instance");
}
