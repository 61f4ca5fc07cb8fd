//! One comment of a pull request that is kept up to date.
//!
//! It is found again by an invisible marker in its first line, and by its author where the
//! forge says who we are: anybody can write our marker, and nobody's comment but our own is
//! to be changed. Of several the oldest counts. A search is bounded.

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Client, host, lock, remember, whom};
use super::failure::{Again, Failure, FailureKind};
use super::pulls::{CenterPage, CloudPage};
use super::request::{Request, below, of_repository, root};
use crate::model::{ForgeKind, ForgeSpec, PullComment, Timestamp};

const PER_PAGE: usize = 100;
/// Pages that are searched before the search is given up.
const MAX_PAGES: usize = 20;
const DOING: &str = "write comments";

/// A comment that may be ours.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    id: String,
    /// Bitbucket Data Center wants to know which version is replaced.
    version: u64,
    body: String,
    author: Author,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Author {
    Us,
    Other,
    /// The forge did not tell who we are.
    Unknown,
}

impl Client {
    /// Writes the comment, or changes the one that was written before. Nothing is sent where
    /// it says the same already.
    pub async fn upsert_comment(
        &self,
        spec: &ForgeSpec,
        pull_request: u64,
        comment: &PullComment,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let text = text(spec.kind, comment)?;
        let key = (
            format!("{} {}", spec.api_url, spec.repository),
            pull_request,
            comment.marker.clone(),
        );
        let remembered = lock(&self.memory().comments).get(&key).cloned();
        for found in self.ours(spec, pull_request, comment, now).await? {
            if remembered.as_ref().is_some_and(|id| *id != found.id) {
                continue;
            }
            if found.body == text {
                remember(&self.memory().comments, key, found.id);
                return Ok(());
            }
            match self.edit(spec, pull_request, &found, &text, now).await {
                Ok(()) => {
                    remember(&self.memory().comments, key, found.id);
                    return Ok(());
                }
                // Somebody else's, or deleted a moment ago.
                Err(failure) if found.author != Author::Us && refused(&failure) => {}
                Err(failure) if failure.kind == FailureKind::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        let id = self.create(spec, pull_request, &text, now).await?;
        remember(&self.memory().comments, key, id);
        Ok(())
    }

    /// Comments with our marker that are not surely somebody else's, oldest first.
    async fn ours(
        &self,
        spec: &ForgeSpec,
        pull_request: u64,
        comment: &PullComment,
        now: Timestamp,
    ) -> Result<Vec<Found>, Failure> {
        let head = marker(spec.kind, comment)?;
        let me = self.me(spec, now).await;
        let mut found: Vec<Found> = Vec::new();
        let mut from = 0;
        let mut last_first: Option<String> = None;
        for page in 1..=MAX_PAGES {
            let (comments, next) = self
                .comments(spec, pull_request, page, from, &me, now)
                .await?;
            let first = comments.first().map(|c| c.id.clone());
            // A forge that has no pages gives the same each time.
            if first.is_none() && next.is_none() || first.is_some() && first == last_first {
                break;
            }
            last_first = first;
            found.extend(
                comments
                    .into_iter()
                    .filter(|c| c.author != Author::Other && c.body.starts_with(&head)),
            );
            // Others tell the oldest first: what comes after is younger.
            if spec.kind != ForgeKind::BitbucketDataCenter && !found.is_empty() {
                break;
            }
            match next {
                Some(next) => from = next,
                None => break,
            }
            if page == MAX_PAGES && found.is_empty() {
                let reason = format!(
                    "pull request {pull_request} has more than {} comments: ours is not searched \
                     for among them",
                    MAX_PAGES * PER_PAGE
                );
                return Err(Failure::new(FailureKind::Refused, Again::Never, reason));
            }
        }
        if spec.kind == ForgeKind::BitbucketDataCenter {
            found.reverse();
        }
        Ok(found)
    }

    /// One page, and where the next one starts.
    async fn comments(
        &self,
        spec: &ForgeSpec,
        pull_request: u64,
        page: usize,
        from: u64,
        me: &Option<String>,
        now: Timestamp,
    ) -> Result<(Vec<Found>, Option<u64>), Failure> {
        let number = pull_request.to_string();
        let (page, per_page, from) = (page.to_string(), PER_PAGE.to_string(), from.to_string());
        let get = |path: &[&str], pairs: &[(&str, &str)]| {
            let url = of_repository(spec, path)?;
            Ok::<_, Failure>(Request::get(spec, url, "read comments").query(pairs))
        };
        let full = |n: usize| (n >= PER_PAGE).then_some(0);
        match spec.kind {
            ForgeKind::GitHub => {
                let pages = [("per_page", per_page.as_str()), ("page", &page)];
                let request = get(&["issues", &number, "comments"], &pages)?;
                let list: Vec<Hub> = self.read(spec, &request, now).await?;
                let next = full(list.len());
                Ok((list.into_iter().map(|c| c.found(spec, me)).collect(), next))
            }
            ForgeKind::Gitea => {
                let pages = [("limit", per_page.as_str()), ("page", &page)];
                let request = get(&["issues", &number, "comments"], &pages)?;
                let list: Vec<Hub> = self.read(spec, &request, now).await?;
                // It may give fewer per page than asked for, or all at once.
                let next = (!list.is_empty()).then_some(0);
                Ok((list.into_iter().map(|c| c.found(spec, me)).collect(), next))
            }
            ForgeKind::GitLab => {
                let pages = [
                    ("sort", "asc"),
                    ("order_by", "created_at"),
                    ("per_page", per_page.as_str()),
                    ("page", &page),
                ];
                let request = get(&["merge_requests", &number, "notes"], &pages)?;
                let list: Vec<Lab> = self.read(spec, &request, now).await?;
                let next = full(list.len());
                Ok((list.into_iter().map(|c| c.found(me)).collect(), next))
            }
            ForgeKind::BitbucketCloud => {
                let pages = [
                    ("sort", "created_on"),
                    ("pagelen", per_page.as_str()),
                    ("page", &page),
                ];
                let request = get(&["pullrequests", &number, "comments"], &pages)?;
                let list: CloudPage<Cloud> = self.read(spec, &request, now).await?;
                let next = list.next.map(|_| 0);
                let kept = list.values.into_iter().filter(|c| !c.deleted);
                Ok((kept.map(|c| c.found(me)).collect(), next))
            }
            ForgeKind::BitbucketDataCenter => {
                let pages = [("limit", per_page.as_str()), ("start", &from)];
                let request = get(&["pull-requests", &number, "activities"], &pages)?;
                let answer = self.call(spec, &request, now).await?;
                let list: CenterPage<Activity> =
                    super::client::parse(&answer.body, &host(&request.url))?;
                let next = list.next_page_start.filter(|_| !list.is_last_page);
                let added = list.values.into_iter().filter_map(|a| a.comment());
                let me = answer.user.as_deref();
                Ok((added.map(|c| c.found(me)).collect(), next))
            }
        }
    }

    async fn create(
        &self,
        spec: &ForgeSpec,
        pull_request: u64,
        text: &str,
        now: Timestamp,
    ) -> Result<String, Failure> {
        let number = pull_request.to_string();
        let path: [&str; 3] = match spec.kind {
            ForgeKind::GitHub | ForgeKind::Gitea => ["issues", &number, "comments"],
            ForgeKind::GitLab => ["merge_requests", &number, "notes"],
            ForgeKind::BitbucketCloud => ["pullrequests", &number, "comments"],
            ForgeKind::BitbucketDataCenter => ["pull-requests", &number, "comments"],
        };
        let url = of_repository(spec, &path)?;
        let body = body(spec.kind, text);
        let request = Request::send(spec, Method::POST, url, body, DOING);
        let answer = self.call(spec, &request, now).await?;
        // It is written, whatever its answer says further; the marker finds it again.
        let made: Option<Made> = serde_json::from_slice(&answer.body).ok();
        Ok(made.map(|m| m.id.to_string()).unwrap_or_default())
    }

    async fn edit(
        &self,
        spec: &ForgeSpec,
        pull_request: u64,
        found: &Found,
        text: &str,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let number = pull_request.to_string();
        let (method, path): (Method, Vec<&str>) = match spec.kind {
            ForgeKind::GitHub | ForgeKind::Gitea => {
                (Method::PATCH, vec!["issues", "comments", &found.id])
            }
            ForgeKind::GitLab => (
                Method::PUT,
                vec!["merge_requests", &number, "notes", &found.id],
            ),
            ForgeKind::BitbucketCloud => (
                Method::PUT,
                vec!["pullrequests", &number, "comments", &found.id],
            ),
            ForgeKind::BitbucketDataCenter => (
                Method::PUT,
                vec!["pull-requests", &number, "comments", &found.id],
            ),
        };
        let mut body = body(spec.kind, text);
        if spec.kind == ForgeKind::BitbucketDataCenter {
            body["version"] = Value::from(found.version);
        }
        let url = of_repository(spec, &path)?;
        let request = Request::send(spec, method, url, body, DOING);
        self.call(spec, &request, now).await.map(drop)
    }

    /// Our name there, asked once; `None` where it is not to be found out.
    async fn me(&self, spec: &ForgeSpec, now: Timestamp) -> Option<String> {
        match (spec.kind, &spec.app) {
            // A comment of an App says so itself.
            (ForgeKind::GitHub, Some(_)) | (ForgeKind::BitbucketDataCenter, _) => return None,
            (
                ForgeKind::GitHub
                | ForgeKind::GitLab
                | ForgeKind::Gitea
                | ForgeKind::BitbucketCloud,
                _,
            ) => {}
        }
        let url = below(&root(spec).ok()?, &["user"]).ok()?;
        let key = whom(spec, &url);
        if let Some(known) = lock(&self.memory().names).get(&key) {
            return known.clone();
        }
        let request = Request::get(spec, url, "see its own user");
        let name = match self.read::<Me>(spec, &request, now).await {
            Ok(me) => me.uuid.or(me.login).or(me.username),
            Err(failure) if refused(&failure) => None,
            // Asked again the next time.
            Err(_) => return None,
        };
        remember(&self.memory().names, key, name.clone());
        name
    }
}

fn refused(failure: &Failure) -> bool {
    matches!(
        failure.kind,
        FailureKind::Forbidden | FailureKind::NotFound | FailureKind::Credentials
    )
}

/// Its first line, which nobody sees.
fn marker(kind: ForgeKind, comment: &PullComment) -> Result<String, Failure> {
    let name = &comment.marker;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '/' | '.' | '_');
    if name.is_empty() || name.len() > 300 || !name.chars().all(plain) || name.contains("--") {
        let reason = format!("\"{name}\" cannot mark a comment");
        return Err(Failure::new(FailureKind::Refused, Again::Never, reason));
    }
    Ok(match kind {
        ForgeKind::GitHub | ForgeKind::GitLab | ForgeKind::Gitea => {
            format!("<!-- evenkeel {name} -->")
        }
        // They show what is HTML; this is the definition of a link that nothing uses.
        ForgeKind::BitbucketCloud | ForgeKind::BitbucketDataCenter => {
            format!("[//]: # (evenkeel {name})")
        }
    })
}

fn text(kind: ForgeKind, comment: &PullComment) -> Result<String, Failure> {
    let head = marker(kind, comment)?;
    let room = kind.comment_limit() - head.chars().count() - 2;
    let body = crate::model::forge::cut(comment.body.trim(), room);
    Ok(format!("{head}\n\n{body}"))
}

fn body(kind: ForgeKind, text: &str) -> Value {
    match kind {
        ForgeKind::GitHub | ForgeKind::GitLab | ForgeKind::Gitea => json!({"body": text}),
        ForgeKind::BitbucketCloud => json!({"content": {"raw": text}}),
        ForgeKind::BitbucketDataCenter => json!({"text": text}),
    }
}

fn author(theirs: Option<&str>, me: Option<&str>) -> Author {
    match (theirs, me) {
        (Some(theirs), Some(me)) if theirs == me => Author::Us,
        (_, Some(_)) => Author::Other,
        (_, None) => Author::Unknown,
    }
}

#[derive(Deserialize)]
struct Made {
    id: u64,
}

/// Each vendor has one of them.
#[derive(Deserialize)]
struct Me {
    #[serde(default)]
    login: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    uuid: Option<String>,
}

#[derive(Deserialize)]
struct Hub {
    id: u64,
    #[serde(default)]
    body: Option<String>,
    #[serde(default)]
    user: Option<Me>,
    #[serde(default)]
    performed_via_github_app: Option<Performed>,
}

#[derive(Deserialize)]
struct Performed {
    #[serde(default)]
    id: Option<u64>,
    #[serde(default)]
    client_id: Option<String>,
}

impl Hub {
    fn found(self, spec: &ForgeSpec, me: &Option<String>) -> Found {
        let author = match &spec.app {
            Some(app) => match self.performed_via_github_app {
                Some(by)
                    if by.id.map(|id| id.to_string()).as_ref() == Some(&app.id)
                        || by.client_id.as_ref() == Some(&app.id) =>
                {
                    Author::Us
                }
                Some(_) | None => Author::Other,
            },
            None => author(self.user.and_then(|u| u.login).as_deref(), me.as_deref()),
        };
        Found {
            id: self.id.to_string(),
            version: 0,
            body: unix(self.body.unwrap_or_default()),
            author,
        }
    }
}

#[derive(Deserialize)]
struct Lab {
    id: u64,
    #[serde(default)]
    body: String,
    #[serde(default)]
    author: Option<Me>,
}

impl Lab {
    fn found(self, me: &Option<String>) -> Found {
        let theirs = self.author.and_then(|a| a.username);
        Found {
            id: self.id.to_string(),
            version: 0,
            body: unix(self.body),
            author: author(theirs.as_deref(), me.as_deref()),
        }
    }
}

#[derive(Deserialize)]
struct Cloud {
    id: u64,
    #[serde(default)]
    deleted: bool,
    #[serde(default)]
    content: CloudContent,
    #[serde(default)]
    user: Option<Me>,
}

#[derive(Default, Deserialize)]
struct CloudContent {
    #[serde(default)]
    raw: Option<String>,
}

impl Cloud {
    fn found(self, me: &Option<String>) -> Found {
        let theirs = self.user.and_then(|u| u.uuid);
        Found {
            id: self.id.to_string(),
            version: 0,
            body: unix(self.content.raw.unwrap_or_default()),
            author: author(theirs.as_deref(), me.as_deref()),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Activity {
    #[serde(default)]
    comment_action: Option<String>,
    #[serde(default)]
    comment: Option<CenterComment>,
}

impl Activity {
    fn comment(self) -> Option<CenterComment> {
        let added = self.comment_action.as_deref() == Some("ADDED");
        self.comment.filter(|_| added)
    }
}

#[derive(Deserialize)]
struct CenterComment {
    id: u64,
    #[serde(default)]
    version: u64,
    #[serde(default)]
    text: String,
    #[serde(default)]
    author: Option<CenterUser>,
}

#[derive(Deserialize)]
struct CenterUser {
    name: String,
}

impl CenterComment {
    fn found(self, me: Option<&str>) -> Found {
        let theirs = self.author.map(|a| a.name);
        Found {
            id: self.id.to_string(),
            version: self.version,
            body: unix(self.text),
            author: author(theirs.as_deref(), me),
        }
    }
}

/// Some forges keep a browser's line ends.
fn unix(text: String) -> String {
    text.replace("\r\n", "\n")
}
