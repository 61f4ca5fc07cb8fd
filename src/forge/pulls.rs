//! Pull requests as each vendor tells of them.

use serde::Deserialize;

use super::client::{Client, host, lock, remember};
use super::failure::{Again, Failure, FailureKind};
use super::request::{Request, is_hash, of_repository};
use crate::model::{CommitId, ForgeKind, ForgeSpec, PullRequest, PullState, Timestamp};

/// Open pull requests that are listed; more than anybody waits for plans of.
pub const MAX_OPEN: usize = 200;
/// Per page. Bitbucket Cloud gives no more.
const PER_PAGE: usize = 50;
/// Characters of a title or branch.
const MAX_TEXT: usize = 500;
const DOING: &str = "read pull requests";

/// Open pull requests, those that were changed last first where the forge tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenPulls {
    pub pulls: Vec<PullRequest>,
    /// `false`: there are more than [`MAX_OPEN`].
    pub complete: bool,
}

impl Client {
    pub async fn pull_request(
        &self,
        spec: &ForgeSpec,
        number: u64,
        now: Timestamp,
    ) -> Result<PullRequest, Failure> {
        let id = number.to_string();
        let url = of_repository(spec, &[collection(spec.kind), &id])?;
        let request = Request::get(spec, url, DOING);
        match spec.kind {
            ForgeKind::GitHub | ForgeKind::Gitea => {
                let pull: Hub = self.read(spec, &request, now).await?;
                pull.told(spec)
            }
            ForgeKind::GitLab => {
                let pull: Lab = self.read(spec, &request, now).await?;
                pull.told()
            }
            ForgeKind::BitbucketCloud => {
                let pull: Cloud = self.read(spec, &request, now).await?;
                self.cloud(spec, pull, now).await
            }
            ForgeKind::BitbucketDataCenter => {
                let pull: Center = self.read(spec, &request, now).await?;
                pull.told()
            }
        }
    }

    /// Those into this branch, for who is not told of them.
    pub async fn open_pull_requests(
        &self,
        spec: &ForgeSpec,
        base: &str,
        now: Timestamp,
    ) -> Result<OpenPulls, Failure> {
        let mut found = Vec::new();
        let mut complete = false;
        let mut from = 0;
        while found.len() < MAX_OPEN && from < MAX_OPEN {
            let (page, last) = self.page(spec, base, from, now).await?;
            let mine = page.into_iter().filter(|p| {
                // What the forge was asked for, and again where it was not or did not heed it.
                p.base == base && p.state == PullState::Open
            });
            found.extend(mine);
            from += PER_PAGE;
            if last {
                complete = true;
                break;
            }
        }
        found.truncate(MAX_OPEN);
        Ok(OpenPulls {
            pulls: found,
            complete,
        })
    }

    /// From this one on, and whether it is the last page.
    async fn page(
        &self,
        spec: &ForgeSpec,
        base: &str,
        from: usize,
        now: Timestamp,
    ) -> Result<(Vec<PullRequest>, bool), Failure> {
        let url = of_repository(spec, &[collection(spec.kind)])?;
        let number = (from / PER_PAGE + 1).to_string();
        let per_page = PER_PAGE.to_string();
        let get = Request::get(spec, url, DOING);
        match spec.kind {
            ForgeKind::GitHub => {
                let request = get.query(&[
                    ("state", "open"),
                    ("base", base),
                    ("sort", "updated"),
                    ("direction", "desc"),
                    ("per_page", &per_page),
                    ("page", &number),
                ]);
                let page: Vec<Hub> = self.read(spec, &request, now).await?;
                all(page, |pull| pull.told(spec))
            }
            ForgeKind::Gitea => {
                let request = get.query(&[
                    ("state", "open"),
                    ("sort", "recentupdate"),
                    ("limit", &per_page),
                    ("page", &number),
                ]);
                let page: Vec<Hub> = self.read(spec, &request, now).await?;
                all(page, |pull| pull.told(spec))
            }
            ForgeKind::GitLab => {
                let request = get.query(&[
                    ("state", "opened"),
                    ("target_branch", base),
                    ("order_by", "updated_at"),
                    ("sort", "desc"),
                    ("per_page", &per_page),
                    ("page", &number),
                ]);
                let page: Vec<Lab> = self.read(spec, &request, now).await?;
                all(page, Lab::told)
            }
            ForgeKind::BitbucketCloud => {
                let quoted = base.replace('\\', "\\\\").replace('"', "\\\"");
                let wanted = format!("state = \"OPEN\" AND destination.branch.name = \"{quoted}\"");
                let request = get.query(&[
                    ("q", &wanted),
                    ("sort", "-updated_on"),
                    ("pagelen", &per_page),
                    ("page", &number),
                ]);
                let page: CloudPage<Cloud> = self.read(spec, &request, now).await?;
                let last = page.next.is_none();
                let mut pulls = Vec::with_capacity(page.values.len());
                for pull in page.values {
                    pulls.push(self.cloud(spec, pull, now).await?);
                }
                Ok((pulls, last))
            }
            ForgeKind::BitbucketDataCenter => {
                let (at, start) = (format!("refs/heads/{base}"), from.to_string());
                let request = get.query(&[
                    ("state", "OPEN"),
                    ("direction", "INCOMING"),
                    ("at", &at),
                    ("order", "NEWEST"),
                    ("limit", &per_page),
                    ("start", &start),
                ]);
                let page: CenterPage<Center> = self.read(spec, &request, now).await?;
                let last = page.is_last_page;
                let (pulls, _) = all(page.values, Center::told)?;
                Ok((pulls, last))
            }
        }
    }

    /// bitbucket.org tells shortened hashes only; the whole one is asked for once.
    async fn cloud(
        &self,
        spec: &ForgeSpec,
        pull: Cloud,
        now: Timestamp,
    ) -> Result<PullRequest, Failure> {
        let short = pull.source.commit.map(|c| c.hash).unwrap_or_default();
        let key = (spec.repository.clone(), short.clone());
        let known = lock(&self.memory().hashes).get(&key).cloned();
        let head = match known {
            Some(head) => head,
            None if is_hash(&short) => CommitId(short),
            None => {
                let id = pull.id.to_string();
                let url = of_repository(spec, &[collection(spec.kind), &id, "commits"])?;
                let request = Request::get(spec, url, DOING).query(&[("pagelen", "1")]);
                let page: CloudPage<CloudCommit> = self.read(spec, &request, now).await?;
                let first = page.values.into_iter().next().map(|c| c.hash);
                let whole = first
                    .filter(|hash| is_hash(hash) && !short.is_empty() && hash.starts_with(&short));
                let Some(whole) = whole else {
                    let reason = format!(
                        "{}: pull request {id} has another head than it tells; it is changing",
                        host(&request.url)
                    );
                    return Err(Failure::new(FailureKind::Faulty, Again::Soon, reason));
                };
                let head = CommitId(whole);
                remember(&self.memory().hashes, key, head.clone());
                head
            }
        };
        let of = |end: &CloudEnd| end.repository.as_ref().map(|r| r.full_name.clone());
        let (from, into) = (
            pull.source.repository.as_ref().map(|r| &r.full_name),
            of(&pull.destination),
        );
        Ok(PullRequest {
            number: pull.id,
            state: match pull.state.as_str() {
                "OPEN" => PullState::Open,
                "MERGED" => PullState::Merged,
                _ => PullState::Closed,
            },
            from_fork: from.is_none() || from != into.as_ref(),
            title: short_text(pull.title),
            html_url: pull.links.html.map(|l| l.href).unwrap_or_default(),
            base: pull.destination.branch.name,
            head_ref: pull.source.branch.name,
            head,
            merge: None,
        })
    }
}

fn collection(kind: ForgeKind) -> &'static str {
    match kind {
        ForgeKind::GitHub | ForgeKind::Gitea => "pulls",
        ForgeKind::GitLab => "merge_requests",
        ForgeKind::BitbucketCloud => "pullrequests",
        ForgeKind::BitbucketDataCenter => "pull-requests",
    }
}

/// A page that is not full is the last one; a forge that gives fewer per page than asked
/// for would only be asked for less.
fn all<T>(
    page: Vec<T>,
    told: impl Fn(T) -> Result<PullRequest, Failure>,
) -> Result<(Vec<PullRequest>, bool), Failure> {
    let last = page.len() < PER_PAGE;
    let pulls: Result<Vec<PullRequest>, Failure> = page.into_iter().map(told).collect();
    Ok((pulls?, last))
}

fn short_text(text: String) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(MAX_TEXT)
        .collect()
}

fn head_of(hash: String, number: u64) -> Result<CommitId, Failure> {
    match is_hash(&hash) {
        true => Ok(CommitId(hash)),
        false => Err(Failure::new(
            FailureKind::Faulty,
            Again::Soon,
            format!("the forge tells no head of pull request {number}"),
        )),
    }
}

/// GitHub's, and Gitea's after it.
#[derive(Deserialize)]
struct Hub {
    number: u64,
    state: String,
    #[serde(default)]
    merged: bool,
    #[serde(default)]
    merged_at: Option<String>,
    #[serde(default)]
    title: String,
    #[serde(default)]
    html_url: String,
    /// `null`: not known yet.
    #[serde(default)]
    mergeable: Option<bool>,
    #[serde(default)]
    merge_commit_sha: Option<String>,
    base: HubEnd,
    head: HubEnd,
}

#[derive(Deserialize)]
struct HubEnd {
    #[serde(rename = "ref", default)]
    name: String,
    #[serde(default)]
    sha: String,
    #[serde(default)]
    repo: Option<HubRepository>,
}

#[derive(Deserialize)]
struct HubRepository {
    id: u64,
}

impl Hub {
    fn told(self, spec: &ForgeSpec) -> Result<PullRequest, Failure> {
        let of = |end: &HubEnd| end.repo.as_ref().map(|r| r.id);
        let state = match self.state.as_str() {
            "open" => PullState::Open,
            _ if self.merged || self.merged_at.is_some() => PullState::Merged,
            _ => PullState::Closed,
        };
        // Gitea knows it only once it was merged; GitHub's is stale where it cannot be.
        let trial = spec.kind == ForgeKind::GitHub
            && state == PullState::Open
            && self.mergeable != Some(false);
        Ok(PullRequest {
            number: self.number,
            state,
            from_fork: of(&self.head).is_none() || of(&self.head) != of(&self.base),
            title: short_text(self.title),
            html_url: self.html_url,
            base: self.base.name,
            head_ref: self.head.name,
            head: head_of(self.head.sha, self.number)?,
            merge: self
                .merge_commit_sha
                .filter(|hash| trial && is_hash(hash))
                .map(CommitId),
        })
    }
}

#[derive(Deserialize)]
struct Lab {
    iid: u64,
    state: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    web_url: String,
    target_branch: String,
    source_branch: String,
    /// `null`: its branch is gone.
    #[serde(default)]
    sha: Option<String>,
    #[serde(default)]
    source_project_id: Option<u64>,
    #[serde(default)]
    target_project_id: Option<u64>,
}

impl Lab {
    fn told(self) -> Result<PullRequest, Failure> {
        let from = self.source_project_id;
        Ok(PullRequest {
            number: self.iid,
            state: match self.state.as_str() {
                "opened" => PullState::Open,
                "merged" => PullState::Merged,
                // `locked` lasts while it is being merged.
                _ => PullState::Closed,
            },
            from_fork: from.is_none() || from != self.target_project_id,
            title: short_text(self.title),
            html_url: self.web_url,
            base: self.target_branch,
            head_ref: self.source_branch,
            head: head_of(self.sha.unwrap_or_default(), self.iid)?,
            merge: None,
        })
    }
}

#[derive(Deserialize)]
pub(super) struct CloudPage<T> {
    #[serde(default = "Vec::new")]
    pub values: Vec<T>,
    #[serde(default)]
    pub next: Option<String>,
}

#[derive(Deserialize)]
struct Cloud {
    id: u64,
    state: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    links: CloudLinks,
    source: CloudEnd,
    destination: CloudEnd,
}

#[derive(Default, Deserialize)]
struct CloudLinks {
    #[serde(default)]
    html: Option<Link>,
}

#[derive(Deserialize)]
struct Link {
    href: String,
}

#[derive(Deserialize)]
struct CloudEnd {
    branch: CloudBranch,
    /// `null`: it is gone.
    #[serde(default)]
    commit: Option<CloudCommit>,
    #[serde(default)]
    repository: Option<CloudRepository>,
}

#[derive(Deserialize)]
struct CloudBranch {
    name: String,
}

#[derive(Deserialize)]
struct CloudCommit {
    hash: String,
}

#[derive(Deserialize)]
struct CloudRepository {
    full_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct CenterPage<T> {
    #[serde(default = "Vec::new")]
    pub values: Vec<T>,
    #[serde(default)]
    pub is_last_page: bool,
    #[serde(default)]
    pub next_page_start: Option<u64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Center {
    id: u64,
    state: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    links: CenterLinks,
    from_ref: CenterRef,
    to_ref: CenterRef,
}

#[derive(Default, Deserialize)]
struct CenterLinks {
    #[serde(default, rename = "self")]
    own: Vec<Link>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CenterRef {
    display_id: String,
    #[serde(default)]
    latest_commit: String,
    repository: CenterRepository,
}

#[derive(Deserialize)]
struct CenterRepository {
    id: u64,
}

impl Center {
    fn told(self) -> Result<PullRequest, Failure> {
        let link = self.links.own.into_iter().next();
        Ok(PullRequest {
            number: self.id,
            state: match self.state.as_str() {
                "OPEN" => PullState::Open,
                "MERGED" => PullState::Merged,
                _ => PullState::Closed,
            },
            from_fork: self.from_ref.repository.id != self.to_ref.repository.id,
            title: short_text(self.title),
            html_url: link.map(|l| l.href).unwrap_or_default(),
            base: self.to_ref.display_id,
            head_ref: self.from_ref.display_id,
            head: head_of(self.from_ref.latest_commit, self.id)?,
            merge: None,
        })
    }
}
