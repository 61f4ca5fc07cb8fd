//! What a valid spec says is what comes out, in YAML and in JSON.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::quantity::{format_cpu, format_duration, format_memory};

fn parse(text: &str) -> std::sync::Arc<crate::model::AppSpec> {
    let checked = checked(text.as_bytes());
    assert_eq!(checked.problems, [], "{text}");
    checked.catalog.apps.values().next().unwrap().spec.clone()
}

fn document(spec: Value) -> Value {
    json!({"apiVersion": "evenkeel.dev/v1", "kind": "App", "metadata": {"name": "a"}, "spec": spec})
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn text_survives(value in "[^\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\u{feff}\u{fffe}\u{ffff}]{1,40}", word in "[ -~]{1,20}") {
        let document = document(json!({"image": "a", "env": {"A": value}, "args": [word, "x"]}));
        let json = parse(&document.to_string());
        prop_assert_eq!(&json.workload.env["A"], &value);
        let yaml = parse(&serde_yaml::to_string(&document).unwrap());
        prop_assert_eq!(&yaml.workload.env["A"], &value);
        prop_assert_eq!(json.digest(), yaml.digest());
    }

    #[test]
    fn numbers_survive(
        replicas in 0u32..=10_000, cpu in 1u64..64_000, memory in (4u64 << 20)..(1 << 40),
        ms in 0u64..10_000_000, port in 1u16.., surge in 1u32..100, factor in 1.0f64..100.0,
    ) {
        let duration = std::time::Duration::from_millis(ms);
        let spec = json!({
            "image": "a", "replicas": replicas,
            "resources": {"limits": {"cpu": format_cpu(cpu), "memory": format_memory(memory)}},
            "ports": [{"name": "p", "port": port, "hostPort": port}],
            "rollout": {"minHealthyTime": format_duration(duration), "maxSurge": format!("{surge}%")},
            "restart": {"factor": factor},
        });
        let yaml = parse(&serde_yaml::to_string(&document(spec.clone())).unwrap());
        prop_assert_eq!(yaml.digest(), parse(&document(spec).to_string()).digest());
        prop_assert_eq!(yaml.replicas, replicas);
        prop_assert_eq!(yaml.limits.cpu_millis, Some(cpu));
        prop_assert_eq!(yaml.limits.memory_bytes, Some(memory));
        prop_assert_eq!(yaml.requests.memory_bytes, memory);
        prop_assert_eq!(yaml.workload.ports[0].host_port, Some(port));
        prop_assert_eq!(yaml.rollout.min_healthy_time, duration);
        prop_assert_eq!(yaml.restart.factor, factor);
    }
}

/// What the schema tells editors, `explain` and the README is what is left out.
#[test]
fn the_schemas_defaults_are_the_ones_in_force() {
    let schema = crate::manifest::json_schema();
    let defaults = |name: &str| -> serde_json::Map<String, serde_json::Value> {
        let properties = schema["$defs"][name]["properties"].as_object().unwrap();
        let set = properties
            .iter()
            .filter(|(_, p)| p.get("default").is_some());
        set.map(|(key, p)| (key.clone(), p["default"].clone()))
            .collect()
    };
    let merged = |name: &str, more: serde_json::Value| {
        let mut all = defaults(name);
        all.extend(more.as_object().unwrap().clone());
        serde_json::Value::from(all)
    };
    let json = |spec: serde_json::Value| {
        let document = serde_json::json!({
            "apiVersion": "evenkeel.dev/v1", "kind": "App", "metadata": {"name": "a"}, "spec": spec,
        });
        let checked = checked(document.to_string().as_bytes());
        assert_eq!(checked.problems, [], "{document:#}");
        checked.catalog.apps.values().next().unwrap().spec.clone()
    };
    let ports = serde_json::json!([{"name": "web", "port": 80}]);
    let http = serde_json::json!({"http": {"port": 80}});
    let said = serde_json::json!({"http": merged("HttpCheck", serde_json::json!({"port": 80}))});
    let (silent, told) = (
        json(serde_json::json!({"image": "a", "ports": ports, "health": {"readiness": http}})),
        json(merged(
            "App",
            serde_json::json!({
                "image": "a",
                "ports": ports,
                "health": {"readiness": merged("Probe", said)},
                "rollout": defaults("Rollout"),
                "restart": defaults("Restart"),
                "onNodeLoss": merged("OnNodeLoss", serde_json::json!({"action": "reschedule"})),
            }),
        )),
    );
    assert_eq!(silent, told);
}
