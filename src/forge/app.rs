//! GitHub Apps: a short-lived token of the App's installation, got with a signature by its key.
//!
//! Tokens are kept in memory until shortly before they expire. The forge's clock is what
//! counts for both: where it differs from ours, its `Date` header tells by how much.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use reqwest::Method;
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde::Deserialize;
use serde_json::json;

use super::answer::{Answer, judge};
use super::auth::{Header, unusable};
use super::client::{Client, host, lock, parse};
use super::failure::{Again, Failure, FailureKind};
use super::request::{Read, Request, below, of_repository, root};
use super::token::read_file;
use crate::model::{ForgeSpec, GitHubApp, Timestamp};

/// GitHub takes signatures for ten minutes at most.
const SIGNED_FOR: i64 = 9 * 60;
/// Its advice against clocks that differ a little.
const BACKDATED: i64 = 60;
/// A token is not used any more this long before it expires.
const MARGIN: Duration = Duration::from_secs(5 * 60);
/// Clocks that differ by more are told apart from a key that is wrong, in seconds.
const SKEW: i64 = 20;

#[derive(Debug, Default)]
pub(super) struct Installations {
    tokens: HashMap<Key, Token>,
    /// By how many seconds a host's clock is ahead of ours.
    ahead: HashMap<String, i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    api_url: String,
    repository: String,
    app: String,
    key_file: String,
    installation: Option<u64>,
}

struct Token {
    text: String,
    /// By our clock.
    until: Timestamp,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(until {})", self.until)
    }
}

fn key(spec: &ForgeSpec, app: &GitHubApp) -> Key {
    Key {
        api_url: spec.api_url.clone(),
        repository: spec.repository.clone(),
        app: app.id.clone(),
        key_file: app.private_key_file.clone(),
        installation: app.installation_id,
    }
}

pub(super) fn forget(client: &Client, spec: &ForgeSpec) {
    if let Some(app) = &spec.app {
        let mut known = lock(&client.memory().installations);
        known.tokens.remove(&key(spec, app));
    }
}

/// A token of the installation, from memory or anew.
pub(super) async fn token(
    client: &Client,
    spec: &ForgeSpec,
    app: &GitHubApp,
    now: Timestamp,
) -> Result<String, Failure> {
    let key = key(spec, app);
    if let Some(token) = lock(&client.memory().installations).tokens.get(&key)
        && token.until > now
    {
        return Ok(token.text.clone());
    }
    let installation = match app.installation_id {
        Some(id) => id,
        None => installation(client, spec, app, now).await?,
    };
    let id = installation.to_string();
    let url = below(
        &root(spec)?,
        &["app", "installations", &id, "access_tokens"],
    )?;
    // Not a token for all that the App may see.
    let name = spec.repository.rsplit('/').next().unwrap_or_default();
    let mut request = Request::send(
        spec,
        Method::POST,
        url,
        json!({"repositories": [name]}),
        "be used",
    );
    request.read = Read::Whole;
    let answer = signed(client, spec, app, &request, now).await?;
    let granted: Granted = parse(&answer.body, &host(&request.url))?;
    let expires = chrono::DateTime::parse_from_rfc3339(&granted.expires_at)
        .map(|t| t.timestamp())
        .unwrap_or(0);
    let theirs = i64::try_from(answer.now).unwrap_or(0);
    let lifetime = Duration::from_secs(u64::try_from(expires - theirs).unwrap_or(0));
    let until = now + lifetime.saturating_sub(MARGIN.min(lifetime / 2));
    let mut known = lock(&client.memory().installations);
    known.tokens.retain(|_, token| token.until > now);
    let token = Token {
        text: granted.token.clone(),
        until,
    };
    known.tokens.insert(key, token);
    Ok(granted.token)
}

#[derive(Deserialize)]
struct Granted {
    token: String,
    expires_at: String,
}

#[derive(Deserialize)]
struct Installed {
    id: u64,
}

/// The one that the repository belongs to.
async fn installation(
    client: &Client,
    spec: &ForgeSpec,
    app: &GitHubApp,
    now: Timestamp,
) -> Result<u64, Failure> {
    let url = of_repository(spec, &["installation"])?;
    let request = Request::get(spec, url, "see its installation");
    let answer = signed(client, spec, app, &request, now).await;
    let answer = answer.map_err(|failure| match failure.kind {
        FailureKind::NotFound => Failure::new(
            FailureKind::Forbidden,
            failure.again,
            format!(
                "{}: the App {} is not installed at {}",
                host(&request.url),
                app.id,
                spec.repository
            ),
        ),
        _ => failure,
    })?;
    parse::<Installed>(&answer.body, &host(&request.url)).map(|found| found.id)
}

/// Asks as the App itself; once more with the forge's own time where the clocks differ.
async fn signed(
    client: &Client,
    spec: &ForgeSpec,
    app: &GitHubApp,
    request: &Request,
    now: Timestamp,
) -> Result<Answer, Failure> {
    let host = host(&request.url);
    let pem = read_file(&app.private_key_file, "private key").await?;
    let known = |client: &Client| {
        let installations = lock(&client.memory().installations);
        installations.ahead.get(&host).copied().unwrap_or(0)
    };
    let ahead = known(client);
    let sign = |ahead: i64| {
        let seconds = now.0 / 1000 + ahead;
        jwt(&app.id, &pem, seconds).map_err(|why| {
            unusable(format!(
                "the private key's file {}: {why}",
                app.private_key_file
            ))
        })
    };
    let header = Header::bearer(&sign(ahead)?)?;
    let mut answer = client.send(request, &header, now).await?;
    if answer.status == 401 && (answer.ahead - ahead).abs() > SKEW {
        let ahead = answer.ahead;
        lock(&client.memory().installations)
            .ahead
            .insert(host.clone(), ahead);
        let header = Header::bearer(&sign(ahead)?)?;
        answer = client.send(request, &header, now).await?;
    }
    match judge(spec, &host, request.doing, &answer) {
        Ok(()) => Ok(answer),
        Err(failure) if answer.status == 422 => Err(Failure::new(
            FailureKind::Forbidden,
            Again::After(Duration::from_secs(300)),
            format!(
                "{failure}: the App {} may not use {}",
                app.id, spec.repository
            ),
        )),
        Err(failure) => Err(failure),
    }
}

/// A JSON Web Token (RFC 7519) by which GitHub knows the App, at this second since the epoch.
fn jwt(id: &str, pem: &str, seconds: i64) -> Result<String, String> {
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "RS256", "typ": "JWT"}));
    let claims = part(json!({
        "iat": seconds - BACKDATED,
        "exp": seconds + SIGNED_FOR,
        "iss": id,
    }));
    let text = format!("{head}.{claims}");
    let pair = key_pair(pem)?;
    let mut signature = vec![0; pair.public().modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        text.as_bytes(),
        &mut signature,
    )
    .map_err(|_| "it cannot sign".to_owned())?;
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// PKCS#1, as GitHub gives it out, or PKCS#8. The error never repeats any of it.
fn key_pair(pem: &str) -> Result<RsaKeyPair, String> {
    let between = |name: &str| {
        let (_, rest) = pem.split_once(&format!("-----BEGIN {name}-----"))?;
        let (body, _) = rest.split_once(&format!("-----END {name}-----"))?;
        let body: String = body.split_whitespace().collect();
        STANDARD.decode(body).ok()
    };
    let pair = if let Some(der) = between("RSA PRIVATE KEY") {
        RsaKeyPair::from_der(&der)
    } else if let Some(der) = between("PRIVATE KEY") {
        RsaKeyPair::from_pkcs8(&der)
    } else {
        return Err("it holds no RSA private key in PEM form".to_owned());
    };
    pair.map_err(|why| format!("its key cannot be used: {why}"))
}
