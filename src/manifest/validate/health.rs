//! Probes.

use std::time::Duration;

use super::app::{duration_or, words};
use crate::manifest::field::{Field, Scalar};
use crate::manifest::problems::{Cx, did_you_mean};
use crate::manifest::raw::health as raw;
use crate::manifest::tree::NodeId;
use crate::model::spec::{Check, Health, Probe, Protocol, Workload};

/// Below this a probe is a load test of its own instance.
const SHORTEST: Duration = Duration::from_millis(10);

pub fn health(cx: &Cx<'_>, field: &Field<raw::Health>, workload: &Workload) -> Health {
    let Some(raw) = field.get() else {
        return Health::default();
    };
    Health {
        startup: probe(cx, &raw.startup, workload),
        readiness: probe(cx, &raw.readiness, workload),
        liveness: probe(cx, &raw.liveness, workload),
    }
}

fn probe(cx: &Cx<'_>, field: &Field<raw::Probe>, workload: &Workload) -> Option<Probe> {
    let (node, raw) = field.set()?;
    let interval = duration_or(cx, &raw.interval, "10s");
    let timeout = duration_or(cx, &raw.timeout, "1s");
    for (field, value) in [(&raw.interval, interval), (&raw.timeout, timeout)] {
        if let Some(at) = field.node()
            && value < SHORTEST
        {
            cx.problem(
                at,
                "it is at least 10ms; a probe without a pause would be all the instance does",
            );
        }
    }
    let check = check(cx, node, raw, workload)?;
    Some(Probe {
        check,
        interval,
        timeout,
        success_threshold: at_least_one(cx, &raw.success_threshold, 1),
        failure_threshold: at_least_one(cx, &raw.failure_threshold, 3),
        grace_period: duration_or(cx, &raw.grace_period, "0s"),
    })
}

pub fn at_least_one(cx: &Cx<'_>, field: &Field<u32>, default: u32) -> u32 {
    match field.set() {
        None => default,
        Some((node, 0)) => {
            cx.problem(
                node,
                "it is at least 1: after nothing at all there is nothing to judge",
            );
            default
        }
        Some((_, &n)) => n,
    }
}

fn check(cx: &Cx<'_>, node: NodeId, raw: &raw::Probe, workload: &Workload) -> Option<Check> {
    let kinds = [
        raw.http.node(),
        raw.tcp.node(),
        raw.exec.node(),
        raw.grpc.node(),
    ];
    let set = kinds.iter().flatten().count();
    if set != 1 {
        cx.problem(
            node,
            format!(
                "a probe asks in exactly one way (http, tcp, exec or grpc), and this one names {}",
                if set == 0 {
                    "none".to_owned()
                } else {
                    set.to_string()
                }
            ),
        );
        return None;
    }
    if let Some((at, http)) = raw.http.set() {
        let path = http.path.get().cloned().unwrap_or_else(|| "/".to_owned());
        if let Some(at) = http.path.node()
            && (!path.starts_with('/') || path.chars().any(|c| c.is_whitespace() || c.is_control()))
        {
            cx.problem(at, "the path starts with \"/\" and holds no white space");
        }
        let status = match &http.status {
            Field::Absent => Some(vec![(200, 399)]),
            Field::Bad(_) | Field::Set(..) => cx.parse(&http.status, |t| &t.0, status_ranges),
        };
        return Some(Check::Http {
            port: port(cx, at, &http.port, workload)?,
            path,
            status: status?,
        });
    }
    if let Some((at, tcp)) = raw.tcp.set() {
        return Some(Check::Tcp {
            port: port(cx, at, &tcp.port, workload)?,
        });
    }
    if let Some((at, grpc)) = raw.grpc.set() {
        return Some(Check::Grpc {
            port: port(cx, at, &grpc.port, workload)?,
            service: grpc.service.get().cloned().unwrap_or_default(),
        });
    }
    let command = words(cx, &raw.exec)?;
    if let (Some(at), true) = (raw.exec.node(), command.is_empty()) {
        cx.problem(at, "an empty command asks nothing");
    }
    Some(Check::Exec { command })
}

/// The name of the declared port that a name or number means.
fn port(cx: &Cx<'_>, parent: NodeId, field: &Field<Scalar>, workload: &Workload) -> Option<String> {
    let (node, wanted) = cx.required(parent, "port", field)?;
    let found = workload
        .ports
        .iter()
        .find(|p| p.name == wanted.0)
        .or_else(|| {
            let number: u16 = wanted.0.parse().ok()?;
            workload.ports.iter().find(|p| p.port == number)
        });
    match found {
        Some(port) if port.protocol == Protocol::Udp => {
            cx.problem(
                node,
                format!("port \"{}\" is udp; probes need a tcp port", port.name),
            );
            None
        }
        Some(port) => Some(port.name.clone()),
        None => {
            let names: Vec<&str> = workload.ports.iter().map(|p| p.name.as_str()).collect();
            let message = format!("\"{}\" is none of the app's ports", wanted.0);
            let hint = did_you_mean(&wanted.0, names.iter().copied()).unwrap_or_else(|| {
                if names.is_empty() {
                    "declare it: ports: [{name: http, port: 8080}]".to_owned()
                } else {
                    format!("declared: {}", names.join(", "))
                }
            });
            cx.problem_hint(node, message, hint);
            None
        }
    }
}

fn status_ranges(text: &str) -> Result<Vec<(u16, u16)>, String> {
    let code = |t: &str| {
        t.trim()
            .parse::<u16>()
            .ok()
            .filter(|c| (100..=599).contains(c))
    };
    text.split(',')
        .map(|part| {
            let (low, high) = part.split_once('-').unwrap_or((part, part));
            match (code(low), code(high)) {
                (Some(low), Some(high)) if low <= high => Ok((low, high)),
                _ => Err(format!(
                    "\"{}\" is not a status code or range from 100 to 599, such as 200-399 or 200,204",
                    part.trim()
                )),
            }
        })
        .collect()
}
