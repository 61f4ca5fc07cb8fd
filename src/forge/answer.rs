//! What a forge's answer means for a status that was posted.

use std::time::Duration;

use crate::model::ForgeKind;

/// Longest pause that a forge may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(3600);
/// Until what a person has to repair is tried again.
const PERSON: Duration = Duration::from_secs(300);

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Delivered,
    /// It may go through later: after this pause, or at the sender's own pace.
    Retry {
        after: Option<Duration>,
        reason: String,
    },
    /// Trying again can only give the same answer.
    GiveUp {
        reason: String,
    },
}

/// What of an answer matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// `X-RateLimit-Remaining`.
    pub remaining: Option<u64>,
    /// `X-RateLimit-Reset` (`RateLimit-Reset` at GitLab), seconds since the epoch.
    pub reset: Option<u64>,
    /// Seconds since the epoch, by our clock.
    pub now: u64,
    pub location: Option<String>,
    /// The beginning of its body, on one line.
    pub excerpt: String,
}

impl Answer {
    /// How long it asks to be left alone.
    fn pause(&self) -> Option<Duration> {
        let after = self.retry_after.map(Duration::from_secs);
        let spent = self.remaining == Some(0) || self.status == 429;
        let reset = self
            .reset
            .filter(|_| spent)
            .map(|at| Duration::from_secs(at.saturating_sub(self.now).max(1)));
        after.or(reset).map(|pause| pause.min(MAX_PAUSE))
    }
}

/// `host` and `token_file` are for the words: who answered, and where to repair it.
pub fn judge(kind: ForgeKind, host: &str, token_file: &str, answer: &Answer) -> Verdict {
    let said = match answer.excerpt.as_str() {
        "" => String::new(),
        text => format!(" ({text})"),
    };
    let status = answer.status;
    let person = |advice: String| Verdict::Retry {
        after: Some(answer.pause().unwrap_or(PERSON)),
        reason: format!("{status} from {host}{said}: {advice}"),
    };
    match status {
        200..=299 => Verdict::Delivered,
        300..=399 => Verdict::GiveUp {
            reason: format!(
                "{status} from {host}: it redirects to {}, where the token is not sent; set apiUrl \
                 to the address itself",
                answer.location.as_deref().unwrap_or("another address")
            ),
        },
        401 => person(format!("renew the token in {token_file}")),
        403 | 429 if answer.pause().is_some() => Verdict::Retry {
            after: answer.pause(),
            reason: format!("{status} from {host}{said}: it limits how often it is asked"),
        },
        429 => Verdict::Retry {
            after: None,
            reason: format!("{status} from {host}{said}: it limits how often it is asked"),
        },
        403 => person(format!(
            "the token in {token_file} may not write commit statuses"
        )),
        404 => person(format!(
            "there is no such repository, or the token in {token_file} may not see it"
        )),
        // GitLab's word for: it is in this state already.
        400 if kind == ForgeKind::GitLab && answer.excerpt.contains("Cannot transition status") => {
            Verdict::Delivered
        }
        408 | 409 | 425 | 500..=599 => Verdict::Retry {
            after: answer.pause(),
            reason: format!("{status} from {host}{said}"),
        },
        _ => Verdict::GiveUp {
            reason: format!("{status} from {host}{said}"),
        },
    }
}
