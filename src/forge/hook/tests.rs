//! Recognising and proving; what bodies say is in `payloads`, what nothing may do to us
//! in `hostile`.

mod hostile;
mod payloads;

use std::collections::BTreeMap;

use super::*;
use crate::model::Timestamp;

pub const NOW: Timestamp = Timestamp(1_614_265_330_000);

pub fn headers(of: &[(&str, &str)]) -> BTreeMap<String, String> {
    of.iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

/// Whether it is proven, or why not.
fn prove(of: &[(&str, &str)], secret: &str, body: &str) -> Result<Vendor, String> {
    let (envelope, offered) = Envelope::of(&headers(of));
    offered
        .and_then(|()| envelope.verify(secret.as_bytes(), body.as_bytes(), NOW))
        .map(|()| envelope.vendor)
        .map_err(|forged| {
            assert!(!forged.hint.is_empty());
            forged.why
        })
}

#[track_caller]
fn refused(of: &[(&str, &str)], secret: &str, body: &str, why: &str) {
    let said = prove(of, secret, body).expect_err("it is refused");
    assert!(said.contains(why), "{said}");
}

// Published by GitHub in "Validating webhook deliveries", by Atlassian in "Manage webhooks",
// by Standard Webhooks in its libraries' tests.
const SECRET: &str = "It's a Secret to Everybody";
const GITHUB: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const BITBUCKET: &str = "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9";
const WHSEC: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const STANDARD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const STANDARD_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const STANDARD_BODY: &str = "{\"test\": 2432232314}";

#[test]
fn the_published_vectors_fit() {
    let github = [("x-github-event", "push"), ("x-hub-signature-256", GITHUB)];
    assert_eq!(prove(&github, SECRET, "Hello, World!"), Ok(Vendor::GitHub));
    let cloud = [
        ("x-event-key", "repo:push"),
        ("x-hook-uuid", "1"),
        ("x-hub-signature", BITBUCKET),
    ];
    let told = prove(&cloud, SECRET, "Hello World!");
    assert_eq!(told, Ok(Vendor::BitbucketCloud));
    let center = [
        ("x-event-key", "repo:refs_changed"),
        ("x-hub-signature", BITBUCKET),
    ];
    let told = prove(&center, SECRET, "Hello World!");
    assert_eq!(told, Ok(Vendor::BitbucketDataCenter));
    for event in [None, Some(("x-gitlab-event", "Push Hook"))] {
        let mut standard = vec![
            ("webhook-id", STANDARD_ID),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", STANDARD),
        ];
        standard.extend(event);
        let told = prove(&standard, WHSEC, STANDARD_BODY);
        let vendor = event.map_or(Vendor::Generic, |_| Vendor::GitLab);
        assert_eq!(told, Ok(vendor));
    }
}

#[test]
fn nothing_else_fits() {
    let github = |signature| {
        [
            ("x-github-event", "push"),
            ("x-hub-signature-256", signature),
        ]
    };
    let body = "Hello, World!";
    refused(&github(GITHUB), SECRET, "Hello, World?", "does not fit");
    refused(&github(GITHUB), "another", body, "does not fit");
    refused(&github(GITHUB), "", body, "secret is empty");
    refused(&github(""), SECRET, body, "is empty");
    refused(&github("  "), SECRET, body, "is empty");
    refused(&[("x-github-event", "push")], SECRET, body, "no signature");
    refused(&[], SECRET, body, "no signature");
    for odd in [
        "sha256=",
        "sha256=zz",
        &GITHUB[7..],
        &GITHUB[..69],
        &format!("{GITHUB}00"),
        "sha512=00",
        "ö",
    ] {
        refused(&github(odd), SECRET, body, "is not a HMAC-SHA256");
    }
}

#[test]
fn sha1_alone_is_refused_with_a_hint() {
    let sha1 = (
        "x-hub-signature",
        "sha1=126f2c800419c60137ce748d7672e77b65cf16d6",
    );
    for of in [
        vec![("x-github-event", "push"), sha1],
        vec![("x-event-key", "repo:push"), sha1],
        vec![sha1],
    ] {
        let (envelope, offered) = Envelope::of(&headers(&of));
        let forged = offered.expect_err("it is refused");
        assert!(forged.why.contains("SHA-1"), "{forged}");
        assert!(forged.hint.contains("SHA-256"), "{}", forged.hint);
        assert!(envelope.verify(b"x", b"", NOW).is_err());
    }
}

#[test]
fn gitlabs_token_is_the_secret_itself() {
    let with = |token| [("x-gitlab-event", "Push Hook"), ("x-gitlab-token", token)];
    assert_eq!(prove(&with("t0ken"), "t0ken", "any"), Ok(Vendor::GitLab));
    refused(&with(""), "t0ken", "", "is empty");
    refused(&with(""), "", "", "is empty");
    refused(&with("t0ken"), "", "", "is empty");
    for wrong in ["t0ke", "t0ken1", "T0ken", "t0ken\u{0}"] {
        refused(&with(wrong), "t0ken", "", "token does not fit");
    }
    // The token of another vendor's delivery proves nothing.
    refused(
        &[("x-github-event", "push"), ("x-gitlab-token", "t0ken")],
        "t0ken",
        "",
        "no signature",
    );
}

#[test]
fn a_signing_token_binds_id_and_time() {
    let with = |id, at, signature| {
        [
            ("x-gitlab-event", "Push Hook"),
            ("webhook-id", id),
            ("webhook-timestamp", at),
            ("webhook-signature", signature),
        ]
    };
    let fits = |of: &[(&str, &str)]| prove(of, WHSEC, STANDARD_BODY);
    let good = with(STANDARD_ID, "1614265330", STANDARD);
    assert_eq!(fits(&good), Ok(Vendor::GitLab));
    let several = format!("v1a,xyz v1,AAAA {STANDARD}");
    assert!(fits(&with(STANDARD_ID, "1614265330", &several)).is_ok());
    refused(&good, WHSEC, "{}", "does not fit");
    refused(
        &with("msg_2", "1614265330", STANDARD),
        WHSEC,
        STANDARD_BODY,
        "does not fit",
    );
    refused(
        &with(STANDARD_ID, "1614265331", STANDARD),
        WHSEC,
        STANDARD_BODY,
        "does not fit",
    );
    refused(
        &with("", "1614265330", STANDARD),
        WHSEC,
        STANDARD_BODY,
        "no webhook-id",
    );
    refused(
        &with(STANDARD_ID, "", STANDARD),
        WHSEC,
        STANDARD_BODY,
        "no webhook-timestamp",
    );
    refused(
        &with(STANDARD_ID, "1614265330", "v2,AA"),
        WHSEC,
        STANDARD_BODY,
        "version v1",
    );
    refused(&good, "whsec_%%", STANDARD_BODY, "not base64");
    refused(&good, "whsec_", STANDARD_BODY, "is empty");
    // Signed long ago, or by a clock that is far ahead.
    let (envelope, _) = Envelope::of(&headers(&good));
    for apart in [-301_000, 301_000] {
        let now = Timestamp(NOW.0 + apart);
        let forged = envelope.verify(WHSEC.as_bytes(), STANDARD_BODY.as_bytes(), now);
        assert!(forged.unwrap_err().why.contains("five minutes"));
    }
    // With both, the source's secret says which counts.
    let mut both = good.to_vec();
    both.push(("x-gitlab-token", "t0ken"));
    assert!(fits(&both).is_ok());
    assert!(prove(&both, "t0ken", "any").is_ok());
    refused(&both, "other", "any", "does not fit");
}

/// As Forgejo sends it: the headers of all it descends from.
fn all_at_once<'a>(bare: &'a str, prefixed: &'a str) -> Vec<(&'a str, &'a str)> {
    let mut all = Vec::new();
    for (event, id, signature) in [
        (
            "x-forgejo-event",
            "x-forgejo-delivery",
            "x-forgejo-signature",
        ),
        ("x-gitea-event", "x-gitea-delivery", "x-gitea-signature"),
        ("x-gogs-event", "x-gogs-delivery", "x-gogs-signature"),
    ] {
        all.extend([(event, "push"), (id, "42"), (signature, bare)]);
    }
    all.extend([
        ("x-github-event", "push"),
        ("x-github-delivery", "42"),
        ("x-hub-signature", "sha1=00"),
        ("x-hub-signature-256", prefixed),
    ]);
    all
}

#[test]
fn the_most_specific_header_names_the_vendor() {
    let hex = &GITHUB["sha256=".len()..];
    let all = all_at_once(hex, GITHUB);
    let vendor = prove(&all, SECRET, "Hello, World!");
    assert_eq!(vendor, Ok(Vendor::Forgejo));
    assert_eq!(Envelope::of(&headers(&all)).0.id.as_deref(), Some("42"));
    let gitea: Vec<_> = all
        .iter()
        .copied()
        .filter(|(name, _)| !name.starts_with("x-forgejo"))
        .collect();
    assert_eq!(prove(&gitea, SECRET, "Hello, World!"), Ok(Vendor::Gitea));

    // Without a secret all signatures are there and empty.
    refused(&all_at_once("", ""), SECRET, "Hello, World!", "is empty");
    refused(&all_at_once("", "sha256="), "", "Hello, World!", "is empty");
    // The most specific one decides, also against a good one of less weight.
    refused(
        &all_at_once("", GITHUB),
        SECRET,
        "Hello, World!",
        "is empty",
    );
    let wrong = "0".repeat(64);
    refused(
        &all_at_once(&wrong, GITHUB),
        SECRET,
        "Hello, World!",
        "does not fit",
    );
}

#[test]
fn both_bitbuckets_are_told_apart() {
    for (of, vendor) in [
        (vec![("x-event-key", "repo:push")], Vendor::BitbucketCloud),
        (
            vec![("x-event-key", "pullrequest:created")],
            Vendor::BitbucketCloud,
        ),
        (
            vec![("x-event-key", "issue:created"), ("x-hook-uuid", "1")],
            Vendor::BitbucketCloud,
        ),
        (
            vec![("x-event-key", "repo:refs_changed"), ("x-request-id", "9")],
            Vendor::BitbucketDataCenter,
        ),
        (
            vec![("x-event-key", "pr:opened")],
            Vendor::BitbucketDataCenter,
        ),
    ] {
        assert_eq!(Envelope::of(&headers(&of)).0.vendor, vendor, "{of:?}");
    }
    let ping = ("x-event-key", "diagnostics:ping");
    let test = |of: &[(&str, &str)]| Envelope::of(&headers(of)).0.is_unsigned_test();
    assert!(test(&[ping]));
    assert!(!test(&[ping, ("x-hub-signature", "")]));
    assert!(!test(&[ping, ("x-hub-signature", BITBUCKET)]));
    assert!(!test(&[("x-event-key", "repo:refs_changed")]));
}
