//! Simulated agents: the real protocol over loopback, and instances that start and stop
//! at once, or after a time. All of them live in one process of their own, so that what they use of the
//! machine is not taken for the controller's.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evenkeel::api::agent::{HEARTBEAT_SECONDS, InstanceReport, Report, ToAgent};
use evenkeel::client::Client;
use evenkeel::client::agent::AgentStream;
use evenkeel::model::desired::DesiredGoal;
use evenkeel::model::node::ImageState;
use evenkeel::model::{DesiredSet, InstancePhase};
use tokio::sync::Semaphore;
use uuid::Uuid;

use crate::planner;

/// First argument of such a process.
pub const MODE: &str = "fleet";

/// Reports under way at a time: bounds the sockets beside the streams. Real agents do not
/// wait for each other, and neither do as many as a bench has.
const REPORTS: usize = 5_000;

/// Between two words of the process.
const WORD: Duration = Duration::from_millis(5);

#[derive(Default)]
struct Counts {
    joined: AtomicUsize,
    /// Instances that the agents know of.
    told: AtomicUsize,
}

/// The process's own side: runs until its input ends.
pub fn serve(url: &str, token: &str, nodes: usize, starting: Duration) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let counts = Arc::new(Counts::default());
    let client = Client::new(url, Some(token.to_owned())).unwrap();
    let places = Arc::new(Semaphore::new(REPORTS));
    for number in 0..nodes {
        let agent = Agent {
            client: client.clone(),
            places: Arc::clone(&places),
            counts: Arc::clone(&counts),
            number,
            starting,
            session: Uuid::from_u128(number as u128 + 1),
            sequence: 0,
            told: None,
            set: None,
        };
        runtime.spawn(agent.run());
    }
    runtime.spawn(async move {
        let mut last = (0, 0);
        loop {
            let of = |n: &AtomicUsize| n.load(Ordering::Relaxed);
            let now = (of(&counts.joined), of(&counts.told));
            if now != last {
                println!("{} {}", now.0, now.1);
                last = now;
            }
            tokio::time::sleep(WORD).await;
        }
    });
    let mut line = String::new();
    while std::io::stdin().lock().read_line(&mut line).unwrap_or(0) > 0 {}
    runtime.shutdown_background();
}

struct Agent {
    client: Client,
    places: Arc<Semaphore>,
    counts: Arc<Counts>,
    number: usize,
    /// How long instances take to start.
    starting: Duration,
    session: Uuid,
    sequence: u64,
    /// What it was told last.
    told: Option<DesiredSet>,
    /// What has started, and stopped, by now.
    set: Option<DesiredSet>,
}

impl Agent {
    async fn run(mut self) {
        self.report().await;
        self.counts.joined.fetch_add(1, Ordering::Relaxed);
        let node = planner::node(self.number).name;
        loop {
            match self.client.agent_stream(&node).await {
                Ok(stream) => self.follow(stream).await,
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    async fn follow(&mut self, mut stream: AgentStream) {
        let mut beat = tokio::time::interval(Duration::from_secs(HEARTBEAT_SECONDS));
        beat.reset();
        // When the instances of the last set have started.
        let mut started = None;
        loop {
            let message = tokio::select! {
                message = stream.next() => message,
                () = until_started(started) => {
                    started = None;
                    self.set.clone_from(&self.told);
                    self.report().await;
                    beat.reset();
                    continue;
                }
                _ = beat.tick() => {
                    self.report().await;
                    continue;
                }
            };
            match message {
                Ok(Some(ToAgent::Desired { set })) => {
                    let before = self.told.as_ref().map_or(0, |s| s.instances.len());
                    let now = set.instances.len();
                    self.counts.told.fetch_add(now, Ordering::Relaxed);
                    self.counts.told.fetch_sub(before, Ordering::Relaxed);
                    self.told = Some(*set);
                    started = Some(tokio::time::Instant::now() + self.starting);
                }
                Ok(Some(ToAgent::Ping | ToAgent::Logs { .. } | ToAgent::Exec { .. })) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Everything is as it is wanted.
    async fn report(&mut self) {
        self.sequence += 1;
        let facts = planner::node(self.number);
        let mut report = Report {
            node: facts.name,
            session: self.session,
            sequence: self.sequence,
            facts: facts.facts,
            applied: None,
            full: true,
            instances: Vec::new(),
            images: BTreeMap::new(),
            notes: Vec::new(),
        };
        if let Some(set) = &self.set {
            report.applied = Some((set.epoch, set.generation));
            report.instances = set
                .instances
                .values()
                .map(|i| instance(i.id, i.goal == DesiredGoal::Run))
                .collect();
            let present = || ImageState::Present { digest: None };
            report.images = set.images.keys().map(|i| (i.clone(), present())).collect();
        }
        loop {
            let sent = {
                let _place = self.places.acquire().await;
                self.client.agent_report(&report).await
            };
            match sent {
                Ok(()) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }
}

async fn until_started(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

pub fn instance(id: evenkeel::model::InstanceId, runs: bool) -> InstanceReport {
    InstanceReport {
        id,
        phase: match runs {
            true => InstancePhase::Running,
            false => InstancePhase::Gone,
        },
        ready_ms: runs.then_some(1),
        running_ms: runs.then_some(1),
        exits: 0,
        restarts: 0,
        container_id: None,
        ports: BTreeMap::new(),
        last_exit: None,
        last_probe: None,
        failure: None,
        log_tail: Vec::new(),
    }
}

/// The bench's end of it.
pub struct Fleet {
    child: Child,
    last: Arc<Mutex<(usize, usize)>>,
}

impl Fleet {
    pub fn start(url: &str, token: &str, nodes: usize, starting: Duration) -> Fleet {
        let numbers = [nodes.to_string(), starting.as_millis().to_string()];
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([MODE, url, token])
            .args(numbers)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let last = Arc::new(Mutex::new((0, 0)));
        let (words, heard) = (child.stdout.take().unwrap(), Arc::clone(&last));
        std::thread::spawn(move || {
            for line in BufReader::new(words).lines().map_while(Result::ok) {
                let mut numbers = line.split(' ').filter_map(|n| n.parse().ok());
                if let (Some(joined), Some(told)) = (numbers.next(), numbers.next()) {
                    *heard.lock().unwrap() = (joined, told);
                }
            }
        });
        Fleet { child, last }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Agents that have joined.
    pub fn joined(&self) -> usize {
        self.last.lock().unwrap().0
    }

    /// Instances that the agents were told of.
    pub fn told(&self) -> usize {
        self.last.lock().unwrap().1
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until it holds, and says how long that took.
pub async fn until(what: &str, deadline: Duration, mut holds: impl FnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < deadline, "gave up waiting for {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    begun.elapsed()
}
