//! Git over https: the host's own authorities are trusted, and nobody else.

use serde_json::json;

use crate::cluster::{Cluster, Setup};
use crate::specs::{Version, web};
use crate::tls::Authority;

#[tokio::test(flavor = "multi_thread")]
async fn a_company_authority_is_trusted_and_a_strange_one_gets_no_token() {
    let (company, stranger) = (Authority::create("Company"), Authority::create("Stranger"));
    let folder = tempfile::tempdir().unwrap();
    let (bundle, token) = (folder.path().join("ca.pem"), folder.path().join("token"));
    std::fs::write(&bundle, &company.pem).unwrap();
    std::fs::write(&token, "s3cret-token\n").unwrap();
    let setup = Setup {
        env: vec![("SSL_CERT_FILE", bundle.display().to_string())],
        interval: "1h",
        ..Setup::default()
    };
    let c = Cluster::start_with(setup, &[]).await;
    let head = c
        .repo
        .commit("web", &[("web.yaml", Some(&web(Version::Good("one"))))]);
    c.git.require("bot", "s3cret-token");
    let source = |name: &str, port: u16| {
        json!({
            "name": name, "url": format!("https://127.0.0.1:{port}/repo.git"), "branch": "main",
            "project": "shop", "interval": "1h",
            "credentials": {"username": "bot", "tokenFile": token.display().to_string()},
        })
    };

    let given = || c.git.seen().iter().any(|seen| seen.authorization.is_some());
    let port = stranger.serve(c.git.port).await;
    c.post("sources", &source("strange", port)).await;
    let strange = c
        .wait("sources/strange", "refused", |s| {
            s["state"] == "unreachable"
        })
        .await;
    let told = strange.to_string();
    assert!(
        told.contains("UnknownIssuer") && told.contains("SSL_CERT_FILE"),
        "{told}"
    );
    assert!(!given(), "a stranger got the token");

    let port = company.serve(c.git.port).await;
    c.post("sources", &source("company", port)).await;
    c.wait_healthy("web", &head).await;
    assert!(given());
}
