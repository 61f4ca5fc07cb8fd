//! Output: kept, bounded, rotated, followed.

use evenkeel::agent::runtime::process::LogLimits;
use evenkeel::agent::runtime::{LogQuery, Runtime};
use futures_util::StreamExt;

use crate::support::{Host, sh};

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_keeps_up_loses_nothing_over_rotations() {
    let host = Host::with_logs(LogLimits {
        file_bytes: 8 << 10,
        files: 3,
    });
    let it = sh("echo first; while [ ! -e go ]; do sleep 0.02; done; \
                 i=0; while [ $i -lt 2000 ]; do i=$((i+1)); echo \"line $i of many that are written\"; \
                 [ $((i % 100)) = 0 ] && sleep 0.15; done");
    host.run(&it).await.unwrap();
    let follow = LogQuery {
        tail: 10,
        follow: true,
    };
    let mut lines = host.runtime.logs(it.id, follow).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap(), "first");
    std::fs::write(host.folder(it.id).join("work/go"), "").unwrap();
    let lines: Vec<String> = lines.map(Result::unwrap).collect().await;
    let expected: Vec<String> = (1..=2000)
        .map(|i| format!("line {i} of many that are written"))
        .collect();
    assert_eq!(lines, expected);

    let kept: u64 = std::fs::read_dir(host.folder(it.id).join("logs"))
        .unwrap()
        .map(|file| file.unwrap().metadata().unwrap().len())
        .sum();
    assert!((16 << 10..=25 << 10).contains(&kept), "{kept}");
    let tail = LogQuery {
        tail: 300,
        follow: false,
    };
    let last: Vec<String> = host
        .runtime
        .logs(it.id, tail)
        .await
        .unwrap()
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(last, expected[1700..]);
}

#[tokio::test(flavor = "multi_thread")]
async fn output_of_any_kind_is_taken_in_order() {
    let host = Host::new();
    let it = sh(
        "echo out; echo err >&2; printf 'a\\000b\\377\\n'; head -c 40000 /dev/zero | tr '\\0' x; echo; printf end",
    );
    host.run(&it).await.unwrap();
    host.exit(it.id).await;
    let lines = host.lines(it.id).await;
    assert_eq!(lines[..3], ["out", "err", "a\0b\u{fffd}"]);
    let pieces: Vec<usize> = lines[3..6].iter().map(String::len).collect();
    assert_eq!(pieces, [16384, 16384, 40000 - 2 * 16384]);
    assert_eq!(lines[6..], ["end"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_neither_blocks_the_program_nor_the_supervisor() {
    let host = Host::with_logs(LogLimits {
        file_bytes: 1 << 20,
        files: 2,
    });
    let it = sh("trap 'exit 0' TERM; echo up; while :; do head -c 10000000 /dev/zero; done");
    host.run(&it).await.unwrap();
    host.first_line(it.id).await;
    // Whenever it is asked, also in the middle of a rotation.
    for _ in 0..500 {
        let last = LogQuery {
            tail: 1,
            follow: false,
        };
        let mut lines = host.runtime.logs(it.id, last).await.unwrap();
        assert!(lines.next().await.is_some());
    }
    let began = std::time::Instant::now();
    let grace = std::time::Duration::from_secs(30);
    host.runtime.stop(it.id, grace).await.unwrap();
    assert!(began.elapsed() < grace);
    assert_eq!(host.exit(it.id).await.0.code, Some(0));
}
