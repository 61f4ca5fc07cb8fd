//! Rows of `tokens`, and the number that says whether they changed.
//!
//! Not part of the cluster's state: no decision is based on them, so no epoch guards them
//! either. The database's own constraints settle what two controllers write at once.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;

use super::encode::{bad, name, text, time};
use super::read::page;
use super::{Error, Store};
use crate::failpoint::Op;
use crate::model::access::{Revoked, TokenDigest};
use crate::model::{Projects, Timestamp, Token};

/// Tokens that may be in force at a time: all of them are kept in memory.
pub const MAX_TOKENS: u32 = 1000;
/// Days that a revoked token's row is kept.
const REVOKED_KEPT_DAYS: i32 = 30;

/// The name is taken, by a token in force.
const NAME_TAKEN: &str = "tokens_name_once";

/// How making a token ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    Done,
    NameTaken,
    /// [`MAX_TOKENS`] are in force.
    TooMany,
}

/// Which tokens a list holds.
#[derive(Clone, Debug, Default)]
pub struct TokenQuery {
    /// Those whose names come later.
    pub after: Option<String>,
    /// At most [`super::MAX_PAGE`]; 0 means that.
    pub limit: u32,
}

const COLUMNS: &str = "id, name, role, projects, digest, created_at, created_by, expires_at, \
                       last_used_at, revoked_at, revoked_by";

#[derive(sqlx::FromRow)]
struct Row {
    id: String,
    name: String,
    role: String,
    projects: Option<Vec<String>>,
    digest: Vec<u8>,
    created_at: DateTime<Utc>,
    created_by: String,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    revoked_by: Option<String>,
}

impl TryFrom<Row> for Token {
    type Error = sqlx::Error;
    fn try_from(row: Row) -> Result<Token, sqlx::Error> {
        let digest = <[u8; 32]>::try_from(row.digest.as_slice());
        let projects = match row.projects {
            None => Projects::All,
            Some(projects) => {
                let names = projects.iter().map(|p| name("tokens.projects", p));
                Projects::Only(names.collect::<Result<_, _>>()?)
            }
        };
        Ok(Token {
            id: row.id,
            name: row.name,
            role: name("tokens.role", &row.role)?,
            projects,
            digest: TokenDigest(digest.map_err(|e| bad("tokens.digest", e))?),
            created_at: row.created_at.into(),
            created_by: row.created_by,
            expires_at: row.expires_at.map(Timestamp::from),
            last_used_at: row.last_used_at.map(Timestamp::from),
            revoked: row
                .revoked_at
                .zip(row.revoked_by)
                .map(|(at, by)| Revoked { at: at.into(), by }),
        })
    }
}

impl Store {
    /// Grows with each token made or revoked.
    pub async fn token_version(&self) -> Result<i64, Error> {
        self.read("token version", async |conn| version(conn).await)
            .await
    }

    /// All that are in force, and those revoked lately, with the version they are of.
    pub async fn all_tokens(&self) -> Result<(i64, Vec<Token>), Error> {
        self.read("all tokens", async |conn| {
            // First: what is read after it is at least that new.
            let version = version(&mut *conn).await?;
            let sql = format!("SELECT {COLUMNS} FROM tokens ORDER BY name");
            let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .fetch_all(conn)
                .await?;
            let tokens: Result<_, _> = rows.into_iter().map(Token::try_from).collect();
            Ok((version, tokens?))
        })
        .await
    }

    /// Those in force, by name.
    pub async fn tokens(&self, query: &TokenQuery) -> Result<Vec<Token>, Error> {
        self.read("tokens", async |conn| {
            let sql = format!(
                "SELECT {COLUMNS} FROM tokens WHERE revoked_at IS NULL AND name > $1
                 ORDER BY name LIMIT $2"
            );
            let rows: Vec<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(query.after.as_deref().unwrap_or_default())
                .bind(page(query.limit))
                .fetch_all(conn)
                .await?;
            rows.into_iter().map(Token::try_from).collect()
        })
        .await
    }

    /// Keeps a new token, and forgets those revoked long ago.
    pub async fn create_token(&self, token: &Token) -> Result<Created, Error> {
        let projects: Option<Vec<String>> = match &token.projects {
            Projects::All => None,
            Projects::Only(projects) => Some(projects.iter().map(|p| p.to_string()).collect()),
        };
        let done = self
            .write(Op::StoreTokenCreate, "create token", async |conn| {
                sqlx::query(
                    "WITH forgotten AS (
                         DELETE FROM tokens
                         WHERE revoked_at < clock_timestamp() - make_interval(days => $10)
                     ), added AS (
                         INSERT INTO tokens (id, name, role, projects, digest, created_at,
                             created_by, expires_at)
                         SELECT $1, $2, $3, $4, $5, $6, $7, $8
                         WHERE (SELECT count(*) FROM tokens WHERE revoked_at IS NULL) < $9
                         RETURNING 1
                     )
                     UPDATE token_changes SET version = version + 1
                     WHERE EXISTS (SELECT FROM added)",
                )
                .bind(&token.id)
                .bind(&token.name)
                .bind(token.role.as_str())
                .bind(projects)
                .bind(token.digest.0.as_slice())
                .bind(time(token.created_at))
                .bind(text(&token.created_by))
                .bind(token.expires_at.map(time))
                .bind(i64::from(MAX_TOKENS))
                .bind(REVOKED_KEPT_DAYS)
                .execute(conn)
                .await
            })
            .await;
        match done {
            Ok(done) if done.rows_affected() == 0 => Ok(Created::TooMany),
            Ok(_) => Ok(Created::Done),
            Err(Error::Constraint { constraint, .. }) if constraint == NAME_TAKEN => {
                Ok(Created::NameTaken)
            }
            Err(error) => Err(error),
        }
    }

    /// The token, revoked now; `None`: none of this name is in force.
    pub async fn revoke_token(
        &self,
        name: &str,
        by: &str,
        at: Timestamp,
    ) -> Result<Option<Token>, Error> {
        self.write(Op::StoreTokenRevoke, "revoke token", async |conn| {
            let sql = format!(
                "WITH revoked AS (
                     UPDATE tokens SET revoked_at = $2, revoked_by = $3
                     WHERE name = $1 AND revoked_at IS NULL
                     RETURNING {COLUMNS}
                 ), counted AS (
                     UPDATE token_changes SET version = version + 1
                     WHERE EXISTS (SELECT FROM revoked)
                 )
                 SELECT {COLUMNS} FROM revoked"
            );
            let row: Option<Row> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
                .bind(name)
                .bind(time(at))
                .bind(text(by))
                .fetch_optional(conn)
                .await?;
            row.map(Token::try_from).transpose()
        })
        .await
    }

    /// When tokens were last used, as (id, time); older times than what is kept are ignored.
    pub async fn tokens_used(&self, used: &[(String, Timestamp)]) -> Result<(), Error> {
        let ids: Vec<&str> = used.iter().map(|(id, _)| id.as_str()).collect();
        let times: Vec<DateTime<Utc>> = used.iter().map(|(_, at)| time(*at)).collect();
        self.write(Op::StoreTokensUsed, "tokens used", async |conn| {
            sqlx::query(
                "UPDATE tokens SET last_used_at = greatest(last_used_at, used.at)
                 FROM unnest($1::text[], $2::timestamptz[]) AS used(id, at)
                 WHERE tokens.id = used.id",
            )
            .bind(ids)
            .bind(times)
            .execute(conn)
            .await
            .map(|_| ())
        })
        .await
    }
}

async fn version(conn: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT version FROM token_changes")
        .fetch_one(conn)
        .await
}
