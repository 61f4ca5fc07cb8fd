//! The loops that keep a cluster equal to Git, and the [`Handle`] by which the
//! rest of the program reaches them.
//!
//! Every write goes through [`Handle::transact`]: decide on the image in memory,
//! commit to the store under the leader's epoch, apply the same changes in
//! memory, wake whoever looks at them. What is decided lives in `plan`; here is
//! only the doing of it.
//!
//! Invariants: a controller acts only while it surely leads, by its own
//! monotonic clock. The leader's loops live exactly as long as the leadership.
//! Nothing that matters lives in memory only: a new leader goes on from Postgres.
//!
//! Deliberately absent: HTTP (`http`), rules (`plan`), SQL (`store`), Git (`git`).

mod agents;
mod arrivals;
mod deliveries;
mod dispatch;
mod error;
mod exec;
mod image;
mod leadership;
mod logs;
mod meter;
mod notify;
mod observe;
mod pulls;
mod reconcile;
mod retention;
mod sync;
mod telling;
mod transact;
mod types;
mod versions;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use error::{BoxError, Error};
pub use exec::ExecRequest;
pub use meter::{CallEnd, Counts, Gauges, RolloutEnd, Sum, SyncEnd};
pub use observe::node_report;
pub use pulls::Unreadable;
pub use telling::{ForgeReport, ForgeTrouble};
pub use types::{AsOf, Committed, LogLine, LogQuery, Options, Role, Status, SyncStatus};
pub use versions::Versions;

pub use crate::store::Subject;

pub use crate::plan::{AppReport, Decision, IdSource, Refusal};

use crate::clock;
use crate::git::Mirrors;
use crate::model::{AppKey, Event, Snapshot, Timestamp};
use crate::plan::dispatch::RunSpecs;
use crate::plan::touched::{Marks, Touched};
use crate::store::Store;
use image::Image;
use transact::Writer;

/// Events that a slow listener may lag behind before it loses some.
const EVENT_BACKLOG: usize = 4096;

/// Reaches the running controller; cheap to clone.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    options: Options,
    store: Store,
    mirrors: Mirrors,
    image: Image,
    writer: Arc<tokio::sync::Mutex<Writer>>,
    events: broadcast::Sender<Arc<Event>>,
    /// What the planner has to look at.
    marks: Mutex<Marks>,
    marked: Notify,
    sources_changed: Notify,
    syncs: Mutex<sync::Tasks>,
    agents: Mutex<agents::Agents>,
    /// What the nodes' sets have in common.
    run_specs: Mutex<RunSpecs>,
    /// Reports that wait to be taken in.
    arrivals: Mutex<VecDeque<arrivals::Arrival>>,
    arrived: Notify,
    streams: Mutex<logs::Streams>,
    reports: Mutex<BTreeMap<AppKey, Arc<AppReport>>>,
    /// Something was put into the outbox, or may be sent now.
    outbox: Notify,
    telling: Mutex<telling::Telling>,
    forge: crate::forge::Client,
    /// Previews under way.
    looks: pulls::Looks,
    deliveries: Mutex<deliveries::Deliveries>,
    pull_workers: Mutex<pulls::Workers>,
    pull_troubles: Mutex<pulls::Troubles>,
    meter: Mutex<meter::Meter>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// No holder of these locks leaves the data half changed when it panics.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the controller: it seeks leadership and acts while it has it, until `stop`.
/// [`Handle::stopped`] tells when everything has ended.
pub fn start(store: Store, mirrors: Mirrors, options: Options, stop: CancellationToken) -> Handle {
    let seed = clock::uuid().as_u64_pair().0;
    let inner = Inner {
        options,
        store,
        mirrors,
        image: Image::default(),
        writer: Arc::new(tokio::sync::Mutex::new(Writer::new(seed))),
        events: broadcast::channel(EVENT_BACKLOG).0,
        marks: Mutex::default(),
        marked: Notify::new(),
        sources_changed: Notify::new(),
        syncs: Mutex::default(),
        agents: Mutex::default(),
        run_specs: Mutex::default(),
        arrivals: Mutex::default(),
        arrived: Notify::new(),
        streams: Mutex::default(),
        reports: Mutex::default(),
        outbox: Notify::new(),
        telling: Mutex::default(),
        forge: crate::forge::Client::default(),
        looks: pulls::Looks::default(),
        deliveries: Mutex::default(),
        pull_workers: Mutex::default(),
        pull_troubles: Mutex::default(),
        meter: Mutex::default(),
        tasks: TaskTracker::new(),
        stop,
    };
    let handle = Handle(Arc::new(inner));
    handle.0.tasks.spawn(leadership::run(handle.clone()));
    handle.0.tasks.close();
    handle
}

impl Inner {
    fn wake(&self, touched: &Touched) {
        let waits = {
            let mut marks = lock(&self.marks);
            marks.add(touched);
            !marks.is_empty()
        };
        if waits {
            lock(&self.meter).mark();
        }
        self.marked.notify_one();
        if touched.sources {
            self.sources_changed.notify_one();
        }
        lock(&self.agents).wake(&touched.dispatch);
    }

    fn wake_all(&self) {
        lock(&self.marks).all = true;
        self.marked.notify_one();
        self.sources_changed.notify_one();
        lock(&self.agents).wake_all();
    }
}

impl Handle {
    /// Name of the cluster: labels, commit status context.
    pub fn cluster(&self) -> &str {
        &self.0.options.cluster
    }

    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// For what is not kept in memory: events, commits, ended rollouts.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The time by which the cluster is judged: the leadership's, else this host's.
    fn now(&self) -> Timestamp {
        let leading = self.0.image.leading();
        leading.map_or_else(|_| clock::now(), |leading| leading.now())
    }

    pub fn status(&self) -> Status {
        self.0.image.status()
    }

    /// Looks at the image in memory, on leader and follower alike. `look` must be quick:
    /// writers wait for it. `NotLoaded` until the database was read once.
    pub fn read<T>(&self, look: impl FnOnce(&Snapshot) -> T) -> Result<T, Error> {
        self.0.image.read(look)
    }

    /// Like [`Handle::read`], with the version of each document.
    pub fn look<T>(&self, look: impl FnOnce(&Snapshot, &Versions) -> T) -> Result<T, Error> {
        self.0.image.look(look)
    }

    /// Told whenever the image has moved, on leader and follower alike.
    pub fn moved(&self) -> watch::Receiver<()> {
        self.0.image.moved()
    }

    /// Everything that is committed from now on. A slow reader loses the oldest and is told
    /// (`Lagged`): it then reads from the store.
    pub fn events(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.events.subscribe()
    }

    /// What the last planning run said of the app; `None` on a follower.
    pub fn app_report(&self, app: &AppKey) -> Option<Arc<AppReport>> {
        lock(&self.0.reports).get(app).cloned()
    }

    /// Returns once every task of the controller has ended; they do after `stop`.
    pub async fn stopped(&self) {
        self.0.tasks.wait().await;
    }
}
