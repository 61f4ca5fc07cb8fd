//! How telling the forges goes, as people and metrics are told.
//!
//! In the leader's memory only: what is true is found out anew by the next attempt.

use std::collections::BTreeMap;

use super::{Handle, lock};
use crate::forge::FailureKind;
use crate::model::{SourceName, Timestamp};

#[derive(Debug, Default)]
pub(super) struct Telling {
    of: BTreeMap<SourceName, ForgeReport>,
}

/// Of one source's forge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForgeReport {
    /// Why what is to be told does not arrive; gone with the first that does.
    pub trouble: Option<ForgeTrouble>,
    pub last_told_at: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgeTrouble {
    pub kind: FailureKind,
    /// A sentence that says what to repair.
    pub reason: String,
    /// Of the first of these failures in a row.
    pub since: Timestamp,
}

impl Telling {
    pub fn forget_all(&mut self) {
        self.of.clear();
    }

    pub fn arrived(&mut self, source: &SourceName, now: Timestamp) {
        let report = self.of.entry(source.clone()).or_default();
        report.trouble = None;
        report.last_told_at = Some(now);
    }

    /// Whether that is news.
    pub fn failed(
        &mut self,
        source: &SourceName,
        kind: FailureKind,
        reason: &str,
        now: Timestamp,
    ) -> bool {
        let report = self.of.entry(source.clone()).or_default();
        let known = report.trouble.take();
        let news = known.as_ref().is_none_or(|known| known.reason != reason);
        report.trouble = Some(ForgeTrouble {
            kind,
            reason: reason.to_owned(),
            since: known.map_or(now, |known| known.since),
        });
        news
    }

    pub fn forget(&mut self, source: &SourceName) {
        self.of.remove(source);
    }
}

impl Handle {
    /// How telling the source's forge goes; `None` where it has none, or on a follower.
    pub fn forge_report(&self, source: &SourceName) -> Option<ForgeReport> {
        self.0.image.leading().ok()?;
        let has_one = self.read(|s| s.sources.get(source)?.spec.forge.as_ref().map(|_| ()));
        has_one.ok()??;
        let telling = lock(&self.0.telling);
        Some(telling.of.get(source).cloned().unwrap_or_default())
    }

    /// `commit statuses: 401 from …: renew the token in …`.
    pub(super) fn forge_warning(&self, source: &SourceName) -> Option<String> {
        let trouble = self.forge_report(source)?.trouble?;
        Some(format!("commit statuses: {}", trouble.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_lasts_from_its_first_failure_to_the_first_success() {
        let source: SourceName = "shop".parse().expect("a label");
        let mut telling = Telling::default();
        let kind = FailureKind::Credentials;
        assert!(telling.failed(&source, kind, "401", Timestamp(1)));
        assert!(!telling.failed(&source, kind, "401", Timestamp(2)));
        assert!(telling.failed(&source, FailureKind::Faulty, "500", Timestamp(3)));
        let trouble = telling.of[&source].trouble.clone().expect("it failed");
        assert_eq!(trouble.since, Timestamp(1));
        assert_eq!(trouble.kind, FailureKind::Faulty);
        telling.arrived(&source, Timestamp(4));
        let report = &telling.of[&source];
        assert_eq!(report.trouble, None);
        assert_eq!(report.last_told_at, Some(Timestamp(4)));
    }
}
