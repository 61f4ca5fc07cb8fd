//! What nodes report, taken up by a cluster that runs an app on them.

use std::sync::OnceLock;
use std::time::Duration;

use evenkeel::api::agent::Report;
use evenkeel::controller::node_report;
use evenkeel::manifest::{Content, Defaults, Lookup, validate_files};
use evenkeel::model::{Change, CommitId, Snapshot, Source, SourceSpec, Timestamp};
use evenkeel::plan::NOBODY;
use evenkeel::plan::observe::plan_report;
use evenkeel::plan::sync::{SyncInput, plan_sync};
use evenkeel::plan::{Decision, IdSource, Plan, PlanInput, Scope, Settings, check, plan};

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// What the node of [`cluster`] says at first.
const FIRST: &str = r#"{"node":"n","session":"00000000-0000-0000-0000-000000000001","sequence":1,"facts":{"address":"127.0.0.1","capacity":{"cpuMillis":4000,"memoryBytes":4294967296},"attributes":{"runtime.process":"true","os":"linux"},"agentVersion":"1"},"applied":[1,2],"full":true,"instances":[],"images":{},"notes":[]}"#;

const APP: &str = "apiVersion: evenkeel.dev/v1\nkind: App\nmetadata: {name: web}\nspec:\n  process: {command: [/bin/web]}\n  replicas: 2\n";

/// One node with two instances that were just told to start.
fn cluster() -> &'static Snapshot {
    static CLUSTER: OnceLock<Snapshot> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let spec = SourceSpec::new(
            "fuzz".parse().unwrap(),
            "/srv/repo.git",
            "shop".parse().unwrap(),
        );
        let defaults = Defaults::new("shop".parse().unwrap(), "");
        let files = [("web.yaml".to_owned(), Content::Bytes(APP.into()))];
        let checked = validate_files(&defaults, files, &mut |_| Lookup::Missing);
        let mut cluster = Snapshot::default();
        let source = Source::new(spec, None);
        let put = Change::PutSource(Box::new(source));
        cluster.apply(&put).unwrap();
        let synced = plan_sync(&SyncInput {
            now: NOW,
            snapshot: &cluster,
            source: &"fuzz".parse().unwrap(),
            commit: &CommitId("1".repeat(40)),
            catalog: &checked.catalog,
            touched: None,
            settings: &Settings::default(),
        });
        cluster.apply_all(&synced.changes).unwrap();
        take_up(&mut cluster, serde_json::from_str(FIRST).unwrap());
        let planned = next(&cluster);
        cluster.apply_all(&planned.changes).unwrap();
        assert_eq!(instances(&cluster).len(), 2, "{:?}", planned.report);
        cluster
    })
}

fn instances(cluster: &Snapshot) -> Vec<String> {
    let ids = cluster.apps.values().flat_map(|app| app.instances.keys());
    ids.map(ToString::to_string).collect()
}

fn take_up(cluster: &mut Snapshot, report: Report) -> Decision {
    let decision = plan_report(NOW, cluster, &node_report(report));
    cluster.apply_all(&decision.changes).unwrap();
    decision
}

fn next(cluster: &Snapshot) -> Plan {
    let input = PlanInput {
        now: NOW,
        since: NOW - Duration::from_secs(3600),
        heard: &NOBODY,
        snapshot: cluster,
        scope: Scope::All,
        settings: &Settings::default(),
    };
    plan(&input, &mut IdSource::new(1))
}

/// Whatever a node says is taken up, written so that it is read again, and planned upon
/// without a promise broken.
pub fn reports(data: &[u8]) {
    let Ok(report) = serde_json::from_slice::<Report>(data) else {
        return;
    };
    let mut cluster = cluster().clone();
    let decision = take_up(&mut cluster, report);
    for event in &decision.events {
        let text = serde_json::to_string(event).unwrap();
        assert_eq!(
            serde_json::from_str::<evenkeel::model::Event>(&text).unwrap(),
            *event
        );
    }
    for app in cluster.apps.values() {
        for status in app.instances.values().filter_map(|i| i.status.as_ref()) {
            let text = serde_json::to_string(status).unwrap();
            assert_eq!(
                serde_json::from_str::<evenkeel::model::InstanceStatus>(&text).unwrap(),
                *status
            );
        }
    }
    let planned = next(&cluster);
    assert_eq!(check(&cluster, &planned), []);
}

/// Reports about what there is.
pub fn seeds() -> Vec<String> {
    let ids = instances(cluster());
    let of = |status: &str| {
        let all: Vec<String> = ids.iter().map(|id| status.replace("ID", id)).collect();
        FIRST.replace(
            r#""instances":[]"#,
            &format!(r#""instances":[{}]"#, all.join(",")),
        )
    };
    let note = format!(
        r#""notes":[{{"instance":"{}","kind":"instance.repaired","message":"x","ageMs":5}}]"#,
        ids[0]
    );
    vec![
        FIRST.to_owned(),
        of(
            r#"{"id":"ID","phase":"running","readyMs":900,"runningMs":1000,"exits":0,"restarts":0,"containerId":"c","ports":{},"lastExit":null,"lastProbe":null,"failure":null,"logTail":[]}"#,
        ),
        of(
            r#"{"id":"ID","phase":"failed","readyMs":null,"runningMs":null,"exits":3,"restarts":2,"containerId":null,"ports":{},"lastExit":{"code":1,"oomKilled":false,"ranForMs":5},"lastProbe":null,"failure":{"kind":"cannotStart","message":"no"},"logTail":["x"]}"#,
        ),
        of(
            r#"{"id":"ID","phase":"gone","readyMs":null,"runningMs":null,"exits":0,"restarts":0,"containerId":null,"ports":{},"lastExit":null,"lastProbe":null,"failure":null,"logTail":[]}"#,
        ),
        // Ready since before there was time.
        of(
            r#"{"id":"ID","phase":"running","readyMs":18446744073709551615,"runningMs":18446744073709551615,"exits":0,"restarts":0,"containerId":"c","ports":{},"lastExit":null,"lastProbe":null,"failure":null,"logTail":[]}"#,
        ),
        FIRST.replace(r#""notes":[]"#, &note),
        FIRST.replace("4294967296", "1"),
    ]
}
