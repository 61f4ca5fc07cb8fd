//! Names and ids. A value of one of these types has been checked.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a DNS label: {why}")]
pub struct NameError {
    pub text: String,
    pub why: &'static str,
}

/// RFC 1123 label: 1 to 63 of `a-z`, `0-9` and `-`, starting and ending with a letter or digit.
pub fn check_label(text: &str) -> Result<(), NameError> {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    let why = if bytes.is_empty() {
        "it is empty"
    } else if bytes.len() > 63 {
        "it is longer than 63 characters"
    } else if !ok(bytes[0]) || !ok(bytes[bytes.len() - 1]) {
        "it must start and end with a lower-case letter or a digit"
    } else if !bytes.iter().all(|&b| ok(b) || b == b'-') {
        "it may hold lower-case letters, digits and '-' only"
    } else {
        return Ok(());
    };
    Err(NameError {
        text: text.to_owned(),
        why,
    })
}

macro_rules! label {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        // Names stand in every record, event and index: their copies share one text.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl Into<String>) -> Result<$name, NameError> {
                let text = text.into();
                check_label(&text)?;
                Ok($name(text.into()))
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<$name, NameError> {
                $name::new(text)
            }
        }
        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<$name, NameError> {
                $name::new(text)
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

label!(
    /// A project: the namespace of apps.
    ProjectName
);
label!(
    /// An app's name inside its project.
    AppName
);
label!(
    /// A source's name, unique in the cluster.
    SourceName
);
label!(
    /// A node's name, unique in the cluster.
    NodeName
);

/// Identity of an app: `project/name`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppKey {
    pub project: ProjectName,
    pub name: AppName,
}

impl AppKey {
    pub fn new(project: ProjectName, name: AppName) -> AppKey {
        AppKey { project, name }
    }
}

impl fmt::Display for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/{}", self.project, self.name))
    }
}
impl fmt::Debug for AppKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
impl FromStr for AppKey {
    type Err = NameError;
    /// Reads `project/name`.
    fn from_str(text: &str) -> Result<AppKey, NameError> {
        let (project, name) = text.split_once('/').ok_or(NameError {
            text: text.to_owned(),
            why: "an app is named project/app",
        })?;
        Ok(AppKey {
            project: project.parse()?,
            name: name.parse()?,
        })
    }
}
impl TryFrom<String> for AppKey {
    type Error = NameError;
    fn try_from(text: String) -> Result<AppKey, NameError> {
        text.parse()
    }
}
impl From<AppKey> for String {
    fn from(key: AppKey) -> String {
        key.to_string()
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<$name, uuid::Error> {
                text.parse().map($name)
            }
        }
        impl $name {
            /// The first 8 hex digits: enough for a person to tell two apart.
            pub fn short(&self) -> String {
                self.0.simple().to_string()[..8].to_owned()
            }
        }
    };
}

uuid_id!(
    /// One app at one commit with one spec digest.
    ReleaseId
);
uuid_id!(
    /// One move of an app from a release to another.
    RolloutId
);
uuid_id!(
    /// One running copy. Also the name of its container or process group.
    InstanceId
);

macro_rules! hex_text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl $name {
            /// The first 8 hex digits.
            pub fn short(&self) -> &str {
                self.0.get(..8).unwrap_or(&self.0)
            }
        }
    };
}

hex_text!(
    /// A Git commit's object id in hex.
    CommitId
);
hex_text!(
    /// SHA-256 (hex) of a whole validated spec. Quarantine and "did it change" go by it.
    SpecDigest
);
hex_text!(
    /// SHA-256 (hex) of what a running process is made from. Instances are exchanged when it differs.
    WorkloadDigest
);

/// Fencing number of a leadership: grows with each new leader.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub i64);

/// Counts versions of something (the cluster state; a node's desired set). Grows by one per change.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub i64);

impl Generation {
    pub fn next(self) -> Generation {
        Generation(self.0 + 1)
    }
}
