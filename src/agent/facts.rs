//! What the host is: capacity from `/proc`, kernel, attributes of the runtimes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::AgentConfig;
use super::runtime::Runtime;
use crate::model::NodeFacts;
use crate::model::quantity::Resources;

/// Between two looks once every runtime has answered; what is told here changes rarely.
const PERIOD: Duration = Duration::from_secs(60);
/// Until then, so that a node whose Engine starts late can be used soon.
const FIRST_PERIOD: Duration = Duration::from_secs(1);
/// Longest wait for one runtime's answer.
const DEADLINE: Duration = Duration::from_secs(5);

/// What is known without asking a runtime. The operator's word wins.
pub fn initial(config: &AgentConfig) -> NodeFacts {
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

/// Keeps the facts up to date. A runtime that does not answer keeps the attributes it last
/// told: an Engine that restarts is no other node.
pub async fn keep(
    config: AgentConfig,
    runtimes: BTreeMap<&'static str, Arc<dyn Runtime>>,
    facts: watch::Sender<NodeFacts>,
    cancel: CancellationToken,
) {
    let mut told: BTreeMap<&'static str, BTreeMap<String, String>> = BTreeMap::new();
    loop {
        for (name, runtime) in &runtimes {
            let asked = tokio::select! {
                () = cancel.cancelled() => return,
                asked = tokio::time::timeout(DEADLINE, runtime.attributes()) => asked,
            };
            match asked {
                Ok(Ok(attributes)) => {
                    told.insert(name, attributes);
                }
                Ok(Err(error)) => tracing::debug!(runtime = name, %error, "no attributes"),
                Err(_) => tracing::debug!(runtime = name, "no attributes in time"),
            }
        }
        let mut next = initial(&config);
        let mut attributes: BTreeMap<String, String> =
            told.values().flat_map(|a| a.clone()).collect();
        attributes.append(&mut next.attributes);
        next.attributes = attributes;
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
}
