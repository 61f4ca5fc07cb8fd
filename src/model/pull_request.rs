//! A pull request (GitLab: merge request), as any forge tells of it.

use serde::{Deserialize, Serialize};

use super::forge::ForgeKind;
use super::id::CommitId;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullRequest {
    /// As people say it; at GitLab the `iid`.
    pub number: u64,
    pub state: PullState,
    pub title: String,
    pub html_url: String,
    /// Branch that it is to be merged into.
    pub base: String,
    /// Branch that it comes from, in its own repository.
    pub head_ref: String,
    /// The newest of its commits.
    pub head: CommitId,
    /// The forge's trial merge of it into its base, where the forge tells one. Made lazily:
    /// it may be of an earlier head.
    pub merge: Option<CommitId>,
    /// Its branch is in another repository than its base, or that is gone.
    pub from_fork: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PullState {
    Open,
    Merged,
    Closed,
}

/// Names by which its commits can be fetched from the base's repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullRefs {
    /// `None`: only from the fork.
    pub head: Option<String>,
    /// `None`: this forge never makes one. Where it does, it may still be missing (a
    /// conflict) or be of an earlier head (see if its second parent is the head).
    pub merge: Option<String>,
}

impl PullRequest {
    pub fn refs(&self, kind: ForgeKind) -> PullRefs {
        let number = self.number;
        let (head, merge) = match kind {
            ForgeKind::GitHub => (
                Some(format!("refs/pull/{number}/head")),
                Some(format!("refs/pull/{number}/merge")),
            ),
            ForgeKind::GitLab => (
                Some(format!("refs/merge-requests/{number}/head")),
                Some(format!("refs/merge-requests/{number}/merge")),
            ),
            ForgeKind::Gitea => (Some(format!("refs/pull/{number}/head")), None),
            ForgeKind::BitbucketCloud => {
                let branch = format!("refs/heads/{}", self.head_ref);
                ((!self.from_fork).then_some(branch), None)
            }
            ForgeKind::BitbucketDataCenter => (
                Some(format!("refs/pull-requests/{number}/from")),
                Some(format!("refs/pull-requests/{number}/merge")),
            ),
        };
        PullRefs { head, merge }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_forge_has_its_own_names() {
        let mut pull = PullRequest {
            number: 7,
            state: PullState::Open,
            title: String::new(),
            html_url: String::new(),
            base: "main".to_owned(),
            head_ref: "fix/x".to_owned(),
            head: CommitId("a".repeat(40)),
            merge: None,
            from_fork: false,
        };
        let check = |pull: &PullRequest, kind, head: Option<&str>, merge: Option<&str>| {
            let refs = pull.refs(kind);
            assert_eq!((refs.head.as_deref(), refs.merge.as_deref()), (head, merge));
        };
        check(
            &pull,
            ForgeKind::GitHub,
            Some("refs/pull/7/head"),
            Some("refs/pull/7/merge"),
        );
        check(
            &pull,
            ForgeKind::GitLab,
            Some("refs/merge-requests/7/head"),
            Some("refs/merge-requests/7/merge"),
        );
        check(&pull, ForgeKind::Gitea, Some("refs/pull/7/head"), None);
        check(
            &pull,
            ForgeKind::BitbucketDataCenter,
            Some("refs/pull-requests/7/from"),
            Some("refs/pull-requests/7/merge"),
        );
        check(
            &pull,
            ForgeKind::BitbucketCloud,
            Some("refs/heads/fix/x"),
            None,
        );
        pull.from_fork = true;
        check(&pull, ForgeKind::BitbucketCloud, None, None);
    }
}
