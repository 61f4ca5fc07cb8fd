//! Probes against a real server.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use tokio::net::TcpListener;

use std::time::Duration;

use evenkeel::agent::probe::{Answer, Probed, Prober};
use evenkeel::agent::runtime::fake::FakeRuntime;
use evenkeel::agent::step::{DOCKER, OpKind, Probing};
use evenkeel::model::instance::ProbeKind;
use evenkeel::model::spec::{Check, Probe};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::testing;

fn probing(check: Check, address: &str) -> Probing {
    Probing {
        probe: Probe {
            check,
            timeout: Duration::from_millis(500),
            ..testing::tcp_probe()
        },
        run: 1,
        runtime: DOCKER,
        address: Some(Ok(address.to_owned())),
        quick: true,
    }
}

fn http(path: &str) -> Check {
    Check::Http {
        port: "http".into(),
        path: path.into(),
        status: vec![(200, 299)],
    }
}

async fn serve() -> String {
    let grpc = |headers: HeaderMap, body: bytes::Bytes| async move {
        assert_eq!(headers["content-type"], "application/grpc");
        let answer: Vec<u8> = match body.get(7..) {
            None => vec![0, 0, 0, 0, 2, 8, 1],
            Some(b"sick") => vec![0, 0, 0, 0, 2, 8, 2],
            Some(_) => return ([("grpc-status", "5"), ("grpc-message", "who?")], vec![]),
        };
        ([("grpc-status", "0"), ("x", "y")], answer)
    };
    let app = Router::new()
        .route("/ok", get(|| async { "fine" }))
        .route(
            "/sick",
            get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "database\nis\u{7} down") }),
        )
        .route(
            "/big",
            get(|| async { (StatusCode::INTERNAL_SERVER_ERROR, "x".repeat(1 << 20)) }),
        )
        .route(
            "/away",
            get(|| async { (StatusCode::FOUND, [("location", "/ok")], "") }),
        )
        .route("/slow", get(std::future::pending::<&str>))
        .route("/grpc.health.v1.Health/Check", post(grpc));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn ask(check: Check, address: &str) -> Answer {
    let prober = Prober::new().unwrap();
    prober
        .ask(testing::id(1), &probing(check, address), None)
        .await
}

fn closed_port() -> String {
    format!("127.0.0.1:{}", crate::free_port::free_port())
}

#[tokio::test]
async fn http_answers_are_told_in_full_but_bounded() {
    let at = serve().await;
    let url = format!("GET http://{at}");
    let cases = [
        ("/ok", Answer::Passed(format!("{url}/ok: 200 OK"))),
        (
            "/sick",
            Answer::Failed(format!(
                "{url}/sick: 503 Service Unavailable: database is down"
            )),
        ),
        ("/away", Answer::Failed(format!("{url}/away: 302 Found"))),
        (
            "/slow",
            Answer::Failed(format!("{url}/slow: no answer within 500ms")),
        ),
    ];
    for (path, expected) in cases {
        assert_eq!(ask(http(path), &at).await, expected);
    }
    let Answer::Failed(text) = ask(http("/big"), &at).await else {
        panic!("500 passes");
    };
    assert!(text.len() < 300, "{text}");
    let at = closed_port();
    let refused = format!("GET http://{at}/: connection refused");
    assert_eq!(ask(http("/"), &at).await, Answer::Failed(refused));
}

#[tokio::test]
async fn tcp_says_whether_something_listens() {
    let check = Check::Tcp { port: "p".into() };
    let at = serve().await;
    let accepted = format!("tcp {at}: accepted");
    assert_eq!(ask(check.clone(), &at).await, Answer::Passed(accepted));
    let at = closed_port();
    let refused = format!("tcp {at}: connection refused");
    assert_eq!(ask(check, &at).await, Answer::Failed(refused));
}

#[tokio::test]
async fn grpc_speaks_the_health_protocol() {
    let at = serve().await;
    let check = |service: &str| Check::Grpc {
        port: "p".into(),
        service: service.into(),
    };
    let cases = [
        ("", Answer::Passed(format!("grpc {at}: SERVING"))),
        (
            "sick",
            Answer::Failed(format!("grpc {at} sick: NOT_SERVING")),
        ),
        (
            "who",
            Answer::Failed(format!("grpc {at} who: status 5 who?")),
        ),
    ];
    for (service, expected) in cases {
        assert_eq!(ask(check(service), &at).await, expected);
    }
}

#[tokio::test]
async fn commands_are_asked_of_the_runtime() {
    let fake = FakeRuntime::new(DOCKER);
    let instance = testing::instance(1);
    fake.plant(&instance);
    let prober = Prober::new().unwrap();
    let ask = async |command: &[&str]| {
        let command = command.iter().map(|w| (*w).to_owned()).collect();
        let mut probing = probing(Check::Exec { command }, "");
        probing.address = None;
        prober.ask(instance.id, &probing, Some(&fake)).await
    };
    let text = |s: &str| s.to_owned();
    assert_eq!(
        ask(&["echo", "hi"]).await,
        Answer::Passed(text("exec echo hi: exit code 0"))
    );
    assert_eq!(
        ask(&["exit", "3"]).await,
        Answer::Failed(text("exec exit 3: exit code 3"))
    );
    assert!(matches!(ask(&["hang"]).await, Answer::Failed(_)));
    fake.go_down("the Engine does not answer");
    assert_eq!(ask(&["exit", "3"]).await, Answer::Unknown);
    assert_eq!(fake.count(OpKind::Create), 0);
}

#[tokio::test]
async fn a_port_without_an_address_says_so() {
    let mut probing = probing(http("/"), "");
    probing.address = Some(Err("no such port".into()));
    let prober = Prober::new().unwrap();
    let answer = prober.ask(testing::id(1), &probing, None).await;
    assert_eq!(answer, Answer::Failed("no such port".into()));
}

#[tokio::test]
async fn readiness_is_noticed_long_before_the_interval_ends() {
    let address = closed_port();
    let (answers, mut told) = mpsc::channel(100);
    let cancel = CancellationToken::new();
    let mut probing = probing(Check::Tcp { port: "p".into() }, &address);
    probing.probe.interval = Duration::from_secs(3600);
    let prober = Prober::new().unwrap();
    let running = tokio::spawn(prober.run(
        testing::id(1),
        ProbeKind::Readiness,
        probing,
        None,
        answers,
        cancel.clone(),
    ));
    let wait = Duration::from_secs(10);
    let next = async |told: &mut mpsc::Receiver<Probed>| {
        let next = tokio::time::timeout(wait, told.recv()).await;
        next.expect("an answer comes")
            .expect("it goes on")
            .answer
            .passed
    };
    for _ in 0..5 {
        assert!(!next(&mut told).await);
    }
    let _listener = TcpListener::bind(&address).await.unwrap();
    while !next(&mut told).await {}
    cancel.cancel();
    tokio::time::timeout(wait, running).await.unwrap().unwrap();
}
