//! Against a socket that answers like Engines of several ages.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::*;

/// Answers `/version` as told and everything else with `OK`; remembers the paths.
fn fake_engine(newest: &str, oldest: &str) -> (tempfile::TempDir, Engine, Arc<Mutex<Vec<String>>>) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let paths = Arc::new(Mutex::new(Vec::new()));
    let version =
        format!(r#"{{"Version":"x","ApiVersion":"{newest}","MinAPIVersion":"{oldest}"}}"#);
    let seen = paths.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap_or(0);
            let text = String::from_utf8_lossy(&request[..n]).into_owned();
            let path = text.split(' ').nth(1).unwrap_or("").to_owned();
            let body = if path.ends_with("/version") {
                version.as_str()
            } else if path.ends_with("/info") {
                r#"{"NCPU":4}"#
            } else {
                "OK"
            };
            seen.lock().unwrap().push(path);
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let engine = Engine::new(&format!("unix://{}", socket.display()));
    (folder, engine, paths)
}

async fn ping(engine: &Engine) -> Result<String, CallError> {
    engine
        .call(CALL_DEADLINE, |d| async move { d.ping().await })
        .await
}

#[tokio::test]
async fn requests_carry_the_newest_version_both_sides_understand() {
    let ours = API_DEFAULT_VERSION.to_string();
    for (newest, oldest, agreed) in [
        ("1.41", "1.12", "1.41"),
        ("1.44", "1.24", "1.44"),
        // Docker 29 refuses everything below 1.44.
        ("1.52", "1.44", "1.52"),
        ("1.99", "1.44", ours.as_str()),
    ] {
        let (_folder, engine, paths) = fake_engine(newest, oldest);
        ping(&engine).await.unwrap();
        ping(&engine).await.unwrap();
        let ping_path = format!("/v{agreed}/_ping");
        let info_path = format!("/v{agreed}/info");
        let expected = ["/version", &info_path, &ping_path, &ping_path].map(str::to_owned);
        assert_eq!(
            *paths.lock().unwrap(),
            expected,
            "Engine {oldest} to {newest}"
        );
    }
}

#[tokio::test]
async fn an_engine_of_another_age_is_refused_with_both_ranges_named() {
    for (newest, oldest) in [("1.40", "1.12"), ("1.99", "1.98")] {
        let (_folder, engine, _) = fake_engine(newest, oldest);
        let error = ping(&engine).await.unwrap_err();
        assert!(error.is_unavailable());
        assert!(error.to_string().contains(newest), "{error}");
    }
}

#[tokio::test]
async fn an_outage_lasts_from_the_last_answer_to_the_next() {
    let (folder, engine, _) = fake_engine("1.41", "1.12");
    ping(&engine).await.unwrap();
    let before = clock::now();
    let socket = folder.path().join("docker.sock");
    let aside = folder.path().join("aside");
    std::fs::rename(&socket, &aside).unwrap();
    assert!(ping(&engine).await.unwrap_err().is_unavailable());
    std::fs::rename(&aside, &socket).unwrap();
    ping(&engine).await.unwrap();
    assert!(engine.was_down_at(before));
    assert!(!engine.was_down_at(before + Duration::from_secs(60)));
    assert!(!engine.was_down_at(before - Duration::from_secs(60)));
}
