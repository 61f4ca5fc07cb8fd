//! One method per thing the API can do.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use reqwest::Method;
use serde::de::DeserializeOwned;

use crate::api::list::MAX_LIMIT;
use crate::api::{
    AppDiff, AppStatus, CommitReport, CommitView, EmptyInput, InstanceView, NewToken, NodeView,
    Page, PlanInput, ReasonInput, ReleaseView, RollbackInput, RolloutView, ScaleInput, SourceInput,
    SourceStatus, SuspendInput, TokenInput, TokenView, Why,
};
use crate::model::quantity::format_duration;
use crate::model::{AppKey, NodeName, Preview, SourceName};

use super::http::CALL_DEADLINE;
use super::{Client, Error};

/// Which apps a list holds.
#[derive(Clone, Debug, Default)]
pub struct AppFilter {
    pub project: Option<String>,
    pub name: Option<String>,
}

impl Client {
    /// All apps that match, page by page.
    pub async fn apps(&self, filter: &AppFilter) -> Result<Vec<AppStatus>, Error> {
        let mut query = Vec::new();
        query.extend(filter.project.clone().map(|p| ("project", p)));
        query.extend(filter.name.clone().map(|n| ("name", n)));
        self.all(&["apps"], &query).await
    }

    /// Every item of a list, page by page.
    async fn all<T: DeserializeOwned>(
        &self,
        segments: &[&str],
        filter: &[(&str, String)],
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = filter.to_vec();
            query.push(("limit", MAX_LIMIT.to_string()));
            query.extend(after.take().map(|a| ("after", a)));
            let page: Page<T> = self.get(segments, &query).await?;
            all.extend(page.items);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(all),
            }
        }
    }

    pub async fn app(&self, app: &AppKey) -> Result<AppStatus, Error> {
        self.get(&app_path(app, &[]), &[]).await
    }

    /// As the leader has it, whichever controller is asked.
    pub async fn app_now(&self, app: &AppKey) -> Result<AppStatus, Error> {
        self.get_fresh(&app_path(app, &[])).await
    }

    /// As soon as its version is at least `version`; after `patience` (at most a minute) as it is.
    pub async fn app_at(
        &self,
        app: &AppKey,
        version: u64,
        patience: Duration,
    ) -> Result<AppStatus, Error> {
        let query = [
            ("wait", version.to_string()),
            ("timeout", format_duration(patience)),
        ];
        let request = self.request(Method::GET, &app_path(app, &[])).query(&query);
        self.json_within(request, CALL_DEADLINE + patience).await
    }

    pub async fn releases(&self, app: &AppKey) -> Result<Page<ReleaseView>, Error> {
        self.get(&app_path(app, &["releases"]), &[]).await
    }

    pub async fn rollouts(&self, app: &AppKey) -> Result<Page<RolloutView>, Error> {
        self.get(&app_path(app, &["rollouts"]), &[]).await
    }

    pub async fn instances(&self, app: &AppKey) -> Result<Page<InstanceView>, Error> {
        self.get(&app_path(app, &["instances"]), &[]).await
    }

    pub async fn why(&self, app: &AppKey) -> Result<Why, Error> {
        self.get(&app_path(app, &["why"]), &[]).await
    }

    /// Each verb answers with the app's state after it.
    pub async fn rollback(&self, app: &AppKey, input: &RollbackInput) -> Result<AppStatus, Error> {
        self.verb(app, &["rollback"], input).await
    }

    pub async fn restart(&self, app: &AppKey, reason: Option<String>) -> Result<AppStatus, Error> {
        self.verb(app, &["restart"], &ReasonInput { reason }).await
    }

    pub async fn scale(&self, app: &AppKey, input: &ScaleInput) -> Result<AppStatus, Error> {
        self.verb(app, &["scale"], input).await
    }

    /// Back to the declared number.
    pub async fn unscale(&self, app: &AppKey) -> Result<AppStatus, Error> {
        let request = self.request(Method::DELETE, &app_path(app, &["scale"]));
        self.json(request).await
    }

    pub async fn pause(&self, app: &AppKey, reason: Option<String>) -> Result<AppStatus, Error> {
        self.verb(app, &["rollout", "pause"], &ReasonInput { reason })
            .await
    }

    pub async fn resume_rollout(&self, app: &AppKey) -> Result<AppStatus, Error> {
        self.verb(app, &["rollout", "resume"], &EmptyInput {}).await
    }

    pub async fn abort(&self, app: &AppKey, reason: Option<String>) -> Result<AppStatus, Error> {
        self.verb(app, &["rollout", "abort"], &ReasonInput { reason })
            .await
    }

    pub async fn diff(&self, app: &AppKey) -> Result<AppDiff, Error> {
        self.get(&app_path(app, &["diff"]), &[]).await
    }

    pub async fn release(&self, app: &AppKey) -> Result<AppStatus, Error> {
        self.verb(app, &["release"], &EmptyInput {}).await
    }

    pub async fn suspend(&self, app: &AppKey, input: &SuspendInput) -> Result<AppStatus, Error> {
        self.verb(app, &["suspend"], input).await
    }

    pub async fn resume(&self, app: &AppKey) -> Result<AppStatus, Error> {
        self.verb(app, &["resume"], &EmptyInput {}).await
    }

    async fn verb(
        &self,
        app: &AppKey,
        verb: &[&str],
        body: &impl serde::Serialize,
    ) -> Result<AppStatus, Error> {
        self.send(Method::POST, &app_path(app, verb), body).await
    }

    /// Output of the app's instances as text, line by line as it comes.
    pub async fn logs(
        &self,
        app: &AppKey,
        tail: usize,
        follow: bool,
        instance: Option<&str>,
    ) -> Result<impl Stream<Item = Result<Bytes, Error>> + Unpin + use<>, Error> {
        let mut query = vec![("tail", tail.to_string()), ("follow", follow.to_string())];
        query.extend(instance.map(|i| ("instance", i.to_owned())));
        let request = self
            .request(Method::GET, &app_path(app, &["logs"]))
            .query(&query);
        let response = self.answer(request).await?;
        let client = self.clone();
        Ok(response
            .bytes_stream()
            .map(move |chunk| chunk.map_err(|e| client.failed(e))))
    }

    /// All of them.
    pub async fn sources(&self) -> Result<Page<SourceStatus>, Error> {
        let items = self.all(&["sources"], &[]).await?;
        Ok(Page { items, next: None })
    }

    pub async fn source(&self, name: &SourceName) -> Result<SourceStatus, Error> {
        self.get(&["sources", name.as_str()], &[]).await
    }

    /// As the leader has it, whichever controller is asked: it alone knows what is just done.
    pub async fn source_now(&self, name: &SourceName) -> Result<SourceStatus, Error> {
        self.get_fresh(&["sources", name.as_str()]).await
    }

    pub async fn add_source(&self, input: &SourceInput) -> Result<SourceStatus, Error> {
        self.send(Method::POST, &["sources"], input).await
    }

    pub async fn put_source(&self, input: &SourceInput) -> Result<SourceStatus, Error> {
        self.send(Method::PUT, &["sources", input.name.as_str()], input)
            .await
    }

    /// With `prune` its apps are taken down first. `false`: not gone yet; ask again until it is.
    pub async fn remove_source(&self, name: &SourceName, prune: bool) -> Result<bool, Error> {
        let request = self
            .request(Method::DELETE, &["sources", name.as_str()])
            .query(&[("prune", prune.to_string())]);
        let response = self.answer(request.timeout(CALL_DEADLINE)).await?;
        Ok(response.status() == reqwest::StatusCode::NO_CONTENT)
    }

    /// Asks for a sync now; does not wait for it.
    pub async fn sync_source(&self, name: &SourceName) -> Result<SourceStatus, Error> {
        self.send(
            Method::POST,
            &["sources", name.as_str(), "sync"],
            &EmptyInput {},
        )
        .await
    }

    /// Lets the deletions through that a brake holds.
    pub async fn approve_source(&self, name: &SourceName) -> Result<SourceStatus, Error> {
        self.send(
            Method::POST,
            &["sources", name.as_str(), "approve"],
            &EmptyInput {},
        )
        .await
    }

    /// What became of a commit, as the leader has it; its whole hash or the first digits.
    pub async fn commit_now(&self, name: &SourceName, commit: &str) -> Result<CommitReport, Error> {
        self.get_fresh(&["sources", name.as_str(), "commits", commit])
            .await
    }

    pub async fn commits(&self, name: &SourceName) -> Result<Page<CommitView>, Error> {
        self.get(&["sources", name.as_str(), "commits"], &[]).await
    }

    /// What a tree would do; changes nothing.
    pub async fn plan(&self, input: &PlanInput) -> Result<Preview, Error> {
        self.send(Method::POST, &["plan"], input).await
    }

    /// All tokens that are not revoked, page by page.
    pub async fn tokens(&self) -> Result<Vec<TokenView>, Error> {
        self.all(&["tokens"], &[]).await
    }

    pub async fn create_token(&self, input: &TokenInput) -> Result<NewToken, Error> {
        self.send(Method::POST, &["tokens"], input).await
    }

    pub async fn revoke_token(&self, name: &str) -> Result<(), Error> {
        let request = self.request(Method::DELETE, &["tokens", name]);
        self.answer(request.timeout(CALL_DEADLINE))
            .await
            .map(|_| ())
    }

    /// All of them.
    pub async fn nodes(&self) -> Result<Page<NodeView>, Error> {
        let items = self.all(&["nodes"], &[]).await?;
        Ok(Page { items, next: None })
    }

    pub async fn node(&self, name: &NodeName) -> Result<NodeView, Error> {
        self.get(&["nodes", name.as_str()], &[]).await
    }

    /// As the leader has it, whichever controller is asked.
    pub async fn node_now(&self, name: &NodeName) -> Result<NodeView, Error> {
        self.get_fresh(&["nodes", name.as_str()]).await
    }

    /// `verb`: `cordon`, `uncordon` or `drain`.
    pub async fn schedule(
        &self,
        name: &NodeName,
        verb: &str,
        reason: Option<String>,
    ) -> Result<NodeView, Error> {
        let path = ["nodes", name.as_str(), verb];
        self.send(Method::POST, &path, &ReasonInput { reason })
            .await
    }
}

pub(super) fn app_path<'a>(app: &'a AppKey, rest: &[&'a str]) -> Vec<&'a str> {
    let mut path = vec!["projects", app.project.as_str(), "apps", app.name.as_str()];
    path.extend(rest);
    path
}
