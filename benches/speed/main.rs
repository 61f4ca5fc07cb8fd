//! What Evenkeel adds to the work that has to be done anyway, as ratios from one run.
//!
//! `make bench` measures every figure against a baseline that does the same
//! work without Evenkeel, taken in turns with it, and ends with one line per
//! figure. `make bench ONLY=sync` measures the groups whose name contains a word.
//!
//! A group of figures is a file with a function that returns [`table::Figure`]s;
//! it joins the table by a line in [`GROUPS`].
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a bench has nobody to hand an error to; a group that fails is a MISS in the table"
)]

#[path = "../../tests/support/engine.rs"]
mod engine;
#[path = "../../tests/support/free_port.rs"]
mod free_port;
#[path = "../../tests/support/git_http.rs"]
mod git_http;
#[path = "../../tests/support/pg.rs"]
mod pg;

mod bare_fetch;
mod cluster;
mod containers;
mod cpu;
mod first_sync;
mod fleet;
mod one_change;
mod planner;
mod product;
mod quiet;
mod rollout;
mod samples;
mod surface;
mod sync;
mod table;
mod trace;
mod tree;
mod whole_path;

use std::future::Future;
use std::pin::Pin;

use table::Figure;

type Running = Pin<Box<dyn Future<Output = Vec<Figure>> + Send>>;

/// Name, the names of its figures, and what measures them.
struct Group {
    name: &'static str,
    measure: fn() -> Running,
}

const GROUPS: &[Group] = &[
    Group {
        name: "change",
        measure: || Box::pin(one_change::measure()),
    },
    Group {
        name: "planner",
        measure: || Box::pin(planner::measure()),
    },
    Group {
        name: "quiet",
        measure: || Box::pin(quiet::measure()),
    },
    Group {
        name: "first",
        measure: || Box::pin(first_sync::measure()),
    },
    Group {
        name: "path",
        measure: || Box::pin(whole_path::measure()),
    },
    Group {
        name: "surface",
        measure: || Box::pin(surface::measure()),
    },
    Group {
        name: "sync",
        measure: || Box::pin(sync::measure()),
    },
    Group {
        name: "rollout",
        measure: || Box::pin(rollout::measure()),
    },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, url, mirror] = args.as_slice()
        && mode == bare_fetch::MODE
    {
        return bare_fetch::serve(url, mirror);
    }
    if let [mode, url, token, nodes, starting] = args.as_slice()
        && mode == fleet::MODE
    {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let starting = std::time::Duration::from_millis(starting.parse().unwrap());
        return fleet::serve(url, token, nodes.parse().unwrap(), starting);
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Cargo itself passes flags.
    let only: Vec<&String> = args.iter().filter(|a| !a.starts_with("--")).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let machine = table::machine();
    let mut figures = Vec::new();
    for group in GROUPS {
        if !only.is_empty() && !only.iter().any(|word| group.name.contains(word.as_str())) {
            continue;
        }
        eprintln!("measuring: {}", group.name);
        // Whatever goes wrong with one group, the others are measured.
        match runtime.block_on(runtime.spawn((group.measure)())) {
            Ok(measured) => figures.extend(measured),
            Err(failure) => figures.push(Figure::failed(group.name, failure.into_panic())),
        }
    }
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    table::print(&figures, &machine);
}
