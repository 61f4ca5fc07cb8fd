//! Output of instances: asked for on the agent's stream, answered by the agent
//! as the body of a request of its own, handed on line by line.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use uuid::Uuid;

use super::{Error, Handle, LogLine, LogQuery, Refusal, lock};
use crate::api::agent::ToAgent;
use crate::clock;
use crate::model::{AppKey, InstanceId, NodeName};

/// For an agent to begin its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Lines that may wait for a slow reader before the agent has to.
const LINE_BACKLOG: usize = 256;

/// Answers that were asked for and have not begun.
#[derive(Default)]
pub(super) struct Streams(BTreeMap<Uuid, Awaited>);

struct Awaited {
    lines: mpsc::Sender<String>,
    until: Instant,
}

impl Streams {
    /// Gives up what was never answered; its reader sees the end.
    pub fn expire(&mut self) {
        let now = Instant::now();
        self.0.retain(|_, awaited| now < awaited.until);
    }
}

impl Handle {
    /// Output of an app's instances, or of one of them, as their nodes send it. Without
    /// `follow` it ends by itself. Instances whose node is not connected are left out;
    /// `NoAgent` if that leaves none.
    pub async fn logs(
        &self,
        app: &AppKey,
        instance: Option<InstanceId>,
        query: LogQuery,
    ) -> Result<BoxStream<'static, LogLine>, Error> {
        self.0.image.leading()?;
        let mut outputs = Vec::new();
        let mut silent = None;
        for (id, slot, node) in self.instances(app, instance)? {
            match self.ask(id, &node, query) {
                Some(lines) => {
                    let line = move |line| LogLine {
                        instance: id,
                        slot,
                        node: node.clone(),
                        line,
                    };
                    outputs.push(ReceiverStream::new(lines).map(line).boxed());
                }
                None => silent = Some(node),
            }
        }
        match silent {
            Some(node) if outputs.is_empty() => Err(Error::NoAgent(node)),
            Some(_) | None => Ok(stream::select_all(outputs).boxed()),
        }
    }

    fn instances(
        &self,
        key: &AppKey,
        only: Option<InstanceId>,
    ) -> Result<Vec<(InstanceId, u32, NodeName)>, Error> {
        let found = self.read(|snapshot| {
            let app = snapshot.apps.get(key)?;
            let mut found: Vec<_> = app
                .instances
                .values()
                .filter(|i| !i.is_gone() && only.is_none_or(|id| i.id == id))
                .map(|i| (i.id, i.slot, i.node.clone()))
                .collect();
            found.sort_by_key(|(id, slot, _)| (*slot, *id));
            Some(found)
        })?;
        match found {
            None => Err(Error::Refused(Refusal::NotFound(format!(
                "there is no app {key}; `evenkeel status` lists all"
            )))),
            Some(found) if found.is_empty() => Err(Error::Refused(Refusal::NotFound(match only {
                Some(id) => format!("{key} has no instance {id} now"),
                None => {
                    format!("{key} has no instances; `evenkeel why {key}` says what it waits for")
                }
            }))),
            Some(found) => Ok(found),
        }
    }

    fn ask(
        &self,
        instance: InstanceId,
        node: &NodeName,
        query: LogQuery,
    ) -> Option<mpsc::Receiver<String>> {
        self.ask_for_lines(node, |id| ToAgent::Logs {
            id,
            instance,
            tail: query.tail,
            follow: query.follow,
        })
    }

    /// Asks a node for an answer in lines; `None`: its agent is not connected.
    pub(super) fn ask_for_lines(
        &self,
        node: &NodeName,
        request: impl FnOnce(Uuid) -> ToAgent,
    ) -> Option<mpsc::Receiver<String>> {
        let id = clock::uuid();
        let (lines, receiver) = mpsc::channel(LINE_BACKLOG);
        let awaited = Awaited {
            lines,
            until: Instant::now() + ANSWER_WITHIN,
        };
        lock(&self.0.streams).0.insert(id, awaited);
        if lock(&self.0.agents).request(node, request(id)) {
            return Some(receiver);
        }
        lock(&self.0.streams).0.remove(&id);
        None
    }

    /// Where the body of `/agent/streams/{id}` goes, line by line (without line feeds);
    /// dropping the sender ends it, and a failed send means that the reader has left.
    /// `NoStream`: not asked for, answered already, or too late.
    pub fn log_sink(&self, id: Uuid) -> Result<mpsc::Sender<String>, Error> {
        let awaited = lock(&self.0.streams).0.remove(&id);
        awaited
            .filter(|a| !a.lines.is_closed())
            .map(|a| a.lines)
            .ok_or(Error::NoStream)
    }
}
