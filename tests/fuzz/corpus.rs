//! Where the fuzzing starts: honest inputs of every kind, and a few known to be nasty.

use std::path::Path;

const WHOLE: &str = r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {name: web, project: shop, labels: {tier: front}}
spec:
  image: registry.local/web:1.4
  command: ["/bin/web"]
  env: {LOG: info}
  files: {/etc/web.conf: conf/web.conf}
  volumes:
    - {name: data, path: /var/lib/web}
    - {tmpfs: 64Mi, path: /tmp}
  user: "1000:1000"
  resources: {requests: {cpu: 250m, memory: 128Mi}, limits: {cpu: "1", memory: 256Mi}}
  replicas: 3
  ports: [{name: http, port: 8080, hostPort: 80, protocol: tcp}]
  routes: [{host: shop.example, path: /, port: http}]
  health:
    startup: {tcp: {port: http}, interval: 1s, failureThreshold: 30}
    readiness: {http: {port: http, path: /healthz, status: "200-399"}, interval: 2s}
    liveness: {exec: ["/bin/check"], interval: 10s}
  rollout: {strategy: rolling, maxSurge: 25%, maxUnavailable: 0, bakeTime: 5s}
  placement:
    strategy: spread
    constraints:
      - {attribute: zone, operator: in, values: [a, b]}
      - {attribute: kernel, operator: ">=", value: "5.10", as: version}
      - {unique: node}
      - {maxPer: 2, attribute: rack}
    spreadOver: [{attribute: zone, weights: {a: 2, b: 1}}]
  dependsOn: [db]
"#;

const REPORT: &str = r#"{"node":"n","session":"00000000-0000-0000-0000-000000000001","sequence":1,"facts":{"address":"127.0.0.1","capacity":{"cpuMillis":1,"memoryBytes":1},"attributes":{"os":"linux"},"agentVersion":"1"},"applied":[1,2],"full":true,"instances":[{"id":"00000000-0000-0000-0000-000000000002","phase":"running","readyMs":1,"runningMs":2,"exits":0,"restarts":0,"containerId":"c","ports":{"http":"127.0.0.1:1"},"lastExit":null,"lastProbe":null,"failure":null,"logTail":["x"]}],"images":{},"notes":[]}"#;

const PUSHES: [&str; 4] = [
    r#"{"ref":"refs/heads/main","before":"0123456789012345678901234567890123456789","after":"1123456789012345678901234567890123456789","repository":{"full_name":"team/apps","clone_url":"https://forge.example/team/apps.git","html_url":"https://forge.example/team/apps","default_branch":"main"},"pusher":{"login":"ada"},"head_commit":{"id":"1123456789012345678901234567890123456789"},"commits":[]}"#,
    r#"{"action":"synchronized","number":3,"pull_request":{"number":3,"title":"t","state":"open","merged":false,"head":{"ref":"x","sha":"1123456789012345678901234567890123456789","repo":{"full_name":"a/b"}},"base":{"ref":"main","sha":"0123456789012345678901234567890123456789","repo":{"full_name":"a/b"}}},"repository":{"full_name":"a/b"}}"#,
    r#"{"object_kind":"push","ref":"refs/heads/main","before":"0123456789012345678901234567890123456789","after":"1123456789012345678901234567890123456789","project":{"path_with_namespace":"a/b"}}"#,
    r#"{"push":{"changes":[{"new":{"type":"branch","name":"main","target":{"hash":"1123456789012345678901234567890123456789"}},"old":null}]},"repository":{"full_name":"a/b"}}"#,
];

/// At least one.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let texts: Vec<String> = match target {
        "specs" => specs(),
        "quantities" => ["250m", "1", "0.5", "128Mi", "1Gi", "1e3", "1500", "500ms", "1h30m", "2m", "0s", "1.5h"]
            .map(str::to_owned)
            .to_vec(),
        "constraints" => [
            "zone\0==\0a\0\0a",
            "kernel\0>=\x005.10\0version\x006.1.0-rc1",
            "rack\0<\x0010\0number\x009.5",
            "name\0matches\0^(a|b)+$\0\0abab",
            "zone\0in\0a\0\0b",
            "zone\0exists\0\0\0",
            "zone\0matches\0(((a*)*)*)*b\0\0aaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ]
        .map(str::to_owned)
        .to_vec(),
        "hooks" => PUSHES
            .iter()
            .flat_map(|body| (0..8u8).map(move |n| format!("{}{body}", char::from(n))))
            .chain(["\u{7}payload=%7B%22ref%22%3A%22refs%2Fheads%2Fmain%22%7D".to_owned()])
            .collect(),
        "messages" => vec![REPORT.to_owned(), r#"{"kind":"ping"}"#.to_owned(),
            r#"{"kind":"logs","id":"00000000-0000-0000-0000-000000000001","instance":"00000000-0000-0000-0000-000000000002","tail":1,"follow":true}"#.to_owned()],
        "reports" => super::reports::seeds(),
        "trees" => return super::trees::seeds(),
        other => panic!("no corpus for {other}"),
    };
    texts.into_iter().map(String::into_bytes).collect()
}

fn specs() -> Vec<String> {
    let mut all = vec![
        WHOLE.to_owned(),
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n".to_owned(),
        "{\"apiVersion\": \"evenkeel.dev/v1\", \"kind\": \"Job\"}".to_owned(),
        "apiVersion: evenkeel.dev/v1\nkind: Source\nmetadata: {name: s}\nspec: {url: https://x.example/a.git}\n".to_owned(),
    ];
    examples(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("examples-repo"),
        &mut all,
    );
    assert!(all.len() > 5, "where are the examples?");
    all
}

fn examples(folder: &Path, all: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            examples(&path, all);
        } else if path.extension().is_some_and(|e| e == "yaml") {
            all.push(std::fs::read_to_string(path).unwrap());
        }
    }
}
