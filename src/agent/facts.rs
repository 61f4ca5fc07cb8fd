//! What the host is: capacity from `/proc`, kernel, attributes of the runtimes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::AgentConfig;
use super::runtime::Runtime;
use crate::model::NodeFacts;
use crate::model::node::RUNTIME_UNKNOWN;
use crate::model::quantity::Resources;

/// Between two looks once every runtime has answered; what is told here changes rarely.
const PERIOD: Duration = Duration::from_secs(60);
/// Until then, so that a node whose Engine starts late can be used soon.
const FIRST_PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for one runtime's answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Longest wait for all of them before the first report.
const FIRST_LOOK: Duration = Duration::from_secs(2);

type Runtimes = BTreeMap<&'static str, Arc<dyn Runtime>>;
/// What each runtime said of the node when it last answered.
type Told = BTreeMap<&'static str, BTreeMap<String, String>>;

/// What is known without asking a runtime. The operator's word wins.
fn initial(config: &AgentConfig) -> NodeFacts {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let mut attributes = BTreeMap::from([
        ("os".to_owned(), std::env::consts::OS.to_owned()),
        ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
    ]);
    let kernel = read("/proc/sys/kernel/osrelease").trim().to_owned();
    if !kernel.is_empty() {
        attributes.insert("kernel".to_owned(), kernel);
    }
    let release = read("/etc/os-release");
    for (key, attribute) in [("ID", "os.id"), ("VERSION_ID", "os.version")] {
        if let Some(value) = os_release(&release, key) {
            attributes.insert(attribute.to_owned(), value);
        }
    }
    attributes.extend(config.attributes.clone());
    NodeFacts {
        address: config.address.clone(),
        capacity: config
            .capacity
            .unwrap_or_else(|| capacity(&read("/proc/meminfo"))),
        attributes,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn capacity(meminfo: &str) -> Resources {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Resources {
        cpu_millis: u64::try_from(cores).unwrap_or(1).saturating_mul(1000),
        memory_bytes: mem_total(meminfo),
    }
}

/// `MemTotal` in bytes; 0 if it cannot be read.
fn mem_total(meminfo: &str) -> u64 {
    let kibibytes = meminfo.lines().find_map(|line| {
        let rest = line.strip_prefix("MemTotal:")?;
        rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    kibibytes.unwrap_or(0).saturating_mul(1024)
}

fn os_release(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name == key).then(|| value.trim_matches('"').to_owned())
    })
}

/// The facts of the first report. Complete where the runtimes answer: a new release is judged
/// against what nodes say, and must not be refused because one has only said half of it.
pub async fn first(config: &AgentConfig, runtimes: &Runtimes) -> NodeFacts {
    let mut told = Told::new();
    // What was told until then counts.
    let _ = tokio::time::timeout(FIRST_LOOK, ask(runtimes, &mut told)).await;
    with_runtimes(config, runtimes.keys(), &told)
}

/// Keeps the facts up to date.
pub async fn keep(
    config: AgentConfig,
    runtimes: Runtimes,
    facts: watch::Sender<NodeFacts>,
    cancel: CancellationToken,
) {
    let mut told = Told::new();
    loop {
        let asked = cancel.run_until_cancelled(ask(&runtimes, &mut told));
        if asked.await.is_none() {
            return;
        }
        let next = with_runtimes(&config, runtimes.keys(), &told);
        facts.send_if_modified(|old| {
            let changed = *old != next;
            *old = next;
            changed
        });
        let period = if told.len() == runtimes.len() {
            PERIOD
        } else {
            FIRST_PERIOD
        };
        tokio::select! {
            () = cancel.cancelled() => return,
            () = tokio::time::sleep(period) => {}
        }
    }
}

/// A runtime that does not answer keeps the attributes it last told: an Engine that restarts
/// is no other node.
async fn ask(runtimes: &Runtimes, told: &mut Told) {
    for (name, runtime) in runtimes {
        match tokio::time::timeout(DEADLINE, runtime.attributes()).await {
            Ok(Ok(attributes)) => {
                told.insert(name, attributes);
            }
            Ok(Err(error)) => tracing::debug!(runtime = name, %error, "no attributes"),
            Err(_) => tracing::debug!(runtime = name, "no attributes in time"),
        }
    }
}

/// A node has the runtimes it was started with, also while one does not answer: that is an
/// outage, and no reason to call a release infeasible.
fn with_runtimes<'a>(
    config: &AgentConfig,
    names: impl Iterator<Item = &'a &'static str>,
    told: &Told,
) -> NodeFacts {
    let mut facts = initial(config);
    let mut attributes: BTreeMap<String, String> = names
        .map(|name| (format!("runtime.{name}"), RUNTIME_UNKNOWN.to_owned()))
        .collect();
    attributes.extend(told.values().flatten().map(|(k, v)| (k.clone(), v.clone())));
    attributes.append(&mut facts.attributes);
    facts.attributes = attributes;
    facts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_understood() {
        let meminfo = "MemTotal:       16316412 kB\nMemFree:  1 kB\n";
        assert_eq!(mem_total(meminfo), 16_316_412 * 1024);
        assert_eq!(mem_total("nonsense"), 0);
        let release = "NAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(os_release(release, "ID").as_deref(), Some("debian"));
        assert_eq!(os_release(release, "VERSION_ID").as_deref(), Some("12"));
        assert_eq!(os_release(release, "NO"), None);
    }

    #[test]
    fn a_node_has_its_runtimes_before_they_answer() {
        let config = AgentConfig {
            node: "n1".parse().unwrap(),
            data_dir: "/nowhere".into(),
            controller_url: String::new(),
            token: String::new(),
            address: String::new(),
            attributes: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            capacity: None,
        };
        let told = Told::from([(
            "process",
            BTreeMap::from([
                ("runtime.process".to_owned(), "true".to_owned()),
                ("process.limits".to_owned(), "true".to_owned()),
                ("zone".to_owned(), "b".to_owned()),
            ]),
        )]);
        let facts = with_runtimes(&config, ["docker", "process"].iter(), &told);
        for (key, value) in [
            ("runtime.docker", RUNTIME_UNKNOWN),
            ("runtime.process", "true"),
            ("process.limits", "true"),
            ("zone", "a"),
            ("os", "linux"),
        ] {
            assert_eq!(facts.attributes[key], value, "{key}");
        }
    }
}
