use super::*;

#[test]
fn the_smallest_app_is_fine() {
    assert_eq!(check(&spec("")), "ok");
}

#[test]
fn the_canonical_app_answers_only_what_is_not_supported_yet() {
    let text = check(include_str!("canonical.yaml"));
    let told: Vec<(&str, bool)> = text
        .lines()
        .map(|l| {
            let place = l.split(": ").next().unwrap();
            (place, l.contains("not supported yet"))
        })
        .collect();
    assert_eq!(
        told,
        [
            ("12:45 spec.env.DB_PASSWORD.secretRef", true),
            ("17:18 spec.volumes[2].hostPath", false),
            ("24:12 spec.routes[0]", true),
            ("46:18 spec.placement.spreadOver[0]", true),
            ("47:16 spec.placement.affinity[0]", true),
            ("50:15 spec.dependsOn[0]", true),
            ("52:13 spec.priority", true),
        ]
    );
}

#[test]
fn defaults_are_the_documented_ones() {
    use crate::model::quantity::{CountOrPercent, Resources};
    use crate::model::spec::*;
    use std::time::Duration;
    let s = Duration::from_secs;
    let checked = checked(
        spec("ports: [{name: http, port: 80}]\nhealth: {readiness: {http: {port: http}}}")
            .as_bytes(),
    );
    let app = checked.catalog.apps.values().next().unwrap();
    assert_eq!(app.app.to_string(), "shop/web");
    assert_eq!((app.path.as_str(), app.line), ("app.yaml", 1));
    let expected = AppSpec {
        labels: Default::default(),
        workload: Workload {
            task: Task::Image {
                image: "web:1".into(),
                command: None,
                args: vec![],
                working_dir: None,
            },
            env: Default::default(),
            files: Default::default(),
            volumes: vec![],
            ports: vec![Port {
                name: "http".into(),
                port: 80,
                host_port: None,
                protocol: Protocol::Tcp,
            }],
            user: None,
            capabilities: vec![],
        },
        image_pull_policy: PullPolicy::Missing,
        replicas: 1,
        requests: Resources::default(),
        limits: Limits::default(),
        health: Health {
            startup: None,
            readiness: Some(Probe {
                check: Check::Http {
                    port: "http".into(),
                    path: "/".into(),
                    status: vec![(200, 399)],
                },
                interval: s(10),
                timeout: s(1),
                success_threshold: 1,
                failure_threshold: 3,
                grace_period: s(0),
            }),
            liveness: None,
        },
        rollout: RolloutPolicy {
            strategy: Strategy::Rolling,
            max_surge: CountOrPercent::Count(1),
            max_unavailable: CountOrPercent::Count(0),
            min_healthy_time: s(10),
            healthy_deadline: s(300),
            start_attempts: 3,
            progress_deadline: s(600),
            bake_time: s(0),
            on_failure: OnFailure::Rollback,
        },
        placement: Placement {
            strategy: PlacementStrategy::Spread,
            constraints: vec![],
        },
        restart: RestartPolicy {
            backoff: s(1),
            factor: 2.0,
            max: s(60),
        },
        stop_grace_period: s(10),
        on_node_loss: OnNodeLoss {
            action: NodeLossAction::Reschedule,
            after: s(60),
        },
    };
    assert_eq!(*app.spec, expected);
    assert_eq!(app.digest, expected.digest());
}

/// Lines of a spec beside `image: web:1` (the first is line 7) → what is said of them.
#[test]
fn every_rule_of_a_spec_is_told_at_its_place() {
    const PORTS: &str = "ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: udp}]\n";
    let cases: &[(&str, &str)] = &[
        // Shape.
        (
            "replica: 3",
            "7:3 spec.replica: unknown key \"replica\" (did you mean \"replicas\"?)",
        ),
        ("max_surge: 3", "7:3 spec.max_surge: unknown key"),
        (
            "rollout: {max_surge: 3}",
            "7:13 spec.rollout.max_surge: unknown key \"max_surge\" (did you mean \"maxSurge\"?)",
        ),
        (
            "replicas: three",
            "7:13 spec.replicas: expected a whole number from 0 to 4294967295, found \"three\"",
        ),
        ("replicas: \"3\"", "found \"3\" (remove the quotes)"),
        ("replicas: -1", "expected a whole number from 0"),
        (
            "replicas: 99999999999999999999999",
            "expected a whole number",
        ),
        ("replicas: [3]", "found a list"),
        (
            "replicas: 10001",
            "7:13 spec.replicas: 10001 replicas are more than the 10000",
        ),
        (
            "ports: http",
            "7:10 spec.ports: expected a list, found text (write each item after \"- \", or all in [ ])",
        ),
        ("env: [A=b]", "7:8 spec.env: expected a mapping"),
        ("args: [a, , b]", "not valid YAML"),
        ("args: [a, ~]", "this item of the list is empty"),
        (
            "rollout: {strategy: bluegreen}",
            "is none of the possible values: rolling, blueGreen, canary, recreate (did you mean \"blueGreen\"?)",
        ),
        ("imagePullPolicy: Missing", "(did you mean \"missing\"?)"),
        (
            "volumes: [{name: d, path: /d, readOnly: yes}]",
            "expected true or false, found \"yes\" (write true)",
        ),
        (
            "replicas: 2\nreplicas: 3",
            "8:3 : \"replicas\" is set twice; the first is in line 7 (keep one of the two)",
        ),
        (
            "image: other:2",
            "7:3 : \"image\" is set twice; the first is in line 6",
        ),
        ("user: !me x", "specs have no YAML tags"),
        // What runs.
        (
            "process: {command: [x]}",
            "7:12 spec.process: an app runs an image or a process, and this one names both",
        ),
        ("command: []", "an empty command runs nothing"),
        (
            "workingDir: srv",
            "\"srv\" cannot be used as a path: it must be absolute",
        ),
        ("user: root", "ok"),
        ("user: 1000", "ok"),
        ("user: \"1000:1000:1\"", "is not a user"),
        ("user: \"4294967295\"", "is not a user"),
        ("user: \"a b\"", "is not a user"),
        ("capabilities: {add: [NET_BIND_SERVICE, CHOWN]}", "ok"),
        (
            "capabilities: {add: [CAP_CHOWN]}",
            "\"CAP_CHOWN\" is not a Linux capability (did you mean \"CHOWN\"?)",
        ),
        ("capabilities: {add: [ALL]}", "all capabilities together"),
        // Environment and files.
        ("env: {A: 1.10, B: yes, C: \"\", D: 0x10}", "ok"),
        (
            "env: {A: }",
            "\"A\" has no value (write \"\" for an empty one)",
        ),
        ("env: {1A: x}", "it starts with a digit"),
        (
            "env: {A=B: x}",
            "cannot be the name of an environment variable",
        ),
        ("env: {A: [x]}", "expected text, found a list"),
        ("env: {A: {secretRef: {name: a}}}", "not supported yet"),
        ("env: {A: {secret: x}}", "unknown key \"secret\""),
        ("files: {/etc/a: conf/web.conf}", "ok"),
        ("files: {/etc/a: ./conf/../conf/web.conf}", "ok"),
        (
            "files: {/etc/a: conf/none}",
            "7:19 spec.files[\"/etc/a\"]: there is no file \"conf/none\" in this commit",
        ),
        (
            "files: {/etc/a: conf/big.bin}",
            "more than the 256KiB of one file",
        ),
        (
            "files: {/etc/a: conf/link}",
            "is a symlink, and only plain files are read",
        ),
        ("files: {etc/a: conf/web.conf}", "it must be absolute"),
        (
            "files: {/etc/../a: conf/web.conf}",
            "\"..\" are not allowed",
        ),
        (
            "files: {/etc/a: ../web.conf}",
            "leads out of the source's folder",
        ),
        ("files: {/etc/a: /etc/passwd}", "not absolutely"),
        ("files: {/etc/a: .git/config}", "it is inside .git"),
        ("files: {/etc/a: conf/}", "it is a folder"),
        // Volumes.
        (
            "volumes: [{name: d, path: /d}, {tmpfs: 1Mi, path: /t}]",
            "ok",
        ),
        (
            "volumes: [{name: d, path: /d}, {tmpfs: 1Mi, path: /d}]",
            "\"/d\" is also the path of volumes[0]",
        ),
        (
            "volumes: [{name: d, path: /d}, {name: d, path: /e}]",
            "mounted already by volumes[0]",
        ),
        ("volumes: [{path: /d}]", "and this one has none"),
        (
            "volumes: [{name: d, tmpfs: 1Mi, path: /d}]",
            "exactly one of",
        ),
        ("volumes: [{name: d}]", "\"path\" is missing"),
        ("volumes: [{name: d, path: d}]", "it must be absolute"),
        ("volumes: [{name: d, path: /}]", "would hide everything"),
        (
            "volumes: [{name: d, path: /a/../b}]",
            "are not allowed in it",
        ),
        ("volumes: [{name: D, path: /d}]", "is not a DNS label"),
        (
            "volumes: [{tmpfs: 64, path: /d}]",
            "at least 4096 bytes (a unit such as Mi may be missing)",
        ),
        (
            "volumes: [{tmpfs: 1Mi, path: /d, readOnly: true}]",
            "of no use",
        ),
        ("volumes: [{hostPath: /srv, path: /d}]", "--allow-host-path"),
        (
            "files: {/d: conf/web.conf}\nvolumes: [{name: d, path: /d}]",
            "also a target of \"files\"",
        ),
        // Resources.
        ("resources: {limits: {cpu: 1, memory: 64Mi}}", "ok"),
        (
            "resources: {requests: {cpu: 2}, limits: {cpu: 1}}",
            "7:31 spec.resources.requests.cpu: requests 2 cpu, above its own limit of 1",
        ),
        (
            "resources: {requests: {memory: 2Gi}, limits: {memory: 64Mi}}",
            "requests 2Gi of memory, above its own limit of 64Mi",
        ),
        (
            "resources: {limits: {memory: 64m}}",
            "is not a memory quantity",
        ),
        ("resources: {limits: {memory: 64}}", "lets nothing start"),
        ("resources: {limits: {cpu: 0}}", "would never let it run"),
        ("resources: {limits: {cpu: lots}}", "is not a cpu quantity"),
        ("resources: {limits: {cpu: 1e999}}", "is not a cpu quantity"),
        // Ports.
        (
            "ports: [{name: http, port: 0}]",
            "0 is not a port: ports go from 1 to 65535",
        ),
        ("ports: [{name: http, port: 70000}]", "70000 is not a port"),
        ("ports: [{name: HTTP, port: 80}]", "is not a DNS label"),
        (
            "ports: [{port: 80}]",
            "7:11 spec.ports[0]: \"name\" is missing",
        ),
        (
            "ports: [{name: a, port: 80}, {name: a, port: 81}]",
            "port name \"a\" is taken by ports[0]",
        ),
        (
            "ports: [{name: a, port: 80}, {name: b, port: 80}]",
            "port 80 is taken by ports[0]",
        ),
        (
            "ports: [{name: a, port: 80}, {name: b, port: 80, protocol: udp}]",
            "ok",
        ),
        (
            "ports: [{name: a, port: 80, hostPort: 9}, {name: b, port: 81, hostPort: 9}]",
            "hostPort 9 is taken by ports[0]",
        ),
        (
            "ports: [{name: a, port: 80, protocol: sctp}]",
            "none of the possible values: tcp, udp",
        ),
        // Probes.
        (
            "health: {readiness: {tcp: {port: http}}}",
            "7:36 spec.health.readiness.tcp.port: \"http\" is none of the app's ports (declare it",
        ),
        ("health: {readiness: {}}", "and this one names none"),
        (
            "health: {readiness: {exec: [a], tcp: {port: 1}}}",
            "and this one names 2",
        ),
        (
            "health: {readiness: {exec: []}}",
            "an empty command asks nothing",
        ),
        (
            "health: {readiness: {exec: [a], interval: 0s}}",
            "at least 10ms",
        ),
        (
            "health: {readiness: {exec: [a], interval: 10}}",
            "\"10\" is not a duration such as 500ms",
        ),
        (
            "health: {readiness: {exec: [a], interval: 99999999999999h}}",
            "is not a duration",
        ),
        (
            "health: {readiness: {exec: [a], failureThreshold: 0}}",
            "at least 1",
        ),
        // Rollout.
        (
            "rollout: {maxSurge: 0}",
            "with 1 replicas, maxSurge 0 is 0 and maxUnavailable 0 is 0",
        ),
        ("rollout: {maxSurge: 0, maxUnavailable: 1}", "ok"),
        (
            "replicas: 3\nrollout: {maxSurge: 0%, maxUnavailable: 25%}",
            "8:43 spec.rollout.maxUnavailable: with 3 replicas",
        ),
        (
            "replicas: 4\nrollout: {maxSurge: 0%, maxUnavailable: 25%}",
            "ok",
        ),
        ("rollout: {strategy: recreate, maxSurge: 0}", "ok"),
        (
            "rollout: {maxSurge: 101%}",
            "neither a count from 0 to 10000 nor a percentage",
        ),
        ("rollout: {maxSurge: -1}", "neither a count"),
        ("rollout: {maxSurge: +1}", "neither a count"),
        ("rollout: {maxSurge: 1.5}", "neither a count"),
        (
            "rollout: {strategy: canary}",
            "7:23 spec.rollout.strategy: strategy canary is not supported yet",
        ),
        (
            "rollout: {healthyDeadline: 0s}",
            "has passed before anything starts",
        ),
        ("rollout: {startAttempts: 0}", "at least 1"),
        ("restart: {factor: 0.5}", "the factor is from 1"),
        ("restart: {factor: .nan}", "expected a number"),
        (
            "restart: {backoff: 2m}",
            "\"max\" is shorter than \"backoff\"",
        ),
        // Placement.
        (
            "placement: {constraints: [{unique: zone}, {maxPer: 2, attribute: rack}]}",
            "ok",
        ),
        (
            "placement: {constraints: [{unique: zone, operator: in}]}",
            "does not go with \"unique\"",
        ),
        (
            "placement: {constraints: [{maxPer: 0, attribute: rack}]}",
            "maxPer is at least 1",
        ),
        (
            "placement: {constraints: [{maxPer: 1}]}",
            "\"attribute\" is missing",
        ),
        ("placement: {constraints: [{}]}", "\"attribute\" is missing"),
        (
            "placement: {constraints: [{attribute: a}]}",
            "\"operator\" is missing",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: \"=\", value: b}]}",
            "is none of the possible values",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: notin, values: [b]}]}",
            "(did you mean \"notIn\"?)",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: exists, value: b}]}",
            "it takes no value",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: in}]}",
            "needs at least one value",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: ==, values: [b, c]}]}",
            "needs exactly one value, and 2 are given (for several",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: matches, value: \"a(\"}]}",
            "is not a regular expression: unclosed group",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: matches, value: \"(a{1000}){1000}\"}]}",
            "is not a regular expression",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: <, value: x, as: number}]}",
            "\"x\" is not a number",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: <, value: x, as: version}]}",
            "\"x\" is not a version",
        ),
        (
            "placement: {constraints: [{attribute: a, operator: <, value: 5.10, as: version}]}",
            "ok",
        ),
        (
            "placement: {strategy: pack}",
            "none of the possible values: spread, binpack, random",
        ),
        ("priority: 50", "not supported yet"),
        ("dependsOn: []", "ok"),
        ("routes: []", "ok"),
    ];
    let mut wrong = String::new();
    for (lines, expected) in cases {
        let told = check(&spec(lines));
        let fits = if *expected == "ok" {
            told == "ok"
        } else {
            told.contains(expected)
        };
        if !fits {
            wrong.push_str(&format!("{lines}\n  wanted {expected}\n  got    {told}\n"));
        }
    }
    for (probe, expected) in [
        ("tcp: {port: http}", "ok"),
        ("tcp: {port: 80}", "ok"),
        ("tcp: {port: htp}", "(did you mean \"http\"?)"),
        ("tcp: {port: dns}", "is udp; probes need a tcp port"),
        ("grpc: {port: http, service: a.B}", "ok"),
        ("http: {port: http, path: x}", "the path starts with \"/\""),
        ("http: {port: http, status: 200}", "ok"),
        ("http: {port: http, status: \"200,301-302\"}", "ok"),
        (
            "http: {port: http, status: 399-200}",
            "is not a status code or range",
        ),
        (
            "http: {port: http, status: 700}",
            "is not a status code or range",
        ),
        ("http: {}", "\"port\" is missing"),
    ] {
        let told = check(&spec(&format!("{PORTS}health: {{readiness: {{{probe}}}}}")));
        if !(told.contains(expected) && (expected != "ok" || told == "ok")) {
            wrong.push_str(&format!("{probe}\n  wanted {expected}\n  got    {told}\n"));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn images_are_references() {
    for (image, expected) in [
        ("web", "ok"),
        ("host:5000/a/b_c:1.0-x", "ok"),
        (
            "a@sha256:0123456789012345678901234567890123456789012345678901234567890123",
            "ok",
        ),
        ("Web:1", "lower-case"),
        ("web:", "the tag"),
        ("web@sha256:12", "64 hex digits"),
        ("https://x/web", "without a scheme"),
        ("\"we b\"", "white space"),
        ("-web", "lower-case"),
        ("a//b", "lower-case"),
        ("", "it is empty"),
    ] {
        let told = check(&spec("").replace("web:1", &format!("\"{}\"", image.trim_matches('"'))));
        assert!(told.contains(expected), "{image}: {told}");
    }
}

#[test]
fn a_process_has_nothing_of_an_image() {
    let base = spec("").replace("image: web:1", "process: {command: [web, $PORT_HTTP]}");
    assert_eq!(check(&base), "ok");
    for (line, why) in [
        ("volumes: []", "a process sees the node's own files"),
        ("capabilities: {}", "containers only"),
        ("imagePullPolicy: always", "no image to pull"),
        ("args: [a]", "process.command"),
        ("command: [a]", "process.command"),
        ("workingDir: /x", "process.workingDir"),
        ("env: {PORT_HTTP: x}", "tell a process its ports"),
    ] {
        let told = check(&format!("{base}  {line}\n"));
        assert!(told.contains(why), "{line}: {told}");
    }
    let told = check(&base.replace("command: [web, $PORT_HTTP]", "command: []"));
    assert!(told.contains("an empty command"), "{told}");
    let told = check(&base.replace("command: [web, $PORT_HTTP]", "workingDir: /x"));
    assert!(told.contains("\"command\" is missing"), "{told}");
}

#[test]
fn all_faults_of_a_document_are_told_at_once() {
    let told = check(
        "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata:\n  nam: web\n  labels: {a: [1]}\nspec:\n  imge: x\n  replicas: x\n  ports:\n  - {name: A, port: 0, prot: tcp}\nextra: 1\n",
    );
    for place in ["4:3", "5:", "7:3", "7:3", "8:13", "10:", "11:1"] {
        assert!(
            told.lines().any(|l| l.starts_with(place)),
            "{place} in\n{told}"
        );
    }
    assert_eq!(told.lines().count(), 10, "{told}");
}

#[test]
fn requests_default_to_limits_and_host_paths_to_policy() {
    let yaml = spec(
        "resources: {requests: {cpu: 100m}, limits: {cpu: 1, memory: 64Mi}}\nvolumes: [{hostPath: /srv/data/x, path: /x}]",
    );
    let mut defaults = defaults();
    for (allowed, ok) in [
        ("/srv/data", true),
        ("/srv/data/x", true),
        ("/srv/dat", false),
        ("/srv/data/", true),
    ] {
        defaults.allowed_host_paths = vec![allowed.to_owned()];
        let file = (
            "app.yaml".to_owned(),
            Content::Bytes(yaml.clone().into_bytes()),
        );
        let checked = validate_files(&defaults, [file], &mut |_| Lookup::Missing);
        assert_eq!(
            checked.problems.is_empty(),
            ok,
            "{allowed}: {:?}",
            checked.problems
        );
        if let Some(app) = checked.catalog.apps.values().next() {
            assert_eq!(app.spec.requests.cpu_millis, 100);
            assert_eq!(app.spec.requests.memory_bytes, 64 << 20);
        }
    }
}
