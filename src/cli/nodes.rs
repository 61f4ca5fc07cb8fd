//! Nodes: the list, and what may be put on them.

use std::time::Duration;

use tokio::time::Instant;

use crate::api::NodeView;
use crate::api::node::Remaining;
use crate::clock;
use crate::model::quantity::{format_cpu, format_memory};
use crate::model::{NodeName, Scheduling, Timestamp};

use super::args::{Format, Global};
use super::exit::{Code, Failure, Outcome};
use super::output::{Cell, Paint, Table, age, counted, one_line, print, span};
use super::patience::Patience;
use super::progress::Progress;
use super::server::connect;
use super::verb_args::{DrainArgs, NodeArgs};

/// Between two looks at a node that is being drained.
const LOOK_EVERY: Duration = Duration::from_millis(300);

fn parse(name: &str) -> Result<NodeName, Failure> {
    NodeName::new(name).map_err(|e| Failure::usage(format!("{e}")).with_hint("evenkeel nodes"))
}

fn show(global: &Global, node: &NodeView) -> Result<(), Failure> {
    print(global.output, node, |paint| {
        nodes_table(std::slice::from_ref(node), clock::now(), paint)
    })
}

pub async fn cordon(global: &Global, args: NodeArgs) -> Outcome {
    schedule(global, args, "cordon").await
}

pub async fn uncordon(global: &Global, args: NodeArgs) -> Outcome {
    schedule(global, args, "uncordon").await
}

async fn schedule(global: &Global, args: NodeArgs, verb: &str) -> Outcome {
    let client = args.ground.seen.guard(connect(global)?);
    let node = client
        .schedule(&parse(&args.node)?, verb, args.ground.reason)
        .await?;
    show(global, &node)?;
    Ok(Code::Done)
}

/// With `--wait` until it is empty; exit 1 if what is left cannot move.
pub async fn drain(global: &Global, args: DrainArgs) -> Outcome {
    let client = args.ground.seen.guard(connect(global)?);
    let name = parse(&args.node)?;
    let mut node = match client.schedule(&name, "drain", args.ground.reason).await {
        // Somebody drains it already: that can be waited for, too.
        Err(error) if args.wait.wait && error.status() == Some(409) => {
            let node = client.node_now(&name).await?;
            if node.scheduling != Scheduling::Draining {
                return Err(error.into());
            }
            node
        }
        answer => answer?,
    };
    let mut code = Code::Done;
    if args.wait.wait {
        let deadline = Instant::now() + args.wait.timeout;
        let mut progress = Progress::new(global.output);
        let mut patience = Patience::after_an_answer(format!("node {name}"), Some(deadline));
        // What stays at one look may go at the next: only what stays for good counts.
        let mut stuck_since: Option<Instant> = None;
        while node.instances > 0 {
            if node.scheduling != Scheduling::Draining {
                progress.clear();
                return Err(Failure::new(
                    Code::Failed,
                    format!("node {name} is no longer drained: somebody opened or cordoned it"),
                )
                .with_hint("evenkeel events --kind node.scheduling"));
            }
            let stuck = node.remaining.iter().all(|r| r.stays.is_some());
            stuck_since = stuck_since.or(Some(Instant::now())).filter(|_| stuck);
            if stuck_since.is_some_and(|since| since.elapsed() > STUCK_AFTER) {
                code = Code::Failed;
                break;
            }
            if Instant::now() + LOOK_EVERY > deadline {
                progress.clear();
                eprintln!(
                    "gave up waiting for node {name} after {}\n  try: evenkeel nodes",
                    span(args.wait.timeout)
                );
                code = Code::TimedOut;
                break;
            }
            let left = counted(node.instances as usize, "instance");
            progress.tell(&format!("node {name} still holds {left}"));
            tokio::time::sleep(LOOK_EVERY).await;
            let look = async || client.node_now(&name).await;
            node = patience.ask(&mut progress, look).await?;
        }
        progress.clear();
        if global.output == Format::Table && code == Code::Done {
            eprintln!("node {name} is empty");
        }
    }
    show(global, &node)?;
    Ok(code)
}

/// Longer than an instance needs to be asked to stop and to be planned again.
const STUCK_AFTER: Duration = Duration::from_secs(3);

fn remaining(node: &NodeView) -> String {
    let line = |r: &Remaining| {
        let stays = r.stays.as_deref().unwrap_or("under way");
        format!("  {} slot {}: {}\n", r.app, r.slot, one_line(stays))
    };
    node.remaining.iter().map(line).collect()
}

pub async fn nodes(global: &Global) -> Outcome {
    let client = connect(global)?;
    let page = client.nodes().await?;
    print(global.output, &page.items, |paint| {
        nodes_table(&page.items, clock::now(), paint)
    })?;
    Ok(Code::Done)
}

fn nodes_table(nodes: &[NodeView], now: Timestamp, paint: Paint) -> String {
    if nodes.is_empty() {
        return "no nodes; start an agent: evenkeel agent\n".to_owned();
    }
    let mut table = Table::new(&[
        "NODE",
        "LIVENESS",
        "SCHEDULING",
        "INSTANCES",
        "CPU",
        "MEMORY",
        "HEARD",
        "ADDRESS",
        "VERSION",
        "NOTE",
    ]);
    for n in nodes {
        table.row([
            n.name.to_string().into(),
            Cell::state(n.liveness),
            Cell::state(n.scheduling),
            n.instances.to_string().into(),
            format!(
                "{}/{}",
                format_cpu(n.requested.cpu_millis),
                format_cpu(n.capacity.cpu_millis)
            )
            .into(),
            format!(
                "{}/{}",
                memory(n.requested.memory_bytes),
                memory(n.capacity.memory_bytes)
            )
            .into(),
            format!("{} ago", age(now, n.last_heard)).into(),
            n.address.clone().into(),
            n.agent_version.clone().into(),
            note(n).into(),
        ]);
    }
    let mut out = table.render(paint, "");
    for node in nodes.iter().filter(|n| !n.remaining.is_empty()) {
        out.push_str(&format!("node {} still holds:\n", node.name));
        out.push_str(&remaining(node));
    }
    out
}

/// Who closed it, and why.
fn note(node: &NodeView) -> String {
    match (&node.scheduling_note, node.scheduling) {
        (None, _) | (Some(_), Scheduling::Active) => String::new(),
        (Some(note), Scheduling::Cordoned | Scheduling::Draining) => match &note.reason {
            Some(reason) => format!("by {}: {reason}", note.by),
            None => format!("by {}", note.by),
        },
    }
}

/// Exact where a large unit divides it, else rounded to Mi: a host's memory never does.
fn memory(bytes: u64) -> String {
    let exact = format_memory(bytes);
    if exact.len() <= 6 {
        exact
    } else {
        format!("{}Mi", bytes >> 20)
    }
}
