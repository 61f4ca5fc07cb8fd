//! What a token lets its holder do, and where.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ProjectName, Timestamp};

/// What its holder may do; each may also do what the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// Look.
    Viewer,
    /// Use the verbs of apps and nodes.
    Operator,
    /// Add and change sources, make and revoke tokens.
    Admin,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Viewer, Role::Operator, Role::Admin];

    pub fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no role; roles are viewer, operator and admin")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;
    fn from_str(text: &str) -> Result<Role, UnknownRole> {
        Role::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// Where it may be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Projects {
    /// In the whole cluster, also what belongs to no project.
    All,
    /// In these projects alone.
    Only(BTreeSet<ProjectName>),
}

impl Projects {
    pub fn contains(&self, project: &ProjectName) -> bool {
        match self {
            Projects::All => true,
            Projects::Only(projects) => projects.contains(project),
        }
    }

    pub fn is_all(&self) -> bool {
        match self {
            Projects::All => true,
            Projects::Only(_) => false,
        }
    }
}

impl fmt::Display for Projects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Projects::All => f.write_str("all projects"),
            Projects::Only(projects) => {
                for (n, project) in projects.iter().enumerate() {
                    let comma = if n > 0 { ", " } else { "" };
                    write!(f, "{comma}{project}")?;
                }
                Ok(())
            }
        }
    }
}

/// SHA-256 of a token's text. Never printed: it is of no use to anybody who reads logs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest(pub [u8; 32]);

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

/// A named token, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Public part of its text.
    pub id: String,
    /// A DNS label; one token in force has it at a time.
    pub name: String,
    pub role: Role,
    pub projects: Projects,
    pub digest: TokenDigest,
    pub created_at: Timestamp,
    pub created_by: String,
    /// From then on it opens nothing; `None`: it lasts until it is revoked.
    pub expires_at: Option<Timestamp>,
    /// Some minutes old at most.
    pub last_used_at: Option<Timestamp>,
    pub revoked: Option<Revoked>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revoked {
    pub at: Timestamp,
    pub by: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_may_do_what_lower_ones_may_and_keeps_its_name() {
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            let wire = serde_json::to_value(role).unwrap_or_default();
            assert_eq!(wire, role.as_str());
        }
        assert!("root".parse::<Role>().is_err());
    }
}
