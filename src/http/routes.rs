//! Every route there is. Who may use it is decided here and nowhere else, except that
//! handlers of lists leave out what the caller's projects do not hold.

use super::auth::{
    ADMINISTER, Access, OPERATE, OPERATE_APP, OPERATE_CLUSTER, VIEW, VIEW_APP, VIEW_CLUSTER,
};
use super::route::{Route, delete, get, post, put};
use super::{
    MAX_REPORT_BYTES, agents, apps, commit, docs, document, events, exec, health, hooks, logs,
    metrics, nodes, page, plan,
};
use super::{sources, tokens, verbs};
use crate::api::{ExecFrame, Page};
use crate::model::Event;

pub fn all() -> Vec<Route> {
    vec![
        get("/api/v1/apps", VIEW, apps::list).says("The status documents of all apps"),
        get(
            "/api/v1/projects/{project}/apps/{app}",
            VIEW_APP,
            apps::show,
        )
        .says("An app's status document")
        .waits()
        .fresh(),
        get(
            "/api/v1/projects/{project}/apps/{app}/releases",
            VIEW_APP,
            apps::releases,
        )
        .says("An app's releases"),
        get(
            "/api/v1/projects/{project}/apps/{app}/rollouts",
            VIEW_APP,
            apps::rollouts,
        )
        .says("An app's rollouts, newest first"),
        get(
            "/api/v1/projects/{project}/apps/{app}/instances",
            VIEW_APP,
            apps::instances,
        )
        .says("An app's instances"),
        get(
            "/api/v1/projects/{project}/apps/{app}/why",
            VIEW_APP,
            apps::why,
        )
        .says("What an app waits for, and why")
        .on_leader(),
        get(
            "/api/v1/projects/{project}/apps/{app}/logs",
            VIEW_APP,
            logs::show,
        )
        .says("Output of an app's instances")
        .content("text/plain")
        .on_leader(),
        post(
            "/api/v1/projects/{project}/apps/{app}/exec",
            OPERATE_APP,
            exec::run,
        )
        .says("Run a command inside an instance")
        .answers::<ExecFrame>()
        .content("application/x-ndjson"),
        post(
            "/api/v1/projects/{project}/apps/{app}/rollback",
            OPERATE_APP,
            verbs::rollback,
        )
        .says("Back to a stable release"),
        post(
            "/api/v1/projects/{project}/apps/{app}/release",
            OPERATE_APP,
            verbs::release,
        )
        .says("Lift the quarantine, or let a paused rollout go on"),
        post(
            "/api/v1/projects/{project}/apps/{app}/suspend",
            OPERATE_APP,
            verbs::suspend,
        )
        .says("Roll out no new commits"),
        post(
            "/api/v1/projects/{project}/apps/{app}/resume",
            OPERATE_APP,
            verbs::resume,
        )
        .says("Follow Git again"),
        post(
            "/api/v1/projects/{project}/apps/{app}/restart",
            OPERATE_APP,
            verbs::restart,
        )
        .says("Replace all instances, as a rollout would"),
        post(
            "/api/v1/projects/{project}/apps/{app}/scale",
            OPERATE_APP,
            verbs::scale,
        )
        .says("Another number of replicas than Git says, for a while"),
        delete(
            "/api/v1/projects/{project}/apps/{app}/scale",
            OPERATE_APP,
            verbs::unscale,
        )
        .says("The number of replicas that Git says again"),
        post(
            "/api/v1/projects/{project}/apps/{app}/rollout/pause",
            OPERATE_APP,
            verbs::pause,
        )
        .says("Let the rollout stand still"),
        post(
            "/api/v1/projects/{project}/apps/{app}/rollout/resume",
            OPERATE_APP,
            verbs::go_on,
        )
        .says("Let the paused rollout go on"),
        post(
            "/api/v1/projects/{project}/apps/{app}/rollout/abort",
            OPERATE_APP,
            verbs::abort,
        )
        .says("End the rollout by going back"),
        get(
            "/api/v1/projects/{project}/apps/{app}/diff",
            VIEW_APP,
            apps::diff,
        )
        .says("What differs between what runs and what Git declares"),
        get("/api/v1/sources", VIEW, sources::list).says("All sources"),
        post("/api/v1/sources", ADMINISTER, sources::add)
            .says("Add a source")
            .code(201),
        get("/api/v1/sources/{name}", VIEW, sources::show)
            .says("A source: state, commits seen and applied, problems, what is held")
            .waits()
            .fresh(),
        put("/api/v1/sources/{name}", ADMINISTER, sources::put)
            .says("Add a source or replace its settings"),
        delete("/api/v1/sources/{name}", ADMINISTER, sources::remove)
            .says("Remove a source")
            .code(204)
            .or_code(202, "Its apps are being taken down; ask again until 204"),
        post("/api/v1/sources/{name}/sync", OPERATE, sources::sync)
            .says("Fetch now; does not wait for it")
            .code(202),
        get("/api/v1/sources/{name}/commits", VIEW, sources::commits)
            .says("Commits seen, newest first"),
        get("/api/v1/sources/{name}/pulls", VIEW, plan::pulls)
            .says("Open pull requests with what became of their plans"),
        get(
            "/api/v1/sources/{name}/commits/{commit}",
            VIEW,
            commit::show,
        )
        .says("What became of a commit, app by app, with the evidence")
        .fresh(),
        post(
            "/api/v1/sources/{name}/approve",
            ADMINISTER,
            sources::approve,
        )
        .says("Let the held deletions through"),
        post("/api/v1/plan", VIEW, plan::plan)
            .says("What a tree would do; changes nothing")
            .body(crate::api::plan::MAX_BYTES),
        get("/api/v1/schema", VIEW, document::specs)
            .says("JSON Schema of spec files")
            .answers::<serde_json::Value>(),
        get("/api/v1/nodes", VIEW, nodes::list).says("All nodes"),
        get("/api/v1/nodes/{name}", VIEW, nodes::show)
            .says("A node")
            .waits()
            .fresh(),
        post(
            "/api/v1/nodes/{name}/cordon",
            OPERATE_CLUSTER,
            nodes::cordon,
        )
        .says("Place nothing new on a node"),
        post(
            "/api/v1/nodes/{name}/uncordon",
            OPERATE_CLUSTER,
            nodes::uncordon,
        )
        .says("Place on a node again"),
        post("/api/v1/nodes/{name}/drain", OPERATE_CLUSTER, nodes::drain)
            .says("Move what runs on a node elsewhere"),
        get("/api/v1/tokens", ADMINISTER, tokens::list).says("Named tokens, without their secrets"),
        post("/api/v1/tokens", ADMINISTER, tokens::create)
            .says("Make a token; its text is told this once")
            .code(201),
        delete("/api/v1/tokens/{name}", ADMINISTER, tokens::revoke)
            .says("Revoke a token")
            .code(204),
        get("/api/v1/events", VIEW, events::list)
            .says("What happened; with Accept: text/event-stream live")
            .answers::<Page<Event>>(),
        get("/api/v1/agent/stream", Access::Agents, agents::stream)
            .says("A node's orders, a line of JSON each")
            .content("application/x-ndjson")
            .on_leader(),
        post("/api/v1/agent/reports", Access::Agents, agents::report)
            .says("What an agent sees")
            .code(204)
            .body(MAX_REPORT_BYTES),
        post("/api/v1/agent/streams/{id}", Access::Agents, agents::lines)
            .says("Output that was asked for, line by line")
            .code(204)
            .streamed(),
        post("/api/v1/hooks/{source}", Access::Anyone, hooks::receive)
            .says("A forge's delivery, by signature instead of token")
            .code(202)
            .taken_in(),
        get("/openapi.json", Access::Page, document::show)
            .says("This document")
            .answers::<serde_json::Value>(),
        get("/docs", Access::Page, docs::show)
            .says("This document as a page")
            .content("text/html"),
        get("/", Access::Page, page::show)
            .says("The cluster on a plain page")
            .content("text/html"),
        get(
            "/sources/{name}/commits/{commit}",
            Access::Page,
            commit::page,
        )
        .says("What became of a commit, as a plain page")
        .content("text/html"),
        get("/metrics", VIEW_CLUSTER, metrics::show)
            .says("Metrics in the text format of Prometheus")
            .content("text/plain"),
        get("/healthz", Access::Anyone, health::live)
            .says("The process answers")
            .content("text/plain"),
        get("/readyz", Access::Anyone, health::ready)
            .says("State is loaded, the database answers and somebody leads")
            .answers::<health::Ready>(),
    ]
}
