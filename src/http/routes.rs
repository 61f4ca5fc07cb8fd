//! Every route there is. Who may use it is decided here and nowhere else, except that
//! handlers of lists leave out what the caller's projects do not hold.

use super::auth::{
    ADMINISTER, Access, OPERATE, OPERATE_APP, OPERATE_CLUSTER, VIEW, VIEW_APP, VIEW_CLUSTER,
};
use super::route::{Route, delete, get, post, put};
use super::{
    MAX_REPORT_BYTES, agents, apps, commit, events, health, hooks, logs, metrics, nodes, page, plan,
};
use super::{rollouts, sources, tokens, verbs};

pub fn all() -> Vec<Route> {
    vec![
        get("/api/v1/apps", VIEW, apps::list),
        get(
            "/api/v1/projects/{project}/apps/{app}",
            VIEW_APP,
            apps::show,
        ),
        get(
            "/api/v1/projects/{project}/apps/{app}/releases",
            VIEW_APP,
            apps::releases,
        ),
        get(
            "/api/v1/projects/{project}/apps/{app}/rollouts",
            VIEW_APP,
            apps::rollouts,
        ),
        get(
            "/api/v1/projects/{project}/apps/{app}/instances",
            VIEW_APP,
            apps::instances,
        ),
        get(
            "/api/v1/projects/{project}/apps/{app}/why",
            VIEW_APP,
            apps::why,
        )
        .on_leader(),
        get(
            "/api/v1/projects/{project}/apps/{app}/logs",
            VIEW_APP,
            logs::show,
        )
        .on_leader(),
        post(
            "/api/v1/projects/{project}/apps/{app}/rollback",
            OPERATE_APP,
            verbs::rollback,
        ),
        post(
            "/api/v1/projects/{project}/apps/{app}/release",
            OPERATE_APP,
            verbs::release,
        ),
        post(
            "/api/v1/projects/{project}/apps/{app}/suspend",
            OPERATE_APP,
            verbs::suspend,
        ),
        post(
            "/api/v1/projects/{project}/apps/{app}/resume",
            OPERATE_APP,
            verbs::resume,
        ),
        post(
            "/api/v1/projects/{project}/apps/{app}/restart",
            OPERATE_APP,
            verbs::restart,
        ),
        post(
            "/api/v1/projects/{project}/apps/{app}/scale",
            OPERATE_APP,
            verbs::scale,
        ),
        delete(
            "/api/v1/projects/{project}/apps/{app}/scale",
            OPERATE_APP,
            verbs::unscale,
        ),
        post(
            "/api/v1/projects/{project}/apps/{app}/rollout/pause",
            OPERATE_APP,
            rollouts::pause,
        ),
        post(
            "/api/v1/projects/{project}/apps/{app}/rollout/resume",
            OPERATE_APP,
            rollouts::resume,
        ),
        post(
            "/api/v1/projects/{project}/apps/{app}/rollout/abort",
            OPERATE_APP,
            rollouts::abort,
        ),
        get(
            "/api/v1/projects/{project}/apps/{app}/diff",
            VIEW_APP,
            rollouts::diff,
        ),
        get("/api/v1/sources", VIEW, sources::list),
        post("/api/v1/sources", ADMINISTER, sources::add),
        get("/api/v1/sources/{name}", VIEW, sources::show),
        put("/api/v1/sources/{name}", ADMINISTER, sources::put),
        delete("/api/v1/sources/{name}", ADMINISTER, sources::remove),
        post("/api/v1/sources/{name}/sync", OPERATE, sources::sync),
        get("/api/v1/sources/{name}/commits", VIEW, sources::commits),
        get("/api/v1/sources/{name}/pulls", VIEW, plan::pulls),
        get(
            "/api/v1/sources/{name}/commits/{commit}",
            VIEW,
            commit::show,
        ),
        post(
            "/api/v1/sources/{name}/approve",
            ADMINISTER,
            sources::approve,
        ),
        post("/api/v1/plan", VIEW, plan::plan).body(crate::api::plan::MAX_BYTES),
        get("/api/v1/nodes", VIEW, nodes::list),
        get("/api/v1/nodes/{name}", VIEW, nodes::show),
        post(
            "/api/v1/nodes/{name}/cordon",
            OPERATE_CLUSTER,
            nodes::cordon,
        ),
        post(
            "/api/v1/nodes/{name}/uncordon",
            OPERATE_CLUSTER,
            nodes::uncordon,
        ),
        post("/api/v1/nodes/{name}/drain", OPERATE_CLUSTER, nodes::drain),
        get("/api/v1/tokens", ADMINISTER, tokens::list),
        post("/api/v1/tokens", ADMINISTER, tokens::create),
        delete("/api/v1/tokens/{name}", ADMINISTER, tokens::revoke),
        get("/api/v1/events", VIEW, events::list),
        get("/api/v1/agent/stream", Access::Agents, agents::stream).on_leader(),
        post("/api/v1/agent/reports", Access::Agents, agents::report).body(MAX_REPORT_BYTES),
        post("/api/v1/agent/streams/{id}", Access::Agents, agents::lines).streamed(),
        post("/api/v1/hooks/{source}", Access::Anyone, hooks::receive).taken_in(),
        get("/", Access::Page, page::show),
        get("/metrics", VIEW_CLUSTER, metrics::show),
        get(
            "/sources/{name}/commits/{commit}",
            Access::Page,
            commit::page,
        ),
        get("/healthz", Access::Anyone, health::live),
        get("/readyz", Access::Anyone, health::ready),
    ]
}
