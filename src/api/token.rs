//! Named tokens: making, listing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{ProjectName, Projects, Role, Timestamp, Token};

/// What `POST /tokens` takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TokenInput {
    /// A DNS label: the name under which its holder acts.
    pub name: String,
    pub role: Role,
    /// The only projects it opens; left out: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projects: Option<Vec<String>>,
    /// For how long it is good, such as `720h`; left out: until it is revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
}

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TokenView {
    pub name: String,
    /// Public part of its text, `evk_ID_…`: tells which one was found somewhere.
    pub id: String,
    pub role: Role,
    /// The only projects it opens; `null`: all.
    pub projects: Option<Vec<ProjectName>>,
    pub created_at: Timestamp,
    pub created_by: String,
    /// From then on it opens nothing; `null`: it lasts until it is revoked.
    pub expires_at: Option<Timestamp>,
    /// Up to some minutes old; `null`: never used.
    pub last_used_at: Option<Timestamp>,
}

impl From<Token> for TokenView {
    fn from(token: Token) -> TokenView {
        TokenView {
            name: token.name,
            id: token.id,
            role: token.role,
            projects: match token.projects {
                Projects::All => None,
                Projects::Only(projects) => Some(projects.into_iter().collect()),
            },
            created_at: token.created_at,
            created_by: token.created_by,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

/// A token that was just made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NewToken {
    /// Its text: told this once, and kept nowhere.
    pub token: String,
    #[serde(flatten)]
    pub view: TokenView,
}
