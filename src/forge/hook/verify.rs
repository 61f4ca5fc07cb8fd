//! Whether a delivery is authentic.
//!
//! | vendor | proof |
//! |---|---|
//! | GitHub, generic | `X-Hub-Signature-256: sha256=` hex HMAC-SHA256 of the body |
//! | Gitea, Forgejo | `X-Gitea-Signature`, `X-Forgejo-Signature`: the hex alone |
//! | Bitbucket | `X-Hub-Signature: sha256=` hex |
//! | GitLab | `X-Gitlab-Token`: the secret itself |
//! | GitLab with a signing token, generic | `webhook-signature` of Standard Webhooks |
//!
//! An empty secret, header or signature never fits. SHA-1 alone is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use subtle::ConstantTimeEq as _;

use super::{Headers, Vendor};
use crate::model::Timestamp;

/// How far a signed time may be from ours, in milliseconds: Standard Webhooks' own figure.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;
/// Signatures of one header that are tried: one per secret while a secret is changed.
const MAX_SIGNATURES: usize = 8;

/// Why a delivery is not taken for authentic, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Forged {
    pub why: String,
    pub hint: String,
}

/// What the headers offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    None,
    /// HMAC-SHA256 of the body.
    Hmac(Vec<u8>),
    /// The secret itself.
    Token(String),
    /// Standard Webhooks: HMAC-SHA256 of `id.timestamp.body`.
    Signed {
        id: String,
        timestamp: String,
        signatures: Vec<Vec<u8>>,
    },
    /// GitLab can be told both: which one counts is what the source's secret is.
    SignedAndToken(Box<Proof>, String),
}

/// What GitLab and Standard Webhooks put in front of a signing key.
const SIGNING_PREFIX: &[u8] = b"whsec_";

fn forged(why: impl Into<String>, hint: impl Into<String>) -> Forged {
    Forged {
        why: why.into(),
        hint: hint.into(),
    }
}

/// Where this vendor's forge is told the secret.
fn where_to_set(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::GitHub | Vendor::Gitea | Vendor::Forgejo => {
            "enter the content of the source's webhookSecretFile as the webhook's Secret"
        }
        Vendor::GitLab => {
            "enter the content of the source's webhookSecretFile as the webhook's Secret token"
        }
        Vendor::BitbucketCloud | Vendor::BitbucketDataCenter => {
            "enter the content of the source's webhookSecretFile as the webhook's Secret; \
             Bitbucket signs only with one"
        }
        Vendor::Generic => {
            "send X-Hub-Signature-256: sha256= and the hex HMAC-SHA256 of the body, with the \
             content of the source's webhookSecretFile as the key"
        }
    }
}

impl Proof {
    /// The first header that is there counts, also when it is empty: a forge without a
    /// secret sends empty ones.
    pub fn of(vendor: Vendor, headers: &dyn Headers) -> Result<Proof, Forged> {
        let names: &[&str] = match vendor {
            Vendor::Forgejo => &[
                "x-forgejo-signature",
                "x-gitea-signature",
                "x-hub-signature-256",
            ],
            Vendor::Gitea => &["x-gitea-signature", "x-hub-signature-256"],
            Vendor::GitHub => &["x-hub-signature-256"],
            Vendor::BitbucketCloud | Vendor::BitbucketDataCenter => &["x-hub-signature"],
            Vendor::GitLab => &["webhook-signature", "x-gitlab-token"],
            Vendor::Generic => &["webhook-signature", "x-hub-signature-256"],
        };
        let Some((name, value)) = names
            .iter()
            .find_map(|name| Some((*name, headers.get(name)?.trim())))
        else {
            let sha1 = headers
                .get("x-hub-signature")
                .is_some_and(|v| !v.is_empty());
            return Err(if sha1 {
                forged(
                    "the delivery is signed with SHA-1 only, which is not safe any more",
                    format!(
                        "update the forge, or let it sign with SHA-256: {}",
                        where_to_set(vendor)
                    ),
                )
            } else {
                forged("the delivery carries no signature", where_to_set(vendor))
            });
        };
        if value.is_empty() {
            return Err(forged(
                format!("the delivery's {name} is empty: the forge knows no secret"),
                where_to_set(vendor),
            ));
        }
        match name {
            "x-gitlab-token" => Ok(Proof::Token(value.to_owned())),
            "webhook-signature" => {
                let signed = signed(value, headers)?;
                let token = headers.get("x-gitlab-token").unwrap_or_default().trim();
                Ok(match vendor == Vendor::GitLab && !token.is_empty() {
                    true => Proof::SignedAndToken(Box::new(signed), token.to_owned()),
                    false => signed,
                })
            }
            _ => hex_signature(name, value, vendor),
        }
    }
}

fn hex_signature(name: &str, value: &str, vendor: Vendor) -> Result<Proof, Forged> {
    let bare = matches!(name, "x-gitea-signature" | "x-forgejo-signature");
    let hex = match value.split_once('=') {
        Some(("sha256", hex)) => hex,
        Some(("sha1", _)) => {
            return Err(forged(
                "the delivery is signed with SHA-1, which is not safe any more",
                format!("let the forge sign with SHA-256: {}", where_to_set(vendor)),
            ));
        }
        None if bare => value,
        Some(_) | None => "",
    };
    match hex::decode(hex) {
        Ok(bytes) if bytes.len() == 32 => Ok(Proof::Hmac(bytes)),
        Ok(_) | Err(_) => Err(forged(
            format!("the delivery's {name} is not a HMAC-SHA256"),
            where_to_set(vendor),
        )),
    }
}

fn signed(value: &str, headers: &dyn Headers) -> Result<Proof, Forged> {
    let whole = "webhook-signature comes with webhook-id and webhook-timestamp; \
                 a proxy may have taken them away";
    let other = |name: &str| {
        let value = headers.get(name).filter(|v| !v.is_empty());
        value.ok_or_else(|| forged(format!("the delivery has no {name}"), whole))
    };
    let signatures: Vec<Vec<u8>> = value
        .split_ascii_whitespace()
        .filter_map(|s| STANDARD.decode(s.strip_prefix("v1,")?).ok())
        .filter(|bytes| bytes.len() == 32)
        .take(MAX_SIGNATURES)
        .collect();
    if signatures.is_empty() {
        return Err(forged(
            "the delivery's webhook-signature has no signature of version v1",
            "v1 is a HMAC-SHA256 in base64",
        ));
    }
    Ok(Proof::Signed {
        id: other("webhook-id")?.to_owned(),
        timestamp: other("webhook-timestamp")?.to_owned(),
        signatures,
    })
}

pub(super) fn verify(
    vendor: Vendor,
    proof: &Proof,
    secret: &[u8],
    body: &[u8],
    now: Timestamp,
) -> Result<(), Forged> {
    if secret.is_empty() {
        return Err(forged(
            "the source's webhook secret is empty",
            "write a secret into the source's webhookSecretFile",
        ));
    }
    match proof {
        Proof::None => Err(forged(
            "the delivery carries no signature",
            where_to_set(vendor),
        )),
        Proof::Hmac(signature) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            hmac::verify(&key, body, signature).map_err(|_| wrong(vendor, "signature"))
        }
        Proof::SignedAndToken(signed, token) => match secret.starts_with(SIGNING_PREFIX) {
            true => verify(vendor, signed, secret, body, now),
            false => verify(vendor, &Proof::Token(token.clone()), secret, body, now),
        },
        // Digests are compared, so that not even the length can be measured.
        Proof::Token(token) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, b"token");
            let (given, ours) = (hmac::sign(&key, token.as_bytes()), hmac::sign(&key, secret));
            match bool::from(given.as_ref().ct_eq(ours.as_ref())) {
                true => Ok(()),
                false => Err(wrong(vendor, "token")),
            }
        }
        Proof::Signed {
            id,
            timestamp,
            signatures,
        } => {
            let key = signing_key(secret)?;
            let mut context = hmac::Context::with_key(&key);
            for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
                context.update(part);
            }
            let ours = context.sign();
            let fits = signatures
                .iter()
                .fold(false, |fits, s| fits | bool::from(ours.as_ref().ct_eq(s)));
            if !fits {
                return Err(wrong(vendor, "signature"));
            }
            let at = timestamp
                .parse::<i64>()
                .ok()
                .and_then(|s| s.checked_mul(1000));
            match at.map(|at| now.0.abs_diff(at)) {
                Some(apart) if apart <= TOLERANCE_MS.unsigned_abs() => Ok(()),
                Some(_) | None => Err(forged(
                    "the delivery was signed more than five minutes ago or ahead",
                    "compare the clocks of the forge and of the controller's host",
                )),
            }
        }
    }
}

/// `whsec_` and base64, as the forge shows it. A generic sender may use any text.
fn signing_key(secret: &[u8]) -> Result<hmac::Key, Forged> {
    let bytes = match secret.strip_prefix(SIGNING_PREFIX) {
        None => secret.to_vec(),
        Some(encoded) => STANDARD.decode(encoded).map_err(|_| {
            forged(
                "the source's webhook secret begins with whsec_ but is not base64 after it",
                "copy the signing token from the forge into the webhookSecretFile again",
            )
        })?,
    };
    if bytes.is_empty() {
        return Err(forged(
            "the source's webhook secret is empty",
            "copy the signing token from the forge into the webhookSecretFile",
        ));
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}

fn wrong(vendor: Vendor, what: &str) -> Forged {
    forged(
        format!("the {what} does not fit the body and this source's secret"),
        where_to_set(vendor),
    )
}
