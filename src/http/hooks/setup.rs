//! What is to be entered at each forge.

use crate::api::WebhookSetup;
use crate::model::{ForgeKind, Source, Vendor};

/// For each vendor, in the vendor's own words.
pub fn setup() -> Vec<WebhookSetup> {
    Vendor::ALL.into_iter().map(of).collect()
}

fn of(vendor: Vendor) -> WebhookSetup {
    let (place, content_type, secret, events): (_, _, _, &[&str]) = match vendor {
        Vendor::GitHub => (
            "the repository's Settings > Webhooks > Add webhook",
            Some("application/json"),
            "Secret",
            &[
                "Pushes",
                "Branch or tag creation",
                "Branch or tag deletion",
                "Pull requests",
            ],
        ),
        Vendor::GitLab => (
            "the project's Settings > Webhooks > Add new webhook",
            None,
            "Secret token (or Signing token)",
            &["Push events", "Tag push events", "Merge request events"],
        ),
        Vendor::Gitea => (
            "the repository's Settings > Webhooks > Add Webhook > Gitea",
            Some("application/json"),
            "Secret",
            &[
                "Push",
                "Create",
                "Delete",
                "Pull Request",
                "Pull Request Synchronized",
            ],
        ),
        Vendor::Forgejo => (
            "the repository's Settings > Webhooks > Add webhook > Forgejo",
            Some("application/json"),
            "Secret",
            &["Push", "Create", "Delete", "Pull request", "Synchronized"],
        ),
        Vendor::BitbucketCloud => (
            "the repository's Repository settings > Webhooks > Add webhook",
            None,
            "Secret",
            &[
                "Repository: Push",
                "Pull request: Created, Updated, Merged, Declined",
            ],
        ),
        Vendor::BitbucketDataCenter => (
            "the repository's Repository settings > Webhooks > Create webhook",
            None,
            "Secret",
            &[
                "Repository: Push",
                "Pull request: Opened, Source branch updated, Modified, Merged, Declined, Deleted",
            ],
        ),
        Vendor::Generic => (
            "a program that sends X-Hub-Signature-256: sha256= and the hex HMAC-SHA256 of the body",
            None,
            "key of the HMAC",
            &["{\"ref\": \"refs/heads/BRANCH\", \"after\": \"COMMIT\"}, or an empty body"],
        ),
    };
    WebhookSetup {
        vendor,
        title: vendor.title().to_owned(),
        place: place.to_owned(),
        content_type: content_type.map(str::to_owned),
        secret_field: secret.to_owned(),
        events: events.iter().map(|e| (*e).to_owned()).collect(),
    }
}

/// Whose forge a source's repository is on, as far as its settings tell.
pub fn vendor_of(source: &Source) -> Option<Vendor> {
    let by_kind = source.spec.forge.as_ref().map(|f| match f.kind {
        ForgeKind::GitHub => Vendor::GitHub,
        ForgeKind::GitLab => Vendor::GitLab,
        ForgeKind::Gitea => Vendor::Gitea,
        ForgeKind::BitbucketCloud => Vendor::BitbucketCloud,
        ForgeKind::BitbucketDataCenter => Vendor::BitbucketDataCenter,
    });
    by_kind.or_else(|| {
        let url = &source.spec.url;
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let authority = rest.split(['/', ':']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        match host {
            "github.com" | "ssh.github.com" => Some(Vendor::GitHub),
            "gitlab.com" | "altssh.gitlab.com" => Some(Vendor::GitLab),
            "bitbucket.org" => Some(Vendor::BitbucketCloud),
            "codeberg.org" => Some(Vendor::Forgejo),
            "gitea.com" => Some(Vendor::Gitea),
            _ => None,
        }
    })
}
