//! Rows of `deliveries`: what was last delivered to each source's webhook. For people
//! only: nothing is decided from it.

use std::collections::BTreeMap;

use sqlx::types::Json;

use super::encode::{json, name};
use super::{Error, Store};
use crate::model::{DeliveryLog, Epoch, SourceName};

impl Store {
    /// Replaces the records of these sources; one that is gone meanwhile is left out.
    pub async fn save_deliveries(
        &self,
        epoch: Epoch,
        logs: &[(SourceName, DeliveryLog)],
    ) -> Result<(), Error> {
        self.write_fenced("save deliveries", epoch, async |conn| {
            for (source, log) in logs {
                sqlx::query(
                    "INSERT INTO deliveries (source, log)
                     SELECT name, $2::jsonb FROM sources WHERE name = $1
                     ON CONFLICT (source) DO UPDATE SET
                         log = excluded.log, saved_at = clock_timestamp()",
                )
                .bind(source.as_str())
                .bind(json(log)?)
                .execute(&mut *conn)
                .await?;
            }
            Ok(())
        })
        .await
    }

    /// Of all sources that have any.
    pub async fn deliveries(&self) -> Result<BTreeMap<SourceName, DeliveryLog>, Error> {
        self.read("deliveries", async |conn| {
            let rows: Vec<(String, Json<DeliveryLog>)> =
                sqlx::query_as("SELECT source, log FROM deliveries")
                    .fetch_all(conn)
                    .await?;
            rows.into_iter()
                .map(|(source, log)| Ok((name("deliveries.source", &source)?, log.0)))
                .collect()
        })
        .await
    }

    /// Of one source, as last saved.
    pub async fn deliveries_of(&self, source: &SourceName) -> Result<DeliveryLog, Error> {
        self.read("deliveries of a source", async |conn| {
            let log: Option<Json<DeliveryLog>> =
                sqlx::query_scalar("SELECT log FROM deliveries WHERE source = $1")
                    .bind(source.as_str())
                    .fetch_optional(conn)
                    .await?;
            Ok(log.map(|log| log.0).unwrap_or_default())
        })
        .await
    }
}
