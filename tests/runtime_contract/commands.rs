//! The rules of commands inside an instance.

use std::time::{Duration, Instant};

use evenkeel::agent::runtime::{Error, Runtime, Said};
use evenkeel::model::InstanceId;
use tokio::sync::mpsc;

use crate::harness::{Behaviour, Harness, instance, run, until_running};
use crate::rules::GRACE;
use crate::running;

pub async fn commands_run_inside(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance(h, Behaviour::RunOn);
    run(h, &it).await.unwrap();
    until_running(&*r, it.id).await;
    let limit = Duration::from_secs(10);
    let result = r.exec(it.id, &h.exec_exit(3), limit).await.unwrap();
    assert_eq!(result.code, 3);
    let result = r.exec(it.id, &h.exec_print("hi"), limit).await.unwrap();
    assert_eq!((result.code, result.output.trim()), (0, "hi"));
    let began = Instant::now();
    let short = Duration::from_millis(300);
    assert!(r.exec(it.id, &h.exec_hang(), short).await.is_err());
    assert!(began.elapsed() < Duration::from_secs(5));
    r.stop(it.id, GRACE).await.unwrap();
    assert!(r.exec(it.id, &h.exec_exit(0), limit).await.is_err());
}

/// Runs it to its end with somebody who listens: code, output, error output.
async fn listen(
    r: &dyn Runtime,
    id: InstanceId,
    command: &[String],
) -> (Result<i32, Error>, Vec<u8>, Vec<u8>) {
    let (said, mut heard) = tokio::sync::mpsc::channel(1);
    let listening = async {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        while let Some(piece) = heard.recv().await {
            match piece {
                Said::Out(bytes) => out.extend_from_slice(&bytes),
                Said::Err(bytes) => err.extend_from_slice(&bytes),
            }
        }
        (out, err)
    };
    let limit = Duration::from_secs(10);
    let (ended, (out, err)) = tokio::join!(r.exec_streamed(id, command, limit, said), listening);
    (ended, out, err)
}

pub async fn commands_are_heard_while_they_run(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance(h, Behaviour::RunOn);
    run(h, &it).await.unwrap();
    until_running(&*r, it.id).await;
    let (ended, out, err) = listen(&*r, it.id, &h.exec_both("one", "two")).await;
    assert_eq!(
        (ended.unwrap(), &*out, &*err),
        (0, &b"one"[..], &b"two"[..])
    );
    let (ended, ..) = listen(&*r, it.id, &h.exec_exit(3)).await;
    assert_eq!(ended.unwrap(), 3);

    // A deadline ends it, and so does who listened by leaving.
    let began = Instant::now();
    let (said, _heard) = tokio::sync::mpsc::channel(1);
    let short = Duration::from_millis(300);
    let late = r.exec_streamed(it.id, &h.exec_hang(), short, said).await;
    late.unwrap_err();
    let (said, heard) = tokio::sync::mpsc::channel(1);
    drop(heard);
    let long = Duration::from_secs(1000);
    let alone = r.exec_streamed(it.id, &h.exec_hang(), long, said).await;
    assert!(alone.unwrap_err().message.contains("nobody reads"));
    assert!(began.elapsed() < Duration::from_secs(10));

    r.stop(it.id, GRACE).await.unwrap();
    let (ended, ..) = listen(&*r, it.id, &h.exec_exit(0)).await;
    assert!(ended.is_err());
}

/// However early it leaves: also before the command has begun, and while it begins.
pub async fn a_command_ends_with_its_reader(h: &dyn Harness) {
    let r = h.runtime();
    let it = instance(h, Behaviour::RunOn);
    run(h, &it).await.unwrap();
    until_running(&*r, it.id).await;
    let process = h.exec_process(fastrand::u32(100_000..200_000));
    let command = process.clone().unwrap_or_else(|| h.exec_hang());
    let until_it = async |runs| match &process {
        Some(words) => until(runs, words).await,
        None => tokio::task::yield_now().await,
    };
    for round in 0..40 {
        let (said, heard) = mpsc::channel(1);
        let leaving = async {
            match round {
                // Nothing is waited for: each time at another moment of its beginning.
                0..20 => tokio::time::sleep(Duration::from_millis(2 * round)).await,
                _ => until_it(true).await,
            }
            drop(heard);
        };
        let limit = Duration::from_secs(1000);
        let running = r.exec_streamed(it.id, &command, limit, said);
        let (ended, ()) = tokio::join!(running, leaving);
        assert!(ended.unwrap_err().message.contains("nobody reads"));
        until_it(false).await;
    }
}

/// Waits, at most 10 s, until a process of these words runs, or none does.
async fn until(runs: bool, words: &[String]) {
    let end = Instant::now() + Duration::from_secs(10);
    let line = words.join(" ");
    while running::runs(&line) != runs {
        assert!(Instant::now() < end, "{words:?} runs: {}", !runs);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
