//! From push to all replicas healthy, against the Engine's own times.

use std::time::{Duration, Instant};

use crate::containers::{self, Containers};
use crate::engine;
use crate::product::Product;
use crate::samples::Pairs;
use crate::table::Figure;
use crate::trace::Trace;

const REPLICAS: usize = 10;
const PORT: u16 = 8080;
const PAGE: &str = "/passwd";
const PAIRS: usize = 5;

#[derive(Clone, Copy, PartialEq)]
enum Way {
    OneByOne,
    SideBySide,
}

impl Way {
    fn surge(self) -> &'static str {
        match self {
            Way::OneByOne => "1",
            Way::SideBySide => "100%",
        }
    }
}

pub async fn measure() -> Vec<Figure> {
    // An Engine of its own where we may: what others do with the host's would count as ours.
    let own = match nix::unistd::Uid::effective().is_root() {
        true => Some(engine::Engine::start().await),
        false => None,
    };
    let socket = own.as_ref().map(|own| own.socket());
    let socket = socket.unwrap_or_else(|| engine::SHARED.to_owned());
    engine::ensure_image(&socket).await;
    let docker = engine::client(&socket);
    let product = Product::start(socket).await;
    let baseline = format!("{}-baseline", product.cluster);
    // Containers outlive a bench that fails: they are taken along in any case.
    let (cluster, cleaner) = (product.cluster.clone(), docker.clone());
    let measured = tokio::spawn(compare(product, docker, baseline.clone())).await;
    containers::remove_all(&cleaner, &cluster).await;
    containers::remove_all(&cleaner, &baseline).await;
    match measured {
        Ok(figures) => figures,
        Err(failure) => std::panic::resume_unwind(failure.into_panic()),
    }
}

async fn compare(product: Product, docker: bollard::Docker, baseline: String) -> Vec<Figure> {
    let mut version = 0;
    roll_out(&product, Way::OneByOne, &mut version).await;
    let one = containers::of_cluster(&docker, &product.cluster).await;
    let mut direct = Containers::like(docker, &one[0], &baseline, PORT, PAGE).await;
    direct.fill(REPLICAS).await;

    let mut figures = Vec::new();
    for (name, way, bound) in [
        ("rollout of 10, one by one / Engine", Way::OneByOne, 1.15),
        ("rollout of 10, side by side / Engine", Way::SideBySide, 1.3),
    ] {
        // The policy changes in place, and both ways are gone once before it counts.
        roll_out(&product, way, &mut version).await;
        replace(&mut direct, way).await;
        let mut pairs = Pairs::default();
        for _ in 0..PAIRS {
            let ours = roll_out(&product, way, &mut version).await;
            pairs.add(ours, replace(&mut direct, way).await);
        }
        figures.push(Figure::ratio(name, &pairs.ratios(), bound, pairs.times()));
    }
    direct.end().await;
    product.end().await;
    figures
}

async fn replace(direct: &mut Containers, way: Way) -> Duration {
    match way {
        Way::OneByOne => direct.replace_one_by_one().await,
        Way::SideBySide => direct.replace_side_by_side().await,
    }
}

/// From the push of a new version to all replicas healthy.
async fn roll_out(product: &Product, way: Way, version: &mut u32) -> Duration {
    *version += 1;
    let spec = spec(way, *version);
    let trace = Trace::start(product);
    let begun = Instant::now();
    let commit = product.push("web.yaml", &spec);
    product.wait_healthy("web", &commit).await;
    let took = begun.elapsed();
    trace.end(product, took).await;
    took
}

fn spec(way: Way, version: u32) -> String {
    format!(
        r#"apiVersion: evenkeel.dev/v1
kind: App
metadata: {{name: web, project: shop}}
spec:
  image: {image}
  command: ["/bin/httpd"]
  args: ["-f", "-p", "{PORT}", "-h", "/etc"]
  env: {{VERSION: "{version}"}}
  replicas: {REPLICAS}
  resources: {{requests: {{cpu: 1m, memory: 1Mi}}}}
  ports: [{{name: http, port: {PORT}}}]
  health:
    readiness: {{http: {{port: http, path: {PAGE}}}, interval: 1s, timeout: 1s}}
  rollout: {{maxSurge: {surge}, maxUnavailable: 0, minHealthyTime: 0s}}
"#,
        image = engine::IMAGE,
        surge = way.surge(),
    )
}
