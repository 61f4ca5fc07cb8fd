//! HTTP probes: one GET on a connection of its own, no redirects.

use reqwest::{Client, header, redirect};

use super::{Answer, MAX_ANSWER, cause, excerpt};

pub(super) fn client() -> Result<Client, reqwest::Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        // A connection kept from the last answer would say that the old one still lives.
        .pool_max_idle_per_host(0)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .user_agent(concat!("evenkeel-probe/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// Passes if the status is in one of the ranges.
pub(super) async fn ask(
    client: &Client,
    address: &str,
    path: &str,
    ranges: &[(u16, u16)],
) -> Answer {
    let url = format!("http://{address}{path}");
    let request = client.get(&url).header(header::CONNECTION, "close");
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Answer::Failed(format!("GET {url}: {}", cause(&error))),
    };
    let status = response.status();
    let line = format!("GET {url}: {status}");
    let code = status.as_u16();
    if ranges.iter().any(|&(from, to)| (from..=to).contains(&code)) {
        return Answer::Passed(line);
    }
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER)]);
    }
    let body = excerpt(&body);
    Answer::Failed(if body.is_empty() {
        line
    } else {
        format!("{line}: {body}")
    })
}
