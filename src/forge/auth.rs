//! The header that carries the credentials, in each vendor's words.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

use super::app;
use super::client::Client;
use super::failure::{Again, Failure, FailureKind};
use super::token;
use crate::model::{ForgeKind, ForgeSpec, Timestamp};

pub(super) struct Header {
    pub name: &'static str,
    /// Never shown, not even in debug output.
    pub value: HeaderValue,
}

impl Header {
    pub fn new(name: &'static str, value: &str) -> Result<Header, Failure> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| unusable("the token cannot stand in a header".to_owned()))?;
        value.set_sensitive(true);
        Ok(Header { name, value })
    }

    pub fn bearer(token: &str) -> Result<Header, Failure> {
        Header::new("authorization", &format!("Bearer {token}"))
    }
}

/// A file that is not there or not right; a person may repair it any moment.
pub(super) fn unusable(reason: String) -> Failure {
    Failure::new(FailureKind::Credentials, Again::Soon, reason)
}

pub(super) async fn authorization(
    client: &Client,
    spec: &ForgeSpec,
    now: Timestamp,
) -> Result<Header, Failure> {
    let file = match (&spec.app, &spec.token_file) {
        (Some(app), _) => {
            return Header::bearer(&app::token(client, spec, app, now).await?);
        }
        (None, Some(file)) => file,
        (None, None) => {
            return Err(Failure::settings(
                "forge.tokenFile: it is missing".to_owned(),
            ));
        }
    };
    let token = token::read(file).await?;
    match (spec.kind, &spec.username) {
        (ForgeKind::GitHub, _) => Header::bearer(&token),
        (ForgeKind::GitLab, _) => Header::new("private-token", &token),
        (ForgeKind::Gitea, _) => Header::new("authorization", &format!("token {token}")),
        (ForgeKind::BitbucketCloud | ForgeKind::BitbucketDataCenter, None) => {
            Header::bearer(&token)
        }
        (ForgeKind::BitbucketCloud | ForgeKind::BitbucketDataCenter, Some(user)) => {
            let pair = STANDARD.encode(format!("{user}:{token}"));
            Header::new("authorization", &format!("Basic {pair}"))
        }
    }
}

/// What was taken for good is not: it is made anew at the next use.
pub(super) fn forget(client: &Client, spec: &ForgeSpec) {
    app::forget(client, spec);
}
