//! Instances as containers of a Docker Engine.
//!
//! Owns the containers that carry the label `dev.evenkeel.cluster` with its own
//! cluster's name, and with no other node's in `dev.evenkeel.node`, and the named volumes of their apps. Speaks the Engine's API
//! and nothing else, over its Unix socket.
//!
//! What holds:
//! - whose a container is, its labels say: never its name. Every operation works
//!   on a container id that came from a look filtered by label, or from our own
//!   create.
//! - an operation is one call to the Engine in the ordinary case (create of an
//!   instance with files: two); what was learnt from earlier answers saves the
//!   looks in between, and a wrong memory costs one more call, never a wrong act.
//! - nothing here lasts: a restarted agent finds everything again by labels, a
//!   restarted Engine is found again by the next call.
//!
//! Deliberately absent: restarts (the agent's), registries that ask for
//! credentials, networks other than the Engine's default bridge.

mod blame;
mod create;
mod engine;
mod error;
mod exec;
mod files;
mod found;
mod image;
pub mod labels;
mod logs;
mod memory;
mod program;
mod watch;

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bollard::models::{ContainerInspectResponse, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder, UploadToContainerOptionsBuilder,
};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::mpsc;

use super::{Error, ExecResult, Found, FoundState, Hint, Image, LogQuery, Runtime, Said};
use crate::clock;
use crate::failpoint::{self, Op};
use crate::model::spec::{Limits, PullPolicy};
use crate::model::{DesiredInstance, FailureKind, InstanceId, NodeName};
use engine::{CALL_DEADLINE, Engine};
use error::CallError;
use found::SeenState;
use memory::{Files, Known, Memory};

/// Inspections that are under way at once while listing.
const LOOKS_AT_ONCE: usize = 8;

/// Time that the Engine gets on top of the grace for killing and cleaning up.
const STOP_MARGIN: Duration = Duration::from_secs(30);

/// How long another removal of the same container is waited for.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(20);

/// How long a name may be reserved for a container that is being made.
const NAME_DEADLINE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug)]
pub struct DockerConfig {
    /// The Engine's socket: a path, with or without `unix://`.
    pub socket: String,
    /// Only containers labelled with this name exist for us.
    pub cluster: String,
    /// Of those, only the ones labelled with this node, and older ones that name none:
    /// several agents may share an Engine. `None`: all of the cluster.
    pub node: Option<NodeName>,
    /// What this node was called before; its containers are still ours.
    pub former_nodes: Vec<NodeName>,
    /// Address of the node on which ports are published.
    pub bind_address: IpAddr,
}

impl DockerConfig {
    /// The usual socket; ports on all IPv4 addresses.
    pub fn new(cluster: impl Into<String>) -> DockerConfig {
        DockerConfig {
            socket: "unix:///var/run/docker.sock".to_owned(),
            cluster: cluster.into(),
            node: None,
            former_nodes: Vec::new(),
            bind_address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        }
    }
}

/// A Docker Engine. Cheap to clone.
#[derive(Clone)]
pub struct Docker {
    inner: Arc<Inner>,
}

struct Inner {
    config: DockerConfig,
    engine: Engine,
    memory: Memory,
    programs: program::Seen,
}

impl Docker {
    /// Does not connect: an Engine that is down now is found when it is up.
    pub fn new(config: DockerConfig) -> Docker {
        Docker {
            inner: Arc::new(Inner {
                engine: Engine::new(&config.socket),
                memory: Memory::default(),
                programs: program::Seen::default(),
                config,
            }),
        }
    }

    /// Like [`Docker::new`], but fails with `RuntimeUnavailable` where no Engine
    /// answers now, or none that speaks our API.
    pub async fn connect(config: DockerConfig) -> Result<Docker, Error> {
        let docker = Docker::new(config);
        docker
            .inner
            .engine
            .client()
            .await
            .map_err(|error| error::of_call(&error))?;
        Ok(docker)
    }
}

impl Inner {
    fn cluster_filter(&self) -> String {
        format!("{}={}", labels::CLUSTER, self.config.cluster)
    }

    /// Ids of our containers, narrowed to one instance if asked, with what their
    /// summaries tell.
    async fn summaries(
        &self,
        id: Option<InstanceId>,
    ) -> Result<Vec<(InstanceId, Known, bool)>, CallError> {
        let mut wanted = vec![self.cluster_filter()];
        if let Some(id) = id {
            wanted.push(format!("{}={id}", labels::INSTANCE));
        }
        let options = ListContainersOptionsBuilder::default()
            .all(true)
            .filters(&HashMap::from([("label", wanted)]))
            .build();
        let containers = self
            .engine
            .call(CALL_DEADLINE, |docker| async move {
                docker.list_containers(Some(options)).await
            })
            .await?;
        let mut found: Vec<_> = containers
            .into_iter()
            .filter_map(|container| {
                let labels = container.labels?;
                let id = labels::instance_of(&self.config, &labels)?;
                let created = container.state == Some(ContainerSummaryStateEnum::CREATED);
                let has_files = labels.get(labels::FILES).is_some_and(|n| n != "0");
                let files = if created && has_files {
                    Files::Unknown
                } else {
                    Files::Complete
                };
                let running = container.state == Some(ContainerSummaryStateEnum::RUNNING);
                Some((id, Known::new(container.id?, files), running))
            })
            .collect();
        // Should one instance have two containers (somebody copied labels), the
        // running one counts.
        found.sort_by_key(|(id, _, running)| (*id, !running));
        found.dedup_by_key(|(id, _, _)| *id);
        Ok(found)
    }

    /// The container of an instance: remembered, else looked up.
    async fn locate(&self, id: InstanceId) -> Result<Option<Known>, CallError> {
        if let Some(known) = self.memory.get(id) {
            return Ok(Some(known));
        }
        let found = self.summaries(Some(id)).await?.into_iter().next();
        Ok(found.map(|(id, known, _)| self.memory.learn(id, known)))
    }

    /// Does something to the container of an instance; `None`: there is none.
    async fn on_container<T, F>(
        &self,
        id: InstanceId,
        deadline: Duration,
        op: impl Fn(bollard::Docker, String) -> F,
    ) -> Result<Option<T>, CallError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        // Twice: what is remembered may have been removed and made anew by hand.
        for _ in 0..2 {
            let Some(known) = self.locate(id).await? else {
                return Ok(None);
            };
            let container = known.container;
            let result = self
                .engine
                .call(deadline, |docker| op(docker, container.clone()))
                .await;
            match result {
                Err(error) if error.is_not_found() => self.memory.forget(id, &container),
                other => return other.map(Some),
            }
        }
        Ok(None)
    }

    /// Like [`Inner::on_container`], for what changes it.
    async fn change_container<T, F>(
        &self,
        what: Op,
        id: InstanceId,
        deadline: Duration,
        op: impl Fn(bollard::Docker, String) -> F,
    ) -> Result<Option<T>, CallError>
    where
        F: Future<Output = Result<T, bollard::errors::Error>>,
    {
        failpoint::around_async(what, self.on_container(id, deadline, op)).await
    }

    async fn inspect_container(
        &self,
        container: &str,
    ) -> Result<ContainerInspectResponse, CallError> {
        self.engine
            .call(CALL_DEADLINE, |docker| async move {
                docker.inspect_container(container, None).await
            })
            .await
    }

    async fn found(&self, answer: ContainerInspectResponse) -> Result<Option<Found>, CallError> {
        let cpus = self.engine.client().await?.cpus;
        let Some(seen) = found::read(&self.config, &answer) else {
            return Ok(None);
        };
        let files = match (&seen.state, seen.has_files) {
            (SeenState::Created, true) => Files::Unknown,
            (SeenState::Created, false) | (SeenState::Running | SeenState::Exited { .. }, _) => {
                Files::Complete
            }
        };
        let known = self
            .memory
            .learn(seen.id, Known::new(seen.container.clone(), files));
        let state = match &seen.state {
            SeenState::Created => FoundState::Created,
            SeenState::Running => FoundState::Running,
            SeenState::Exited { exit, finished } => FoundState::Exited {
                exit: exit.clone(),
                by_runtime: self.was_by_runtime(&seen, &known, *finished).await?,
            },
        };
        let running_ms = match (&seen.state, seen.started) {
            (SeenState::Running, Some(started)) => {
                u64::try_from(clock::now().since(started).as_millis()).unwrap_or(u64::MAX)
            }
            (SeenState::Created | SeenState::Running | SeenState::Exited { .. }, _) => 0,
        };
        let limits = answer
            .host_config
            .as_ref()
            .map(|host| create::limits_of(host, known.limits, cpus))
            .unwrap_or_default();
        Ok(Some(Found {
            id: seen.id,
            state,
            handle: seen.container,
            probe_ports: seen.probe_ports,
            published_ports: seen.published_ports,
            starts: seen
                .started
                .and_then(|t| u64::try_from(t.0).ok())
                .unwrap_or(0),
            limits,
            running_ms,
        }))
    }

    async fn list(&self) -> Result<Vec<Found>, CallError> {
        let before = self.memory.snapshot();
        let summaries = self.summaries(None).await?;
        let ids: Vec<InstanceId> = summaries.iter().map(|(id, _, _)| *id).collect();
        self.memory.forget_missing(&before, &ids);
        let mut looks = stream::iter(summaries)
            .map(|(_, known, _)| async move {
                match self.inspect_container(&known.container).await {
                    Ok(answer) => self.found(answer).await,
                    // Removed since.
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffered(LOOKS_AT_ONCE);
        let mut all = Vec::new();
        while let Some(look) = looks.next().await {
            all.extend(look?);
        }
        Ok(all)
    }

    async fn inspect(&self, id: InstanceId) -> Result<Option<Found>, CallError> {
        let answer = self
            .on_container(id, CALL_DEADLINE, |docker, container| async move {
                docker.inspect_container(&container, None).await
            })
            .await?;
        match answer {
            Some(answer) => self.found(answer).await,
            None => Ok(None),
        }
    }

    async fn create(&self, cluster: &str, instance: &DesiredInstance) -> Result<(), Error> {
        if cluster != self.config.cluster {
            return Err(Error::new(
                FailureKind::Rejected,
                format!(
                    "instance of cluster {cluster}, but this runtime belongs to {}",
                    self.config.cluster
                ),
            ));
        }
        let node = create::NodeSettings {
            bind_address: self.config.bind_address,
            cpus: self
                .engine
                .client()
                .await
                .map_err(|e| error::of_call(&e))?
                .cpus,
        };
        let body = create::body(&self.config, instance, &node)?;
        let container = match self.memory.get(instance.id) {
            Some(_) => None,
            None => self.create_named(instance, body.clone()).await?,
        };
        let container = match container {
            Some(container) => container,
            // There is one already: its files may be missing if it never ran.
            None => match self.inspect(instance.id).await {
                Ok(Some(found)) if found.state != FoundState::Created => return Ok(()),
                Ok(Some(found)) => found.handle,
                // Remembered, but removed by somebody meanwhile.
                Ok(None) => match self.create_named(instance, body).await? {
                    Some(container) => container,
                    None => {
                        return Err(Error::new(
                            FailureKind::StartFailed,
                            "its container is being removed at this moment",
                        ));
                    }
                },
                Err(error) => return Err(error::of_call(&error)),
            },
        };
        self.copy_files(instance, &container).await?;
        self.check_program(instance, &container).await?;
        self.memory.files_complete(instance.id, &container);
        self.memory.limits(instance.id, instance.run.limits);
        Ok(())
    }

    /// `None`: the instance has a container already.
    async fn create_named(
        &self,
        instance: &DesiredInstance,
        body: bollard::models::ContainerCreateBody,
    ) -> Result<Option<String>, Error> {
        for name in [
            labels::container_name(instance),
            labels::long_container_name(instance),
        ] {
            let options = CreateContainerOptionsBuilder::default().name(&name).build();
            let body = body.clone();
            let result = self
                .engine
                .change(Op::DockerCreate, CALL_DEADLINE, |docker| async move {
                    docker.create_container(Some(options), body).await
                })
                .await;
            match result {
                Ok(created) => {
                    let files = if instance.run.workload.files.is_empty() {
                        Files::Complete
                    } else {
                        Files::Unknown
                    };
                    self.memory
                        .learn(instance.id, Known::new(created.id.clone(), files));
                    return Ok(Some(created.id));
                }
                // The name is taken: by this very instance, or by somebody else.
                Err(error) if error.is_status(409) => {
                    if self.is_named(&name, instance.id).await? {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error::of_create(&error)),
            }
        }
        Err(Error::new(
            FailureKind::StartFailed,
            format!(
                "the name {} is taken by a container that is not ours",
                labels::long_container_name(instance)
            ),
        ))
    }

    /// Whether the container of that name is this instance. A name is reserved a
    /// moment before its container can be seen, so it is waited for: to take
    /// another name then would make a second container of one instance.
    async fn is_named(&self, name: &str, id: InstanceId) -> Result<bool, Error> {
        let deadline = tokio::time::Instant::now() + NAME_DEADLINE;
        loop {
            match self.inspect_container(name).await {
                Ok(answer) => {
                    let labels = answer.config.and_then(|config| config.labels);
                    let holder = labels.and_then(|l| labels::instance_of(&self.config, &l));
                    return Ok(holder == Some(id));
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error::of_call(&error)),
            }
            if tokio::time::Instant::now() >= deadline {
                return Err(Error::new(
                    FailureKind::StartFailed,
                    format!("the name {name} is taken by a container that cannot be seen"),
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn copy_files(&self, instance: &DesiredInstance, container: &str) -> Result<(), Error> {
        let files = &instance.run.workload.files;
        if files.is_empty() {
            return Ok(());
        }
        let archive = files::archive(files)?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        self.engine
            .change(Op::DockerUpload, CALL_DEADLINE, |docker| async move {
                let body = bollard::body_full(archive.into());
                docker
                    .upload_to_container(container, Some(options), body)
                    .await
            })
            .await
            .map_err(|error| error::of_create(&error))
    }

    async fn start(&self, id: InstanceId) -> Result<(), Error> {
        let known = self.locate(id).await.map_err(|e| error::of_call(&e))?;
        if let Some(known) = known
            && known.files == Files::Unknown
        {
            return self.discard_half_created(id, &known.container).await;
        }
        let started = self
            .change_container(
                Op::DockerStart,
                id,
                CALL_DEADLINE,
                |docker, container| async move { docker.start_container(&container, None).await },
            )
            .await
            .map_err(|error| error::of_start(&error))?;
        self.memory.started(id);
        started.ok_or_else(|| no_container(id))
    }

    /// An agent died between making the container and filling it. Without the
    /// spec at hand the one safe thing is to begin again.
    async fn discard_half_created(&self, id: InstanceId, container: &str) -> Result<(), Error> {
        tracing::info!(instance = %id, container, "removing a container whose files are not complete");
        self.remove(id).await?;
        Err(Error::new(
            FailureKind::StartFailed,
            "its files were not complete: removed, to be created anew",
        ))
    }

    async fn stop(&self, id: InstanceId, grace: Duration) -> Result<(), Error> {
        // Whole seconds are all the Engine knows; less grace than asked for would be wrong.
        let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        self.memory.asked_to_stop(id);
        self.change_container(
            Op::DockerStop,
            id,
            grace + STOP_MARGIN,
            |docker, container| {
                let options = StopContainerOptionsBuilder::default().t(seconds).build();
                async move { docker.stop_container(&container, Some(options)).await }
            },
        )
        .await
        .map_err(|error| error::of_call(&error))?;
        Ok(())
    }

    async fn remove(&self, id: InstanceId) -> Result<(), Error> {
        let deadline = tokio::time::Instant::now() + REMOVAL_DEADLINE;
        loop {
            let result = self
                .change_container(Op::DockerRemove, id, CALL_DEADLINE, |docker, container| {
                    // `v` takes anonymous volumes along and leaves named ones.
                    let options = RemoveContainerOptionsBuilder::default()
                        .force(true)
                        .v(true)
                        .build();
                    async move { docker.remove_container(&container, Some(options)).await }
                })
                .await;
            match result {
                Ok(_) => {
                    self.memory.forget_instance(id);
                    return Ok(());
                }
                // Somebody else is at it: `remove` means that nothing is left, so wait.
                Err(error) if error.is_status(409) && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => return Err(error::of_call(&error)),
            }
        }
    }

    async fn set_limits(&self, id: InstanceId, limits: Limits) -> Result<(), Error> {
        let cpus = self
            .engine
            .client()
            .await
            .map_err(|e| error::of_call(&e))?
            .cpus;
        self.change_container(Op::DockerUpdate, id, CALL_DEADLINE, |docker, container| {
            let change = create::update(limits, cpus);
            async move { docker.update_container(&container, change).await }
        })
        .await
        .map_err(|error| error::of_create(&error))?
        .ok_or_else(|| no_container(id))?;
        self.memory.limits(id, limits);
        Ok(())
    }

    async fn attributes(&self) -> Result<BTreeMap<String, String>, CallError> {
        let agreed = self.engine.client().await?.version;
        let info = self
            .engine
            .call(CALL_DEADLINE, |docker| async move { docker.info().await })
            .await?;
        let texts = [
            ("docker.version", info.server_version),
            ("docker.apiVersion", Some(agreed.to_string())),
            ("docker.storageDriver", info.driver),
            (
                "docker.cgroupVersion",
                info.cgroup_version.map(|v| v.to_string()),
            ),
            (
                "docker.liveRestore",
                info.live_restore_enabled.map(|v| v.to_string()),
            ),
            (crate::model::node::RUNTIME_DOCKER, Some("true".to_owned())),
        ];
        Ok(texts
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)))
            .collect())
    }
}

fn no_container(id: InstanceId) -> Error {
    Error::new(
        FailureKind::StartFailed,
        format!("there is no container of instance {id}"),
    )
}

#[async_trait]
impl Runtime for Docker {
    fn name(&self) -> &'static str {
        "docker"
    }

    async fn attributes(&self) -> Result<BTreeMap<String, String>, Error> {
        self.inner
            .attributes()
            .await
            .map_err(|e| error::of_call(&e))
    }

    async fn list(&self) -> Result<Vec<Found>, Error> {
        self.inner.list().await.map_err(|e| error::of_call(&e))
    }

    async fn inspect(&self, id: InstanceId) -> Result<Option<Found>, Error> {
        self.inner.inspect(id).await.map_err(|e| error::of_call(&e))
    }

    async fn prepare(&self, image: &str, policy: PullPolicy) -> Result<Image, Error> {
        self.inner.prepare(image, policy).await
    }

    async fn create(&self, cluster: &str, instance: &DesiredInstance) -> Result<(), Error> {
        self.inner.create(cluster, instance).await
    }

    async fn start(&self, id: InstanceId) -> Result<(), Error> {
        self.inner.start(id).await
    }

    async fn stop(&self, id: InstanceId, grace: Duration) -> Result<(), Error> {
        self.inner.stop(id, grace).await
    }

    async fn remove(&self, id: InstanceId) -> Result<(), Error> {
        self.inner.remove(id).await
    }

    async fn set_limits(&self, id: InstanceId, limits: Limits) -> Result<(), Error> {
        self.inner.set_limits(id, limits).await
    }

    async fn exec(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecResult, Error> {
        self.inner.exec(id, command, timeout).await
    }

    async fn exec_streamed(
        &self,
        id: InstanceId,
        command: &[String],
        timeout: Duration,
        said: mpsc::Sender<Said>,
    ) -> Result<i32, Error> {
        self.inner.exec_streamed(id, command, timeout, said).await
    }

    async fn logs(
        &self,
        id: InstanceId,
        query: LogQuery,
    ) -> Result<BoxStream<'static, Result<String, Error>>, Error> {
        self.inner.logs(id, query).await
    }

    fn watch(&self) -> BoxStream<'static, Hint> {
        watch::hints(self.inner.clone())
    }
}
