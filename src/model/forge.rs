//! A source's forge, and what is to be said there of a commit.
//!
//! Owns what a forge is (kind, address, repository, token's file), the status of a commit
//! as plain data, and the cutting of texts to what a forge takes. Deliberately absent: how a
//! vendor wants it sent (`forge`), what a commit deserves (`plan::statuses`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::{CommitId, SourceName};

/// Where statuses of a source's commits are posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForgeSpec {
    pub kind: ForgeKind,
    /// Root of the API: `https://api.github.com`, `https://gitlab.com/api/v4`,
    /// `https://forge.example`. Never holds a password.
    pub api_url: String,
    /// `owner/name`; at GitLab the project's path or number, at Bitbucket
    /// `workspace/repository` or `PROJECT/repository`.
    pub repository: String,
    /// File on the controller's host that holds the token; read at each use and sent to
    /// `api_url`'s host only. Either this or `app`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<String>,
    /// Bitbucket: whose password or API token it is, where it is not an access token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// GitHub: the App to act as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app: Option<GitHubApp>,
}

/// A GitHub App: signs for itself with its key, and gets short-lived tokens for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GitHubApp {
    /// Its App ID or client ID.
    pub id: String,
    /// File on the controller's host that holds its private key (PEM); read at each use.
    pub private_key_file: String,
    /// `None`: the one that the repository belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub installation_id: Option<u64>,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum ForgeKind {
    #[serde(rename = "github")]
    GitHub,
    #[serde(rename = "gitlab")]
    GitLab,
    /// Forgejo too.
    #[serde(rename = "gitea")]
    Gitea,
    /// bitbucket.org.
    #[serde(rename = "bitbucket")]
    BitbucketCloud,
    /// Bitbucket Server was its name before.
    BitbucketDataCenter,
}

impl ForgeKind {
    pub const ALL: [ForgeKind; 5] = [
        ForgeKind::GitHub,
        ForgeKind::GitLab,
        ForgeKind::Gitea,
        ForgeKind::BitbucketCloud,
        ForgeKind::BitbucketDataCenter,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            ForgeKind::GitHub => "github",
            ForgeKind::GitLab => "gitlab",
            ForgeKind::Gitea => "gitea",
            ForgeKind::BitbucketCloud => "bitbucket",
            ForgeKind::BitbucketDataCenter => "bitbucketDataCenter",
        }
    }

    /// Of the vendor's own service; `None`: there is no such one.
    pub fn default_api_url(self) -> Option<&'static str> {
        match self {
            ForgeKind::GitHub => Some("https://api.github.com"),
            ForgeKind::GitLab => Some("https://gitlab.com/api/v4"),
            ForgeKind::BitbucketCloud => Some("https://api.bitbucket.org"),
            ForgeKind::Gitea | ForgeKind::BitbucketDataCenter => None,
        }
    }

    /// Characters of a status' description. Gitea names no limit of its own: what is longer
    /// than the others take is not read either.
    pub fn description_limit(self) -> usize {
        match self {
            ForgeKind::GitHub => 140,
            ForgeKind::GitLab
            | ForgeKind::Gitea
            | ForgeKind::BitbucketCloud
            | ForgeKind::BitbucketDataCenter => 255,
        }
    }

    /// Characters of a comment.
    pub fn comment_limit(self) -> usize {
        match self {
            ForgeKind::GitHub | ForgeKind::Gitea => 65_536,
            ForgeKind::GitLab => 1_000_000,
            ForgeKind::BitbucketCloud | ForgeKind::BitbucketDataCenter => 32_768,
        }
    }

    /// One line that the forge takes, of at most its limit, cut between characters.
    pub fn description(self, text: &str) -> String {
        let mut line = String::with_capacity(text.len());
        for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
            if !word.is_empty() {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
        }
        let line: String = match self {
            // GitHub refuses characters beyond the basic plane here.
            ForgeKind::GitHub => line
                .chars()
                .map(|c| if c > '\u{ffff}' { '\u{fffd}' } else { c })
                .collect(),
            ForgeKind::GitLab
            | ForgeKind::Gitea
            | ForgeKind::BitbucketCloud
            | ForgeKind::BitbucketDataCenter => line,
        };
        cut(&line, self.description_limit())
    }
}

impl std::str::FromStr for ForgeKind {
    type Err = String;
    fn from_str(text: &str) -> Result<ForgeKind, String> {
        ForgeKind::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or_else(|| {
                format!(
                    "\"{text}\" is not a forge: use github, gitlab, gitea (Forgejo too), bitbucket \
                     (bitbucket.org) or bitbucketDataCenter"
                )
            })
    }
}

/// At most `limit` characters, the last one an ellipsis if anything was left out.
pub fn cut(text: &str, limit: usize) -> String {
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(limit.saturating_sub(1)).collect();
    short.truncate(short.trim_end().len());
    short.push('…');
    short
}

/// Whether it can be the root of a forge's API; the answer never repeats a password.
pub fn check_api_url(url: &str) -> Result<(), String> {
    let odd = |c: char| c.is_whitespace() || c.is_control();
    let Some((scheme, rest)) = url.split_once("://") else {
        return Err("it must start with https:// or http://".to_owned());
    };
    if !matches!(scheme, "https" | "http") {
        return Err("it must start with https:// or http://".to_owned());
    }
    if url.len() > 2000 || url.contains(odd) || url.contains(['?', '#', '\\']) {
        return Err(
            "it is scheme, host and path only, without white space, \"?\" and \"#\"".to_owned(),
        );
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(
            "it carries a user or a password, which would be stored and shown: put the token \
             into a file and name that as tokenFile"
                .to_owned(),
        );
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err("it names no host".to_owned());
    }
    Ok(())
}

fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default()
}

/// Whether a forge of this kind can have a repository of this name.
pub fn check_repository(kind: ForgeKind, repository: &str) -> Result<(), String> {
    let plain = |part: &str| {
        !part.is_empty()
            && part != "."
            && part != ".."
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
    };
    // `~name` is a person's own project at Bitbucket Data Center.
    let bare = match kind {
        ForgeKind::BitbucketDataCenter => repository.strip_prefix('~').unwrap_or(repository),
        ForgeKind::GitHub | ForgeKind::GitLab | ForgeKind::Gitea | ForgeKind::BitbucketCloud => {
            repository
        }
    };
    let parts: Vec<&str> = bare.split('/').collect();
    let whole = repository.len() <= 500 && parts.iter().all(|part| plain(part));
    let fits = match kind {
        ForgeKind::GitHub
        | ForgeKind::Gitea
        | ForgeKind::BitbucketCloud
        | ForgeKind::BitbucketDataCenter => parts.len() == 2,
        ForgeKind::GitLab => parts.len() >= 2 || repository.chars().all(|c| c.is_ascii_digit()),
    };
    if whole && fits {
        return Ok(());
    }
    Err(match kind {
        ForgeKind::GitHub | ForgeKind::Gitea => {
            format!("\"{repository}\" is not of the form owner/name")
        }
        ForgeKind::GitLab => {
            format!("\"{repository}\" is neither a project's path (group/name) nor its number")
        }
        ForgeKind::BitbucketCloud => {
            format!("\"{repository}\" is not of the form workspace/repository")
        }
        ForgeKind::BitbucketDataCenter => {
            format!("\"{repository}\" is not of the form PROJECT/repository")
        }
    })
}

impl ForgeSpec {
    /// What one of its fields gets wrong: the field and why.
    pub fn check(&self) -> Result<(), (&'static str, String)> {
        check_api_url(&self.api_url).map_err(|why| ("apiUrl", why))?;
        check_repository(self.kind, &self.repository).map_err(|why| ("repository", why))?;
        if self.kind == ForgeKind::GitHub
            && matches!(host_of(&self.api_url), "github.com" | "www.github.com")
        {
            let why = "GitHub's API is at https://api.github.com".to_owned();
            return Err(("apiUrl", why));
        }
        let on_host = |path: &str| path.starts_with('/') && !path.chars().any(char::is_control);
        let host = || "it is an absolute path on the controller's host".to_owned();
        let app = self.app.as_ref();
        match (&self.token_file, app) {
            (Some(file), None) if !on_host(file) => return Err(("tokenFile", host())),
            (Some(_), None) => {}
            (None, Some(app)) => {
                if self.kind != ForgeKind::GitHub {
                    return Err(("app", "only GitHub has Apps; use tokenFile".to_owned()));
                }
                if !on_host(&app.private_key_file) {
                    return Err(("app.privateKeyFile", host()));
                }
                let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
                if app.id.is_empty() || app.id.len() > 100 || !app.id.chars().all(plain) {
                    let why = "it is the App ID or client ID of the App's settings".to_owned();
                    return Err(("app.id", why));
                }
            }
            (None, None) => {
                let why = match self.kind {
                    ForgeKind::GitHub => "set it, or app",
                    ForgeKind::GitLab
                    | ForgeKind::Gitea
                    | ForgeKind::BitbucketCloud
                    | ForgeKind::BitbucketDataCenter => "it is missing",
                };
                return Err(("tokenFile", why.to_owned()));
            }
            (Some(_), Some(_)) => {
                return Err(("app", "it stands in place of tokenFile".to_owned()));
            }
        }
        match (self.kind, &self.username) {
            (_, None) => Ok(()),
            (ForgeKind::GitHub | ForgeKind::GitLab | ForgeKind::Gitea, Some(_)) => Err((
                "username",
                "it is for Bitbucket; the token suffices here".to_owned(),
            )),
            (ForgeKind::BitbucketCloud | ForgeKind::BitbucketDataCenter, Some(name)) => {
                let odd = |c: char| c.is_control() || c == ':';
                match name.is_empty() || name.len() > 200 || name.contains(odd) {
                    true => Err(("username", "it cannot be a user's name".to_owned())),
                    false => Ok(()),
                }
            }
        }
    }
}

/// What a commit deserves to have said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitStatus {
    pub state: StatusState,
    /// One line.
    pub description: String,
    /// Where the whole of it is told; `None`: the page of the commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_url: Option<String>,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum StatusState {
    /// What the commit touched is not at rest.
    Pending,
    Success,
    Failure,
    /// Another commit took its place before it could be judged.
    Superseded,
}

/// A message that waits to be sent, written together with what caused it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    pub source: SourceName,
    pub commit: CommitId,
    /// Which of the commit's statuses it is.
    pub context: String,
    pub status: CommitStatus,
    /// Of a commit that is no longer the source's head: only ends what was pending, and
    /// never takes back a verdict.
    pub follow_up: bool,
}

/// A comment of a pull request that waits to be written: the latest takes the place of an
/// earlier one, both before it was sent and at the forge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullComment {
    /// By it the comment is found again; letters, digits, `-`, `/`, `.` and `_`.
    pub marker: String,
    /// Markdown.
    pub body: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptions_are_cut_between_characters() {
        let long = "ä🚢 ".repeat(200);
        for kind in ForgeKind::ALL {
            let text = kind.description(&long);
            assert!(text.chars().count() <= kind.description_limit(), "{kind:?}");
            assert!(text.ends_with('…') && !text.ends_with(" …"), "{text}");
            assert_eq!(kind.description(" a\n\tb\u{0} c "), "a b c");
            let exact = "é".repeat(kind.description_limit());
            assert_eq!(kind.description(&exact), exact);
        }
        assert!(!ForgeKind::GitHub.description(&long).contains('🚢'));
        assert!(ForgeKind::GitLab.description(&long).contains('🚢'));
    }

    #[test]
    fn what_cannot_be_a_forge_is_refused() {
        let good = ForgeSpec {
            kind: ForgeKind::GitHub,
            api_url: "https://api.github.com".to_owned(),
            repository: "team/apps".to_owned(),
            token_file: Some("/run/secrets/forge".to_owned()),
            username: None,
            app: None,
        };
        assert_eq!(good.check(), Ok(()));
        for url in [
            "",
            "forge",
            "ssh://forge",
            "https://",
            "https://:80",
            "https://f/?a",
            "https://f /",
        ] {
            let bad = ForgeSpec {
                api_url: url.to_owned(),
                ..good.clone()
            };
            assert_eq!(bad.check().unwrap_err().0, "apiUrl", "{url}");
        }
        let (_, why) = ForgeSpec {
            api_url: "https://me:hunter2@f".to_owned(),
            ..good.clone()
        }
        .check()
        .unwrap_err();
        assert!(
            why.contains("password") && !why.contains("hunter2"),
            "{why}"
        );
        for repository in ["", "apps", "a/b/c", "a/..", "/b", "a/b?x", "a b/c"] {
            let bad = ForgeSpec {
                repository: repository.to_owned(),
                ..good.clone()
            };
            assert_eq!(bad.check().unwrap_err().0, "repository", "{repository}");
        }
        for repository in ["a/b", "a/b/c", "4711"] {
            assert_eq!(check_repository(ForgeKind::GitLab, repository), Ok(()));
        }
        for repository in ["PROJ/apps", "~ann/apps"] {
            assert_eq!(
                check_repository(ForgeKind::BitbucketDataCenter, repository),
                Ok(())
            );
        }
        assert!(check_repository(ForgeKind::BitbucketCloud, "~ann/apps").is_err());
    }

    #[test]
    fn there_is_one_way_in() {
        let good = ForgeSpec {
            kind: ForgeKind::GitHub,
            api_url: "https://api.github.com".to_owned(),
            repository: "team/apps".to_owned(),
            token_file: None,
            username: None,
            app: Some(GitHubApp {
                id: "Iv1.abc123".to_owned(),
                private_key_file: "/run/secrets/app.pem".to_owned(),
                installation_id: None,
            }),
        };
        assert_eq!(good.check(), Ok(()));
        let refused = |change: fn(&mut ForgeSpec)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.check().unwrap_err().0
        };
        assert_eq!(refused(|f| f.app = None), "tokenFile");
        assert_eq!(refused(|f| f.token_file = Some("/t".to_owned())), "app");
        assert_eq!(
            refused(|f| (f.token_file, f.app) = (Some("t".to_owned()), None)),
            "tokenFile"
        );
        assert_eq!(refused(|f| f.kind = ForgeKind::Gitea), "app");
        assert_eq!(refused(|f| f.username = Some("ann".to_owned())), "username");
        assert_eq!(
            refused(|f| f.api_url = "https://github.com".to_owned()),
            "apiUrl"
        );
        let app = |f: &mut ForgeSpec, id: &str, key: &str| {
            f.app = Some(GitHubApp {
                id: id.to_owned(),
                private_key_file: key.to_owned(),
                installation_id: Some(1),
            });
        };
        let mut bad = good.clone();
        app(&mut bad, "1 2", "/k");
        assert_eq!(bad.check().unwrap_err().0, "app.id");
        app(&mut bad, "12", "k");
        assert_eq!(bad.check().unwrap_err().0, "app.privateKeyFile");
    }
}
