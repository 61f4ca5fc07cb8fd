//! Reading the whole cluster state back, as of one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use sqlx::{Connection, PgConnection};

use super::session::within;
use super::{Error, Store, apps, instances, nodes, releases, rollouts, sources};
use crate::model::{App, AppKey, AppSpec, Generation, RolloutId, Snapshot};

const OPERATION: &str = "load";

impl Store {
    /// The cluster state as of one moment. `Corrupt`: rows that do not fit together.
    pub async fn load(&self) -> Result<Snapshot, Error> {
        let mut session = self.session(OPERATION).await?;
        let result = within(OPERATION, self.options.transaction_timeout, async {
            let conn = session.conn()?;
            let sql = |e| Error::from_sqlx(OPERATION, e);
            let mut tx = conn
                .begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                .await
                .map_err(sql)?;
            let snapshot = load(&mut tx).await?;
            tx.commit().await.map_err(sql)?;
            Ok(snapshot)
        })
        .await;
        session.finish(result)
    }
}

struct Loading {
    app: App,
    rollout: Option<RolloutId>,
}

async fn load(conn: &mut PgConnection) -> Result<Snapshot, Error> {
    let sql = |e| Error::from_sqlx(OPERATION, e);
    let generation: i64 = sqlx::query_scalar("SELECT generation FROM cluster")
        .fetch_one(&mut *conn)
        .await
        .map_err(sql)?;
    let mut loading: BTreeMap<AppKey, Loading> = BTreeMap::new();
    for stored in apps::all(conn).await.map_err(sql)? {
        let (app, rollout) = (stored.app, stored.rollout);
        loading.insert(app.key.clone(), Loading { app, rollout });
    }
    for mut release in releases::of(conn, None).await.map_err(sql)? {
        let app = &mut owner(&mut loading, &release.app)?.app;
        share_spec(app, &mut release.spec);
        app.releases.insert(release.id, Arc::new(release));
    }
    for (key, rejection) in releases::all_quarantined(conn).await.map_err(sql)? {
        let app = &mut owner(&mut loading, &key)?.app;
        app.quarantine.insert(rejection.digest.clone(), rejection);
    }
    for rollout in rollouts::last_of_all(conn).await.map_err(sql)? {
        let key = rollout.app.clone();
        owner(&mut loading, &key)?.app.rollout = Some(rollout);
    }
    for instance in instances::all(conn).await.map_err(sql)? {
        let app = &mut owner(&mut loading, &instance.app)?.app;
        app.instances.insert(instance.id, instance);
    }
    for (key, slot, node) in instances::all_homes(conn).await.map_err(sql)? {
        owner(&mut loading, &key)?.app.homes.insert(slot, node);
    }
    let mut snapshot = Snapshot::default();
    snapshot.generation = Generation(generation);
    snapshot.nodes = nodes::all(conn).await.map_err(sql)?;
    for source in sources::all(conn).await.map_err(sql)? {
        snapshot.sources.insert(source.spec.name.clone(), source);
    }
    for (key, Loading { app, rollout }) in loading {
        if rollout != app.rollout.as_ref().map(|r| r.id) {
            return Err(Error::corrupt(
                OPERATION,
                format!("the last rollout of app {key} is missing"),
            ));
        }
        snapshot.restore_app(app);
    }
    Ok(snapshot)
}

fn owner<'a>(
    loading: &'a mut BTreeMap<AppKey, Loading>,
    key: &AppKey,
) -> Result<&'a mut Loading, Error> {
    loading
        .get_mut(key)
        .ok_or_else(|| Error::corrupt(OPERATION, format!("rows of app {key}, which is not there")))
}

/// Git's declaration and the release made from it are mostly the same spec: hold it once.
fn share_spec(app: &App, spec: &mut Arc<AppSpec>) {
    if let Some(declared) = &app.declared
        && declared.spec == *spec
    {
        *spec = Arc::clone(&declared.spec);
    }
}
