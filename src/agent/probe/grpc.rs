//! gRPC probes: `grpc.health.v1.Health/Check` over HTTP/2 without TLS.
//!
//! The two messages have one field each, so they are coded by hand here; see
//! the health checking protocol of gRPC.

use reqwest::{Client, redirect};

use super::{Answer, cause, excerpt};

/// Largest answer that is read; a right one has 7 bytes.
const MAX_BODY: usize = 4096;

pub(super) fn client() -> Result<Client, reqwest::Error> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .http2_prior_knowledge()
        .pool_max_idle_per_host(0)
        .redirect(redirect::Policy::none())
        .no_proxy()
        .build()
}

pub(super) async fn ask(client: &Client, address: &str, service: &str) -> Answer {
    let name = if service.is_empty() {
        format!("grpc {address}")
    } else {
        format!("grpc {address} {service}")
    };
    let failed = |why: String| Answer::Failed(format!("{name}: {why}"));
    let request = client
        .post(format!("http://{address}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(request_body(service));
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return failed(cause(&error)),
    };
    if !response.status().is_success() {
        return failed(format!("HTTP {}", response.status()));
    }
    let header = |key: &str| {
        response
            .headers()
            .get(key)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    // An error without a message has its status among the headers.
    if let Some(status) = header("grpc-status").filter(|status| status != "0") {
        let message = excerpt(header("grpc-message").unwrap_or_default().as_bytes());
        return failed(format!("status {status} {message}").trim_end().to_owned());
    }
    let mut body = Vec::new();
    while body.len() < MAX_BODY
        && let Ok(Some(chunk)) = response.chunk().await
    {
        body.extend_from_slice(&chunk);
    }
    match serving_status(&body) {
        Some(1) => Answer::Passed(format!("{name}: SERVING")),
        Some(2) => failed("NOT_SERVING".to_owned()),
        Some(3) => failed("SERVICE_UNKNOWN".to_owned()),
        Some(other) => failed(format!("serving status {other}")),
        None => failed("the answer is not a health check's".to_owned()),
    }
}

/// Frame (uncompressed, length) around `HealthCheckRequest { service = 1 }`.
fn request_body(service: &str) -> Vec<u8> {
    let mut message = Vec::new();
    if !service.is_empty() {
        message.push(0x0a);
        put_varint(&mut message, service.len() as u64);
        message.extend_from_slice(service.as_bytes());
    }
    let mut frame = vec![0];
    frame.extend_from_slice(&u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    frame.extend_from_slice(&message);
    frame
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `HealthCheckResponse { status = 1 }` in its frame; a left-out status is 0 (UNKNOWN).
fn serving_status(body: &[u8]) -> Option<u64> {
    let (head, rest) = body.split_at_checked(5)?;
    if head[0] != 0 {
        return None; // compressed: we did not allow that
    }
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let message = rest.get(..usize::try_from(length).ok()?)?;
    match message {
        [] => Some(0),
        [0x08, value] if *value < 0x80 => Some(u64::from(*value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_coded_as_the_protocol_says() {
        assert_eq!(request_body(""), [0, 0, 0, 0, 0]);
        assert_eq!(request_body("ab"), [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = request_body(&"x".repeat(300));
        assert_eq!(long[..8], [0, 0, 0, 1, 47, 0x0a, 0xac, 0x02]);
        assert_eq!(serving_status(&[0, 0, 0, 0, 2, 0x08, 1]), Some(1));
        assert_eq!(serving_status(&[0, 0, 0, 0, 0]), Some(0));
        for bad in [&[][..], &[0, 0, 0, 0, 2, 0x08], &[1, 0, 0, 0, 0]] {
            assert_eq!(serving_status(bad), None);
        }
    }
}
