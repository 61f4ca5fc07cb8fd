//! What forges delivered to a source's webhook, as far as people need to see it.
//!
//! Owns the vendors, one delivery's verdict, and the bounded record of the last ones. Forged
//! deliveries are counted and the last few kept apart, so that a flood of them pushes out
//! nothing. Deliberately absent: what a delivery says (`forge::hook`), who keeps the record.

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Timestamp;

/// Whose way of telling it is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum Vendor {
    #[serde(rename = "github")]
    GitHub,
    #[serde(rename = "gitlab")]
    GitLab,
    #[serde(rename = "gitea")]
    Gitea,
    #[serde(rename = "forgejo")]
    Forgejo,
    #[serde(rename = "bitbucketCloud")]
    BitbucketCloud,
    #[serde(rename = "bitbucketDataCenter")]
    BitbucketDataCenter,
    /// A program of one's own that signs its body.
    #[serde(rename = "generic")]
    Generic,
}

impl Vendor {
    pub const ALL: [Vendor; 7] = [
        Vendor::GitHub,
        Vendor::GitLab,
        Vendor::Gitea,
        Vendor::Forgejo,
        Vendor::BitbucketCloud,
        Vendor::BitbucketDataCenter,
        Vendor::Generic,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Vendor::GitHub => "github",
            Vendor::GitLab => "gitlab",
            Vendor::Gitea => "gitea",
            Vendor::Forgejo => "forgejo",
            Vendor::BitbucketCloud => "bitbucketCloud",
            Vendor::BitbucketDataCenter => "bitbucketDataCenter",
            Vendor::Generic => "generic",
        }
    }

    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Vendor::GitHub => "GitHub",
            Vendor::GitLab => "GitLab",
            Vendor::Gitea => "Gitea",
            Vendor::Forgejo => "Forgejo",
            Vendor::BitbucketCloud => "Bitbucket Cloud",
            Vendor::BitbucketDataCenter => "Bitbucket Data Center",
            Vendor::Generic => "any program",
        }
    }
}

/// What became of a delivery.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryVerdict {
    /// It asked for something that is done: a sync, a look at a pull request.
    Accepted,
    /// Authentic, but nothing that this source follows.
    Ignored,
    /// It was delivered before.
    Replayed,
    /// The forge asks whether anybody is there.
    Pong,
    /// Authentic, but it cannot be read.
    Malformed,
    /// Its signature or token is missing or wrong.
    Forged,
}

impl DeliveryVerdict {
    pub const ALL: [DeliveryVerdict; 6] = [
        DeliveryVerdict::Accepted,
        DeliveryVerdict::Ignored,
        DeliveryVerdict::Replayed,
        DeliveryVerdict::Pong,
        DeliveryVerdict::Malformed,
        DeliveryVerdict::Forged,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            DeliveryVerdict::Accepted => "accepted",
            DeliveryVerdict::Ignored => "ignored",
            DeliveryVerdict::Replayed => "replayed",
            DeliveryVerdict::Pong => "pong",
            DeliveryVerdict::Malformed => "malformed",
            DeliveryVerdict::Forged => "forged",
        }
    }
}

/// One delivery. Its texts come from outside: bounded, and on one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryRecord {
    pub at: Timestamp,
    /// `None`: its headers are nobody's.
    pub vendor: Option<Vendor>,
    /// The vendor's word for it.
    pub event: String,
    /// The vendor's number of it.
    pub id: Option<String>,
    pub verdict: DeliveryVerdict,
    /// Why, and what is done about it.
    pub detail: String,
}

/// The last deliveries of one source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DeliveryLog {
    /// Authentic ones, newest first.
    pub last: VecDeque<DeliveryRecord>,
    /// All authentic ones since the record was begun.
    pub total: u64,
    /// The last forged ones, newest first.
    pub forged: VecDeque<DeliveryRecord>,
    /// All forged ones since the record was begun.
    pub forged_total: u64,
}

impl DeliveryLog {
    /// Authentic deliveries kept.
    pub const LAST: usize = 20;
    /// Forged deliveries kept.
    pub const FORGED: usize = 5;

    pub fn add(&mut self, record: DeliveryRecord) {
        let (list, count, most) = match record.verdict {
            DeliveryVerdict::Forged => (&mut self.forged, &mut self.forged_total, Self::FORGED),
            DeliveryVerdict::Accepted
            | DeliveryVerdict::Ignored
            | DeliveryVerdict::Replayed
            | DeliveryVerdict::Pong
            | DeliveryVerdict::Malformed => (&mut self.last, &mut self.total, Self::LAST),
        };
        *count = count.saturating_add(1);
        list.push_front(record);
        list.truncate(most);
    }

    /// Adds what came after all that is in here.
    pub fn put_before(&mut self, newer: DeliveryLog) {
        for (list, new, most) in [
            (&mut self.last, newer.last, Self::LAST),
            (&mut self.forged, newer.forged, Self::FORGED),
        ] {
            new.into_iter().rev().for_each(|r| list.push_front(r));
            list.truncate(most);
        }
        self.total = self.total.saturating_add(newer.total);
        self.forged_total = self.forged_total.saturating_add(newer.forged_total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(verdict: DeliveryVerdict, n: usize) -> DeliveryRecord {
        DeliveryRecord {
            at: Timestamp(0),
            vendor: Some(Vendor::GitHub),
            event: "push".to_owned(),
            id: Some(n.to_string()),
            verdict,
            detail: String::new(),
        }
    }

    #[test]
    fn forged_ones_push_out_no_others() {
        let mut log = DeliveryLog::default();
        log.add(record(DeliveryVerdict::Accepted, 0));
        for n in 0..1000 {
            log.add(record(DeliveryVerdict::Forged, n));
        }
        assert_eq!((log.last.len(), log.total), (1, 1));
        assert_eq!((log.forged.len(), log.forged_total), (5, 1000));
        assert_eq!(log.forged[0].id.as_deref(), Some("999"));
        for n in 0..1000 {
            log.add(record(DeliveryVerdict::Ignored, n));
        }
        assert_eq!((log.last.len(), log.total), (20, 1001));
        assert_eq!(log.last[19].id.as_deref(), Some("980"));
    }

    #[test]
    fn what_came_later_stands_first() {
        let mut old = DeliveryLog::default();
        let mut new = DeliveryLog::default();
        (0..15).for_each(|n| old.add(record(DeliveryVerdict::Accepted, n)));
        (15..30).for_each(|n| new.add(record(DeliveryVerdict::Ignored, n)));
        old.put_before(new);
        let ids: Vec<usize> = old
            .last
            .iter()
            .filter_map(|r| r.id.as_ref()?.parse().ok())
            .collect();
        assert_eq!(ids, (10..30).rev().collect::<Vec<_>>());
        assert_eq!(old.total, 30);
    }

    #[test]
    fn names_are_the_wires() {
        for vendor in Vendor::ALL {
            assert_eq!(serde_json::to_value(vendor).unwrap(), vendor.as_str());
        }
        for verdict in DeliveryVerdict::ALL {
            assert_eq!(serde_json::to_value(verdict).unwrap(), verdict.as_str());
        }
    }
}
