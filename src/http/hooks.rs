//! `POST /hooks/{source}`: a forge says that something was pushed.
//!
//! The signature is checked over the raw body before anything is parsed; what
//! the body says is not even read yet: any authentic delivery asks for a fetch,
//! and fetches coalesce. So a replay does no more than a poll would.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use ring::hmac;

use super::extract::{RawBody, SourceParam};
use super::{AppState, Problem};
use crate::model::SourceName;

/// Largest secret that is read from a file, in bytes.
const MAX_SECRET_BYTES: u64 = 4096;

pub async fn receive(
    State(state): State<AppState>,
    SourceParam(name): SourceParam,
    headers: HeaderMap,
    RawBody(body): RawBody,
) -> Result<StatusCode, Problem> {
    let file = state
        .handle
        .read(|s| {
            s.sources
                .get(&name)
                .map(|source| source.spec.webhook_secret_file.clone())
        })?
        .ok_or_else(|| Problem::not_found(format!("there is no source {name}")))?;
    let secret = secret(&name, file).await?;
    let given = headers
        .get("x-hub-signature-256")
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    if !verify(&secret, given, &body) {
        return Err(Problem::forbidden(if given.is_empty() {
            "the delivery carries no signature"
        } else {
            "the signature does not fit the body and this source's secret"
        })
        .with_hint(
            "X-Hub-Signature-256 must be sha256= and the hex HMAC-SHA256 of the body; \
             compare the secret at the forge with the source's webhookSecretFile",
        ));
    }
    state.handle.trigger_sync(&name)?;
    Ok(StatusCode::ACCEPTED)
}

/// The secret as its file has it now, so that it can be changed without a restart.
async fn secret(name: &SourceName, file: Option<String>) -> Result<Vec<u8>, Problem> {
    let unset = |detail: String| {
        Problem::forbidden(detail).with_hint(format!(
            "write a secret into a file on the controller's host, then: \
             evenkeel source add {name} URL --replace --webhook-secret-file FILE"
        ))
    };
    let Some(file) = file else {
        return Err(unset(format!("source {name} has no webhook secret")));
    };
    let content = read_bounded(&file).await.map_err(|error| {
        // The path is the operator's business, not the sender's.
        tracing::warn!(source = %name, %file, %error, "the webhook's secret cannot be read");
        unset(format!(
            "the webhook secret of source {name} cannot be read"
        ))
    })?;
    let secret = content.trim_ascii();
    if secret.is_empty() {
        return Err(unset(format!(
            "the webhook secret of source {name} is empty"
        )));
    }
    Ok(secret.to_vec())
}

async fn read_bounded(file: &str) -> std::io::Result<Vec<u8>> {
    use tokio::io::AsyncReadExt as _;
    let mut content = Vec::new();
    tokio::fs::File::open(file)
        .await?
        .take(MAX_SECRET_BYTES)
        .read_to_end(&mut content)
        .await?;
    Ok(content)
}

/// Whether `given` is `sha256=` and the HMAC of `body`; in constant time.
fn verify(secret: &[u8], given: &str, body: &[u8]) -> bool {
    let Some(signature) = given.strip_prefix("sha256=") else {
        return false;
    };
    let Ok(signature) = hex::decode(signature) else {
        return false;
    };
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    hmac::verify(&key, body, &signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Published by GitHub in "Validating webhook deliveries".
    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const BODY: &[u8] = b"Hello, World!";
    const SIGNATURE: &str =
        "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";

    #[test]
    fn the_published_vector_verifies() {
        assert!(verify(SECRET, SIGNATURE, BODY));
    }

    #[test]
    fn anything_else_does_not() {
        assert!(!verify(SECRET, SIGNATURE, b"Hello, World?"));
        assert!(!verify(b"another", SIGNATURE, BODY));
        assert!(!verify(
            SECRET,
            SIGNATURE.trim_start_matches("sha256="),
            BODY
        ));
        assert!(!verify(SECRET, &SIGNATURE[..SIGNATURE.len() - 2], BODY));
        for empty in ["", "sha256=", "sha256=zz", "sha1=00"] {
            assert!(!verify(SECRET, empty, BODY));
        }
    }
}
