//! Whose delivery it is, by its headers alone.

use super::verify::{self, Forged, Proof};
use super::{Delivery, Malformed, Vendor, parse, text};
use crate::model::Timestamp;

/// The headers of a request. `get` gives a header's first value, by a name in lower case.
/// One that is not text is given as `Some("")`: present, and of no use.
pub trait Headers {
    fn get(&self, name: &str) -> Option<&str>;
}

impl Headers for std::collections::BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        std::collections::BTreeMap::get(self, name).map(String::as_str)
    }
}

/// How the body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Urlencoded,
}

/// What is known of a delivery before its body was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    pub vendor: Vendor,
    /// The vendor's word for what happened; empty where it has none. Not proven by anything.
    pub event: String,
    /// The vendor's number of the delivery. Not proven by anything but GitLab's signature.
    pub id: Option<String>,
    proof: Proof,
    /// There is a header for a proof, be it empty.
    offers: bool,
    form: Form,
}

/// Headers that name the event, most specific first: Forgejo sends those of Gitea, Gogs and
/// GitHub too, and Gitea those of Gogs and GitHub.
const VENDORS: [(Vendor, &str, &[&str]); 6] = [
    (
        Vendor::Forgejo,
        "x-forgejo-event",
        &["x-forgejo-delivery", "x-gitea-delivery"],
    ),
    (Vendor::Gitea, "x-gitea-event", &["x-gitea-delivery"]),
    (
        Vendor::GitLab,
        "x-gitlab-event",
        &["webhook-id", "idempotency-key", "x-gitlab-event-uuid"],
    ),
    (Vendor::GitHub, "x-github-event", &["x-github-delivery"]),
    (Vendor::BitbucketCloud, "x-event-key", &["x-request-uuid"]),
    (
        Vendor::BitbucketDataCenter,
        "x-event-key",
        &["x-request-id"],
    ),
];

impl Envelope {
    /// Recognises the vendor and where its proof stands. `Forged`: there is no proof at all,
    /// so the body need not be read; it says what to do.
    pub fn of(headers: &dyn Headers) -> (Envelope, Result<(), Forged>) {
        let found = VENDORS.into_iter().find_map(|(vendor, header, ids)| {
            let event = headers.get(header)?;
            is_vendors(vendor, event, headers).then_some((vendor, event, ids))
        });
        let (vendor, event, ids) =
            found.unwrap_or((Vendor::Generic, "", &["webhook-id", "x-evenkeel-delivery"]));
        let id = ids
            .iter()
            .find_map(|name| headers.get(name).filter(|id| !id.trim().is_empty()));
        let (proof, proven) = match Proof::of(vendor, headers) {
            Ok(proof) => (proof, Ok(())),
            Err(forged) => (Proof::None, Err(forged)),
        };
        let content_type = headers.get("content-type").unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let envelope = Envelope {
            vendor,
            event: text::word(event),
            id: id.map(text::word),
            proof,
            offers: ["x-hub-signature", "x-hub-signature-256"]
                .iter()
                .any(|name| headers.get(name).is_some()),
            form: match essence.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
                // Programs that send forms by habit (curl) mean their body as it stands.
                true if vendor != Vendor::Generic => Form::Urlencoded,
                true | false => Form::Json,
            },
        };
        (envelope, proven)
    }

    /// Bitbucket Data Center tests a connection without signing, whatever secret it has.
    pub fn is_unsigned_test(&self) -> bool {
        self.vendor == Vendor::BitbucketDataCenter
            && self.event == "diagnostics:ping"
            && self.proof == Proof::None
            && !self.offers
    }

    /// Whether the delivery was made by somebody who knows `secret`. In constant time.
    pub fn verify(&self, secret: &[u8], body: &[u8], now: Timestamp) -> Result<(), Forged> {
        verify::verify(self.vendor, &self.proof, secret, body, now)
    }

    /// What the delivery says. Only for a body that [`Envelope::verify`] has proven.
    pub fn open(&self, body: &[u8]) -> Result<Delivery, Malformed> {
        let events = match self.form {
            Form::Json => parse::events(self.vendor, &self.event, body)?,
            Form::Urlencoded => {
                parse::events(self.vendor, &self.event, &text::form_payload(body)?)?
            }
        };
        Ok(Delivery {
            vendor: self.vendor,
            event: self.event.clone(),
            id: self.id.clone(),
            events,
        })
    }
}

/// Both Bitbuckets name the event in the same header.
fn is_vendors(vendor: Vendor, event: &str, headers: &dyn Headers) -> bool {
    let cloud = || {
        headers.get("x-hook-uuid").is_some()
            || headers.get("x-request-uuid").is_some()
            || event == "repo:push"
            || event.starts_with("pullrequest:")
    };
    match vendor {
        Vendor::BitbucketCloud => cloud(),
        Vendor::BitbucketDataCenter => !cloud(),
        Vendor::GitHub | Vendor::GitLab | Vendor::Gitea | Vendor::Forgejo | Vendor::Generic => true,
    }
}
