//! Verbs on one app, `why`, `logs`, `nodes`.

use std::io::Write as _;

use futures_util::StreamExt as _;

use crate::api::{AppStatus, NodeView, Why};
use crate::clock;
use crate::model::Timestamp;
use crate::model::quantity::{format_cpu, format_memory};

use super::args::{AppArgs, Global, LogsArgs, VerbArgs};
use super::exit::{Code, Failure, Outcome};
use super::output::{Cell, Paint, Table, age, one_line, print};
use super::server::{connect, find_app};
use super::status;

fn show(global: &Global, status: &AppStatus) -> Outcome {
    print(global.output, status, |paint| {
        status::overview(std::slice::from_ref(status), paint)
    })?;
    Ok(Code::Done)
}

pub async fn rollback(global: &Global, args: VerbArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    show(global, &client.rollback(&key, args.reason).await?)
}

pub async fn release(global: &Global, args: AppArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    show(global, &client.release(&key).await?)
}

pub async fn suspend(global: &Global, args: VerbArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    show(global, &client.suspend(&key, args.reason).await?)
}

pub async fn resume(global: &Global, args: AppArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    show(global, &client.resume(&key).await?)
}

pub async fn why(global: &Global, args: AppArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    let why = client.why(&key).await?;
    print(global.output, &why, |_| why_text(&why))?;
    Ok(Code::Done)
}

fn why_text(why: &Why) -> String {
    let (sync, health) = (
        super::output::word(why.sync),
        super::output::word(why.health),
    );
    let mut out = format!("{}/{} is {sync} and {health}\n", why.project, why.name);
    for reason in &why.reasons {
        out.push_str(&format!("  {}\n", one_line(reason)));
    }
    out
}

pub async fn logs(global: &Global, args: LogsArgs) -> Outcome {
    let client = connect(global)?;
    let key = find_app(&client, global, &args.app).await?;
    let mut chunks = client
        .logs(&key, args.tail, args.follow, args.instance.as_deref())
        .await?;
    let mut out = std::io::stdout();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        if let Err(error) = out.write_all(&chunk).and_then(|()| out.flush()) {
            // A reader that has left (`| head`) is no failure of ours.
            return match error.kind() {
                std::io::ErrorKind::BrokenPipe => Ok(Code::Done),
                _ => Err(Failure::new(Code::Failed, format!("cannot write: {error}"))),
            };
        }
    }
    Ok(Code::Done)
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
        ]);
    }
    table.render(paint, "")
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
