//! What a forge's answer means.

use std::time::Duration;

use chrono::DateTime;

use super::failure::{Again, Failure, FailureKind};
use crate::model::{ForgeKind, ForgeSpec, Timestamp};

/// Longest pause that a forge may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// Until what a person has to repair is tried again.
const PERSON: Duration = Duration::from_secs(300);
/// GitHub's own advice for a secondary limit that names no time.
const SECONDARY_LIMIT: Duration = Duration::from_secs(60);

/// What of an answer matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// `X-RateLimit-Remaining` (`RateLimit-Remaining` at GitLab).
    pub remaining: Option<u64>,
    /// `X-RateLimit-Reset` (`RateLimit-Reset` at GitLab), seconds since the epoch.
    pub reset: Option<u64>,
    /// Seconds since the epoch, by the forge's clock where it tells, else by ours.
    pub now: u64,
    /// By how much the forge's clock is ahead of ours, in seconds; 0 where it does not tell.
    pub ahead: i64,
    pub location: Option<String>,
    /// Bitbucket Data Center's `X-AUSERNAME`: whom it takes us for.
    pub user: Option<String>,
    /// The beginning of its body, on one line.
    pub excerpt: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn of(status: u16, headers: &reqwest::header::HeaderMap, now: Timestamp) -> Answer {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let number = |name: &str| text(name)?.parse().ok();
        let ours = now.0 / 1000;
        let date = text("date").and_then(seconds_of);
        let theirs = date.unwrap_or(ours);
        let retry_after = number("retry-after").or_else(|| {
            let at = seconds_of(text("retry-after")?)?;
            u64::try_from(at - theirs).ok()
        });
        Answer {
            status,
            retry_after,
            remaining: number("x-ratelimit-remaining").or_else(|| number("ratelimit-remaining")),
            reset: number("x-ratelimit-reset").or_else(|| number("ratelimit-reset")),
            now: u64::try_from(theirs).unwrap_or(0),
            ahead: theirs - ours,
            location: text("location").map(str::to_owned),
            user: text("x-ausername").map(str::to_owned),
            excerpt: String::new(),
            body: Vec::new(),
        }
    }

    /// How long it asks to be left alone, also where it took this one.
    pub fn pause(&self) -> Option<Duration> {
        let after = self.retry_after.map(Duration::from_secs);
        let spent = self.remaining == Some(0) || self.status == 429;
        let reset = self
            .reset
            .filter(|_| spent)
            .map(|at| Duration::from_secs(at.saturating_sub(self.now).max(1)));
        after.or(reset).map(|pause| pause.min(MAX_PAUSE))
    }

    fn speaks_of(&self, words: &[&str]) -> bool {
        let said = self.excerpt.to_lowercase();
        words.iter().any(|word| said.contains(word))
    }
}

/// An HTTP date as seconds since the epoch.
fn seconds_of(text: &str) -> Option<i64> {
    DateTime::parse_from_rfc2822(text)
        .ok()
        .map(|t| t.timestamp())
}

/// What the credentials are, in words for whom has to repair them.
pub fn credentials(spec: &ForgeSpec) -> String {
    match (&spec.app, &spec.token_file) {
        (Some(app), _) => format!("the App {} (key in {})", app.id, app.private_key_file),
        (None, Some(file)) => format!("the token in {file}"),
        (None, None) => "the token".to_owned(),
    }
}

/// `doing` is what was asked for: `write commit statuses`.
pub fn judge(spec: &ForgeSpec, host: &str, doing: &str, answer: &Answer) -> Result<(), Failure> {
    let said = match answer.excerpt.as_str() {
        "" => String::new(),
        text => format!(" ({text})"),
    };
    let status = answer.status;
    let whose = credentials(spec);
    let after = |pause: Duration| Again::After(answer.pause().unwrap_or(pause));
    let fail = |kind, again, advice: &str| {
        let advice = match advice {
            "" => String::new(),
            advice => format!(": {advice}"),
        };
        let reason = format!("{status} from {host}{said}{advice}");
        Err(Failure::new(kind, again, reason))
    };
    let limited = |again| {
        let advice = "it limits how often it is asked";
        fail(FailureKind::RateLimited, again, advice)
    };
    match status {
        200..=299 => Ok(()),
        300..=399 => Err(Failure::new(
            FailureKind::Redirected,
            Again::Never,
            format!(
                "{status} from {host}: it redirects to {}, where the token is not sent; set apiUrl \
                 and repository to what they are there",
                answer.location.as_deref().unwrap_or("another address")
            ),
        )),
        401 => fail(
            FailureKind::Credentials,
            after(PERSON),
            &match spec.app {
                Some(_) => format!("check {whose}"),
                None => format!("renew {whose}"),
            },
        ),
        403 | 429 if answer.pause().is_some() => limited(after(PERSON)),
        403 if answer.speaks_of(&["rate limit", "abuse detection"]) => {
            limited(Again::After(SECONDARY_LIMIT))
        }
        429 => limited(Again::Soon),
        403 => fail(
            FailureKind::Forbidden,
            after(PERSON),
            &format!("{whose} may not {doing}"),
        ),
        404 if answer.speaks_of(&["commit not found"]) => unknown_commit(status, host),
        404 => fail(
            FailureKind::NotFound,
            after(PERSON),
            &format!(
                "there is no repository {}, or not this in it, or {whose} may not see it",
                spec.repository
            ),
        ),
        // GitLab's word for: it is in this state already.
        400 if spec.kind == ForgeKind::GitLab
            && answer.speaks_of(&["cannot transition status"]) =>
        {
            Ok(())
        }
        422 if answer.speaks_of(&["no commit found for sha"]) => unknown_commit(status, host),
        // Gitea has no better answer for a commit that it does not have.
        500 if spec.kind == ForgeKind::Gitea
            && answer.speaks_of(&["object does not exist", "sha not found"]) =>
        {
            unknown_commit(status, host)
        }
        408 | 409 | 425 | 500..=599 => fail(
            FailureKind::Faulty,
            answer.pause().map_or(Again::Soon, Again::After),
            match status {
                500.. => "a fault of its own; it is tried again",
                _ => "not now; it is tried again",
            },
        ),
        _ => fail(
            FailureKind::Refused,
            Again::Never,
            "it does not take what was sent; check forge.kind, forge.apiUrl and forge.repository",
        ),
    }
}

fn unknown_commit(status: u16, host: &str) -> Result<(), Failure> {
    Err(Failure::new(
        FailureKind::NotFound,
        Again::Never,
        format!(
            "{status} from {host}: it does not have this commit; does forge.repository name the \
             repository that the source follows?"
        ),
    ))
}
